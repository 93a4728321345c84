"""Measures which values every activation tensor of a float model takes, in one pass and bounded memory.

From the same pass come the ranges that int8 is laid over (whole range, percentiles, least squared error) and what the
diagnosis and the equalization need: ranges and means per channel.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from components.errors import CalibrationError
from components.light_workers import usable_cores
from components.repair.activations import ActivationReader

Array: TypeAlias = NDArray[Any]
Range: TypeAlias = tuple[float, float]

# The histogram's bins are float32 bit patterns without their last 18 bits: 32 bins per power of two and sign, so every
# value is known to 3 % whatever the tensor's range, and a rare -999 does not blur the values around 1.
_DROPPED_BITS = 18
_NUM_BINS = 1 << (32 - _DROPPED_BITS)
_NUM_HISTOGRAM_SAMPLES = 1 << 15
"""Values of one tensor and batch that enter the histogram; evenly spaced where there are more."""
NUM_BLOCKS = 64
"""Blocks of rows whose sums are kept apart: what as many interpreters can share."""
MAX_WORKERS_BYTES = 256 * 2**20
"""Memory that the activations of all interpreters may take."""
_WIDE_ROW = 2048
_NUM_INT8_STEPS = 255
_CLIPPING_CANDIDATES = np.geomspace(1e-4, 1.0, 80)
"""Shares of the whole range that the search for the least squared error tries."""


class RangeMethod(str, Enum):
    """How the range of a tensor is taken from its values."""

    MINMAX = "minmax"
    """Everything that was seen."""
    P99_99 = "p99_99"
    """Without the lowest and the highest 0.01 % of the values."""
    P99_9 = "p99_9"
    """Without the lowest and the highest 0.1 % of the values."""
    MSE = "mse"
    """The part of the whole range that gives the least squared error with 255 steps."""


_CUT_SHARE = {RangeMethod.P99_99: 1e-4, RangeMethod.P99_9: 1e-3}


@dataclass(frozen=True)
class TensorStatistics:
    """What one activation tensor held.

    Attributes:
        minimum: Smallest value.
        maximum: Largest value.
        channel_minimum: Per channel (last axis), float32 [channels]; one channel where the tensor has no axis but the batch.
        channel_maximum: Likewise.
        channel_mean: Likewise, float64.
        histogram: Number of values per bin, int64; read through ``quantile`` and ``share_outside``.
    """

    minimum: float
    maximum: float
    channel_minimum: NDArray[np.float32]
    channel_maximum: NDArray[np.float32]
    channel_mean: NDArray[np.float64]
    histogram: NDArray[np.int64]

    def quantile(self, share: float) -> float:
        """The value below which ``share`` (0..1) of all values lie, to about 1 %."""
        counts, low, high = self._bins()
        below = np.cumsum(counts)
        wanted = share * below[-1]
        bin_index = min(int(np.searchsorted(below, wanted)), len(counts) - 1)
        inside = (wanted - (below[bin_index] - counts[bin_index])) / counts[bin_index]
        return float(low[bin_index] + (high[bin_index] - low[bin_index]) * min(max(inside, 0.0), 1.0))

    def range(self, method: RangeMethod = RangeMethod.MINMAX) -> Range:
        """The range that int8 is laid over by that method."""
        if method is RangeMethod.MINMAX:
            return self.minimum, self.maximum
        if method is RangeMethod.MSE:
            return self._least_error_range()
        return self.quantile(_CUT_SHARE[method]), self.quantile(1.0 - _CUT_SHARE[method])

    def held_ranges(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Lower and upper edges of the intervals that hold values, ascending; each is known to 3 %."""
        _, low, high = self._bins()
        return low, high

    def share_outside(self, low: float, high: float) -> float:
        """Share (0..1) of the values below ``low`` or above ``high``."""
        counts, bin_low, bin_high = self._bins()
        width = np.maximum(bin_high - bin_low, np.finfo(np.float32).tiny)
        below = np.clip((low - bin_low) / width, 0.0, 1.0)
        above = np.clip((bin_high - high) / width, 0.0, 1.0)
        return float(np.sum(counts * np.minimum(below + above, 1.0)) / np.sum(counts))

    def _bins(self) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
        """Counts and edges of the bins that hold anything, in ascending order, within minimum and maximum."""
        counts = self.histogram[_ASCENDING]
        held = np.flatnonzero(counts)
        low = np.clip(_LOW[held], self.minimum, self.maximum)
        return counts[held], low, np.clip(_HIGH[held], self.minimum, self.maximum)

    def _least_error_range(self) -> Range:
        """Clips both ends by the same share: values outside err by their distance, those inside by the rounding."""
        counts, bin_low, bin_high = self._bins()
        values = (bin_low + bin_high) / 2
        low, high = min(self.minimum, 0.0), max(self.maximum, 0.0)
        best, best_error = (self.minimum, self.maximum), np.inf
        for share in _CLIPPING_CANDIDATES:
            step = (high - low) * share / _NUM_INT8_STEPS
            distance = values - np.clip(values, low * share, high * share)
            rounding = np.where((distance == 0) & (values != 0), step**2 / 12, 0.0)  # zero is always met exactly
            error = float(np.sum(counts * (distance**2 + rounding)))
            if error <= best_error:
                best, best_error = (low * share, high * share), error
        return max(best[0], self.minimum), min(best[1], self.maximum)


