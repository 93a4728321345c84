"""The gate report: the verdict and its evidence, as JSON for machines and as one screen for people.

The report holds no time: judging the same artifacts again gives the same bytes. Its JSON Schema is
``schemas/gate_report.schema.json``, written by :func:`schema_text`.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from components.errors import DataError
from components.evaluator.advice import Advice, Evidence, Invocation, advise
from components.evaluator.counts import ClassResult, Counts, worst_classes
from components.evaluator.deviations import Deviations
from components.evaluator.diagnosis import Diagnosis
from components.evaluator.extra_figures import ExtraFigure, overall_figures
from components.evaluator.figure import figure_of
from components.evaluator.gate import RATIO_RULES, Setting, Verdict
from components.evaluator.intervals import paired_ratio_interval
from components.evaluator.kernel_check import KernelAgreement
from components.evaluator.release_rules import Latency
from components.evaluator.rule import decimal, decimal_up, percent_down
from components.evaluator.slices import PairedCounts, SliceBy, SliceKey
from components.evaluator.tally import MAX_CONFUSION_CLASSES, Tally
from components.evaluator.thresholds import DEFAULT_SLICE_MINIMUM_EXAMPLES, GateRules

REPORT_FILE = "gate_report.json"
SCHEMA_VERSION = 1
#: Changes of an answer that the report lists.
MAX_CHANGES = 50
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


class GateReport(_Record):
    """Verdict, counts and what was judged."""

    schema_version: Literal[1] = 1
    verdict: VerdictRecord
    cause: str | None = Field(default=None, description="Likely cause of a refusal.")
    tried: str | None = Field(default=None, description="What the converter tried against it.")
    next_command: str | None = Field(
        default=None, description="What to do or run next; CONFIG stands for the config's path."
    )
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
    metric: MetricRecord | None = None
    slices: tuple[SliceRecord, ...] = Field((), description="By slicing, then by ratio, worst first.")
    errors: tuple[ErrorRecord, ...] = Field((), description="For real-valued labels: the whole first, then the slices.")
    confusion: ConfusionRecord | None = Field(None, description=f"None above {MAX_CONFUSION_CLASSES} classes.")
    changes: tuple[ChangeRecord, ...] = Field((), description="The commonest changes of an answer.")
    num_flips_kept: int = Field(0, description="Examples in flipped.npz beside this report.")
    kernel_agreement: KernelRecord | None = Field(None, description="None where that is switched off.")
    champion: ChampionRecord | None = Field(None, description="None where the current release is not compared.")
    latency: tuple[Latency, ...] = Field(
        (), description="Measured on the host that ran the gate; empty where it is off."
    )
    lineage: tuple[LineageRecord, ...] = Field((), description="What went in; empty outside a pipeline.")
    extra_metrics: tuple[ExtraFigure, ...] = Field(
        (), description="What TFMA computed on the whole holdout for gate.eval_config; no rule reads them."
    )


@dataclass(frozen=True)
class Subjects:
    """What was judged, with what: the part of the report that nobody counted."""

    split: str
    decision_threshold: float
    baseline: BaselineRecord
    candidate: CandidateRecord
    runtime: RuntimeRecord
    stack: str
    champion_id: int | None = None
    champion_sha256: str | None = None
    champion_version: str | None = None
    champion_channel: str | None = None
    latency: tuple[Latency, ...] = ()
    lineage: tuple[LineageRecord, ...] = ()
    diagnosis: Diagnosis = field(default_factory=Diagnosis)
    in_pipeline: bool = True


def build_report(
    verdict: Verdict, tally: Tally | None, rules: GateRules, setting: Setting, subjects: Subjects
) -> GateReport:
    """Puts a verdict and its evidence together; numbers that the tally does not carry are None.

    Args:
        verdict: The decision.
        tally: What was counted; None when nothing could be scored.
        rules: The thresholds.
        setting: What else the rules knew.
        subjects: What was judged, and what the converter knows of it.
    """
    sound = tally if tally is not None and not tally.inconsistencies() else None
    usable = sound.counts if sound is not None and not rules.metric.is_regression else None
    counts = tally.counts if tally is not None and not rules.metric.is_regression else None
    advice = Advice()
    if sound is not None and not verdict.accepted:
        known = (subjects.split, subjects.diagnosis, subjects.in_pipeline, subjects.champion_version)
        advice = advise(Evidence(verdict, sound, rules, setting, *known))
    return GateReport(
        cause=advice.cause,
        tried=advice.tried,
        next_command=advice.next_step,
        verdict=VerdictRecord(
            accepted=verdict.accepted,
            sentence=verdict.sentence,
            rules=tuple(RuleRecord(**asdict(result)) for result in verdict.results),
        ),
        split=subjects.split,
        expected_num_examples=setting.expected_num_examples,
        counts=counts,
        ratio=_ratio(usable, rules) if usable else None,
        interval=_interval(usable) if usable and rules.metric.counts_right_answers else None,
        mistakes=_mistakes(usable) if usable else None,
        worst_classes=worst_classes(usable) if usable else (),
        class_names=setting.class_names,
        decision_threshold=subjects.decision_threshold,
        baseline=subjects.baseline,
        candidate=subjects.candidate,
        runtime=subjects.runtime,
        stack=subjects.stack,
        metric=_metric(sound, rules) if sound else None,
        slices=_slices(sound) if sound else (),
        errors=_errors(sound) if sound else (),
        confusion=_confusion(sound) if sound else None,
        changes=_changes(sound) if sound else (),
        num_flips_kept=len(tally.flips) if tally else 0,
        kernel_agreement=_kernels(tally.kernels) if tally and tally.kernels else None,
        champion=_champion(tally, subjects) if rules.champion_minimum_ratio is not None else None,
        latency=subjects.latency,
        lineage=subjects.lineage,
        extra_metrics=_extra_metrics(tally) if tally else (),
    )


def _extra_metrics(tally: Tally) -> tuple[ExtraFigure, ...]:
    return overall_figures(tally.extra) if tally.extra is not None else ()


def _metric(tally: Tally, rules: GateRules) -> MetricRecord:
    figure = figure_of(tally, rules)
    required = rules.maximum_error_factor if rules.metric.is_regression else rules.minimum_ratio
    return MetricRecord(
        name=figure.key,
        title=figure.name,
        float_value=figure.text(figure.of_float),
        candidate_value=figure.text(figure.of_candidate),
        ratio=_six_decimals(figure.ratio),
        required=str(required),
    )


def _six_decimals(ratio: Fraction | None) -> str | None:
    return None if ratio is None else decimal(ratio, 6)


def _slices(tally: Tally) -> tuple[SliceRecord, ...]:
    def worst_first(item: tuple[SliceKey, PairedCounts]) -> tuple[str, Fraction, str]:
        key, part = item
        return key.name, part.kept if part.kept is not None else Fraction(-1), key.value

    return tuple(
        SliceRecord(
            name=key.name,
            value=key.value,
            num_examples=part.num_examples,
            num_correct_float=part.num_correct_float,
            num_correct_candidate=part.num_correct_candidate,
            num_only_float_correct=part.num_only_float_correct,
            num_only_candidate_correct=part.num_only_candidate_correct,
            num_clipped=part.num_clipped,
            ratio=_six_decimals(part.kept),
        )
        for key, part in sorted(tally.slices.items(), key=worst_first)
    )


def _errors(tally: Tally) -> tuple[ErrorRecord, ...]:
    if tally.errors is None:
        return ()
    parts = [(SliceKey("", ""), tally.errors), *sorted(tally.slice_errors.items())]
    return tuple(_error_record(key, errors) for key, errors in parts)


def _error_record(key: SliceKey, errors: Deviations) -> ErrorRecord:
    def mean(of: str, power: float = 1) -> float | None:
        value = errors.mean(of)
        return None if value is None else float(f"{float(value) ** power:.9g}")

    return ErrorRecord(
        name=key.name,
        value=key.value,
        num_examples=errors.num_examples,
        mean_absolute_error_float=mean("absolute_float"),
        mean_absolute_error_candidate=mean("absolute_candidate"),
        root_mean_squared_error_float=mean("squared_float", 0.5),
        root_mean_squared_error_candidate=mean("squared_candidate", 0.5),
    )


def _confusion(tally: Tally) -> ConfusionRecord | None:
    size = tally.counts.num_classes
    if not 0 < size <= MAX_CONFUSION_CLASSES:
        return None
    tables = {name: [[0] * size for _ in range(size)] for name in ("float_model", "candidate")}
    for (label, of_float, of_candidate), number in tally.confusion.items():
        tables["float_model"][label][of_float] += number
        tables["candidate"][label][of_candidate] += number
    return ConfusionRecord(**{name: tuple(map(tuple, table)) for name, table in tables.items()})


def _changes(tally: Tally) -> tuple[ChangeRecord, ...]:
    changed = [(cell, number) for cell, number in tally.confusion.items() if cell[1] != cell[2]]
    commonest = sorted(changed, key=lambda item: (-item[1], item[0]))[:MAX_CHANGES]
    return tuple(
        ChangeRecord(label=label, float_answer=of_float, candidate_answer=of_candidate, num_examples=number)
        for (label, of_float, of_candidate), number in commonest
    )


def _kernels(kernels: KernelAgreement) -> KernelRecord:
    return KernelRecord(
        num_examples=kernels.num_examples,
        num_same_answer=kernels.num_same_answer,
        worst_difference=kernels.worst_difference,
        num_correct_float=kernels.num_correct_float,
        num_correct_xnnpack=kernels.num_correct,
        num_correct_builtin=kernels.num_correct_builtin,
        ratio=_six_decimals(kernels.kept),
        problem=kernels.problem or None,
    )


def _champion(tally: Tally | None, subjects: Subjects) -> ChampionRecord | None:
    found = tally.champion if tally is not None else None
    if subjects.champion_id is None:
        return None
    scored = found if found is not None and not found.problem else None
    return ChampionRecord(
        model_id=subjects.champion_id,
        sha256=subjects.champion_sha256,
        version=subjects.champion_version,
        channel=subjects.champion_channel,
        num_correct=scored.num_correct_champion if scored else None,
        num_only_champion_correct=scored.num_only_champion_correct if scored else None,
        num_only_candidate_correct=scored.num_only_candidate_correct if scored else None,
        problem=found.problem or None if found else "nothing was scored.",
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


def explain(report: GateReport, invocation: Invocation | None = None) -> str:
    """The verdict on one screen: what was kept, the worst class, broken rules, the likely cause, the next command.

    Args:
        report: What is explained.
        invocation: What was run, for a command that can be typed as it stands.
    """
    lines = [
        _measured(report),
        _mistakes_line(report),
        _worst_line(report),
        _worst_slice_line(report),
        _worst_error_line(report),
        _kernels_line(report),
        _champion_line(report),
        *_broken_lines(report),
    ]
    lines.append(f"likely cause: {report.cause}" if report.cause else "")
    lines.append(f"tried: {report.tried}" if report.tried else "")
    lines.append(f"next: {(invocation or Invocation()).fill_in(report.next_command)}" if report.next_command else "")
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


def _worst_slice_line(report: GateReport) -> str:
    """The slice that lost the most, of those with enough examples to say something; classes have their own line."""
    large = [
        record
        for record in report.slices
        if record.name != SliceBy.LABEL.value and record.num_examples >= DEFAULT_SLICE_MINIMUM_EXAMPLES and record.ratio
    ]
    if len(large) < 2:
        return ""
    worst = min(large, key=lambda record: Fraction(record.ratio or 0))
    if Fraction(worst.ratio or 0) >= 1:
        return ""
    return (
        f"worst slice: {worst.name} {worst.value} keeps {percent_down(Fraction(worst.ratio or 0))} "
        f"({worst.num_correct_candidate} / {worst.num_correct_float} right of {worst.num_examples})"
    )


def _worst_error_line(report: GateReport) -> str:
    """For real-valued labels: the slice whose error grew the most, of those with enough examples to say something."""
    if report.metric is None:
        return ""
    found = [
        (of_candidate / of_float, record, of_candidate, of_float)
        for record in report.errors
        if record.name and record.num_examples >= DEFAULT_SLICE_MINIMUM_EXAMPLES
        for of_float, of_candidate in [record.of(report.metric.name)]
        if of_float and of_candidate
    ]
    worst = max(found, key=lambda item: item[0], default=None)
    if len(found) < 2 or worst is None or worst[0] <= 1:
        return ""
    factor, record, of_candidate, of_float = worst
    return (
        f"worst slice: {record.name} {record.value} has {decimal_up(Fraction(factor), 4)} times the float model's error "
        f"({of_candidate:.6g} / {of_float:.6g} on {record.num_examples})"
    )


def _kernels_line(report: GateReport) -> str:
    kernels = report.kernel_agreement
    if kernels is None:
        return ""
    if kernels.problem:
        return f"built-in kernels: {kernels.problem}"
    if not kernels.num_examples or (report.metric and report.metric.name in ("mae", "rmse")):
        return ""
    ratio = f", ratio {percent_down(Fraction(kernels.ratio))}" if kernels.ratio else ""
    return (
        f"built-in kernels: same answer on {kernels.num_same_answer} of {kernels.num_examples} sampled{ratio}, "
        f"outputs at most {kernels.worst_difference:.3g} apart"
    )


def _champion_line(report: GateReport) -> str:
    champion = report.champion
    if champion is None or champion.num_correct is None:
        return ""
    title = f"release {champion.version} on channel {champion.channel}" if champion.version else "the current release"
    return (
        f"{title}: {champion.num_correct} right, {champion.num_only_champion_correct} of them only there; "
        f"{champion.num_only_candidate_correct} only with the new model"
    )


def _broken_lines(report: GateReport) -> list[str]:
    """Broken rules that the verdict's sentence does not already tell."""
    sentence = report.verdict.sentence
    return [
        f"broken rule {rule.name}: {rule.reason}"
        for rule in report.verdict.rules
        if not rule.passed and rule.name not in RATIO_RULES and rule.reason not in sentence
    ]
