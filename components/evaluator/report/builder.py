"""From what was counted, and what the rules made of it, to the gate report."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from fractions import Fraction

from components.evaluator.case import Champion
from components.evaluator.counting.extra_figures import ExtraFigure, overall_figures
from components.evaluator.counting.tally import Tally
from components.evaluator.float_probes import Probe
from components.evaluator.gate.evidence import CandidateFacts, Evidence
from components.evaluator.gate.judgement import Verdict
from components.evaluator.gate.rule import decimal
from components.evaluator.report.advice import Advice, Circumstances, advise
from components.evaluator.report.diagnosis import Diagnosis
from components.evaluator.report.gate_report import (
    BaselineRecord,
    CandidateRecord,
    ChampionRecord,
    GateReport,
    KernelRecord,
    MeasuredRows,
    OutputRecord,
    RuleRecord,
    RuntimeRecord,
    VerdictRecord,
)
from components.evaluator.report.notes import notes_on
from components.evaluator.scoring.kernels import KernelAgreement
from components.evaluator.scoring.latency import Latency


@dataclass(frozen=True)
class Surroundings:
    """What the report says beside the case and what was counted.

    Attributes:
        baseline_sha256: Of the float SavedModel.
        runtime: What ran the candidate.
        stack: Name of the TFX stack.
        champion_sha256: Of the model released now; None where there is none, or it cannot be read.
        diagnosis: What the converter knows of the candidate.
        probe: Why the float model is near chance, where that was found out.
        training_accuracy: Of the float model on its training examples, where the training kept it.
    """

    baseline_sha256: str
    runtime: RuntimeRecord
    stack: str
    champion_sha256: str | None = None
    diagnosis: Diagnosis = field(default_factory=Diagnosis)
    probe: Probe | None = None
    training_accuracy: float | None = None


def build_report(verdict: Verdict, evidence: Evidence, surroundings: Surroundings) -> GateReport:
    """Puts a verdict and its evidence together; numbers that nobody counted are None.

    Args:
        verdict: The decision.
        evidence: What it rests on.
        surroundings: What else stands in the report.
    """
    case, tally = evidence.case, evidence.tally
    rows = MeasuredRows() if tally is None else case.measurement.rows(tally, case.rules)
    advice = Advice()
    if evidence.is_scored and not evidence.counted.inconsistencies() and not verdict.accepted:
        advice = advise(Circumstances(verdict, evidence, surroundings.diagnosis, surroundings.probe))
    return GateReport(
        **dict(rows),
        cause=advice.cause,
        tried=advice.tried,
        next_command=advice.next_step,
        notes=notes_on(evidence, surroundings.training_accuracy) if verdict.accepted else (),
        verdict=VerdictRecord(
            accepted=verdict.accepted,
            sentence=verdict.sentence,
            rules=tuple(RuleRecord(**asdict(result)) for result in verdict.results),
        ),
        split=case.split,
        expected_num_examples=case.expected_num_examples,
        class_names=case.class_names,
        decision_threshold=case.decision_threshold,
        output=evidence.candidate.output or None,
        rules=case.rules,
        baseline=BaselineRecord(sha256=surroundings.baseline_sha256),
        candidate=_candidate(evidence),
        runtime=surroundings.runtime,
        stack=surroundings.stack,
        other_outputs=_other_outputs(tally) if tally else (),
        num_flips_kept=len(tally.flips) if tally else 0,
        kernel_agreement=_kernels(tally.kernels) if tally and tally.kernels else None,
        champion=_champion(evidence, surroundings) if case.rules.champion_min_ratio is not None else None,
        latency=_latencies(evidence.candidate),
        device=evidence.candidate.device,
        lineage=case.lineage,
        extra_metrics=_extra_metrics(tally) if tally else (),
    )


def _other_outputs(tally: Tally) -> tuple[OutputRecord, ...]:
    def digits(value: float | None) -> float | None:
        return None if value is None else float(f"{value:.6g}")

    return tuple(
        OutputRecord(
            name=name,
            num_examples=other.num_examples,
            num_nonfinite=other.num_nonfinite,
            difference=digits(other.difference),
            share_of_spread=digits(other.share_of_spread),
        )
        for name, other in sorted(tally.others.items())
    )


def _candidate(evidence: Evidence) -> CandidateRecord:
    facts = evidence.candidate
    return CandidateRecord(
        name=evidence.case.candidate_name,
        sha256=facts.sha256,
        size_bytes=facts.size_bytes,
        recorded_sha256=evidence.case.recorded_sha256 or None,
        float_size_bytes=facts.float_size_bytes,
    )


def _latencies(facts: CandidateFacts) -> tuple[Latency, ...]:
    return tuple(latency for latency in (facts.latency, facts.float_latency) if latency is not None)


def _extra_metrics(tally: Tally) -> tuple[ExtraFigure, ...]:
    return overall_figures(tally.extra) if tally.extra is not None else ()


def _kernels(kernels: KernelAgreement) -> KernelRecord:
    kept: Fraction | None = kernels.kept
    return KernelRecord(
        num_examples=kernels.num_examples,
        num_same_answer=kernels.num_same_answer,
        worst_difference=kernels.worst_difference,
        num_correct_float=kernels.num_correct_float,
        num_correct_xnnpack=kernels.num_correct,
        num_correct_builtin=kernels.num_correct_builtin,
        ratio=None if kept is None else decimal(kept, 6),
        problem=kernels.problem or None,
    )


def _champion(evidence: Evidence, surroundings: Surroundings) -> ChampionRecord | None:
    champion, counts = evidence.case.champion, evidence.tally.champion if evidence.tally is not None else None
    if not isinstance(champion, Champion):
        return None
    scored = counts if counts is not None and not counts.problem else None
    return ChampionRecord(
        model_id=champion.model_id,
        sha256=surroundings.champion_sha256,
        version=champion.version or None,
        channel=champion.channel or None,
        num_correct=scored.num_correct_champion if scored else None,
        num_only_champion_correct=scored.num_only_champion_correct if scored else None,
        num_only_candidate_correct=scored.num_only_candidate_correct if scored else None,
        problem=counts.problem or None if counts else "nothing was scored.",
    )
