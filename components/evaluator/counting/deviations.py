"""Errors of two models on real-valued labels: exact sums that add up in any order.

Floating-point sums depend on their order, and so on the number of workers. Here every summand (a float64) is an integer
multiple of 2**-1074, and the sums are Python integers in that unit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.errors import DataError, ModelError
from components.evaluator.counting.columns import ColumnSums, sum_columns

#: All float64 are whole multiples of ``2 ** -UNIT_BITS``.
UNIT_BITS = 1074
RATIO_METHOD = "Fieller 1954, paired errors, normal approximation"


@dataclass(frozen=True)
class Deviations:
    """Sums over examples, ``a + b`` merges two disjoint parts. Sums are in units of 2**-1074.

    The error of an example is the mean over its outputs: of absolute errors, and of squared errors. Values that are not
    finite are in no sum, and make the gate refuse.

    Attributes:
        num_examples: Examples scored.
        num_nonfinite_float: Rows of the float model's output that hold a NaN or an infinity; they are in no sum.
        num_nonfinite_candidate: The same for the candidate.
        num_nonfinite_labels: Rows whose label is no number; they are in no sum.
        num_clipped: Examples that the candidate's quantized inputs cut off.
        absolute_float: Sum of absolute errors of the float model.
        absolute_candidate: The same for the candidate.
        squared_float: Sum of squared errors of the float model.
        squared_candidate: The same for the candidate.
        labels: Sum of the labels (their mean over an example's outputs).
        labels_squared: Sum of their squares.
        absolute_float_squared: Sum of the squares of an example's absolute error; for intervals, as the rest.
        absolute_candidate_squared: The same for the candidate.
        absolute_product: Sum of the products of both.
        squared_float_squared: As the three above, of squared errors.
        squared_candidate_squared: The same for the candidate.
        squared_product: Sum of the products of both.
        columns: Sums per number of the output, of a whole holdout with several numbers per example; None for slices.
    """

    num_examples: int = 0
    num_nonfinite_float: int = 0
    num_nonfinite_candidate: int = 0
    num_nonfinite_labels: int = 0
    num_clipped: int = 0
    absolute_float: int = 0
    absolute_candidate: int = 0
    squared_float: int = 0
    squared_candidate: int = 0
    labels: int = 0
    labels_squared: int = 0
    absolute_float_squared: int = 0
    absolute_candidate_squared: int = 0
    absolute_product: int = 0
    squared_float_squared: int = 0
    squared_candidate_squared: int = 0
    squared_product: int = 0
    columns: ColumnSums | None = None

    def __add__(self, other: Deviations) -> Deviations:
        sums = {f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self) if f.name != "columns"}
        if self.columns is None or other.columns is None:
            return Deviations(**sums, columns=self.columns or other.columns)
        return Deviations(**sums, columns=self.columns + other.columns)

    def inconsistencies(self) -> tuple[str, ...]:
        """Sentences about numbers that contradict each other."""
        checks = {
            "a count or a sum of errors is negative": all(
                getattr(self, f.name) >= 0 for f in fields(self) if f.name not in ("labels", "columns")
            ),
            "more rows are not finite than there are": max(
                self.num_nonfinite_float, self.num_nonfinite_candidate, self.num_nonfinite_labels, self.num_clipped
            )
            <= self.num_examples,
        }
        return tuple(sentence for sentence, holds in checks.items() if not holds)

    @property
    def spread(self) -> Fraction | None:
        """Variance of the labels: the squared error of always answering their mean; None where there are none.

        Of several numbers per example each has a mean of its own: a spectrum whose bins differ is not explained by its loudness.
        """
        if self.columns is not None:
            return self.columns.spread
        mean, mean_square = self.mean("labels"), self.mean("labels_squared")
        return None if mean is None or mean_square is None else mean_square - mean**2

    def mean(self, of: str) -> Fraction | None:
        """Mean of one of the sums over the examples; None where there are none."""
        return Fraction(getattr(self, of), self.num_examples << UNIT_BITS) if self.num_examples else None


def compare_numbers(
    labels: NDArray[Any], float_output: NDArray[Any], candidate_output: NDArray[Any], clipped: NDArray[np.bool_]
) -> Deviations:
    """Errors of both models on one batch.

    Args:
        labels: Real numbers ``[n]`` or ``[n, d]``.
        float_output: ``[n]``, ``[n, 1]`` or ``[n, d]``, of as many numbers per row as the labels.
        candidate_output: The same shape.
        clipped: Rows that the candidate's inputs cut off, ``[n]``.

    Raises:
        DataError: The labels are no numbers, or not as many as the outputs.
        ModelError: The outputs differ in shape.
    """
    errors = _Errors.of(labels, float_output, candidate_output)
    sums = errors.sums(clipped, np.ones(len(errors.finite), np.bool_))
    return sums if errors.labels.shape[1] < 2 else replace(sums, columns=errors.columns(float_output.shape[1:]))


@dataclass(frozen=True)
class _Errors:
    labels: NDArray[np.float64]
    float_rows: NDArray[np.float64]
    candidate_rows: NDArray[np.float64]

    @classmethod
    def of(cls, labels: NDArray[Any], float_output: NDArray[Any], candidate_output: NDArray[Any]) -> _Errors:
        num_rows = len(float_output)
        if float_output.shape != candidate_output.shape:
            raise ModelError(
                f"the float model's output has shape {list(float_output.shape)} and the candidate's "
                f"{list(candidate_output.shape)}; the gate compares models with equal outputs."
            )
        if labels.dtype.kind not in "iuf" or len(labels) != num_rows or labels.size != float_output.size:
            raise DataError(
                f"labels are {labels.dtype} of shape {list(labels.shape)} and the models give {list(float_output.shape)}; "
                "every number that is predicted needs its true value."
            )
        flat = (array.reshape(num_rows, -1).astype(np.float64) for array in (labels, float_output, candidate_output))
        return cls(*flat)

    @property
    def finite(self) -> NDArray[np.bool_]:
        rows = [np.isfinite(part).all(axis=1) for part in (self.labels, self.float_rows, self.candidate_rows)]
        return np.asarray(rows[0] & rows[1] & rows[2], np.bool_)

    def sums(self, clipped: NDArray[np.bool_], rows: NDArray[np.bool_]) -> Deviations:
        used = self.finite & rows
        truth = self.labels[used]
        of_float, of_candidate = self.float_rows[used] - truth, self.candidate_rows[used] - truth
        absolute = [np.abs(error).mean(axis=1) for error in (of_float, of_candidate)]
        squared = [(error**2).mean(axis=1) for error in (of_float, of_candidate)]
        means = truth.mean(axis=1)
        return Deviations(
            num_examples=int(rows.sum()),
            num_nonfinite_float=int((~np.isfinite(self.float_rows).all(axis=1) & rows).sum()),
            num_nonfinite_candidate=int((~np.isfinite(self.candidate_rows).all(axis=1) & rows).sum()),
            num_nonfinite_labels=int((~np.isfinite(self.labels).all(axis=1) & rows).sum()),
            num_clipped=int((clipped & rows).sum()),
            absolute_float=exact_sum(absolute[0]),
            absolute_candidate=exact_sum(absolute[1]),
            squared_float=exact_sum(squared[0]),
            squared_candidate=exact_sum(squared[1]),
            labels=exact_sum(means),
            labels_squared=exact_sum(means**2),
            absolute_float_squared=exact_sum(absolute[0] ** 2),
            absolute_candidate_squared=exact_sum(absolute[1] ** 2),
            absolute_product=exact_sum(absolute[0] * absolute[1]),
            squared_float_squared=exact_sum(squared[0] ** 2),
            squared_candidate_squared=exact_sum(squared[1] ** 2),
            squared_product=exact_sum(squared[0] * squared[1]),
        )

    def columns(self, shape: tuple[int, ...]) -> ColumnSums:
        used = self.finite
        return sum_columns(shape, self.labels[used], self.float_rows[used], self.candidate_rows[used])


def slice_deviations(
    labels: NDArray[Any],
    float_output: NDArray[Any],
    candidate_output: NDArray[Any],
    clipped: NDArray[np.bool_],
    rows: NDArray[np.int64],
    num_slices: int,
) -> tuple[Deviations, ...]:
    """The sums of every slice of one batch; ``rows`` ``[n]`` holds the position of each row's slice."""
    errors = _Errors.of(labels, float_output, candidate_output)
    return tuple(errors.sums(clipped, np.asarray(rows == position, np.bool_)) for position in range(num_slices))


def exact_sum(values: NDArray[np.float64]) -> int:
    """Sum of finite float64 in units of 2**-1074, without rounding.

    Raises:
        ModelError: A square overflowed: the errors are beyond 1e154.
    """
    if not np.isfinite(values).all():
        raise ModelError("the errors of the models are beyond what float64 can square; look at the outputs.")
    mantissas, exponents = np.frexp(values)
    whole = np.ldexp(mantissas, 53).astype(np.int64)  # 53 bits each; a batch of 256 sums to 61
    total = 0
    for exponent in np.unique(exponents).tolist():
        part = sum(int(chunk.sum()) for chunk in _chunks(whole[exponents == exponent]))
        shift = exponent - 53 + UNIT_BITS
        total += part << shift if shift >= 0 else part >> -shift
    return total


def _chunks(values: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    return [values[start : start + 512] for start in range(0, len(values), 512)]


def ratio_bounds(deviations: Deviations, kind: str, level: float) -> tuple[float, float | None] | None:
    """One-sided bounds of candidate error over float error, each at ``level``; None where there is no error to divide by.

    Args:
        deviations: The sums.
        kind: ``absolute`` or ``squared``: the ratio of mean absolute, or of mean squared errors.
        level: One-sided, such as 0.95.

    Returns:
        Lower and upper bound; upper is None where nothing bounds it. Method: :data:`RATIO_METHOD`.
    """
    n = deviations.num_examples
    x, y = deviations.mean(f"{kind}_float"), deviations.mean(f"{kind}_candidate")
    xx, yy = deviations.mean(f"{kind}_float_squared"), deviations.mean(f"{kind}_candidate_squared")
    xy = deviations.mean(f"{kind}_product")
    if n < 2 or not x or y is None or xx is None or yy is None or xy is None:
        return None
    variances = [float(value) / (n - 1) for value in (xx - x * x, yy - y * y, xy - x * y)]
    z2 = NormalDist().inv_cdf(level) ** 2
    a, b, c = (
        float(x) ** 2 - z2 * variances[0],
        float(x) * float(y) - z2 * variances[2],
        float(y) ** 2 - z2 * variances[1],
    )
    if a <= 0:
        return 0.0, None
    reach = math.sqrt(max(b * b - a * c, 0.0))
    return max((b - reach) / a, 0.0), (b + reach) / a
