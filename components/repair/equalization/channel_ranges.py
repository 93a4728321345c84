"""What each channel of each activation was measured to hold, kept true while the graph is changed.

A gain or a shift moves a channel's range by exactly itself, so that one measurement serves all passes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from components.repair.graph import FloatGraph
from components.repair.range_statistics import Statistics

Vector: TypeAlias = NDArray[np.float64]

_STILL_SHARE = 0.01


@dataclass(frozen=True)
class Change:
    """One thing a pass did to the graph; its function is the same as before.

    Attributes:
        tensor: Name of the activation that was changed for.
        what: What was done, in words.
        figure: How many times wider the range was than what moves in it: the tensor's than that of its median channel, or,
            for offsets, a channel's than the values it takes; for split heads, how many times larger one part was.
        figure_after: The same afterwards.
    """

    tensor: str
    what: str
    figure: float
    figure_after: float


class ChannelRanges:
    """Smallest and largest value per channel (last axis) of the activations that were measured, by tensor index."""

    def __init__(self, lows: dict[int, Vector], highs: dict[int, Vector]) -> None:
        self._lows = lows
        self._highs = highs
        self._gains = {tensor: np.ones_like(low) for tensor, low in lows.items()}
        self._taken = {tensor: np.zeros_like(low) for tensor, low in lows.items()}

    @classmethod
    def read(cls, graph: FloatGraph, statistics: Statistics) -> ChannelRanges:
        """Takes the channels' ranges of the graph's float activations; a tensor without channels has none."""
        lows: dict[int, Vector] = {}
        highs: dict[int, Vector] = {}
        for tensor in range(len(graph.tensors)):
            name, shape = graph.name(tensor), graph.shape(tensor)
            if len(shape) < 2 or not graph.is_activation(tensor) or name not in statistics.tensors:
                continue
            measured = statistics.tensors[name]
            low = np.asarray(measured.channel_minimum, np.float64)
            high = np.asarray(measured.channel_maximum, np.float64)
            if low.shape == high.shape == (shape[-1],):
                lows[tensor], highs[tensor] = low, high
        return cls(lows, highs)

    def __contains__(self, tensor: int) -> bool:
        return tensor in self._lows

    def low(self, tensor: int) -> Vector:
        """Smallest value per channel."""
        return self._lows[tensor]

    def high(self, tensor: int) -> Vector:
        """Largest value per channel."""
        return self._highs[tensor]

    def largest(self, tensor: int) -> Vector:
        """Largest absolute value per channel."""
        return np.maximum(np.abs(self._lows[tensor]), np.abs(self._highs[tensor]))

    def scale(self, tensor: int, gain: Vector) -> None:
        """Multiplies each channel by a positive gain."""
        for values in (self._lows, self._highs, self._gains, self._taken):
            values[tensor] = values[tensor] * gain

    def shift(self, tensor: int, offset: Vector) -> None:
        """Subtracts an offset from each channel."""
        self._lows[tensor] = self._lows[tensor] - offset
        self._highs[tensor] = self._highs[tensor] - offset
        self._taken[tensor] = self._taken[tensor] + offset

    def select(self, tensor: int, source: int, channels: slice) -> None:
        """Gives a tensor the ranges of some channels of another."""
        for values in (self._lows, self._highs, self._gains, self._taken):
            values[tensor] = values[source][channels]

    def total_gain(self, tensor: int) -> Vector:
        """Per channel, the product of all gains; a value v of the beginning is now v * total_gain - total_offset."""
        return self._gains[tensor]

    def total_offset(self, tensor: int) -> Vector:
        """Per channel, what was subtracted in all, after the gains."""
        return self._taken[tensor]

    def imbalance(self, tensor: int) -> float:
        """How many times wider the tensor's int8 range (which holds 0) is than the median channel that moves at all.

        1.0 where no channel moves. Healthy models have about 3, and 10 costs accuracy (Edgeproof's own measurement on
        MLPerf Tiny's models and on models whose int8 collapses).
        """
        low, high = self._lows[tensor], self._highs[tensor]
        widths = high - low
        widths = widths[widths > 0]
        if not widths.size:
            return 1.0
        return float((max(high.max(), 0.0) - min(low.min(), 0.0)) / np.median(widths))

    def offset(self, tensor: int) -> float:
        """How many times wider the worst channel's own int8 range (which holds 0) is than the values it takes.

        1.0 where no channel moves; a channel that hardly does counts with a hundredth of the median channel's width.
        """
        low, high = self._lows[tensor], self._highs[tensor]
        widths = high - low
        if not (widths > 0).any():
            return 1.0
        least = np.median(widths[widths > 0]) * _STILL_SHARE
        return float(((np.maximum(high, 0.0) - np.minimum(low, 0.0)) / np.maximum(widths, least)).max())
