"""Streams of channels that share int8 scales, and the gains that balance them.

Lines (channel_lines) that meet in a tensor share that tensor's int8 scale and make up a *stream*: only gains of one
stream's lines relative to each other matter. Lines of a stream that run through the same tensors are a *branch* of it;
most streams have one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from components.repair.equalization.channel_lines import (
    DisjointSets,
    LineBuilder,
    Lines,
    ScaledConstant,
)
from components.repair.equalization.channel_ranges import Change, ChannelRanges, Vector
from components.repair.equalization.linear_operators import LinearOperator, write_own_constant
from components.repair.graph import FloatGraph

_MAX_GAIN = 1e6
_DEAD_SHARE = 1e-9
"""A channel whose values stay below this share of the tensor's never woke in the data: it says nothing about a gain."""
_LEAST_SPREAD = 1.1
"""Gains of a stream that differ by less than this factor are left alone: nothing to win."""


@dataclass
class Stream:
    """Activations that share lines.

    Attributes:
        tensors: Their indices, in the order in which they are computed.
        has_sums: Whether two activations are added, multiplied or compared in it: a residual stream.
        branches: The lines that run through them; those that run through the same tensors together.
        meetings: Tensors through which lines of several branches run, as behind a concatenation.
    """

    tensors: list[int] = field(default_factory=list)
    has_sums: bool = False
    branches: list[Lines] = field(default_factory=list)
    meetings: list[int] = field(default_factory=list)