@dataclass(frozen=True)
class Statistics:
    """What all activation tensors of a model held.

    Attributes:
        tensors: By name, as ``FloatGraph.name`` gives it, in the order of the file.
        num_rows: Rows that ran through the model.
    """

    tensors: Mapping[str, TensorStatistics]
    num_rows: int

    def __getitem__(self, name: str) -> TensorStatistics:
        return self.tensors[name]

    def __contains__(self, name: object) -> bool:
        return name in self.tensors

    def range(self, name: str, method: RangeMethod = RangeMethod.MINMAX) -> Range:
        """The range of one tensor."""
        return self.tensors[name].range(method)

    def ranges(self, method: RangeMethod = RangeMethod.MINMAX) -> dict[str, Range]:
        """The ranges of all tensors, as ``FloatGraph.set_ranges`` takes them."""
        return {name: tensor.range(method) for name, tensor in self.tensors.items()}

    def outside(self, other: Statistics, method: RangeMethod = RangeMethod.MINMAX) -> dict[str, float]:
        """Share (0..1) of the other rows' values that lie outside these ranges, by tensor.

        Args:
            other: The same model's statistics on other rows.
            method: How these ranges are taken.
        """
        return {
            name: other[name].share_outside(*tensor.range(method))
            for name, tensor in self.tensors.items()
            if name in other
        }


