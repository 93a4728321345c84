"""Function-preserving changes of a float graph that give its int8 form better ranges (equalization).

Order: heads that are taken apart get layers of their own; constant offsets go into biases; then, in a few sweeps,
branches of concatenations come to one range and channels are balanced along residual streams and between layers. Every
gain is found from measured activations and the weights that consume them; none touches an input or an output of the
graph.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.repair.equalization.channel_ranges import Change, ChannelRanges
from components.repair.equalization.channel_streams import ChannelStreams
from components.repair.equalization.concat_branches import equalize_branches
from components.repair.equalization.constant_shifts import absorb_shifts
from components.repair.equalization.cross_layer import equalize_layers
from components.repair.equalization.fused_heads import split_heads
from components.repair.equalization.residual_streams import equalize_residual_streams
from components.repair.graph import FloatGraph
from components.repair.range_statistics import Statistics
from components.repair.running import predict

__all__ = [
    "MAX_FLOAT_DIFFERENCE",
    "Change",
    "ChannelRanges",
    "equalize",
    "equalize_in_place",
    "largest_difference",
    "relative_difference",
]

NUM_SWEEPS = 3
"""Sweeps over all streams; after the third the gains of Edgeproof's test models moved no more."""
MAX_FLOAT_DIFFERENCE = 2e-3
"""Equalization moves factors between layers, which float32 rounds: up to 1e-3 of the outputs' spread was measured."""
_SWEEPS = (equalize_branches, equalize_residual_streams, equalize_layers)


def equalize(graph: FloatGraph, statistics: Statistics) -> tuple[FloatGraph, tuple[Change, ...]]:
    """Runs all passes on a copy.

    Args:
        graph: A float graph; it stays as it is.
        statistics: What its activations were measured to hold.

    Returns:
        The changed copy, and one change per tensor and pass, with the figure before the first sweep and after the last.
        The statistics are not those of the copy: measure it again.
    """
    graph = graph.copy()
    return graph, equalize_in_place(graph, ChannelRanges.read(graph, statistics))


def equalize_in_place(graph: FloatGraph, ranges: ChannelRanges) -> tuple[Change, ...]:
    """Runs all passes on the graph itself.

    Args:
        graph: A float graph; only its constants change, unless a head is split.
        ranges: What its channels were measured to hold; afterwards what they hold now, and what was done to each.

    Returns:
        One change per tensor and pass, as :func:`equalize`.
    """
    heads = split_heads(graph, ranges)
    shifts = absorb_shifts(graph, ranges)
    streams = ChannelStreams(graph, ranges)
    swept = [change for _ in range(NUM_SWEEPS) for sweep in _SWEEPS for change in sweep(streams)]
    if heads:
        graph.remove_unused()
    return (*heads, *shifts, *_merged(swept))


def largest_difference(before: bytes, after: bytes, rows: Mapping[str, NDArray[Any]]) -> float:
    """The largest difference of two models' outputs on the rows, relative to the spread of the output before.

    Args:
        before: A float .tflite.
        after: The same after equalization.
        rows: Inputs by name, batch first.

    Returns:
        0.0 for equal outputs; infinity where one of them is not finite and the other is something else.
    """
    expected, answers = predict(before, rows), predict(after, rows)
    return max((relative_difference(expected[name], answers[name]) for name in expected), default=0.0)


def relative_difference(expected: NDArray[Any], answers: NDArray[Any]) -> float:
    """The largest difference of two arrays relative to the spread of the first; as :func:`largest_difference`."""
    if not expected.size or np.array_equal(expected, answers, equal_nan=expected.dtype.kind == "f"):
        return 0.0
    if not (np.isfinite(expected).all() and np.isfinite(answers).all()):
        return float("inf")
    wide = expected.astype(np.float64)
    spread = float(np.ptp(wide)) or float(np.abs(wide).max()) or 1.0
    return float(np.abs(wide - answers).max()) / spread


def _merged(changes: list[Change]) -> tuple[Change, ...]:
    """Changes of the same tensor in several sweeps as one."""
    merged: dict[tuple[str, str], Change] = {}
    for change in changes:
        first = merged.get((change.tensor, change.what), change)
        merged[change.tensor, change.what] = Change(change.tensor, change.what, first.figure, change.figure_after)
    return tuple(merged.values())
