"""Names what is awkward about a model or its data before anything is tried: without labels, from measured ranges.

Each finding tells the tensor where it is worst, the figure, the threshold and the remedy. Findings explain; they do
not steer: a rung that applies is climbed whether or not its finding was made.

The thresholds separate eight models that were measured: two healthy ones (a keyword spotter and a ResNet-8 of MLPerf
Tiny, both good with plain int8) from six that plain int8 ruins.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from components.repair.graph import FloatGraph
from components.repair.range_statistics import Statistics, TensorStatistics

#: Share of values outside the ranges of other rows. Healthy: at most 0.0009 with all tensors, 0.04 for an output of one
#: value per row; a domain missing from the rows: 0.33 and more.
MAX_SHARE_OUTSIDE = 0.05
#: (99.9th - 0.1th percentile) / whole range, or range without fault rows / whole range. Healthy: at least 0.21; a fault
#: code in 0.5 % of the frames: 0.001.
MIN_USED_SHARE = 0.05
#: Range of a tensor / median range of its channels. Healthy: at most 3.1; ruined: 32 to 647.
MAX_CHANNEL_RATIO = 10.0
#: Part of a tensor's range that is left when every channel is centered; below it, offsets made the range.
MAX_CENTERED_SHARE = 0.5


@dataclass(frozen=True)
class Finding:
    """Something that endangers int8.

    Attributes:
        name: What it is, in two or three words.
        tensor: Where it is worst.
        figure: What was measured there.
        threshold: What it was held against.
        remedy: What is tried against it.
        step: How the remedy is called among a candidate's steps; "" where it is none of them.
    """

    name: str
    tensor: str
    figure: float
    threshold: float
    remedy: str
    step: str = ""


def diagnose(
    graph: FloatGraph,
    ranges: Statistics,
    selection: Statistics,
    head: Statistics | None = None,
    sound: Statistics | None = None,
) -> tuple[Finding, ...]:
    """Looks for every known cause; at most one finding per cause, at its worst tensor.

    Args:
        graph: The float model.
        ranges: Statistics of the rows that set ranges.
        selection: Statistics of rows that do not.
        head: Statistics of the first rows of the pool, as they came.
        sound: Statistics of the range rows without those that hold fault codes, where there are such.
    """
    inputs = {graph.name(tensor) for tensor in graph.inputs}
    concatenated = _outputs_of(graph, "CONCATENATION")
    causes = [_domain(ranges, selection, head), _outliers(ranges, sound)]
    channels = {name: _channel_ratio(tensor) for name, tensor in ranges.tensors.items()}
    offsets = {name for name, tensor in ranges.tensors.items() if _centered_share(tensor) < MAX_CENTERED_SHARE}
    groups = (
        ("input scale", inputs - offsets, "the input stays float32", "float islands"),
        ("concat scale", concatenated - inputs, "the branches are equalized", "equalization"),
        (
            "constant offsets",
            offsets - concatenated,
            "offsets move into biases; failing that, float islands",
            "equalization",
        ),
        (
            "channel imbalance",
            set(channels) - inputs - concatenated - offsets,
            "channels are equalized across layers",
            "equalization",
        ),
    )
    for name, tensors, remedy, step in groups:
        causes.append(_worst(name, {t: channels[t] for t in tensors if t in channels}, remedy, step))
    return tuple(finding for finding in causes if finding is not None)


def _domain(ranges: Statistics, selection: Statistics, head: Statistics | None) -> Finding | None:
    """Whether the first rows, or even the drawn ones, miss values that the others hold."""
    if head is not None:
        remedy = "rows are drawn over the whole pool: its first rows are of another domain than the rest"
        causes = _calibration_domain(head.outside(selection), remedy)
        if causes is not None:
            return causes
    remedy = "more calibration rows, or rows of the missing domain: the pool does not cover itself"
    return _calibration_domain(ranges.outside(selection), remedy)


def _calibration_domain(outside: dict[str, float], remedy: str) -> Finding | None:
    if not outside:
        return None
    tensor = max(outside, key=lambda name: (outside[name], name))
    if outside[tensor] <= MAX_SHARE_OUTSIDE:
        return None
    return Finding("calibration domain", tensor, outside[tensor], MAX_SHARE_OUTSIDE, remedy)


def _outliers(ranges: Statistics, sound: Statistics | None) -> Finding | None:
    """Tensors most of whose range a few values took, or a few rows."""
    remedy = "ranges from percentiles"
    used = {
        name: _width(tensor.quantile(0.001), tensor.quantile(0.999), tensor) for name, tensor in ranges.tensors.items()
    }
    if sound is not None:
        remedy = "rows with fault codes set aside, ranges from percentiles"
        for name, tensor in sound.tensors.items():
            used[name] = min(used[name], _width(tensor.minimum, tensor.maximum, ranges[name]))
    worst = min(used, key=lambda name: (used[name], name), default=None)
    if worst is None or used[worst] >= MIN_USED_SHARE:
        return None
    return Finding("outliers", worst, used[worst], MIN_USED_SHARE, remedy, "fault rows" if sound is not None else "p99")


def _width(low: float, high: float, whole: TensorStatistics) -> float:
    """Width of a range in units of the whole range; 1 for a tensor that never moves."""
    return (high - low) / (whole.maximum - whole.minimum) if whole.maximum > whole.minimum else 1.0


def _worst(name: str, ratios: dict[str, float], remedy: str, step: str) -> Finding | None:
    if not ratios:
        return None
    tensor = max(ratios, key=lambda key: (ratios[key], key))
    if ratios[tensor] <= MAX_CHANNEL_RATIO:
        return None
    return Finding(name, tensor, ratios[tensor], MAX_CHANNEL_RATIO, remedy, step)


def _channel_ratio(tensor: TensorStatistics) -> float:
    """Range of the tensor / median range of its channels that move; 1 where it has a single channel."""
    widths = (tensor.channel_maximum - tensor.channel_minimum).astype(np.float64)
    moving = widths[widths > 0]
    if len(widths) < 2 or not len(moving):
        return 1.0
    return float((tensor.maximum - tensor.minimum) / np.median(moving))


def _centered_share(tensor: TensorStatistics) -> float:
    """Widest channel / range of the tensor: what centering the channels would leave of the range."""
    width = tensor.maximum - tensor.minimum
    if width <= 0 or len(tensor.channel_minimum) < 2:
        return 1.0
    return float((tensor.channel_maximum - tensor.channel_minimum).max()) / width


def _outputs_of(graph: FloatGraph, kind: str) -> set[str]:
    return {
        graph.name(operator.outputs[0])
        for position, operator in enumerate(graph.operators)
        if graph.kind(position) == kind
    }
