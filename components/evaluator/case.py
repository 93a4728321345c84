"""What both ways of judging share: the pipeline's executor and the command on arrays open, refuse and report alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgeproof_edge.answers import DEFAULT_DECISION_THRESHOLD

from components.compat import stack_name
from components.evaluator.counting.kernels import DEFAULT_SAMPLE_SIZE, affordable_sample
from components.evaluator.counting.latency import Latency, measure_latencies
from components.evaluator.counting.scoring import (
    NUM_THREADS,
    Candidate,
    CandidateError,
    Measurement,
    sha256_of_directory,
)
from components.evaluator.counting.slices import SliceSpec, check_label_slices, check_slices
from components.evaluator.counting.tally import Tally
from components.evaluator.gate.judgement import Setting, candidate_unchanged, candidate_usable, judge
from components.evaluator.gate.release_rules import CURRENT_RELEASE, NOTHING_BLESSED, latency_kept, size_kept
from components.evaluator.gate.rule import RuleResult
from components.evaluator.gate.thresholds import GateRules
from components.evaluator.report.builder import Subjects, build_report
from components.evaluator.report.diagnosis import Diagnosis, read_diagnosis
from components.evaluator.report.gate_report import (
    BaselineRecord,
    CandidateRecord,
    GateReport,
    LineageRecord,
    RuntimeRecord,
)

#: What the converter writes beside the candidate.
FLOAT_FILE = "float.tflite"
CONVERSION_REPORT_FILE = "conversion_report.json"


@dataclass(frozen=True)
class Champion:
    """The model released now: the id of its artifact and its file; which release of which channel, where it is one."""

    model_id: int
    tflite: Path
    version: str = ""
    channel: str = ""

    @property
    def title(self) -> str:
        """How a sentence names it."""
        return f"release {self.version} on channel {self.channel}" if self.version else CURRENT_RELEASE


@dataclass(frozen=True)
class Case:
    """What is to be judged, and by which rules.

    Attributes:
        saved_model: Directory of the float SavedModel.
        tflite: File of the candidate; its float twin and the converter's report are looked for beside it.
        candidate_name: Recipe that made it, such as ``int8``.
        split: Name of the examples, for the report.
        expected_num_examples: Examples there are, counted by someone else than the scoring; None refuses.
        rules: The gate's thresholds.
        checks_recorded_sha256: Whether ``recorded_sha256`` is a rule. Outside a pipeline nobody recorded one.
        recorded_sha256: What the converter recorded, lower-case hex; empty refuses where it is a rule.
        class_names: By label; empty where the data does not name them.
        num_classes: Number of classes; 0 takes it from the outputs.
        decision_threshold: For models with one output unit.
        slices: How the holdout is cut.
        kernel_sample_size: Examples that a second kernel family scores too; 0 switches that off.
        champion: The model released now, where there is one and it is compared.
        no_champion: Why there is none, as a sentence.
        lineage: Artifacts that went in, for the report.
        eval_config: What TFMA computes beside the counts (``config_pb2.EvalConfig``), or None.
    """

    saved_model: Path
    tflite: Path
    candidate_name: str
    split: str
    expected_num_examples: int | None
    rules: GateRules
    checks_recorded_sha256: bool = False
    recorded_sha256: str = ""
    class_names: tuple[str, ...] = ()
    num_classes: int = 0
    decision_threshold: float = DEFAULT_DECISION_THRESHOLD
    slices: tuple[SliceSpec, ...] = ()
    kernel_sample_size: int = DEFAULT_SAMPLE_SIZE
    champion: Champion | None = None
    no_champion: str = NOTHING_BLESSED
    lineage: tuple[LineageRecord, ...] = ()
    eval_config: Any = None

    def __post_init__(self) -> None:
        check_slices(self.slices)
        check_label_slices(self.slices, has_real_label=self.rules.metric.is_regression)

    @property
    def measurement(self) -> Measurement:
        """What the scoring counts."""
        sample_size = self._affordable_kernel_sample()
        share = sample_size / self.expected_num_examples if self.expected_num_examples else 0.0
        return Measurement(
            metric=self.rules.metric,
            top_k=self.rules.answers_ranked,
            num_classes=self.num_classes,
            decision_threshold=self.decision_threshold,
            class_names=self.class_names,
            slices=self.slices,
            kernel_sample_share=min(share, 1.0),
        )

    def _affordable_kernel_sample(self) -> int:
        try:
            return affordable_sample(self.kernel_sample_size, self.tflite.read_bytes())
        except OSError:
            return self.kernel_sample_size  # a candidate that cannot be read is refused by its own rule

    @property
    def setting(self) -> Setting:
        """What the rules need to know beside the counts."""
        return Setting(
            self.expected_num_examples,
            self.candidate_name,
            self.slices,
            self.class_names,
            self.champion is not None,
            self.champion.title if self.champion else CURRENT_RELEASE,
            self.no_champion,
        )


@dataclass(frozen=True)
class Judgement:
    """The report, and what was counted (None when nothing could be)."""

    report: GateReport
    tally: Tally | None


def judge_case(case: Case, score: Callable[[Candidate], Tally]) -> Judgement:
    """Opens the candidate, has it scored, judges, reports. A candidate that cannot be judged is refused, with the
    reason.

    Args:
        case: What is judged.
        score: Counts both models' answers over all examples; raises CandidateError for what is the candidate's fault.

    Raises:
        EdgeproofError: The data or the float model cannot be used.
    """
    candidate, findings = _open_candidate(case)
    tally: Tally | None = None
    if candidate is not None and all(finding.passed for finding in findings):
        try:
            tally = score(candidate)
        except CandidateError as error:
            findings = (*(f for f in findings if f.name != "candidate_usable"), candidate_usable(str(error)))
    latency = _latency(case) if tally is not None else ()
    verdict = judge(tally, case.rules, case.setting, (*findings, *_file_rules(case, candidate, latency)))
    report = build_report(verdict, tally, case.rules, case.setting, _subjects(case, candidate, latency, tally))
    return Judgement(report, tally)


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


def _file_rules(case: Case, candidate: Candidate | None, latency: tuple[Latency, ...]) -> tuple[RuleResult, ...]:
    """Rules about the files; a candidate that cannot be read has its own refusal already."""
    results = []
    if candidate is not None and case.rules.maximum_size_ratio is not None:
        results.append(size_kept(candidate.size_bytes, _float_size(case), case.rules.maximum_size_ratio))
    if candidate is not None and case.rules.maximum_latency_ratio is not None:
        found = {record.name: record for record in latency}
        mine, reference = found.get(case.candidate_name), found.get(FLOAT_FILE)
        results.append(latency_kept(mine, reference, case.rules.maximum_latency_ratio))
    return tuple(results)


def _float_size(case: Case) -> int | None:
    file = case.tflite.parent / FLOAT_FILE
    return file.stat().st_size if file.is_file() else None


def _latency(case: Case) -> tuple[Latency, ...]:
    """Measured only where a rule asks for it: it takes time, and differs from run to run."""
    if case.rules.maximum_latency_ratio is None:
        return ()
    return measure_latencies({case.candidate_name: case.tflite, FLOAT_FILE: case.tflite.parent / FLOAT_FILE})


def _subjects(case: Case, candidate: Candidate | None, latency: tuple[Latency, ...], tally: Tally | None) -> Subjects:
    subjects = Subjects(
        split=case.split,
        decision_threshold=case.decision_threshold,
        baseline=BaselineRecord(sha256=sha256_of_directory(case.saved_model)),
        candidate=_candidate_record(case, candidate),
        runtime=_runtime_record(tally),
        stack=stack_name(),
        latency=latency,
        lineage=case.lineage,
        diagnosis=read_diagnosis(case.tflite.parent / CONVERSION_REPORT_FILE) or Diagnosis(),
        in_pipeline=case.checks_recorded_sha256,
    )
    if case.champion is None:
        return subjects
    return replace(
        subjects,
        champion_id=case.champion.model_id,
        champion_sha256=_sha256_of(case.champion.tflite),
        champion_version=case.champion.version or None,
        champion_channel=case.champion.channel or None,
    )


def _sha256_of(tflite: Path) -> str | None:
    try:
        return Candidate.read(tflite).sha256
    except CandidateError:
        return None


def _candidate_record(case: Case, candidate: Candidate | None) -> CandidateRecord:
    return CandidateRecord(
        name=case.candidate_name,
        sha256=candidate.sha256 if candidate else None,
        size_bytes=candidate.size_bytes if candidate else None,
        recorded_sha256=case.recorded_sha256 or None,
        float_size_bytes=_float_size(case),
    )


def _runtime_record(tally: Tally | None) -> RuntimeRecord:
    from edgeproof_edge.interpreter import Kernels, runtime_version

    name, _, version = runtime_version().partition(" ")
    return RuntimeRecord(
        name=name,
        version=version,
        kernels=Kernels.XNNPACK.value,
        num_threads=NUM_THREADS,
        rows=tally.rows if tally else None,
    )
