"""Outputs that are real numbers: what counts is the distance, in units of how much float's numbers move.

Columns of different scale count alike. Where they fall into parts whose scales lie far apart, boxes in pixels beside
scores of 0 to 1, along whichever axis, the worst part is the loss: an average over all hides that one of them is gone.
Scores between 0 and 1 have one scale, because a column that hardly moves says "no" all the time, and a step of int8 more
or less does not change that; but which of several is the largest must hardly ever change.
True values, where there are any, tell float's own error; the goal is then that of an error that grows by 1.5 per cent, and
no more than the given limit.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.repair.goal.classes import OutputKind
from components.repair.goal.scores import OutputScore

Array = NDArray[Any]
Floats = NDArray[np.float64]

#: Columns of an output that move less than this share of the median column are as good as constant.
LEAST_SPREAD = 1e-3
#: A column of scores between 0 and 1 that moves by more than this is none, however far others move.
LEAST_SCORE_SPREAD = 0.01
#: Spreads of a part lie closer together than this factor from one to the next.
PART_FACTOR = 10.0
#: Share of float's own error that a difference to float may have: independent errors add in squares, so this adds 1.5 %,
#: half of what the gate allows.
SHARE_OF_OWN_ERROR = float(np.sqrt(1.015**2 - 1))
#: Mean absolute error of a normal distribution to its root mean square.
_MEAN_TO_ROOT = float(np.sqrt(np.pi / 2))
#: True values closer to float's than this are float's own, and float that explains less than this of them predicts nothing.
LEAST_OWN_ERROR = 1e-3
MAX_OWN_ERROR = 0.95
#: Scores between 0 and 1 of so many columns have a largest one that somebody looks for; a step of int8 between two is none.
MIN_SCORES = 3
STEP = 1 / 256
#: Rows in which that may be another one. A pitch tracker that met 1.5 % lost 3.5 % on other rows, where those within a step
#: count, too.
MAX_CHANGED_SCORES = 0.01
_MAX_SQUARE = 1e6


@dataclass(frozen=True)
class Part:
    """Columns of like scale.

    Attributes:
        name: In words; "" for the whole output.
        columns: Their indices along the output's axis.
    """

    name: str
    columns: NDArray[np.intp] = field(repr=False)


@dataclass(frozen=True)
class ValueGoal:
    """An output of values; arrays hold only the rows that decide.

    Attributes:
        name: Of the output.
        reason: Why it is judged as values, and by which limit.
        limit: Largest root mean square error / spread.
        reference: Float's values.
        axis: Along which columns have scales of their own.
        spread: Per column.
        groups: Parts of different scale; one where there are none.
    """

    name: str
    reason: str
    limit: float
    reference: Array = field(repr=False)
    axis: int
    spread: Floats = field(repr=False)
    groups: tuple[Part, ...]
    kind: OutputKind = OutputKind.VALUES

    @classmethod
    def of(cls, name: str, reason: str, reference: Array, truth: Array | None, limit: float) -> ValueGoal:
        """The goal for these float values."""
        wide = np.asarray(reference, np.float64).reshape(len(reference), *(reference.shape[1:] or (1,)))
        axis = _axis(wide)
        spread = _spread(_columns(wide, axis))
        groups = _parts(_columns(wide, axis), spread, axis, wide.ndim)
        goal = cls(name, reason, limit, reference, axis, spread, groups)
        own = None if truth is None or truth.size != reference.size else goal._own_error(truth)
        if own is None or SHARE_OF_OWN_ERROR * own >= limit:
            return goal
        because = f"{reason}; float's own error is {own:.2%} of the spread"
        return cls(name, because, SHARE_OF_OWN_ERROR * own, reference, axis, spread, groups)

    @property
    def parts(self) -> tuple[str, ...]:
        """Parts of different scale, in words; none where there is one."""
        return tuple(part.name for part in self.groups) if len(self.groups) > 1 else ()

    def score(self, array: Array) -> OutputScore:
        """Loses by the root mean square of the difference in units of each column's spread, in the worst part."""
        squares = self._squares(array)
        losses = [float(np.sqrt(squares[:, part.columns].mean())) for part in self.groups]
        worst = int(np.argmax(losses))
        loss, rows = losses[worst], squares[:, self.groups[worst].columns].mean(axis=1) / self.limit**2
        changed = self._changed_answers(np.asarray(array))
        if (by_answers := float(changed.mean()) / MAX_CHANGED_SCORES * self.limit) > loss:
            loss, rows = by_answers, changed / MAX_CHANGED_SCORES
        return OutputScore.of(
            self.name,
            loss,
            self.limit,
            rows,
            worst_part=self.groups[worst].name,
            is_useless=losses[worst] >= 1.0 and bool(self.spread.max() > 1e-12),
        )

    def _changed_answers(self, array: Array) -> Floats:
        """Per row whether another column of scores between 0 and 1 is the largest, by more than a step of int8 in float."""
        if self.reference.ndim != 2 or self.reference.shape[1] < MIN_SCORES or not _is_score(self.reference):
            return np.zeros(len(array))
        rows, answers = np.arange(len(array)), np.nan_to_num(array).argmax(axis=1)
        gap = self.reference.max(axis=1) - self.reference[rows, answers]
        return np.asarray(gap > STEP, np.float64)

    def divergence(self, array: Array) -> float:
        """The square of the loss, each part's added up, in units of the square of the limit."""
        squares = self._squares(array)
        return sum(float(squares[:, part.columns].mean()) for part in self.groups) / self.limit**2

    def _squares(self, array: Array) -> Floats:
        """Squared difference in units of the spread, per row and column."""
        with np.errstate(all="ignore"):
            difference = np.asarray(array, np.float64) - self.reference
            columns = _columns(difference.reshape(len(difference), *(self.reference.shape[1:] or (1,))), self.axis)
            squares = ((columns / self.spread[:, None]) ** 2).mean(axis=2)
        return np.where(np.isfinite(squares), np.minimum(squares, _MAX_SQUARE), _MAX_SQUARE)

    def _own_error(self, truth: Array) -> float | None:
        """Float's own error in units of the spread, by the square or the absolute difference, whichever is less; None where
        these are no true values of the output.
        """
        squares = self._squares(np.asarray(truth, np.float64).reshape(self.reference.shape))
        own = min(float(np.sqrt(squares.mean())), _MEAN_TO_ROOT * float(np.sqrt(squares).mean()))
        return own if LEAST_OWN_ERROR < own < MAX_OWN_ERROR else None


