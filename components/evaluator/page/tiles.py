"""The key figures on top of the page: what was kept, both models' figures, mistakes, size."""

from __future__ import annotations

from fractions import Fraction

from components.evaluator.page.wording import NBSP, factor, percent, size
from components.evaluator.report.gate_report import GateReport


def tiles(gate: GateReport) -> list[dict[str, str]]:
    """Name, value and note of each figure."""
    candidate, mistakes = gate.candidate, gate.mistakes
    shown = [_ratio_tile(gate), *_figure_tiles(gate)]
    if mistakes is not None:
        times = f", {mistakes.factor} times as many" if mistakes.factor else ""
        note = f"float {mistakes.num_float:,}, {candidate.name} {mistakes.num_candidate:,}{times}"
        more = mistakes.num_candidate - mistakes.num_float
        shown.append({"name": "mistakes", "value": f"{more:+,}", "note": note})
    if candidate.size_bytes is not None:
        of_float = candidate.float_size_bytes
        note = (
            f"{candidate.size_bytes / of_float:.2f} of float's {size(of_float)}"
            if of_float
            else "of the file that was judged"
        )
        shown.append({"name": "size", "value": size(candidate.size_bytes), "note": note})
    return [tile for tile in shown if tile]


def _ratio_tile(gate: GateReport) -> dict[str, str]:
    metric, interval = gate.metric, gate.interval
    ratio = metric.ratio if metric is not None else gate.ratio.decimal if gate.ratio is not None else None
    required = metric.required if metric is not None else gate.ratio.minimum if gate.ratio is not None else None
    if ratio is None or required is None:
        return {}
    if gate.errors:
        power = 0.5 if metric is not None and metric.name == "rmse" else 1
        return {
            "name": "times float's error",
            "value": factor(float(ratio) ** power),
            "note": f"allowed up to {float(Fraction(required)):g}",
        }
    note = f"required {percent(Fraction(required))}"
    if interval is not None:
        upper = "no upper end" if interval.upper is None else f"{100 * interval.upper:.2f}{NBSP}%"
        note += f"; {100 * interval.confidence:.0f} % interval {100 * interval.lower:.2f}{NBSP}% to {upper}"
    return {"name": "kept of float", "value": percent(ratio), "note": note}


def _figure_tiles(gate: GateReport) -> list[dict[str, str]]:
    metric, counts, models = gate.metric, gate.counts, ("float", gate.candidate.name)
    num_examples = counts.num_examples if counts is not None else gate.errors[0].num_examples if gate.errors else 0
    if metric is not None and metric.name != "top1":
        return [
            {
                "name": f"{metric.title}, {model}",
                "value": value,
                "note": f"of {num_examples:,} examples" if num_examples else "",
            }
            for model, value in zip(models, (metric.float_value, metric.candidate_value), strict=True)
            if value is not None
        ]
    if counts is None or not num_examples:
        return []
    return [
        {
            "name": f"accuracy, {model}",
            "value": percent(Fraction(right, num_examples)),
            "note": f"{right:,} / {num_examples:,}",
        }
        for model, right in zip(models, (counts.num_correct_float, counts.num_correct_candidate), strict=True)
    ]
