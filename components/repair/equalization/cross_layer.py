"""Balances channels between a layer and the next (cross-layer equalization), also from branches into a concatenation."""

from __future__ import annotations

import numpy as np

from components.repair.equalization.channel_ranges import Change
from components.repair.equalization.channel_streams import ChannelStreams


def equalize_layers(streams: ChannelStreams) -> tuple[Change, ...]:
    """One sweep over the streams from weights to weights in which nothing is added."""
    return balance_streams(streams, has_sums=False, what="channels scaled between layers")


def balance_streams(streams: ChannelStreams, *, has_sums: bool, what: str) -> tuple[Change, ...]:
    """Gives each channel of the chosen streams the gain that balances it, and tells what changed."""
    share = streams.activation_share()
    demand = streams.demand(share)
    gains = np.ones_like(share)
    pairs = []
    for stream in streams.streams:
        if stream.has_sums != has_sums:
            continue
        of_stream = streams.gains(stream, share, demand)
        if (of_stream != 1).any():
            gains *= of_stream
            pairs.append(streams.worst(stream.tensors))
    streams.apply(gains)
    return tuple(streams.change(tensor, what, figure) for tensor, figure in pairs)
