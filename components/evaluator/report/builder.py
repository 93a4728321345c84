"""From what was counted, and what the rules made of it, to the gate report."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from fractions import Fraction

from components.evaluator.counting.counts import Counts, worst_classes
from components.evaluator.counting.deviations import Deviations
from components.evaluator.counting.extra_figures import ExtraFigure, overall_figures
from components.evaluator.counting.kernels import KernelAgreement
from components.evaluator.counting.latency import Latency
from components.evaluator.counting.slices import PairedCounts, SliceKey
from components.evaluator.counting.tally import MAX_CONFUSION_CLASSES, Tally
from components.evaluator.gate.figure import figure_of
from components.evaluator.gate.intervals import paired_ratio_interval
from components.evaluator.gate.judgement import Setting, Verdict
from components.evaluator.gate.rule import decimal
from components.evaluator.gate.thresholds import GateRules
from components.evaluator.report.advice import Advice, Evidence, advise
from components.evaluator.report.diagnosis import Diagnosis
from components.evaluator.report.gate_report import (
    BaselineRecord,
    CandidateRecord,
    ChampionRecord,
    ChangeRecord,
    ConfusionRecord,
    ErrorRecord,
    GateReport,
    IntervalRecord,
    KernelRecord,
    LineageRecord,
    MetricRecord,
    MistakesRecord,
    RatioRecord,
    RuleRecord,
    RuntimeRecord,
    SliceRecord,
    VerdictRecord,
)

#: Changes of an answer that the report lists.
MAX_CHANGES = 50


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
