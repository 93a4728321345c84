"""Slices of the holdout on the page: what was kept in each, or how far errors grew."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from components.evaluator.page.charts import Chart, RatioRow, bar_chart, ratio_chart
from components.evaluator.page.flips import class_name
from components.evaluator.page.wording import bucket, clipped, factor
from components.evaluator.report.gate_report import GateReport

#: Slices and classes in a chart or a table; the reports beside the page hold all of them.
MAX_ROWS = 12


def worst_slices(gate: GateReport) -> list[dict[str, Any]]:
    """Slices with a ratio, worst first; classes stand in where the report has no slices."""
    shown = [
        {
            "label": clipped(f"{record.name}: {bucket(record.value)}"),
            "ratio": float(record.ratio),
            "num_examples": record.num_examples,
            "num_correct_float": record.num_correct_float,
            "num_correct_candidate": record.num_correct_candidate,
        }
        for record in gate.slices
        if record.ratio is not None
    ] or [
        {
            "label": clipped(f"class {class_name(result.label, gate.class_names)}"),
            "ratio": float(result.kept),
            "num_examples": result.num_examples,
            "num_correct_float": result.num_correct_float,
            "num_correct_candidate": result.num_correct_candidate,
        }
        for result in gate.worst_classes
        if result.num_correct_float
    ]
    return sorted(shown, key=lambda entry: (entry["ratio"], entry["label"]))[:MAX_ROWS]


def error_slices(gate: GateReport) -> list[dict[str, Any]]:
    """Slices of real-valued labels with both models' errors, those that grew most first."""
    shown = []
    for record in gate.errors if gate.metric is not None else ():
        of_float, of_candidate = record.of(gate.metric.name if gate.metric else "")
        if record.name and of_float and of_candidate is not None:
            label, times = clipped(f"{record.name}: {bucket(record.value)}"), of_candidate / of_float
            errors = {"of_float": f"{of_float:.6g}", "of_candidate": f"{of_candidate:.6g}"}
            row = {"label": label, "factor": factor(times), "num_examples": record.num_examples, **errors}
            shown.append((-times, label, row))
    return [row for _, _, row in sorted(shown, key=lambda entry: entry[:2])[:MAX_ROWS]]


def kept_chart(gate: GateReport) -> Chart | None:
    """What was kept overall and in the worst slices, against what is required."""
    ratio, interval, counts = gate.ratio, gate.interval, gate.counts
    if ratio is None:
        return None
    whole = RatioRow(
        f"all {counts.num_examples:,}" if counts is not None else "all",
        float(ratio.decimal),
        interval.lower if interval is not None else None,
        interval.upper if interval is not None else None,
    )
    lost = [entry for entry in worst_slices(gate) if entry["ratio"] < 1]
    rows = [whole, *(RatioRow(entry["label"], entry["ratio"]) for entry in lost)]
    title = "Right answers kept of the float model's, overall and in the worst slices"
    return ratio_chart("kept", title, rows, float(Fraction(ratio.minimum)))


def errors_chart(gate: GateReport) -> Chart | None:
    """Both models' errors by slice."""
    rows = error_slices(gate)
    if not rows or gate.metric is None:
        return None
    series = {
        name: [float(row[of]) for row in rows]
        for name, of in (("float", "of_float"), (gate.candidate.name, "of_candidate"))
    }
    title = gate.metric.title.capitalize()
    return bar_chart("errors", f"{title} per slice", [row["label"] for row in rows], series, "")