class ChannelStreams:
    """The lines of a graph.

    Attributes:
        graph: The graph.
        ranges: What its channels hold.
        lines: Per float activation with channels, the line of each channel (last axis).
        is_locked: Per line.
        streams: Those with at least one line that can have a gain.
    """

    def __init__(self, graph: FloatGraph, ranges: ChannelRanges) -> None:
        """Reads the graph as it is now; a change of its operators makes this void, a change of constants does not."""
        self.graph = graph
        self.ranges = ranges
        self._linear = [operator for op in graph.operators if (operator := LinearOperator.read(graph, op)) is not None]
        builder = LineBuilder(graph, ranges, {id(linear.operator): linear for linear in self._linear})
        self.lines, self.is_locked = builder.build()
        self._constants = builder.scaled_constants
        self.streams = self._find_streams(builder.summed)

    def activation_share(self) -> Vector:
        """Per line, its largest value relative to that of the tensors it runs through (the closest to 1 counts).

        Constants that share a scale with a line's channels count likewise: addends, factors, and the rows of weights
        that int8 gives one scale (a gain makes such a row larger for all). They do not wake a channel: where no
        activation ever did, the share is 0.
        """
        share = np.zeros(self.is_locked.size)
        for tensor, lines in self.lines.items():
            if tensor in self.ranges:
                _raise_shares(share, lines, self.ranges.largest(tensor))
        is_awake = share > _DEAD_SHARE
        for linear in self._linear:
            if linear.has_one_weight_scale:
                _raise_shares(share, self.lines[linear.output], linear.largest_weights())
        for constant in self._constants:
            lines, values = self.lines[constant.output], np.abs(self._value(constant))
            of_channel = values.reshape(-1, values.shape[-1] if values.ndim else 1).max(0)
            _raise_shares(share, lines, np.broadcast_to(of_channel, lines.shape))
        return np.where(is_awake, share, 0.0)

    def demand(self, activation_share: Vector) -> Vector:
        """Per line, how much its most dependent consumer depends on it, relative to the consumer's other inputs."""
        demand = np.zeros(self.is_locked.size)
        for linear in self._linear:
            if linear.source is None:
                continue
            lines, needed = self.lines[linear.source], linear.demand()
            _raise_shares(demand, lines, _even_demand(activation_share[lines]) if needed is None else needed)
        for constant in self._constants:
            if constant.source is not None:
                lines = self.lines[constant.source]
                _raise_shares(demand, lines, _even_demand(activation_share[lines]))
        return demand

    def gains(self, stream: Stream, activation_share: Vector, demand: Vector) -> Vector:
        """Per line of the whole graph, the gain that balances the lines within each branch; 1 for all other streams.

        How much of a tensor a line fills says nothing about lines that do not run through that tensor: branches are
        balanced with each other elsewhere (concat_branches).

        A large gain makes a channel's share of the activation's int8 steps larger and its consumers' weights smaller;
        sqrt(demand / share) balances both (the activation-aware form of cross-layer equalization, Nagel et al. 2019).
        """
        gains = np.ones(self.is_locked.size)
        for branch in stream.branches:
            lines = branch[(activation_share[branch] > 0) & (demand[branch] > 0)]
            if lines.size:
                gains[lines] = self.relative(lines, np.sqrt(demand[lines] / activation_share[lines]))
        return gains

    def relative(self, lines: Lines, wanted: Vector) -> Vector:
        """Gains of one stream relative to those that cannot be changed, or else to their mean; 1 for locked lines."""
        locked = self.is_locked[lines]
        reference = wanted[locked] if locked.any() else wanted
        gains: Vector = np.clip(wanted / np.exp(np.log(reference).mean()), 1 / _MAX_GAIN, _MAX_GAIN)
        gains[locked] = 1.0
        if gains.max() < gains.min() * _LEAST_SPREAD:
            return np.ones_like(gains)
        return gains

    def apply(self, gains: Vector) -> None:
        """Multiplies lines by gains: weights at both ends, constants on the way, and the measured ranges with them."""
        for linear in self._linear:
            into = None if linear.source is None else gains[self.lines[linear.source]]
            out_of = gains[self.lines[linear.output]]
            if (out_of != 1).any() or (into is not None and (into != 1).any()):
                linear.scale(into, out_of)
        for constant in self._constants:
            gain = gains[self.lines[constant.output]]
            if constant.source is not None:
                gain = gain / gains[self.lines[constant.source]]
            if (gain != 1).any():
                write_own_constant(self.graph, constant.operator, constant.slot, self._value(constant) * gain)
        for tensor, lines in self.lines.items():
            if tensor in self.ranges and (gains[lines] != 1).any():
                self.ranges.scale(tensor, gains[lines])

    def worst(self, tensors: Sequence[int]) -> tuple[int, float]:
        """The tensor whose channels differ most in range, and by how much; one of them was measured."""
        measured = [tensor for tensor in tensors if tensor in self.ranges]
        imbalances = [self.ranges.imbalance(tensor) for tensor in measured]
        at = int(np.argmax(imbalances))
        return measured[at], imbalances[at]

    def change(self, tensor: int, what: str, figure: float) -> Change:
        """What was done for a tensor, with its imbalance before and now."""
        return Change(self.graph.name(tensor), what, figure, self.ranges.imbalance(tensor))

    def _value(self, constant: ScaledConstant) -> Vector:
        values = self.graph.constant(constant.operator.inputs[constant.slot])
        assert values is not None
        return values.astype(np.float64)

    def _find_streams(self, summed: set[int]) -> list[Stream]:
        union = DisjointSets(self.is_locked.size)
        for lines in self.lines.values():
            union.join_all(lines)
        streams: dict[int, Stream] = {}
        for tensor, lines in self.lines.items():
            stream = streams.setdefault(union.find(int(lines[0])), Stream())
            stream.tensors.append(tensor)
            stream.has_sums |= tensor in summed
        num_branches = dict.fromkeys(self.lines, 0)
        for tensors, lines in self._branches():
            streams[union.find(int(lines[0]))].branches.append(lines)
            for tensor in tensors:
                num_branches[tensor] += 1
        for stream in streams.values():
            stream.meetings = [tensor for tensor in stream.tensors if num_branches[tensor] > 1]
        return [s for s in streams.values() if not all(self.is_locked[branch].all() for branch in s.branches)]

    def _branches(self) -> list[tuple[tuple[int, ...], Lines]]:
        """Sets of tensors, and the lines that run through all of a set and no other tensor."""
        tensors_of: list[list[int]] = [[] for _ in range(self.is_locked.size)]
        for tensor, lines in self.lines.items():
            for line in np.unique(lines).tolist():
                tensors_of[line].append(tensor)
        branches: dict[tuple[int, ...], list[int]] = {}
        for line, tensors in enumerate(tensors_of):
            branches.setdefault(tuple(tensors), []).append(line)
        return [(tensors, np.array(lines, np.int64)) for tensors, lines in branches.items()]


def _raise_shares(shares: Vector, lines: Lines, values: Vector) -> None:
    """Raises each line's share to that of its channel's value in the largest."""
    top = values.max(initial=0.0)
    if top > 0:
        np.maximum.at(shares, lines, values / top)


def _even_demand(share: Vector) -> Vector:
    """The demand of what computes each output from one input: an error counts relative to the input's own size."""
    return np.divide(1.0, share, out=np.zeros_like(share), where=share > 0)
