"""Balances channels along residual streams: one gain per channel from the first producer to the last consumer."""

from __future__ import annotations

from components.repair.equalization.channel_ranges import Change
from components.repair.equalization.channel_streams import ChannelStreams
from components.repair.equalization.cross_layer import balance_streams


def equalize_residual_streams(streams: ChannelStreams) -> tuple[Change, ...]:
    """One sweep over the streams in which activations are added, or multiplied by a gate (squeeze-excite)."""
    return balance_streams(streams, has_sums=True, what="channels scaled along a residual stream")
