"""Judges one case: opens the candidate, has it scored, applies the rules, and puts the report together.

The pipeline's executor and the command on arrays share it; they differ in where the rows come from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgeproof_edge.answers import judged_output, named_inputs
from edgeproof_edge.errors import EdgeproofError
from edgeproof_edge.progress import progress
from edgeproof_edge.rows import RowOrder
from numpy.typing import NDArray

from components.compat import stack_name
from components.data.examples import Batch
from components.evaluator.case import Case, Champion
from components.evaluator.counting.tally import Tally
from components.evaluator.float_probes import probe_float_model
from components.evaluator.gate.evidence import CandidateFacts, Evidence
from components.evaluator.gate.judgement import judge
from components.evaluator.gate.rule import Blame, RuleName
from components.evaluator.report.builder import Surroundings, build_report
from components.evaluator.report.diagnosis import Diagnosis, read_diagnosis
from components.evaluator.report.gate_report import GateReport, RuntimeRecord
from components.evaluator.scoring.both_models import NUM_THREADS, Candidate, CandidateError, sha256_of_directory
from components.evaluator.scoring.latency import measure_latencies
from components.saved_models.saved_model import artifact_of, as_column, read_facts, read_signature
from components.tflite_converter.report import REPORT_FILE as CONVERSION_REPORT_FILE
from components.trainer.history import HISTORY_FILE, History

#: What the converter writes beside the candidate.
FLOAT_FILE = "float.tflite"


#: What Keras calls the share of right answers.
_ACCURACIES = ("accuracy", "sparse_categorical_accuracy", "binary_accuracy")


@dataclass(frozen=True)
class Judgement:
    """The report, what was counted (None when nothing could be), and what the candidate's file is."""

    report: GateReport
    tally: Tally | None
    candidate: CandidateFacts


def judge_case(
    case: Case, score: Callable[[Candidate], Tally], sample: Callable[[], Batch | None] = lambda: None
) -> Judgement:
    """Opens the candidate, has it scored, judges, reports. A candidate that cannot be judged is refused, with the
    reason.

    Args:
        case: What is judged.
        score: Counts both models' answers over all examples; raises CandidateError for what is the candidate's fault.
        sample: Gives a few hundred examples, for looking into a float model that is near chance.

    Raises:
        EdgeproofError: The data or the float model cannot be used.
    """
    candidate, facts = _open_candidate(case)
    is_unchanged = not case.checks_recorded_sha256 or facts.sha256 == case.recorded_sha256
    tally: Tally | None = None
    if candidate is not None and not facts.problem and is_unchanged:
        try:
            tally = score(candidate)
        except CandidateError as error:
            facts = replace(facts, problem=str(error))
    if tally is not None and candidate is not None:
        facts = _on_device(case, _timed(case, facts), candidate, sample)
    evidence = Evidence(case, facts, tally)
    verdict, surroundings = judge(evidence), _surroundings(case, tally)
    if tally is not None and Blame.FLOAT_MODEL in verdict.blamed:
        surroundings = replace(surroundings, probe=probe_float_model(case, tally, sample()))
    return Judgement(build_report(verdict, evidence, surroundings), tally, facts)


def _open_candidate(case: Case) -> tuple[Candidate | None, CandidateFacts]:
    from edgeproof_edge.interpreter import delegation

    file = case.tflite.parent / FLOAT_FILE
    facts = CandidateFacts(float_size_bytes=file.stat().st_size if file.is_file() else None)
    try:
        candidate = Candidate.read(case.tflite)
    except CandidateError as error:
        return None, replace(facts, problem=str(error))
    facts = replace(facts, sha256=candidate.sha256, size_bytes=candidate.size_bytes)
    try:
        model = candidate.load()
    except CandidateError as error:
        return candidate, replace(facts, problem=str(error))
    names, delegated = [spec.name for spec in model.outputs], delegation(model)
    return candidate, replace(
        facts,
        output=judged_output(names, case.output if case.output in names else "") or "",
        delegated_fraction=None if delegated is None else delegated.delegated_fraction,
    )


