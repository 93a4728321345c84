"""Outputs that are not judged: how far the candidate's are from the float model's, for the report. No rule reads them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.evaluator.counting.deviations import UNIT_BITS, exact_sum


@dataclass(frozen=True)
class OutputDifference:
    """Exact sums over the rows with finite outputs; ``a + b`` merges two disjoint parts.

    Attributes:
        num_examples: Rows.
        num_nonfinite: Of them, rows with a NaN or an infinity in either model's output; they are in no sum.
        squared_difference: Sum of the rows' mean squared differences, in units of 2**-1074.
        mean: Sum of the rows' mean values of the float model.
        square: Sum of the rows' mean squares of it.
    """

    num_examples: int = 0
    num_nonfinite: int = 0
    squared_difference: int = 0
    mean: int = 0
    square: int = 0

    def __add__(self, other: OutputDifference) -> OutputDifference:
        return OutputDifference(
            self.num_examples + other.num_examples,
            self.num_nonfinite + other.num_nonfinite,
            self.squared_difference + other.squared_difference,
            self.mean + other.mean,
            self.square + other.square,
        )

    @property
    def difference(self) -> float | None:
        """Root mean squared difference, in the output's unit; None where there is nothing to compare."""
        n = self.num_examples - self.num_nonfinite
        return math.sqrt(Fraction(self.squared_difference, n << UNIT_BITS)) if n else None

    @property
    def share_of_spread(self) -> float | None:
        """The same over the standard deviation of the float model's values; None where these do not move."""
        n = self.num_examples - self.num_nonfinite
        if not n:
            return None
        variance = Fraction(self.square, n << UNIT_BITS) - Fraction(self.mean, n << UNIT_BITS) ** 2
        return math.sqrt(Fraction(self.squared_difference, n << UNIT_BITS) / variance) if variance > 0 else None


def compare_others(
    of_float: Mapping[str, NDArray[Any]], of_candidate: Mapping[str, NDArray[Any]], judged: str
) -> dict[str, OutputDifference]:
    """Differences of one batch, by output; outputs of one model only, or of another shape, are left out."""
    return {
        name: _difference(of_float[name], of_candidate[name])
        for name in sorted(set(of_float) & set(of_candidate) - {judged})
        if of_float[name].shape == of_candidate[name].shape and of_float[name].dtype.kind in "fiu"
    }


def _difference(of_float: NDArray[Any], of_candidate: NDArray[Any]) -> OutputDifference:
    num_rows = len(of_float)
    left, right = (array.reshape(num_rows, -1).astype(np.float64) for array in (of_float, of_candidate))
    finite = np.isfinite(left).all(axis=1) & np.isfinite(right).all(axis=1)
    left, right = left[finite], right[finite]
    return OutputDifference(
        num_examples=num_rows,
        num_nonfinite=int((~finite).sum()),
        squared_difference=exact_sum(((left - right) ** 2).mean(axis=1)),
        mean=exact_sum(left.mean(axis=1)),
        square=exact_sum((left**2).mean(axis=1)),
    )