def _columns(wide: Floats, axis: int) -> Floats:
    """The output as ``[rows, columns, everything else]``."""
    moved = np.moveaxis(wide, axis, 1)
    return moved.reshape(moved.shape[0], moved.shape[1], -1)


def _axis(wide: Floats) -> int:
    """The axis along which scales differ most; the last unless another one's differ by orders of magnitude more."""
    ratios = {axis: _scale_ratio(_columns(wide, axis)) for axis in range(1, wide.ndim)}
    last = wide.ndim - 1
    most = max(ratios, key=lambda axis: ratios[axis])
    return most if ratios[most] > PART_FACTOR * ratios[last] else last


def _scale_ratio(columns: Floats) -> float:
    """Largest spread / smallest that moves."""
    spread = columns.std(axis=(0, 2))
    moving = spread[spread > LEAST_SPREAD * np.median(spread)]
    return float(moving.max() / moving.min()) if len(moving) > 1 else 1.0


def _is_score(values: Floats) -> bool:
    return bool(values.min(initial=0.0) >= 0 and values.max(initial=0.0) <= 1)


def _spread(columns: Floats) -> Floats:
    """Standard deviation per column; one for all scores between 0 and 1, and a column that hardly moves is held against the usual one."""
    spread = columns.std(axis=(0, 2))
    if _is_score(columns):
        return np.full(len(spread), max(float(columns.std()), 1e-12))
    lowest = max(float(np.median(spread)), float(np.abs(columns).max(initial=0.0)) if not spread.any() else 0.0)
    floor = np.full(len(spread), max(LEAST_SPREAD * lowest, 1e-12))
    scores = [position for position in range(len(spread)) if _is_score(columns[:, position])]
    floor[scores] = np.minimum(floor[scores], LEAST_SCORE_SPREAD)
    return np.asarray(np.maximum(spread, floor))


def _parts(columns: Floats, spread: Floats, axis: int, ndim: int) -> tuple[Part, ...]:
    """Groups of columns whose spreads follow each other closely."""
    living = columns.std(axis=(0, 2)) >= spread  # others are held against a floor, and are no part of their own
    order = np.argsort(spread, kind="stable")
    order = order[living[order]] if living.any() else order
    cuts = np.flatnonzero(spread[order][1:] > PART_FACTOR * spread[order][:-1]) + 1
    groups = [np.sort(group) for group in np.split(order, cuts)]
    if len(groups) == 1:
        return (Part("", np.arange(len(spread))),)
    where = "" if axis == ndim - 1 else f" of axis {axis}"
    return tuple(Part(f"columns {_listed(group)}{where}, spread {spread[group].max():.3g}", group) for group in groups)


def _listed(columns: NDArray[np.intp]) -> str:
    """Indices in words: 0-3, 7."""
    runs = np.split(columns, np.flatnonzero(np.diff(columns) > 1) + 1)
    words = [str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs]
    return ", ".join(words[:4]) + (f" and {len(words) - 4} more" if len(words) > 4 else "")