def _timed(case: Case, facts: CandidateFacts) -> CandidateFacts:
    """Measured only where a rule asks for it: it takes time, and differs from run to run."""
    if case.rules.max_latency_ratio is None:
        return facts
    files = {case.candidate_name: case.tflite, FLOAT_FILE: case.tflite.parent / FLOAT_FILE}
    latencies = {latency.name: latency for latency in measure_latencies(files)}
    return replace(facts, latency=latencies.get(case.candidate_name), float_latency=latencies.get(FLOAT_FILE))


def _on_device(
    case: Case, facts: CandidateFacts, candidate: Candidate, sample: Callable[[], Batch | None]
) -> CandidateFacts:
    """Runs the candidate on the device of the rules; a device that cannot be measured is a fact, which its rule refuses."""
    if case.rules.device is None:
        return facts
    from components.device.measurement import Subject, measure
    from components.device.outcome import DeviceMeasurement, DeviceProblem

    rules, rows, twin = case.rules.device, sample(), case.tflite.parent / FLOAT_FILE
    assert rows is not None, RuleName.SCORED
    progress.info("evaluator: measuring on %s", rules.place.title)
    watch = case.plan.watch(candidate.load().outputs[0])
    subject = Subject(
        model=candidate.data,
        twin=twin.read_bytes() if twin.is_file() else None,
        rows=_bound(rows, candidate),
        threshold=watch.threshold,
        order=_order(case.saved_model),
    )
    device: DeviceMeasurement | DeviceProblem
    try:
        device, _ = measure(rules.place, subject, rules.options)
    except EdgeproofError as error:
        device = DeviceProblem(rules.place.title, str(error))
    return replace(facts, device=device)


def _bound(rows: Batch, candidate: Candidate) -> dict[str, NDArray[Any]]:
    inputs = candidate.load().inputs
    named = named_inputs(rows.inputs, [spec.name for spec in inputs])
    return {spec.name: as_column(named[spec.name], spec) for spec in inputs}


def _order(saved_model: Path) -> RowOrder:
    """What rows are to one another, as the float model's graph says."""
    is_stream = read_facts(saved_model, read_signature(saved_model).key).assigns_variables
    return RowOrder.STREAM if is_stream else RowOrder.INDEPENDENT


def _surroundings(case: Case, tally: Tally | None) -> Surroundings:
    champion = case.champion
    return Surroundings(
        baseline_sha256=sha256_of_directory(case.saved_model),
        champion_sha256=_sha256_of(champion) if isinstance(champion, Champion) else None,
        runtime=_runtime_record(tally),
        stack=stack_name(),
        training_accuracy=_training_accuracy(artifact_of(case.saved_model)),
        diagnosis=read_diagnosis(case.tflite.parent / CONVERSION_REPORT_FILE) or Diagnosis(),
    )


def _training_accuracy(artifact: Path | None) -> float | None:
    """Right answers on the training examples in the epoch that was kept; None where the training did not keep them."""
    if artifact is None:
        return None
    try:
        history = History.model_validate_json((artifact / HISTORY_FILE).read_bytes())
    except (OSError, ValueError):  # it is of a SavedModel from elsewhere, or of another version
        return None
    figures = next((epoch.figures for epoch in history.epochs if epoch.number == history.kept_epoch), {})
    return next((figures[name] for name in _ACCURACIES if name in figures), None)


def _sha256_of(champion: Champion) -> str | None:
    try:
        return Candidate.read(champion.tflite).sha256
    except CandidateError:
        return None


def _runtime_record(tally: Tally | None) -> RuntimeRecord:
    from edgeproof_edge.interpreter import Kernels, runtime_version

    name, _, version = runtime_version().partition(" ")
    rows = tally.rows if tally is not None else None
    return RuntimeRecord(name=name, version=version, kernels=Kernels.XNNPACK.value, num_threads=NUM_THREADS, rows=rows)
