"""The figure that the gate compares, of both models, as exact fractions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from components.evaluator.gate.rule import decimal, decimal_up


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One figure of both models; None where there is nothing to make it from.

    Attributes:
        key: How the report calls it: ``top1``, ``top5``, ``mae``.
        title: How people call it: ``accuracy``, ``top-5 accuracy``, ``mean absolute error``.
        of_float: Of the float model.
        of_candidate: Of the candidate.
        is_error: Whether less is better.
        is_square: Whether the values are held as their squares, so that they stay exact.
    """

    key: str
    title: str
    of_float: Fraction | None
    of_candidate: Fraction | None
    is_error: bool = False
    is_square: bool = False

    @property
    def ratio(self) -> Fraction | None:
        """Candidate over float; None where the float model's is 0 or absent. Of squares the square; of two errors of 0 it is 1."""
        if self.is_error and self.of_float == self.of_candidate == 0:
            return Fraction(1)
        return self.of_candidate / self.of_float if self.of_float and self.of_candidate is not None else None

    @property
    def power(self) -> int:
        """What a factor is raised to before the ratio is held against it."""
        return 2 if self.is_square else 1

    def text(self, value: Fraction | None) -> str | None:
        """A value with six decimals, or six digits for errors, whose scale is the data's."""
        if value is None:
            return None
        if self.is_error:
            return f"{math.sqrt(value) if self.is_square else float(value):.6g}"
        return f"{float(value):.6f}"

    @property
    def both(self) -> str:
        """Candidate / float, for people."""
        return f"{self.text(self.of_candidate)} / {self.text(self.of_float)}"

    @property
    def growth(self) -> str:
        """Candidate's error over the float model's, rounded up to four decimals."""
        ratio = self.ratio
        if ratio is None:
            return "not to be compared with"
        if not self.is_square:
            return decimal_up(ratio, 4)
        root = math.isqrt(int(ratio * 10**8))
        while Fraction(root, 10**4) ** 2 < ratio:  # the smallest number of ten-thousandths that is not below
            root += 1
        return decimal(Fraction(root, 10**4), 4)
