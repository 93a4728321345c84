"""How much a candidate lost: of one output, of all, and whether another lost more."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Floats = NDArray[np.float64]

#: A loss below this share of the limit leaves room to spare: estimates on some hundred rows were off by a half. A model
#: with 0.47 % of 0.50 % lost kept 95 % on other photos, those at a tenth of the limit kept what they promised.
AMPLE_SHARE = 1 / 3
#: Float islands are added until the loss is below this share: what just meets the limit here misses it on other rows.
SAFE_SHARE = 0.6
#: A candidate that loses up to this many times the ample loss may be a tie with one that does not.
NEAR_FACTOR = 1.5
#: A larger difference than this many standard errors is no tie.
TIE_STANDARD_ERRORS = 1.0


@dataclass(frozen=True)
class OutputScore:
    """One output of a candidate.

    Attributes:
        output: Name.
        loss: Estimated share of right answers lost (classes, ids), or root mean square error / spread (values).
        limit: Largest loss that meets the goal.
        met: Whether it does; labels and agreement can say no where the loss alone would pass.
        is_ample: Whether it is so small that nothing better is looked for.
        is_near: Whether it misses that by so little that chance may have done it.
        rows: Loss of each row ``[n]`` that decides, in units in which their mean compares; divided by the limit.
        is_safe: Whether it meets the goal with as much room as other rows may need.
        worst_part: Which part of the output the loss is that of, where it has parts of different scale.
        num_lost: Labelled rows that float has right and the candidate has not, minus those it won; breaks ties.
        is_useless: Whether the output tells no more than its mean, or its commonest class, would.
    """

    output: str
    loss: float
    limit: float
    met: bool
    is_ample: bool
    is_near: bool
    rows: Floats = field(repr=False, compare=False)
    is_safe: bool = False
    worst_part: str = ""
    num_lost: int = 0
    is_useless: bool = False

    @classmethod
    def of(
        cls, output: str, loss: float, limit: float, rows: Floats, may_meet: bool = True, **details: Any
    ) -> OutputScore:
        """The score of a loss; where ``may_meet`` is false, it does not meet the goal however small it is."""
        ample = AMPLE_SHARE * limit
        bounds = (limit, ample, NEAR_FACTOR * ample, SAFE_SHARE * limit)
        met, is_ample, is_near, is_safe = (may_meet and loss <= most for most in bounds)
        return cls(output, loss, limit, met, is_ample, is_near, rows, is_safe, **details)

    @property
    def distance(self) -> float:
        """Loss in units of the limit."""
        return self.loss / self.limit


@dataclass(frozen=True)
class Score:
    """A candidate against float on the rows that decide."""

    outputs: tuple[OutputScore, ...]

    @property
    def met(self) -> bool:
        """Whether every output meets its limit."""
        return all(output.met for output in self.outputs)

    @property
    def is_ample(self) -> bool:
        """Whether nothing better is looked for."""
        return all(output.is_ample for output in self.outputs)

    @property
    def is_safe(self) -> bool:
        """Whether no float island more is worth its cost."""
        return all(output.is_safe for output in self.outputs)

    @property
    def is_near(self) -> bool:
        """Whether every output is ample, or nearly so."""
        return all(output.is_near for output in self.outputs)

    @property
    def rows(self) -> Floats:
        """Loss per row ``[n]``, each output in units of its limit, added up."""
        return np.asarray(np.sum([output.rows for output in self.outputs], axis=0), np.float64)

    @property
    def distance(self) -> float:
        """Losses in units of their limits, added up."""
        return sum(output.distance for output in self.outputs)

    @property
    def order(self) -> tuple[float, int]:
        """What sorts candidates, the closest to float first; labels that were lost decide between equals."""
        hopeless = [min(output.loss, 1.0) / output.limit for output in self.outputs]  # beyond it, all is lost alike
        return round(sum(hopeless), 3), sum(output.num_lost for output in self.outputs)


class OutputGoal(Protocol):
    """What one output is judged by; one class per kind of output."""

    @property
    def name(self) -> str:
        """Of the output."""

    @property
    def kind(self) -> Any:
        """An ``OutputKind``."""

    @property
    def reason(self) -> str:
        """Why it is of that kind."""

    @property
    def limit(self) -> float:
        """Largest loss that meets the goal."""

    @property
    def parts(self) -> tuple[str, ...]:
        """Parts of different scale, in words; none where there is one."""

    def score(self, array: Array) -> OutputScore:
        """Scores a candidate's output on the rows that decide."""

    def divergence(self, array: Array) -> float:
        """How far it is from float's, smooth and bounded, in units of the limit."""


def is_better(candidate: Score, than: Score) -> bool:
    """Whether a candidate loses less than another on the same rows, by more than one standard error, or fewer labels at no less."""
    gain = than.rows - candidate.rows
    if not gain.any():
        return candidate.order < than.order
    if len(gain) < 2:
        return bool(gain.mean() > 0)
    return bool(gain.mean() > TIE_STANDARD_ERRORS * gain.std(ddof=1) / np.sqrt(len(gain)))