def measure(
    float_model: bytes, rows: Mapping[str, Array], batch_size: int | None = None, num_workers: int | None = None
) -> Statistics:
    """Runs the rows through the model once and measures every float activation tensor.

    As many interpreters run side by side as there are cores. The result is the same with any number of them: extremes and
    counts do not depend on an order, and sums are added up by blocks of rows that are the same for all.

    Args:
        float_model: A float .tflite file.
        rows: One array per input by its public name, batch first, at least one row.
        batch_size: Rows of one step; None for as many as are fast and fit a bounded memory.
        num_workers: Interpreters; None for one per usable core, as far as their activations fit ``MAX_WORKERS_BYTES``.

    Raises:
        CalibrationError: A tensor holds NaN or an infinite value, or the model cannot run the rows.
        ModelFileError: LiteRT refuses the model.
    """
    reader = ActivationReader(float_model, batch_size)
    blocks = _blocks(reader.steps(rows), 1 if reader.is_stream else NUM_BLOCKS)
    wanted = num_workers or min(usable_cores(), max(1, MAX_WORKERS_BYTES // max(1, reader.step_bytes)))
    readers = [reader, *(ActivationReader(float_model, batch_size) for _ in range(min(wanted, len(blocks)) - 1))]
    parts = [blocks[worker :: len(readers)] for worker in range(len(readers))]
    with ThreadPoolExecutor(len(readers)) as pool:
        collected = list(pool.map(_collect, readers, parts, [rows] * len(readers)))
    tensors = {tensor for part in collected for tensor in part}
    return Statistics(
        {reader.graph.name(t): _result([part[t] for part in collected if t in part]) for t in sorted(tensors)},
        sum(len(step) for block in blocks for step in block.steps),
    )


@dataclass(frozen=True)
class _Block:
    """Steps that follow one another, and their place among all blocks."""

    position: int
    steps: tuple[range, ...]


def _blocks(steps: Sequence[range], most: int) -> list[_Block]:
    """The steps in at most so many blocks of equal length, in order."""
    length = max(1, -(-len(steps) // most))
    return [_Block(start // length, tuple(steps[start : start + length])) for start in range(0, len(steps), length)]


def _collect(reader: ActivationReader, blocks: Sequence[_Block], rows: Mapping[str, Array]) -> dict[int, _Collector]:
    """Measures the tensors of some blocks with an interpreter of its own."""
    collected: dict[int, _Collector] = {}
    for block in blocks:
        for step in reader.run_steps(rows, block.steps):
            for tensor in reader.tensors:
                values = reader.read(tensor)
                if values.size == 0:
                    continue
                if tensor not in collected:
                    collected[tensor] = _Collector(_num_channels(values))
                if not collected[tensor].add(values, block.position):
                    raise CalibrationError(_not_finite(reader, tensor, values, step))
                del values  # LiteRT refuses to run while a view is alive
    return collected


def _result(parts: Sequence[_Collector]) -> TensorStatistics:
    """One tensor's parts together; sums in the order of the blocks, so that their rounding is the same for all."""
    sums = {position: total for part in parts for position, total in part.sums.items()}
    minimum = functools.reduce(np.minimum, [part.minimum for part in parts])
    maximum = functools.reduce(np.maximum, [part.maximum for part in parts])
    return TensorStatistics(
        minimum=float(minimum.min()),
        maximum=float(maximum.max()),
        channel_minimum=minimum,
        channel_maximum=maximum,
        channel_mean=sum((sums[position] for position in sorted(sums)), np.zeros(len(minimum)))
        / sum(part.num_per_channel for part in parts),
        histogram=sum((part.histogram for part in parts), np.zeros(_NUM_BINS, np.int64)),
    )


class _Collector:
    """Adds up one tensor's batches; ``sums`` are kept by block."""

    def __init__(self, num_channels: int) -> None:
        self.minimum = np.full(num_channels, np.inf, np.float32)
        self.maximum = np.full(num_channels, -np.inf, np.float32)
        self.sums: dict[int, NDArray[np.float64]] = {}
        self.num_per_channel = 0
        self.histogram = np.zeros(_NUM_BINS, np.int64)

    def add(self, values: Array, block: int) -> bool:
        """Adds a batch; False, and nothing added, where not all values are finite."""
        table = values.reshape(-1, len(self.minimum))
        minimum, maximum = _extremes(table)
        if not (np.isfinite(minimum).all() and np.isfinite(maximum).all()):
            return False
        np.minimum(self.minimum, minimum, out=self.minimum)
        np.maximum(self.maximum, maximum, out=self.maximum)
        total = _sums(table)
        self.sums[block] = self.sums.get(block, np.zeros(len(total))) + total
        self.num_per_channel += len(table)
        self.histogram += _count(values.reshape(-1))
        return True


def _extremes(table: Array) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Smallest and largest value of each column. NumPy reduces wide rows several times as fast as narrow ones."""
    num_rows, num_channels = table.shape
    fold = max(1, _WIDE_ROW // num_channels)
    num_folded = num_rows // fold
    if fold == 1 or num_folded < 2:
        return table.min(axis=0), table.max(axis=0)
    wide, rest = table[: num_folded * fold].reshape(num_folded, fold * num_channels), table[num_folded * fold :]
    minimum = wide.min(axis=0).reshape(fold, num_channels).min(axis=0)
    maximum = wide.max(axis=0).reshape(fold, num_channels).max(axis=0)
    if not len(rest):
        return minimum, maximum
    return np.minimum(minimum, rest.min(axis=0)), np.maximum(maximum, rest.max(axis=0))


def _sums(table: Array) -> NDArray[np.float64]:
    """Sums of columns; BLAS adds in blocks, as exact as needed at a third of the time, unless float32 cannot hold the sum."""
    with np.errstate(over="ignore", invalid="ignore"):
        sums = np.ones(len(table), np.float32) @ table
    return np.asarray(sums if np.isfinite(sums).all() else table.sum(axis=0, dtype=np.float64), np.float64)


def _count(values: Array) -> NDArray[np.int64]:
    stride = -(-values.size // _NUM_HISTOGRAM_SAMPLES) | 1  # odd, so that it meets every channel
    patterns = np.ascontiguousarray(values[::stride]).view(np.uint32) >> _DROPPED_BITS
    return np.bincount(patterns, minlength=_NUM_BINS).astype(np.int64, copy=False)


def _num_channels(values: Array) -> int:
    return int(values.shape[-1]) if values.ndim > 1 else 1


def _edges() -> tuple[NDArray[np.intp], NDArray[np.float64], NDArray[np.float64]]:
    """Bins in ascending order of their values, and their edges; those of infinity and NaN are never filled."""
    half = _NUM_BINS // 2
    with np.errstate(invalid="ignore"):
        edges = (np.arange(half + 1, dtype=np.uint32) << _DROPPED_BITS).view(np.float32).astype(np.float64)
    order = np.concatenate([np.arange(_NUM_BINS - 1, half - 1, -1), np.arange(half)])
    low = np.concatenate([-edges[half:0:-1], edges[:half]])
    high = np.concatenate([-edges[half - 1 :: -1], edges[1:]])
    return order, low, high


_ASCENDING, _LOW, _HIGH = _edges()


def _not_finite(reader: ActivationReader, tensor: int, values: Array, batch: range) -> str:
    row_of_value = np.argwhere(~np.isfinite(values))[0]
    sampled = values[tuple(row_of_value)]
    has_rows = values.ndim > 0 and len(values) >= len(batch)
    rows = f"row {batch[min(int(row_of_value[0]), len(batch) - 1)]}" if has_rows else f"rows {batch[0]} to {batch[-1]}"
    return (
        f"tensor {reader.graph.name(tensor)!r} holds {sampled} for {rows} of the calibration examples, so it has no range. "
        "Take such examples out, or mend the model where it divides or takes a logarithm."
    )
