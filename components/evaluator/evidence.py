"""What both ways of judging share: the pipeline's executor and the command on arrays open, refuse and report alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from components.compat import stack_name
from components.evaluator.counts import DEFAULT_DECISION_THRESHOLD, Counts
from components.evaluator.gate import GateRules, RuleResult, candidate_unchanged, candidate_usable, judge
from components.evaluator.report import BaselineRecord, CandidateRecord, GateReport, RuntimeRecord, build_report
from components.evaluator.scoring import NUM_THREADS, Candidate, CandidateError, sha256_of_directory


@dataclass(frozen=True)
class Case:
    """What is to be judged, and by which rules.

    Attributes:
        saved_model: Directory of the float SavedModel.
        tflite: File of the candidate.
        candidate_name: Recipe that made it, such as ``int8``.
        split: Name of the examples, for the report.
        expected_num_examples: Examples there are, counted by someone else than the scoring; None refuses.
        rules: The gate's thresholds.
        checks_recorded_sha256: Whether ``recorded_sha256`` is a rule. Outside a pipeline nobody recorded one.
        recorded_sha256: What the converter recorded, lower-case hex; empty refuses where it is a rule.
        class_names: By label; empty where the data does not name them.
        decision_threshold: For models with one output unit.
    """

    saved_model: Path
    tflite: Path
    candidate_name: str
    split: str
    expected_num_examples: int | None
    rules: GateRules
    checks_recorded_sha256: bool = False
    recorded_sha256: str = ""
    class_names: tuple[str, ...] = field(default=())
    decision_threshold: float = DEFAULT_DECISION_THRESHOLD


def judge_case(case: Case, score: Callable[[Candidate], Counts]) -> GateReport:
    """Opens the candidate, has it scored, judges, reports. A candidate that cannot be judged is refused, with the
    reason.

    Args:
        case: What is judged.
        score: Counts both models' answers over all examples; raises CandidateError for what is the candidate's fault.

    Raises:
        EdgeproofError: The data or the float model cannot be used.
    """
    candidate, findings = _open_candidate(case)
    counts: Counts | None = None
    if candidate is not None and all(finding.passed for finding in findings):
        try:
            counts = score(candidate)
        except CandidateError as error:
            findings = (*(f for f in findings if f.name != "candidate_usable"), candidate_usable(str(error)))
    verdict = judge(counts, case.expected_num_examples, case.rules, case.candidate_name, findings)
    return build_report(
        verdict,
        counts,
        case.rules,
        split=case.split,
        expected_num_examples=case.expected_num_examples,
        class_names=case.class_names,
        decision_threshold=case.decision_threshold,
        baseline=BaselineRecord(sha256=sha256_of_directory(case.saved_model)),
        candidate=_candidate_record(case, candidate),
        runtime=_runtime_record(),
        stack=stack_name(),
    )


def _open_candidate(case: Case) -> tuple[Candidate | None, tuple[RuleResult, ...]]:
    try:
        candidate = Candidate.read(case.tflite)
    except CandidateError as error:
        return None, (candidate_usable(str(error)),)
    unchanged = (candidate_unchanged(candidate.sha256, case.recorded_sha256),) if case.checks_recorded_sha256 else ()
    try:
        candidate.load()
    except CandidateError as error:
        return candidate, (candidate_usable(str(error)), *unchanged)
    return candidate, (candidate_usable(None), *unchanged)


def _candidate_record(case: Case, candidate: Candidate | None) -> CandidateRecord:
    return CandidateRecord(
        name=case.candidate_name,
        sha256=candidate.sha256 if candidate else None,
        size_bytes=candidate.size_bytes if candidate else None,
        recorded_sha256=case.recorded_sha256 or None,
    )


def _runtime_record() -> RuntimeRecord:
    from edgeproof_edge.interpreter import Kernels, runtime_version

    name, _, version = runtime_version().partition(" ")
    return RuntimeRecord(name=name, version=version, kernels=Kernels.XNNPACK.value, num_threads=NUM_THREADS)
