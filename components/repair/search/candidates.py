"""What a search among candidates is given, makes and finds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edgeproof_edge.flatbuffer import Inspection
from numpy.typing import NDArray

from components.repair.diagnosis import Finding
from components.repair.equalization import Change
from components.repair.facts import SelectionScore
from components.repair.goal import Goal, Score
from components.repair.recipes import IoType, Recipe
from components.repair.search.proposals import IoTypes, Proposal
from components.repair.settings import AutoSettings

Array = NDArray[Any]
Rows = Mapping[str, Array]


@dataclass(frozen=True)
class SearchRequest:
    """What to search in.

    Attributes:
        float_model: The float .tflite.
        range_rows: Inputs ``[n, ...]`` by name that set ranges.
        selection_rows: Inputs that select; no row stands in both.
        head_rows: The first rows of the pool, as they came: what calibration without drawing would have seen.
        labels: Labels of the selection rows, or None.
        input_type: Wanted type of real-valued inputs.
        output_type: Wanted type of real-valued outputs.
        may_change_io: Whether a float island may reach an input or output, which is float32 then.
        may_use_islands: Whether an operator may stay float.
        settings: Goal and bounds.
    """

    float_model: bytes = field(repr=False)
    range_rows: Rows = field(repr=False)
    selection_rows: Rows = field(repr=False)
    head_rows: Rows = field(default_factory=dict, repr=False)
    labels: Array | None = None
    input_type: IoType = IoType.INT8
    output_type: IoType = IoType.INT8
    may_change_io: bool = True
    may_use_islands: bool = True
    settings: AutoSettings = field(default_factory=AutoSettings)

    @property
    def io_types(self) -> IoTypes:
        """Wanted types of inputs and outputs."""
        return IoTypes(self.input_type, self.output_type)


@dataclass(frozen=True)
class Candidate:
    """A model that was made, loaded and scored.

    Attributes:
        name: Unique within the search.
        proposal: What it was made from.
        model: The file.
        inspection: What is in it.
        score: Against the goal.
        agreement: The same in counts, for people.
        seconds: Wall time of making, loading and scoring it.
    """

    name: str
    proposal: Proposal
    model: bytes = field(repr=False)
    inspection: Inspection = field(repr=False)
    score: Score
    agreement: SelectionScore
    seconds: float

    @property
    def recipe(self) -> Recipe:
        """How it stores weights and activations."""
        return self.proposal.recipe

    @property
    def steps(self) -> tuple[str, ...]:
        """The cures in it, in order."""
        return self.proposal.source.steps if self.proposal.source else ()

    @property
    def freed(self) -> tuple[str, ...]:
        """Tensors that stay float in it."""
        return self.proposal.source.freed if self.proposal.source else ()

    @property
    def cost(self) -> tuple[bool, int]:
        """What orders candidates beside the rung they stand on: int8 first, fewer float islands first."""
        return self.recipe is not Recipe.INT8, len(self.freed)


@dataclass(frozen=True)
class Skip:
    """A step that was not taken, or gave nothing.

    Attributes:
        step: Name of the step or of the candidate.
        reason: Why.
        proposal: What was to be made, where a file was.
        overflowing: Outputs of operators whose scale the runtime refuses, where that is why the file does not load.
        does_not_load: Whether a file was made and the runtime refuses it.
    """

    step: str
    reason: str
    proposal: Proposal | None = None
    overflowing: tuple[str, ...] = ()
    does_not_load: bool = False


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
        skipped: Steps that do not apply, or failed.
        outside: Share of the selection rows' values outside the range that the range rows set, by tensor.
    """

    goal: Goal
    findings: tuple[Finding, ...]
    candidates: tuple[Candidate, ...]
    choice: Choice
    skipped: tuple[Skip, ...]
    outside: Mapping[str, float]

    @property
    def chosen(self) -> Candidate:
        """The candidate that goes on."""
        return self.candidates[self.choice.index]

    @property
    def changes(self) -> tuple[Change, ...]:
        """What equalization changed in the chosen model."""
        source = self.chosen.proposal.source
        return source.variant.changes if source else ()

    @property
    def largest_logit_difference(self) -> float | None:
        """Largest difference of an output of the chosen model's float graph to the float model, relative to its spread."""
        source = self.chosen.proposal.source
        return source.variant.difference if source else None
