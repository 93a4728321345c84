"""Brings branches that meet in one tensor to a common range there: they share one int8 scale.

A branch (one input of a concatenation, one part of what is split later) gets one gain for all its channels, undone
where they are consumed. A branch that cannot have one (it ends in sigmoid, or is an input of the graph) keeps its
range, and the others come to it.
"""

from __future__ import annotations

import numpy as np

from components.repair.equalization.channel_ranges import Change, Vector
from components.repair.equalization.channel_streams import ChannelStreams, Stream


def equalize_branches(streams: ChannelStreams) -> tuple[Change, ...]:
    """Scales the branches of every concatenation of channels."""
    demand = streams.demand(streams.activation_share())
    gains = np.ones_like(demand)
    branches = []
    for stream in streams.streams:
        of_stream = _branch_gains(streams, stream, demand)
        if (of_stream != 1).any():
            gains *= of_stream
            branches.append(streams.worst(stream.meetings))
    streams.apply(gains)
    return tuple(streams.change(tensor, "branches brought to one range", figure) for tensor, figure in branches)


def _branch_gains(streams: ChannelStreams, stream: Stream, demand: Vector) -> Vector:
    """One gain per branch, from what it fills of the tensors where branches meet and from how much it is needed."""
    gains = np.ones_like(demand)
    share = _share_of_meetings(streams, stream)
    branches = [lines for lines in stream.branches if share[lines].max() > 0 and demand[lines].max() > 0]
    if len(branches) < 2:
        return gains
    wanted = np.sqrt(np.array([demand[lines].max() / share[lines].max() for lines in branches]))
    # A branch with a locked line is locked: that line speaks for it.
    speakers = np.array([lines[np.argmax(streams.is_locked[lines])] for lines in branches])
    for lines, gain in zip(branches, streams.relative(speakers, wanted), strict=True):
        gains[lines] = gain
    return gains


def _share_of_meetings(streams: ChannelStreams, stream: Stream) -> Vector:
    """Per line, its largest value relative to the tensor's, in tensors where branches meet."""
    share = np.zeros(streams.is_locked.size)
    for tensor in stream.meetings:
        largest = streams.ranges.largest(tensor) if tensor in streams.ranges else np.zeros(1)
        if largest.max() > 0:
            np.maximum.at(share, streams.lines[tensor], largest / largest.max())
    return share
