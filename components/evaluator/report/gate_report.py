"""The gate report: the verdict and its evidence, as JSON for machines (`explanation` says it to people).

The report holds no time: judging the same artifacts again gives the same bytes. Its JSON Schema is
``schemas/gate_report.schema.json``, written by :func:`schema_text`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from components.device.outcome import DeviceMeasurement, DeviceProblem
from components.errors import DataError
from components.evaluator.counting.class_statistics import MAX_CONFUSION_CLASSES
from components.evaluator.counting.counts import ClassResult, Counts
from components.evaluator.counting.extra_figures import ExtraFigure
from components.evaluator.gate.thresholds import GateRules
from components.evaluator.scoring.latency import Latency
from components.evaluator.scoring.row_facts import RowFacts

REPORT_FILE = "gate_report.json"
SCHEMA_VERSION = 1


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RuleRecord(_Record):
    """One rule of the gate."""

    name: str
    threshold: str = Field(description="For people; exact.")
    observed: str
    passed: bool
    reason: str = Field(description="One sentence; says what to do where the rule is broken.")
    source: str = Field(description="Where the rule comes from.")


class VerdictRecord(_Record):
    """The decision."""

    accepted: bool
    sentence: str
    rules: tuple[RuleRecord, ...]


class MetricRecord(_Record):
    """The figure that was compared, of both models."""

    name: str = Field(description="top1, top5 and so on, f1, auc, mae or rmse.")
    title: str = Field(description="For people, such as accuracy.")
    float_value: str | None = Field(description="Six decimals, or six digits for errors; None where there is none.")
    candidate_value: str | None
    ratio: str | None = Field(description="Candidate over float, six decimals, rounded down; of rmse the squares'.")
    required: str = Field(description="Least ratio, or for errors the largest; an exact fraction such as 97/100.")


class RatioRecord(_Record):
    """Right answers of the candidate over those of the float model, and what was required of it."""

    num_correct_candidate: int
    num_correct_float: int
    decimal: str = Field(description="The ratio, rounded down to six decimals.")
    minimum: str = Field(description="Required ratio, an exact fraction such as 97/100.")


class IntervalRecord(_Record):
    """Two-sided interval of the ratio."""

    lower: float
    upper: float | None = Field(description="None where nothing bounds it.")
    confidence: float = Field(description="A share, such as 0.95.")
    method: str


class MistakesRecord(_Record):
    """How many more mistakes users will see."""

    num_float: int
    num_candidate: int
    factor: str | None = Field(description="Candidate over float, one decimal; None where the float model made none.")


class SliceRecord(_Record):
    """One slice of the holdout."""

    name: str = Field(description="What cuts the holdout: label, brightness, or a feature.")
    value: str
    num_examples: int
    num_correct_float: int
    num_correct_candidate: int
    num_only_float_correct: int
    num_only_candidate_correct: int
    num_clipped: int = Field(description="Examples that the candidate's quantized inputs cut off.")
    ratio: str | None = Field(description="Rounded down to six decimals; None where the float model got none right.")


class ErrorRecord(_Record):
    """Errors on real-valued labels, of the whole holdout or of one slice; name and value are empty for the whole."""

    name: str
    value: str
    num_examples: int
    mean_absolute_error_float: float | None
    mean_absolute_error_candidate: float | None
    root_mean_squared_error_float: float | None
    root_mean_squared_error_candidate: float | None

    def of(self, metric: str) -> tuple[float | None, float | None]:
        """The float model's and the candidate's error by ``mae`` or ``rmse``."""
        if metric == "mae":
            return self.mean_absolute_error_float, self.mean_absolute_error_candidate
        return self.root_mean_squared_error_float, self.root_mean_squared_error_candidate


class ConfusionRecord(_Record):
    """Examples by label and answer: ``[label][answer]``; rows that are not finite are left out."""

    float_model: tuple[tuple[int, ...], ...]
    candidate: tuple[tuple[int, ...], ...]


class ChangeRecord(_Record):
    """How many examples of a label changed from one answer to another."""

    label: int
    float_answer: int
    candidate_answer: int
    num_examples: int


class KernelRecord(_Record):
    """What another kernel family answers on a sample of the holdout."""

    kernels: Literal["builtin"] = "builtin"
    num_examples: int
    num_same_answer: int
    worst_difference: float = Field(description="Largest difference of two outputs, in their unit.")
    num_correct_float: int
    num_correct_xnnpack: int
    num_correct_builtin: int
    ratio: str | None = Field(description="Of the built-in kernels, on the sample; six decimals, rounded down.")
    problem: str | None = Field(description="Why the kernels could not be run; None when they could.")


class ChampionRecord(_Record):
    """The model released now, on the same examples."""

    model_id: int | None
    sha256: str | None = None
    version: str | None = Field(None, description="Of the release; None for the last blessed model of the workspace.")
    channel: str | None = Field(None, description="The channel that offered the release when the gate looked.")
    num_correct: int | None
    num_only_champion_correct: int | None
    num_only_candidate_correct: int | None
    problem: str | None


class LineageRecord(_Record):
    """An artifact that went into the verdict."""

    role: str
    artifact_id: int
    uri: str


class BaselineRecord(_Record):
    """The float model."""

    sha256: str = Field(description="Over names and contents of the SavedModel's files.")


class CandidateRecord(_Record):
    """The bytes that were judged."""

    name: str = Field(description="Recipe, such as int8.")
    sha256: str | None = Field(description="None where the file could not be read.")
    size_bytes: int | None
    recorded_sha256: str | None = Field(description="What the converter recorded; None outside a pipeline.")
    float_size_bytes: int | None = Field(
        None, description="Of the float .tflite file beside it; None where there is none."
    )


class RuntimeRecord(_Record):
    """What ran the candidate."""

    name: str
    version: str
    kernels: str
    num_threads: int
    rows: RowFacts | None = Field(default=None, description="How rows went into both models.")


class PartRecord(_Record):
    """A slice, or a part of the output, of a measurement without records of its own."""

    name: str = Field(description="What is cut, or output.")
    value: str = Field(description="The slice, or where the part lies, such as [:, 4..83].")
    num_examples: int
    loss: float = Field(description="To sort by: 0 and less is nothing lost.")
    sentence: str


class OutputRecord(_Record):
    """An output that was not judged: how far the candidate's is from the float model's."""

    name: str
    num_examples: int
    num_nonfinite: int
    difference: float | None = Field(description="Root mean squared, in the output's unit.")
    share_of_spread: float | None = Field(
        description="The same over the standard deviation of the float model's values."
    )


class MeasuredRows(_Record):
    """What a report holds of one kind of measurement; of other kinds these parts are empty."""

    counts: Counts | None = Field(None, description="Of classes; None where nothing could be scored.")
    ratio: RatioRecord | None = None
    interval: IntervalRecord | None = None
    mistakes: MistakesRecord | None = None
    worst_classes: tuple[ClassResult, ...] = Field((), description="By kept ratio; classes of 20 examples or more.")
    metric: MetricRecord | None = None
    slices: tuple[SliceRecord, ...] = Field((), description="By slicing, then by ratio, worst first.")
    errors: tuple[ErrorRecord, ...] = Field((), description="For real-valued labels: the whole first, then the slices.")
    confusion: ConfusionRecord | None = Field(None, description=f"None above {MAX_CONFUSION_CLASSES} classes.")
    changes: tuple[ChangeRecord, ...] = Field((), description="The commonest changes of an answer.")
    parts: tuple[PartRecord, ...] = Field((), description="Of outputs that are several things in one tensor.")


class GateReport(MeasuredRows):
    """Verdict, counts and what was judged."""

    schema_version: Literal[1] = 1
    verdict: VerdictRecord
    cause: str | None = Field(default=None, description="Likely cause of a refusal.")
    tried: str | None = Field(default=None, description="What the converter tried against it.")
    next_command: str | None = Field(
        default=None, description="What to do or run next; CONFIG stands for the config's path."
    )
    notes: tuple[str, ...] = Field((), description="What a careful person would want to know of an accepted model.")
    split: str = Field(description="Which examples were scored: a split's name, or a file's.")
    expected_num_examples: int | None = Field(description="Examples the split holds, counted by another component.")
    class_names: tuple[str, ...] = Field(description="By label; empty where the data does not name them.")
    decision_threshold: float = Field(description="A one-unit output at or above it is class 1.")
    output: str | None = Field(None, description="Name of the output that was judged; None where nobody knows.")
    rules: GateRules | None = Field(None, description="The thresholds; None in reports of before.")
    baseline: BaselineRecord
    candidate: CandidateRecord
    runtime: RuntimeRecord
    stack: str
    other_outputs: tuple[OutputRecord, ...] = Field((), description="Outputs that no rule reads.")
    num_flips_kept: int = Field(0, description="Examples in flipped.npz beside this report.")
    kernel_agreement: KernelRecord | None = Field(None, description="None where that is switched off.")
    champion: ChampionRecord | None = Field(None, description="None where the current release is not compared.")
    latency: tuple[Latency, ...] = Field(
        (), description="Measured on the host that ran the gate; empty where it is off."
    )
    device: DeviceMeasurement | DeviceProblem | None = Field(
        None,
        description="What the candidate did on the device of gate.device, or why that is not known; None where it is off.",
    )
    lineage: tuple[LineageRecord, ...] = Field((), description="What went in; empty outside a pipeline.")
    extra_metrics: tuple[ExtraFigure, ...] = Field(
        (), description="What TFMA computed on the whole holdout for gate.eval_config; no rule reads them."
    )


def write_report(report: GateReport, directory: Path) -> Path:
    """Writes ``gate_report.json`` under ``directory``, which is made where it does not exist."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / REPORT_FILE
    path.write_text(json.dumps(report.model_dump(mode="json"), sort_keys=True, indent=2) + "\n", encoding="utf-8")
    return path


def read_report(path: Path) -> GateReport:
    """Reads a report from its file, or from the directory that holds it.

    Raises:
        DataError: There is none, or it is not a gate report of this version.
    """
    file = path / REPORT_FILE if path.is_dir() else path
    try:
        return GateReport.model_validate_json(file.read_bytes())
    except OSError as error:
        raise DataError(
            f"there is no gate report at {file}: {error.strerror or error}. Run edgeproof run or edgeproof evaluate."
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise DataError(f"{file} is not a gate report of version {SCHEMA_VERSION}: {where}: {first['msg']}.") from error


def schema_text() -> str:
    """The JSON Schema of :class:`GateReport`, as ``schemas/gate_report.schema.json`` holds it."""
    return json.dumps(GateReport.model_json_schema(mode="serialization"), sort_keys=True, indent=2) + "\n"
