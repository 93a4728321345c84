"""Sums per number of an output with several numbers per example, and the parts that such an output is made of.

An output may be several things in one tensor: boxes in pixels beside scores of 0 to 1. An average over all of it is the
boxes' alone, and a dead part does not show. Parts are told by their labels: along an axis whose positions spread by amounts
that differ by orders of magnitude. Numbers that all lie in 0..1 have one unit and are one part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from components.evaluator.counting.exact_sums import UNIT_BITS, ExactSums

#: Numbers of an output that are summed by themselves; of larger outputs so many are drawn, always the same.
MAX_COLUMNS = 2048
#: Neighbors, in order of their spread, that differ by so many times belong to two parts.
PART_FACTOR = 10.0


@dataclass(frozen=True)
class ColumnSums:
    """Sums over examples, by number of the output; ``a + b`` merges two disjoint parts.

    Attributes:
        shape: Of the output, without the batch.
        num_rows: Rows that were summed.
        labels: Sums of the labels.
        labels_squared: Sums of their squares.
        squared_float: Sums of the squared errors of the float model.
        squared_candidate: The same for the candidate.
        lowest: Lowest label.
        highest: Highest label.
    """

    shape: tuple[int, ...]
    num_rows: int
    labels: ExactSums
    labels_squared: ExactSums
    squared_float: ExactSums
    squared_candidate: ExactSums
    lowest: float
    highest: float

    def __add__(self, other: ColumnSums) -> ColumnSums:
        return ColumnSums(
            self.shape,
            self.num_rows + other.num_rows,
            self.labels + other.labels,
            self.labels_squared + other.labels_squared,
            self.squared_float + other.squared_float,
            self.squared_candidate + other.squared_candidate,
            min(self.lowest, other.lowest),
            max(self.highest, other.highest),
        )

    def spreads(self) -> list[Fraction]:
        """Variance of the labels, by number."""
        n = self.num_rows
        pairs = zip(self.labels.totals(), self.labels_squared.totals(), strict=True)
        return [
            Fraction(squares, n << UNIT_BITS) - Fraction(total, n << UNIT_BITS) ** 2 if n else Fraction(0)
            for total, squares in pairs
        ]

    @property
    def spread(self) -> Fraction | None:
        """Mean of the variances; None without rows."""
        spreads = self.spreads()
        return sum(spreads, Fraction(0)) / len(spreads) if self.num_rows else None

    def parts(self) -> tuple[OutputPart, ...]:
        """The parts of the output; none where it is one thing."""
        if not self.num_rows or (self.lowest >= 0 and self.highest <= 1):
            return ()
        spreads = self.spreads()
        deviations = np.sqrt(np.array([float(spread) for spread in spreads]))
        positions = np.array(np.unravel_index(drawn_columns(self.shape), self.shape))
        best: tuple[float, int, list[list[int]]] | None = None
        for axis, size in enumerate(self.shape):
            gap, groups = _groups(deviations, positions[axis], size)
            if len(groups) > 1 and (best is None or gap > best[0]):
                best = gap, axis, groups
        if best is None:
            return ()
        _, axis, groups = best
        return tuple(self._part(axis, group, np.isin(positions[axis], group), spreads) for group in groups)

    def _part(self, axis: int, group: list[int], chosen: NDArray[np.bool_], spreads: Sequence[Fraction]) -> OutputPart:
        columns = np.flatnonzero(chosen).tolist()

        def mean(totals: Sequence[int]) -> Fraction:
            return Fraction(sum(totals[column] for column in columns), len(columns) * self.num_rows << UNIT_BITS)

        return OutputPart(
            name=_title(axis, group, len(self.shape)),
            num_numbers=len(columns),
            num_rows=self.num_rows,
            spread=sum((spreads[column] for column in columns), Fraction(0)) / len(columns),
            squared_float=mean(self.squared_float.totals()),
            squared_candidate=mean(self.squared_candidate.totals()),
        )


@dataclass(frozen=True)
class OutputPart:
    """One part of an output.

    Attributes:
        name: Where it lies, such as ``[:, 4..83]``.
        num_numbers: How many of the summed numbers belong to it.
        num_rows: Examples.
        spread: Mean variance of its labels.
        squared_float: Mean squared error of the float model.
        squared_candidate: The same for the candidate.
    """

    name: str
    num_numbers: int
    num_rows: int
    spread: Fraction
    squared_float: Fraction
    squared_candidate: Fraction

    @property
    def ratio(self) -> Fraction | None:
        """Candidate's squared error over the float model's; None where that is 0."""
        return self.squared_candidate / self.squared_float if self.squared_float else None


def sum_columns(
    shape: tuple[int, ...],
    labels: NDArray[np.float64],
    of_float: NDArray[np.float64],
    of_candidate: NDArray[np.float64],
) -> ColumnSums:
    """Sums of one batch; arrays are finite, ``[n, numbers]``."""
    drawn = drawn_columns(shape)
    truth = labels[:, drawn]
    return ColumnSums(
        shape=shape,
        num_rows=len(labels),
        labels=ExactSums.of(truth),
        labels_squared=ExactSums.of(truth**2),
        squared_float=ExactSums.of((of_float[:, drawn] - truth) ** 2),
        squared_candidate=ExactSums.of((of_candidate[:, drawn] - truth) ** 2),
        lowest=float(labels.min(initial=np.inf)),
        highest=float(labels.max(initial=-np.inf)),
    )


def drawn_columns(shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Positions of the numbers that are summed by themselves, rising."""
    size = int(np.prod(shape))
    if size <= MAX_COLUMNS:
        return np.arange(size)
    return np.sort(np.random.default_rng(0).choice(size, MAX_COLUMNS, replace=False))


def _groups(deviations: NDArray[np.float64], positions: NDArray[np.int64], size: int) -> tuple[float, list[list[int]]]:
    """Positions of one axis, grouped where spreads jump; the largest jump. Positions that never move belong to no group."""
    if size < 2:
        return 0.0, []
    sums = np.bincount(positions, weights=deviations**2, minlength=size)
    counts = np.bincount(positions, minlength=size)
    spread = np.sqrt(sums / np.maximum(counts, 1))
    moving = np.flatnonzero(spread > 0)
    order = moving[np.argsort(spread[moving], kind="stable")]
    groups: list[list[int]] = []
    largest = 0.0
    for number, position in enumerate(order.tolist()):
        jump = spread[position] / spread[order[number - 1]] if number else 0.0
        if not number or jump >= PART_FACTOR:
            groups.append([])
            largest = max(largest, float(jump))
        groups[-1].append(position)
    return largest, [sorted(group) for group in groups]


def _title(axis: int, group: list[int], num_axes: int) -> str:
    """``[:, 4..83]``: the positions along the axis, as ranges."""
    runs: list[list[int]] = []
    for position in group:
        if runs and position == runs[-1][1] + 1:
            runs[-1][1] = position
        else:
            runs.append([position, position])
    shown = [str(first) if first == last else f"{first}..{last}" for first, last in runs[:3]]
    where = ", ".join([*shown, *(["..."] if len(runs) > 3 else [])])
    return "[" + ", ".join(where if number == axis else ":" for number in range(num_axes)) + "]"
