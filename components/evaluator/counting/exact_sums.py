"""Sums over rows, one per column, that are exact and so the same in any order.

Every number is cut at fixed places, multiples of 2**40, and what lies between two places is added up as integers: of 4,096
rows such a sum stays below 2**53, which float64 holds exactly. What is smaller than 2**-1040 is dropped, of every number alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_WIDTH = 40
_LOWEST = -26
_ROWS = 4096
#: Totals are in units of ``2 ** -UNIT_BITS``.
UNIT_BITS = -_LOWEST * _WIDTH


@dataclass(frozen=True, eq=False)
class ExactSums:
    """One sum per column; ``a + b`` adds two of them up. ``digits[place]`` counts ``2 ** (40 * place)``."""

    digits: Mapping[int, NDArray[np.int64]]
    num_columns: int

    @classmethod
    def of(cls, values: NDArray[Any]) -> ExactSums:
        """The sums over the rows of finite values ``[n, columns]``."""
        total = cls({}, values.shape[1])
        for start in range(0, len(values), _ROWS):
            total += cls._of_chunk(values[start : start + _ROWS])
        return total

    @classmethod
    def _of_chunk(cls, values: NDArray[Any]) -> ExactSums:
        largest = float(np.abs(values).max(initial=0.0))
        digits: dict[int, NDArray[np.int64]] = {}
        place = int(np.frexp(largest)[1]) // _WIDTH
        rest = values
        while largest > 0 and place >= _LOWEST:
            unit = 2.0 ** (_WIDTH * place)
            whole = np.rint(rest / unit)
            digits[place] = whole.sum(axis=0).astype(np.int64)
            rest = rest - whole * unit  # exact: both are multiples of the last bit of the number
            largest = float(np.abs(rest).max(initial=0.0))
            place -= 1
        return cls(digits, values.shape[1])

    def __add__(self, other: ExactSums) -> ExactSums:
        digits = dict(self.digits)
        for place, vector in other.digits.items():
            digits[place] = digits[place] + vector if place in digits else vector
        return ExactSums(digits, self.num_columns)

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, ExactSums) and self.totals() == other.totals()

    def totals(self) -> list[int]:
        """The sums as integers, in units of ``2 ** -UNIT_BITS``."""
        totals = [0] * self.num_columns
        for place, vector in self.digits.items():
            shift = _WIDTH * (place - _LOWEST)
            for column, digit in enumerate(vector.tolist()):
                totals[column] += digit << shift
        return totals
