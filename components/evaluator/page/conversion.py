"""What the converter made, on the page: candidates, sizes, latency, lineage."""

from __future__ import annotations

from typing import Any

from components.device.outcome import DeviceProblem
from components.device.report import describe
from components.evaluator.page.charts import Chart, bar_chart
from components.evaluator.report.gate_report import GateReport
from components.repair.facts import SelectionScore
from components.tflite_converter.report import CalibrationFacts, ConversionReport


def candidates(conversion: ConversionReport | None) -> list[dict[str, Any]]:
    """Every model the converter made: size, how close to float on the selection part, time, and which was chosen."""
    return [
        {
            "name": made.name,
            "size_bytes": made.size_bytes,
            "agreement": _agreement(made.score),
            "losses": ", ".join(f"{loss.output} {loss.loss:.4f}" for loss in made.losses),
            "met_goal": made.met_goal,
            "islands": len(made.float_operators),
            "milliseconds": round(1000 * made.seconds),
            "chosen": made.chosen,
            "why": made.why_chosen,
        }
        for made in (conversion.candidates if conversion is not None else ())
    ]


def _agreement(score: SelectionScore | None) -> str:
    return ", ".join(
        f"{100 * output.num_same / output.num_rows:.1f} %"
        for output in (score.outputs if score is not None else ())
        if output.num_same is not None and output.num_rows
    )


def sizes_chart(gate: GateReport, conversion: ConversionReport | None) -> Chart | None:
    """Kilobytes of the float file and of the candidate."""
    if conversion is None:
        return None
    sizes = [conversion.float_model.size_bytes / 1000, conversion.model.size_bytes / 1000]
    return bar_chart("sizes", "Size of the files", ["float", gate.candidate.name], {"kilobytes": sizes}, " kB")


def latencies(gate: GateReport) -> list[dict[str, Any]]:
    """Milliseconds per variant, with the speed-up over the first."""
    return [
        {
            "name": latency.name,
            "median_ms": latency.median_ms,
            "p90_ms": latency.p90_ms,
            "speed_up": gate.latency[0].median_ms / latency.median_ms if latency.median_ms else None,
        }
        for latency in gate.latency
    ]


def latency_chart(gate: GateReport) -> Chart | None:
    """Median milliseconds per variant."""
    if not gate.latency:
        return None
    medians = {"median, ms": [latency.median_ms for latency in gate.latency]}
    return bar_chart("latency", "Milliseconds per example", [latency.name for latency in gate.latency], medians, " ms")


def device(gate: GateReport) -> list[str]:
    """What the candidate did on the device of the rules, a line each; empty where no device is named."""
    measured = gate.device
    if measured is None:
        return []
    if isinstance(measured, DeviceProblem):
        return [measured.reason]
    return describe(measured, gate.candidate.name).splitlines()


def lineage(gate: GateReport, conversion: ConversionReport | None) -> list[tuple[str, str]]:
    """What went in, and by what it was judged."""
    inputs = [(record.role, f"artifact {record.artifact_id}, {record.uri}") for record in gate.lineage]
    calibration = conversion.calibration if conversion is not None else None
    versions = conversion.library_versions if conversion is not None else {}
    facts = {
        "judged file, SHA-256": gate.candidate.sha256,
        "judged output": gate.output,
        "float model, SHA-256": gate.baseline.sha256,
        "calibration examples, SHA-256": calibration.sha256 if calibration is not None else None,
        "calibration": _calibration(calibration) if calibration is not None else None,
        "examples judged on": gate.split,
        "runtime": f"{gate.runtime.name} {gate.runtime.version} {gate.runtime.kernels}",
        "stack": gate.stack,
        "libraries": ", ".join(f"{name} {version}" for name, version in versions.items()),
    }
    return [*inputs, *((name, str(value)) for name, value in facts.items() if value)]


def _calibration(facts: CalibrationFacts) -> str:
    return f"{facts.num_range} of {facts.num_distinct} distinct examples set ranges, from {facts.source}, seed {facts.seed}"
