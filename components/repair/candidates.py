"""What a search among candidates is given, makes and finds, and the rule by which one of them is chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from components.repair.diagnosis import Finding
from components.repair.equalization import Change
from components.repair.facts import SelectionScore
from components.repair.goal import Goal, Score, is_better
from components.repair.recipes import IoType, Recipe
from components.repair.settings import AutoSettings

Array = NDArray[Any]
Rows = Mapping[str, Array]

#: Where more than the goal is aimed at and not reached, a loss up to this many times the smallest is as good.
AS_CLOSE = 1.25


@dataclass(frozen=True)
class SearchRequest:
    """What to search in.

    Attributes:
        float_model: The float .tflite.
        range_rows: Inputs ``[n, ...]`` by name that set ranges.
        selection_rows: Inputs that select; no row stands in both.
        head_rows: The first rows of the pool, as they came: what calibration without drawing would have seen.
        labels: Class ids of the selection rows, or None.
        input_type: Wanted type of real-valued inputs.
        output_type: Wanted type of real-valued outputs.
        may_change_io: Whether a float island may reach an input or output, which is float32 then.
        may_use_islands: Whether an operator may stay float.
        settings: Goal and bounds.
    """

    float_model: bytes
    range_rows: Rows
    selection_rows: Rows
    head_rows: Rows = field(default_factory=dict)
    labels: Array | None = None
    input_type: IoType = IoType.INT8
    output_type: IoType = IoType.INT8
    may_change_io: bool = True
    may_use_islands: bool = True
    settings: AutoSettings = field(default_factory=AutoSettings)


@dataclass(frozen=True)
class Candidate:
    """A model that was made, loaded and scored.

    Attributes:
        name: Unique within the search.
        recipe: How it stores weights and activations.
        steps: The cures in it, in order.
        ranges: Method that set the ranges; "" where the recipe has none.
        model: The file.
        input_type: Of real-valued inputs.
        output_type: Of real-valued outputs.
        float_operators: Names of operators that compute in float.
        score: Against the goal.
        agreement: The same in counts, for people.
        seconds: Wall time of making, loading and scoring it.
        freed: Tensors that stay float in it.
    """

    name: str
    recipe: Recipe
    steps: tuple[str, ...]
    ranges: str
    model: bytes = field(repr=False)
    input_type: IoType
    output_type: IoType
    float_operators: tuple[str, ...]
    score: Score
    agreement: SelectionScore
    seconds: float
    freed: tuple[str, ...] = ()

    @property
    def cost(self) -> tuple[bool, int]:
        """What orders candidates beside the rung they stand on: int8 first, fewer float islands first."""
        return self.recipe is not Recipe.INT8, len(self.freed)


@dataclass(frozen=True)
class Skipped:
    """A step that was not taken, or gave nothing."""

    step: str
    reason: str


@dataclass(frozen=True)
class Choice:
    """Which candidate goes on.

    Attributes:
        index: Its position.
        met_goal: Whether it meets the goal, or is no worse than one that does.
        reason: Why it was chosen.
    """

    index: int
    met_goal: bool
    reason: str


@dataclass(frozen=True)
class SearchResult:
    """Everything a search found.

    Attributes:
        goal: What was asked of each output.
        findings: What is awkward about the model or the data.
        candidates: In the order in which they were made.
        choice: Which of them goes on, and why.
        changes: What equalization changed, if it was tried.
        largest_logit_difference: Largest difference of an output before and after equalization, relative to the
            output's spread; None where nothing was changed.
        skipped: Steps that do not apply, or failed.
        outside: Share of the selection rows' values outside the range that the range rows set, by tensor.
    """

    goal: Goal
    findings: tuple[Finding, ...]
    candidates: tuple[Candidate, ...]
    choice: Choice
    changes: tuple[Change, ...]
    largest_logit_difference: float | None
    skipped: tuple[Skipped, ...]
    outside: Mapping[str, float]

    @property
    def chosen(self) -> Candidate:
        """The candidate that goes on."""
        return self.candidates[self.choice.index]


def choose(candidates: Sequence[Candidate]) -> Choice:
    """Picks the cheapest that meets the goal, or the best; a cheaper one that is no worse than chance allows goes first.

    Args:
        candidates: At least one, in the order in which they were made: the cheaper cure first.
    """
    order = sorted(range(len(candidates)), key=lambda index: (candidates[index].cost, index))
    scores = [candidate.score for candidate in candidates]
    ample = [index for index in order if scores[index].is_ample]
    if ample:
        index = _cheapest_tie(order, ample[0], [score.is_near for score in scores], scores)
        if index == ample[0]:
            return Choice(index, True, "the cheapest that meets the goal")
        name = candidates[ample[0]].name
        return Choice(index, True, f"cheaper than {name!r}, which meets the goal, and no worse by chance")
    met = [index for index in order if scores[index].met]
    best = min(met or order, key=lambda index: scores[index].distance)
    if met:
        as_close = [score.met and score.distance <= AS_CLOSE * scores[best].distance for score in scores]
        index = next(index for index in order if as_close[index])
        return Choice(index, True, "the cheapest of those that meet the goal and are closest to float")
    index = _cheapest_tie(order, best, [True] * len(scores), scores)
    return Choice(index, False, "nothing met the goal; this came closest")


def _cheapest_tie(order: Sequence[int], best: int, may_be: Sequence[bool], scores: Sequence[Score]) -> int:
    """The first in the order that may be taken and that the best one does not beat."""
    ties = (index for index in order if may_be[index] and not is_better(scores[best], scores[index]))
    return next(ties, best)
