"""What a person reads when a command ends: the table of nodes, the verdict, the way on."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from edgeproof_edge.addresses import is_address

from components.artifacts import local_copy
from components.errors import DataError
from components.evaluator.report.advice import Invocation
from components.evaluator.report.explanation import explain, note_line
from components.evaluator.report.gate_report import GateReport, read_report
from components.evaluator.report.notes import notes_since
from components.tflite_converter.description import describe_search
from components.tflite_converter.report import ConversionReport, useless_outputs
from pipeline.history.run_record import NodeUsage, ReleaseRecord, RunRecord


def describe_run(
    record: RunRecord, invocation: Invocation, previous: RunRecord | None = None, page: str | None = None
) -> str:
    """The nodes of a run with state and seconds, the verdict in one sentence, and what to do next.

    Args:
        record: The run.
        invocation: What was run, for a command that can be typed as it stands.
        previous: The run before it, for what moved since.
        page: Where its page is; None where there is none.
    """
    report = read_gate_report(record)
    verdict = "\n".join([explain(report, invocation), *_notes_since(previous, report)])
    return "\n\n".join([_node_table(record), verdict, _way_on(record, page)])


def _notes_since(previous: RunRecord | None, report: GateReport) -> list[str]:
    """Of an accepted model, what moved since the run before; a report that is gone says nothing."""
    if previous is None or not report.verdict.accepted:
        return []
    try:
        before = read_gate_report(previous)
    except DataError:
        return []
    return [note_line(note) for note in notes_since(before, report)]


def read_gate_report(record: RunRecord) -> GateReport:
    """The gate report of a run.

    Raises:
        DataError: The workspace has been cleared since.
    """
    with local_copy(record.gate_report) as file:
        return read_report(file)


def _node_table(record: RunRecord) -> str:
    width = max(len(node.name) for node in record.nodes)
    rows = [
        f"{node.name:<{width}}  {node.state:<8}  {node.seconds:6.1f} s{_cost(record.usage.get(node.name))}"
        for node in record.nodes
    ]
    return "\n".join([*rows, f"{'':<{width}}  {'total':<8}  {record.seconds:6.1f} s"])


def _cost(usage: NodeUsage | None) -> str:
    """Processor time and peak memory of a node; nothing where a run of before did not measure them."""
    return "" if usage is None else f"  {usage.cpu_seconds:6.1f} s cpu  {usage.peak_bytes / 2**30:5.2f} GiB"


def _way_on(record: RunRecord, page: str | None) -> str:
    lines = [f"page     {shortened(page)}"] if page is not None else []
    lines += [f"report   {shortened(record.gate_report)}", f"log      {shortened(record.log)}"]
    if record.release is None:
        return "\n".join(["nothing was published", *lines])
    place, next_step = describe_release(record.release)
    files = f"files    {shortened(record.release.path)}"
    return "\n".join([f"release  {place}", files, *lines, f"next     {next_step}"])


def describe_release(release: ReleaseRecord) -> tuple[str, str]:
    """Where a release is, and the command to type next."""
    repository = shortened(release.repository)
    promote = f"edgeproof release promote {repository} {release.version}"
    if release.is_offered:
        return f"{release.version} on channel {release.channel} of {repository}", f"{promote} stable"
    return (
        f"{release.version} of {repository}, published before; channel {release.channel} offers {release.offered_version}",
        f"{promote} {release.channel}   # only if the channel is to go back",
    )


def shortened(path: str) -> str:
    """The path as seen from here, where that is shorter to read and to type."""
    return os.path.relpath(path) if not is_address(path) and Path(path).is_relative_to(Path.cwd()) else path


def describe_conversion(report: ConversionReport, saved_model: Path, directory: Path) -> str:
    """What was converted from what, how it compares with float, where the files lie, and the command that judges them."""
    model, tflite, out = (
        shlex.quote(shortened(str(path))) for path in (saved_model, directory / "model.tflite", directory)
    )
    lines = [
        f"{report.chosen.name}  {report.model.size_bytes:,} bytes ({report.float_model.size_bytes:,} in float), "
        f"input {report.input_type.value}, output {report.output_type.value}",
        f"float operators: {_listed(report.inspection.float_operators)}",
        *_calibration_lines(report),
        *describe_search(report),
        *_score_lines(report),
        *(f"USELESS  {sentence}" for sentence in useless_outputs(report)),
        *(f"warning: {warning}" for warning in report.warnings),
        f"wrote {directory}/model.tflite, float.tflite, conversion_report.json in {report.seconds.total:.1f} s",
        _next_step(report, model, tflite, out),
    ]
    return "\n".join(lines)


def _next_step(report: ConversionReport, model: str, tflite: str, out: str) -> str:
    """The command that judges the model, with the output that it judges where there are several."""
    if useless_outputs(report):
        return "next     look at what was tried above; this file is not worth judging"
    outputs = [output.name for output in report.signature.outputs]
    judged = "" if len(outputs) < 2 else f" --output {shlex.quote(outputs[0])}"
    others = "" if len(outputs) < 2 else f"   # or {', '.join(outputs[1:])}"
    command = f"edgeproof evaluate --saved-model {model} --tflite {tflite} --data HOLDOUT.npz --out {out}"
    return f"next     {command}{judged}{others}"


def _calibration_lines(report: ConversionReport) -> list[str]:
    facts = report.calibration
    if facts is None:
        return []
    lowered = f" (min-samples lowered to {facts.min_samples})" if facts.min_samples_lowered else ""
    return [
        f"calibration: {facts.num_range} of {facts.num_distinct} distinct examples set ranges, seed {facts.seed}{lowered}"
    ]


def _score_lines(report: ConversionReport) -> list[str]:
    outputs = report.chosen.score.outputs if report.chosen.score and report.goal is None else ()
    return [
        f"output {output.output}: same class as float on {output.num_same} of {output.num_rows} examples that set no range"
        for output in outputs
        if output.num_same is not None
    ]


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(sorted(set(names))) or "none"
