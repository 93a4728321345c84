"""The gate report: the verdict and its evidence, as JSON for machines and as one screen for people.

The report holds no time: judging the same artifacts again gives the same bytes. Its JSON Schema is
``schemas/gate_report.schema.json``, written by :func:`schema_text`.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from components.errors import DataError
from components.evaluator.counts import ClassResult, Counts, worst_classes
from components.evaluator.gate import GateRules, Verdict, percent_down
from components.evaluator.intervals import paired_ratio_interval

REPORT_FILE = "gate_report.json"
SCHEMA_VERSION = 1
#: Share of clipped examples above which calibration is the likely cause of a refusal.
CLIPPED_EXAMPLES_SHARE = 0.05
#: Left margin of the lines under the verdict, as wide as "REFUSED  ".
_MARGIN = " " * 9


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


class BaselineRecord(_Record):
    """The float model."""

    sha256: str = Field(description="Over names and contents of the SavedModel's files.")


class CandidateRecord(_Record):
    """The bytes that were judged."""

    name: str = Field(description="Recipe, such as int8.")
    sha256: str | None = Field(description="None where the file could not be read.")
    size_bytes: int | None
    recorded_sha256: str | None = Field(description="What the converter recorded; None outside a pipeline.")


class RuntimeRecord(_Record):
    """What ran the candidate."""

    name: str
    version: str
    kernels: str
    num_threads: int


class GateReport(_Record):
    """Verdict, counts and what was judged."""

    schema_version: Literal[1] = 1
    verdict: VerdictRecord
    cause: str | None = Field(default=None, description="Likely cause of a refusal, from the converter's diagnosis.")
    next_command: str | None = Field(default=None, description="What to run next.")
    split: str = Field(description="Which examples were scored: a split's name, or a file's.")
    expected_num_examples: int | None = Field(description="Examples the split holds, counted by another component.")
    counts: Counts | None = Field(description="None where nothing could be scored.")
    ratio: RatioRecord | None
    interval: IntervalRecord | None
    mistakes: MistakesRecord | None
    worst_classes: tuple[ClassResult, ...] = Field(description="By kept ratio; classes of 20 examples or more.")
    class_names: tuple[str, ...] = Field(description="By label; empty where the data does not name them.")
    decision_threshold: float = Field(description="A one-unit output above it is class 1.")
    baseline: BaselineRecord
    candidate: CandidateRecord
    runtime: RuntimeRecord
    stack: str


def build_report(
    verdict: Verdict,
    counts: Counts | None,
    rules: GateRules,
    *,
    split: str,
    expected_num_examples: int | None,
    class_names: tuple[str, ...],
    decision_threshold: float,
    baseline: BaselineRecord,
    candidate: CandidateRecord,
    runtime: RuntimeRecord,
    stack: str,
) -> GateReport:
    """Puts a verdict and its evidence together; numbers that the counts do not carry are None."""
    usable = counts if counts is not None and not counts.inconsistencies() else None
    cause, next_command = _likely_cause(usable) if usable and not verdict.accepted else (None, None)
    return GateReport(
        cause=cause,
        next_command=next_command,
        verdict=VerdictRecord(
            accepted=verdict.accepted,
            sentence=verdict.sentence,
            rules=tuple(RuleRecord(**asdict(result)) for result in verdict.results),
        ),
        split=split,
        expected_num_examples=expected_num_examples,
        counts=counts,
        ratio=_ratio(usable, rules) if usable else None,
        interval=_interval(usable) if usable else None,
        mistakes=_mistakes(usable) if usable else None,
        worst_classes=worst_classes(usable) if usable else (),
        class_names=class_names,
        decision_threshold=decision_threshold,
        baseline=baseline,
        candidate=candidate,
        runtime=runtime,
        stack=stack,
    )


def _likely_cause(counts: Counts) -> tuple[str | None, str | None]:
    """What the counts themselves say about a refusal, and what to do about it."""
    if counts.num_clipped <= CLIPPED_EXAMPLES_SHARE * counts.num_examples:
        return None, None
    return (
        f"calibration domain: {counts.num_clipped} of {counts.num_examples} examples have values beyond the range that calibration saw",
        "calibrate on examples like these (data.patterns.calibration, or edgeproof convert --calibration FILE)",
    )


def _ratio(counts: Counts, rules: GateRules) -> RatioRecord | None:
    if counts.num_correct_float <= 0:
        return None
    millionths = counts.num_correct_candidate * 10**6 // counts.num_correct_float
    return RatioRecord(
        num_correct_candidate=counts.num_correct_candidate,
        num_correct_float=counts.num_correct_float,
        decimal=f"{millionths // 10**6}.{millionths % 10**6:06d}",
        minimum=str(rules.minimum_ratio),
    )


def _interval(counts: Counts) -> IntervalRecord | None:
    interval = paired_ratio_interval(counts)
    if interval is None:
        return None
    upper = None if interval.upper is None else round(interval.upper, 6)
    return IntervalRecord(
        lower=round(interval.lower, 6), upper=upper, confidence=interval.confidence, method=interval.method
    )


def _mistakes(counts: Counts) -> MistakesRecord:
    of_float = counts.num_examples - counts.num_correct_float
    of_candidate = counts.num_examples - counts.num_correct_candidate
    factor = f"{of_candidate / of_float:.1f}" if of_float else None
    return MistakesRecord(num_float=of_float, num_candidate=of_candidate, factor=factor)


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


def explain(report: GateReport) -> str:
    """The verdict on one screen: what was kept, the worst class, broken rules, the likely cause, the next command."""
    lines = [_measured(report), _mistakes_line(report), _worst_line(report), *_broken_lines(report)]
    lines.append(f"likely cause: {report.cause}" if report.cause else "")
    lines.append(f"next: {report.next_command}" if report.next_command else "")
    return "\n".join([report.verdict.sentence, *(_MARGIN + line for line in lines if line)])


def _measured(report: GateReport) -> str:
    interval = report.interval
    if interval is None:
        return ""
    upper = "no upper end" if interval.upper is None else f"{100 * interval.upper:.2f} %"
    return f"{100 * interval.confidence:.0f} % interval of the ratio: {100 * interval.lower:.2f} % to {upper}"


def _mistakes_line(report: GateReport) -> str:
    mistakes = report.mistakes
    if mistakes is None:
        return ""
    factor = f" (x{mistakes.factor})" if mistakes.factor else ""
    return f"mistakes: {mistakes.num_float} float, {mistakes.num_candidate} {report.candidate.name}{factor}"


def _worst_line(report: GateReport) -> str:
    if not report.worst_classes or report.worst_classes[0].kept >= 1:
        return ""
    worst = report.worst_classes[0]
    name = report.class_names[worst.label] if worst.label < len(report.class_names) else str(worst.label)
    return (
        f"worst class: {name} keeps {percent_down(worst.kept)} "
        f"({worst.num_correct_candidate} / {worst.num_correct_float} right of {worst.num_examples})"
    )


def _broken_lines(report: GateReport) -> list[str]:
    """Broken rules that the verdict's sentence does not already tell."""
    sentence = report.verdict.sentence
    return [
        f"broken rule {rule.name}: {rule.reason}"
        for rule in report.verdict.rules
        if not rule.passed and rule.name != "accuracy_kept" and rule.reason not in sentence
    ]
