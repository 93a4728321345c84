"""What a search tells of itself: its goal, findings, candidates and scores, as parts of conversion_report.json."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from components.repair.recipes import IoType, Recipe

#: The step that a search which reached a bound names as skipped.
THE_REST = "the rest"


class Facts(BaseModel):
    """Base of everything in the report: frozen, and nothing unknown is let in."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class OutputAgreement(Facts):
    """How close one output is to the float .tflite on the same rows."""

    output: str
    num_rows: int
    num_same: int | None = Field(
        description="Rows with the same largest entry; null where the output is no vector of scores."
    )
    num_not_finite: int = Field(description="Rows in which float or the candidate gave NaN or infinity.")
    relative_error: float | None = Field(
        description="Root mean square of the difference / standard deviation of the float output; "
        "null where that is 0 or a value is not finite."
    )


class LabelAgreement(Facts):
    """Right answers on the labeled selection rows, of a model with one output of class scores."""

    num_rows: int
    num_correct_float: int
    num_correct_model: int


class SelectionScore(Facts):
    """A candidate against float on the selection part. It chooses; the gate's verdict needs the holdout."""

    outputs: tuple[OutputAgreement, ...]
    labels: LabelAgreement | None


class OutputGoalFacts(Facts):
    """What must be kept of one output, and how that was found out."""

    output: str
    kind: Literal["classes", "ids", "values"]
    reason: str = Field(description="Why it is of that kind.")
    limit: float = Field(
        description="Largest loss that meets the goal: share of right answers lost (classes), of answers changed (ids), "
        "or root mean square error / spread of the float output (values)."
    )
    parts: tuple[str, ...] = Field(
        (), description="Columns of different scale, each held against its own; empty where there is one scale."
    )


class GoalFacts(Facts):
    """The goal of recipe auto on the selection part."""

    outputs: tuple[OutputGoalFacts, ...]
    num_rows: int = Field(description="Selection rows that decide.")
    num_set_aside: int = Field(description="Selection rows with fault codes or without a finite float output.")


class OutputLossFacts(Facts):
    """What a candidate lost of one output."""

    output: str
    loss: float = Field(description="In the unit of the goal's limit for this output.")
    met: bool
    part: str = Field("", description="Which part of the output lost so much; empty where it has one scale.")
    is_useless: bool = Field(
        False, description="Whether the mean of the output, or its commonest class, would tell as much."
    )


class FindingFacts(Facts):
    """Something awkward about the model or the data, found without labels."""

    name: str
    tensor: str
    figure: float
    threshold: float = Field(description="Beyond it (below it, for outliers) int8 is in danger.")
    remedy: str = Field(description="What the ladder tries against it.")
    step: str = Field(
        "", description="How the remedy is called among a candidate's steps; empty where it is none of them."
    )


class ChangeFacts(Facts):
    """One change of the float graph that leaves its function as it was."""

    tensor: str
    what: str
    figure: float = Field(description="Range of the tensor / range of its median channel, before.")
    figure_after: float = Field(description="The same afterwards.")


class SkippedFacts(Facts):
    """A step that does not apply, or failed."""

    step: str
    reason: str


class CandidateFacts(Facts):
    """One model that was made, and what it scored."""

    name: str
    recipe: Recipe
    steps: tuple[str, ...] = Field((), description="Cures in it, in order; recipe auto only.")
    ranges: str = Field("", description="Method that set the ranges; empty where the recipe has none.")
    losses: tuple[OutputLossFacts, ...] = Field((), description="Per output, against the goal; recipe auto only.")
    met_goal: bool | None = Field(None, description="Null where there is no goal.")
    sha256: str
    size_bytes: int
    float_operators: tuple[str, ...]
    score: SelectionScore | None = Field(description="Null where no calibration data was given.")
    seconds: float
    chosen: bool
    why_chosen: str = ""


class SearchFacts(Facts):
    """What recipe auto found, tried and chose; crosses from the converting process."""

    goal: GoalFacts
    findings: tuple[FindingFacts, ...]
    candidates: tuple[CandidateFacts, ...]
    changes: tuple[ChangeFacts, ...]
    largest_logit_difference: float | None
    skipped: tuple[SkippedFacts, ...]
    outside_ranges: dict[str, float]
    met_goal: bool
    input_type: IoType = Field(description="Of the chosen candidate.")
    output_type: IoType = Field(description="Of the chosen candidate.")
