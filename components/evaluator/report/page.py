"""report.html: the evidence on one self-contained page, for people who decide whether to ship.

Rules, in order: 1. The page shows what the reports beside it say and computes no verdict. 2. It needs nothing but itself: no network, no
script (its own Content-Security-Policy forbids both). 3. A part whose report is absent is left out. 4. The same reports give the same
bytes.

The gate report is read as the model that wrote it. The converter's and the trainer's are read as plain JSON: an older one explains, and
decides nothing.
"""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from edgeproof_edge.progress import progress

from components.evaluator.report.gate_report import GateReport, read_report
from components.evaluator.report.page_charts import Chart, RatioRow, bar_chart, ratio_chart, stacked_chart
from components.evaluator.report.page_flips import class_name, read_flipped

PAGE_FILE = "report.html"
CONVERSION_REPORT_FILE = "conversion_report.json"
QAT_REPORT_FILE = "qat_report.json"
FLIPS_FILE = "flipped.npz"
TEMPLATE = Path(__file__).parent / "page.html.j2"
#: Slices and classes in a chart or a table; the reports beside the page hold all of them.
MAX_ROWS = 12
#: Classes up to which the whole confusion matrix is readable.
MAX_MATRIX_CLASSES = 20
MAX_CHANGES = 12
_BUCKET = re.compile(r"\[([^,]+), ([^,)\]]+)[)\]]")
_NBSP = "\N{NO-BREAK SPACE}"

Json = Mapping[str, Any]


def write_page(directory: Path, conversion_report: Path | None = None, qat_report: Path | None = None) -> Path | None:
    """Writes ``report.html`` beside the gate report, which has to be there.

    A page that cannot be drawn is logged and left out: raising would make TFX delete the verdict and its evidence.

    Args:
        directory: Holds ``gate_report.json`` and, where examples flipped, ``flipped.npz``.
        conversion_report: The converter's report; may be absent.
        qat_report: The report of quantization-aware training; may be absent.

    Returns:
        The page's path; None where it could not be drawn.
    """
    gate = read_report(directory)
    path = directory / PAGE_FILE
    try:
        path.write_text(
            render_page(gate, _read(conversion_report), _read(qat_report), directory / FLIPS_FILE), encoding="utf-8"
        )
    except Exception:  # whatever a report of another version, or a library, has in store
        logging.getLogger(__name__).exception("report.html was not drawn")
        progress.warning("report.html could not be drawn; the log says why")
        return None
    return path


def _read(path: Path | None) -> Json:
    if path is None or not path.is_file():
        return {}
    values = json.loads(path.read_text(encoding="utf-8"))
    return values if isinstance(values, dict) else {}


def render_page(gate: GateReport, conversion: Json, qat: Json, flips: Path) -> str:
    """The page as text; ``conversion`` and ``qat`` are empty where there is no such report."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(percent=percent, size=size, short=short)
    names = gate.class_names
    values = {
        "gate": gate,
        "verdict": gate.verdict,
        "sentence": _without_first_word(gate.verdict.sentence),
        "candidate_name": gate.candidate.name,
        "tiles": tiles(gate),
        "broken": [rule for rule in gate.verdict.rules if not rule.passed],
        "ratio_chart": _ratio_chart(gate),
        "mistakes_chart": _mistakes_chart(gate),
        "classes_chart": _classes_chart(gate, names),
        "slices": worst_slices(gate),
        "error_slices": error_slices(gate),
        "errors_chart": _errors_chart(gate),
        "confusion": confusion_difference(gate, names),
        "changes": _changes(gate, names),
        "flips": read_flipped(flips, names),
        "conversion": conversion,
        "candidates": candidates(conversion),
        "sizes_chart": _sizes_chart(gate, conversion),
        "latency": _latency(gate),
        "latency_chart": _latency_chart(gate),
        "inspection": conversion.get("inspection"),
        "qat_scores": qat_scores(qat),
        "qat_notes": qat_notes(qat),
        "kernels": gate.kernel_agreement,
        "champion": gate.champion,
        "parts": gate.parts,
        "other_outputs": gate.other_outputs,
        "extra_metrics": gate.extra_metrics,
        "lineage": lineage(gate, conversion),
    }
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(values)


def _path(report: Json, *keys: str) -> Any:
    """The value under nested keys, or None where one of them is absent."""
    value: Any = report
    for key in keys:
        if not isinstance(value, Mapping) or value.get(key) is None:
            return None
        value = value[key]
    return value


def _without_first_word(sentence: str) -> str:
    """The heading already says ACCEPTED or REFUSED."""
    first, _, rest = sentence.partition(" ")
    return rest.strip() if first.isupper() and rest else sentence


def percent(share: Any, decimals: int = 2) -> str:
    """A share as a percentage, rounded down, so that the page never promises more than was kept; a dash for None."""
    if share is None:
        return "–"
    scaled = Fraction(str(share)) * 100 * 10**decimals
    whole = scaled.numerator // scaled.denominator
    return f"{whole / 10**decimals:.{decimals}f}{_NBSP}%"


def size(num_bytes: Any) -> str:
    """Bytes for people; a dash for None."""
    if num_bytes is None:
        return "–"
    if num_bytes < 10_000:
        return f"{num_bytes:,}{_NBSP}B"
    return f"{num_bytes / 1000:,.1f}{_NBSP}kB" if num_bytes < 1_000_000 else f"{num_bytes / 1e6:,.2f}{_NBSP}MB"


def short(text: Any, length: int = 12) -> str:
    """The beginning of a hash."""
    return str(text)[:length]


def tiles(gate: GateReport) -> list[dict[str, str]]:
    """The key figures: what was kept, both models' figures, mistakes, size."""
    candidate, mistakes = gate.candidate, gate.mistakes
    shown = [_ratio_tile(gate), *_figure_tiles(gate)]
    if mistakes is not None:
        factor = f", {mistakes.factor} times as many" if mistakes.factor else ""
        note = f"float {mistakes.num_float:,}, {candidate.name} {mistakes.num_candidate:,}{factor}"
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


def _factor(factor: float) -> str:
    """A factor of errors, rounded up, so that the page never promises more than was kept."""
    return f"{math.ceil(1000 * factor - 1e-6) / 1000:.3f}"


def error_slices(gate: GateReport) -> list[dict[str, Any]]:
    """Slices of real-valued labels with both models' errors, those that grew most first."""
    shown = []
    for record in gate.errors if gate.metric is not None else ():
        of_float, of_candidate = record.of(gate.metric.name if gate.metric else "")
        if record.name and of_float and of_candidate is not None:
            label, factor = f"{record.name}: {_bucket(record.value)}", of_candidate / of_float
            errors = {"of_float": f"{of_float:.6g}", "of_candidate": f"{of_candidate:.6g}"}
            row = {"label": label, "factor": _factor(factor), "num_examples": record.num_examples, **errors}
            shown.append((-factor, label, row))
    return [row for _, _, row in sorted(shown, key=lambda entry: entry[:2])[:MAX_ROWS]]


def _errors_chart(gate: GateReport) -> Chart | None:
    rows = error_slices(gate)
    if not rows or gate.metric is None:
        return None
    series = {
        name: [float(row[of]) for row in rows]
        for name, of in (("float", "of_float"), (gate.candidate.name, "of_candidate"))
    }
    title = gate.metric.title.capitalize()
    return bar_chart("errors", f"{title} per slice", [row["label"] for row in rows], series, "")


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
            "value": _factor(float(ratio) ** power),
            "note": f"allowed up to {float(Fraction(required)):g}",
        }
    note = f"required {percent(Fraction(required))}"
    if interval is not None:
        upper = "no upper end" if interval.upper is None else f"{100 * interval.upper:.2f}{_NBSP}%"
        note += f"; {100 * interval.confidence:.0f} % interval {100 * interval.lower:.2f}{_NBSP}% to {upper}"
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


def worst_slices(gate: GateReport) -> list[dict[str, Any]]:
    """Slices with a ratio, worst first; classes stand in where the report has no slices."""
    shown = [
        {
            "label": f"{record.name}: {_bucket(record.value)}",
            "ratio": float(record.ratio),
            "num_examples": record.num_examples,
            "num_correct_float": record.num_correct_float,
            "num_correct_candidate": record.num_correct_candidate,
        }
        for record in gate.slices
        if record.ratio is not None
    ] or [
        {
            "label": f"class {class_name(result.label, gate.class_names)}",
            "ratio": float(result.kept),
            "num_examples": result.num_examples,
            "num_correct_float": result.num_correct_float,
            "num_correct_candidate": result.num_correct_candidate,
        }
        for result in gate.worst_classes
        if result.num_correct_float
    ]
    return sorted(shown, key=lambda entry: (entry["ratio"], entry["label"]))[:MAX_ROWS]


def _bucket(value: str) -> str:
    """A numeric bucket such as ``[64, 128)`` in words; other values as they are."""
    bucket = _BUCKET.fullmatch(value)
    if bucket is None:
        return value
    low, high = bucket.groups()
    if low == "-inf":
        return f"below {high}"
    return f"{low} and above" if high == "inf" else f"{low} to {high}"


def _ratio_chart(gate: GateReport) -> Chart | None:
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


def _mistakes_chart(gate: GateReport) -> Chart | None:
    counts = gate.counts
    if counts is None or not counts.num_examples:
        return None
    neither = counts.num_neither_correct
    parts = {
        "both models wrong": [neither, neither],
        "only this one wrong": [counts.num_only_candidate_correct, counts.num_only_float_correct],
    }
    return stacked_chart("mistakes", "Mistakes of both models", ["float", gate.candidate.name], parts, "")


def _classes_chart(gate: GateReport, names: Sequence[str]) -> Chart | None:
    counts = gate.counts
    if counts is None:
        return None
    columns = (counts.examples_by_label, counts.correct_float_by_label, counts.correct_candidate_by_label)
    rows = [
        (100 * of_candidate / total - 100 * of_float / total, label, 100 * of_float / total, 100 * of_candidate / total)
        for label, (total, of_float, of_candidate) in enumerate(zip(*columns, strict=True))
        if total
    ]
    worst = sorted(row for row in rows if row[0] < 0)[:MAX_ROWS]
    if not worst:
        return None
    series = {"float": [row[2] for row in worst], gate.candidate.name: [row[3] for row in worst]}
    return bar_chart("classes", "Accuracy per class", [class_name(row[1], names) for row in worst], series, " %")


def confusion_difference(gate: GateReport, names: Sequence[str]) -> dict[str, Any] | None:
    """How often the candidate gives an answer more (or less) often than float, ``[label][answer]``, with its share of the largest."""
    confusion = gate.confusion
    if confusion is None or not 0 < len(confusion.float_model) <= MAX_MATRIX_CLASSES:
        return None
    matrices = (confusion.float_model, confusion.candidate)
    differences = [[right - left for left, right in zip(*rows, strict=True)] for rows in zip(*matrices, strict=True)]
    largest = max(1, *(abs(value) for row in differences for value in row))
    return {
        "names": [class_name(number, names) for number in range(len(differences))],
        "rows": [
            [
                {"value": value, "share": round(abs(value) / largest, 3), "is_worse": (value > 0) != (label == answer)}
                for answer, value in enumerate(row)
            ]
            for label, row in enumerate(differences)
        ],
    }


def _changes(gate: GateReport, names: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {
            "num_examples": change.num_examples,
            "is_loss": change.float_answer == change.label,
            "is_gain": change.candidate_answer == change.label,
            "label": class_name(change.label, names),
            "float_answer": class_name(change.float_answer, names),
            "candidate_answer": class_name(change.candidate_answer, names),
        }
        for change in gate.changes[:MAX_CHANGES]
    ]


def candidates(conversion: Json) -> list[dict[str, Any]]:
    """Every model the converter made: size, how close to float on the selection part, time, and which was chosen."""
    return [
        {
            "name": entry["name"],
            "recipe": entry.get("recipe"),
            "size_bytes": entry.get("size_bytes"),
            "agreement": _agreement(entry.get("score")),
            "losses": ", ".join(f"{loss['output']} {loss['loss']:.4f}" for loss in entry.get("losses") or ()),
            "met_goal": entry.get("met_goal"),
            "islands": len(entry.get("float_operators") or ()),
            "milliseconds": round(1000 * (entry.get("seconds") or 0.0)),
            "chosen": bool(entry.get("chosen")),
            "why": entry.get("why_chosen") or "",
        }
        for entry in conversion.get("candidates") or ()
    ]


def _agreement(score: Json | None) -> str:
    outputs = (score or {}).get("outputs") or ()
    return ", ".join(
        f"{100 * o['num_same'] / o['num_rows']:.1f} %"
        for o in outputs
        if o.get("num_same") is not None and o.get("num_rows")
    )


def _sizes_chart(gate: GateReport, conversion: Json) -> Chart | None:
    of_float = _path(conversion, "float_model", "size_bytes")
    of_model = _path(conversion, "model", "size_bytes")
    if of_float is None or of_model is None:
        return None
    return bar_chart(
        "sizes",
        "Size of the files",
        ["float", gate.candidate.name],
        {"kilobytes": [of_float / 1000, of_model / 1000]},
        " kB",
    )


def _latency(gate: GateReport) -> list[dict[str, Any]]:
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


def _latency_chart(gate: GateReport) -> Chart | None:
    if not gate.latency:
        return None
    medians = {"median, ms": [latency.median_ms for latency in gate.latency]}
    return bar_chart("latency", "Milliseconds per example", [latency.name for latency in gate.latency], medians, " ms")


def qat_scores(qat: Json) -> list[dict[str, Any]]:
    """Float, fake-quantized and .tflite on the same examples, and how far each is from float."""
    titles = {
        "float_model": ("float", "the gate's baseline"),
        "fake_quantized": ("fake-quantized", "in Keras, while it was trained"),
        "tflite": ("int8-qat .tflite", "what a device runs"),
    }
    of_float = _path(qat, "float_model", "num_correct")
    return [
        {"title": title, "note": note, "difference": qat[key]["num_correct"] - of_float, **qat[key]}
        for key, (title, note) in titles.items()
        if qat.get(key) and of_float is not None
    ]


def qat_notes(qat: Json) -> list[str]:
    """How the fine-tuned model was made, in sentences."""
    if not qat:
        return []
    plural = "" if qat["epochs"] == 1 else "s"
    notes = [
        f"Right of {qat['float_model']['num_examples']:,} examples of the calibration split; the verdict comes from the holdout. "
        f"Fine-tuned for {qat['epochs']} epoch{plural} from a learning rate of {qat['learning_rate']:.3g}, seed {qat['seed']}."
    ]
    if qat.get("tflite_problem"):
        notes.append(f"The int8-qat .tflite does not run: {qat['tflite_problem']}")
    if qat.get("equalization"):
        notes.extend(_equalization_notes(qat["equalization"]))
    return notes


def _equalization_notes(equalization: Json) -> list[str]:
    before, after = equalization.get("worst_before"), equalization.get("worst_after")
    notes = []
    if equalization.get("skipped"):
        notes.append(f"Channels were not equalized first: {equalization['skipped']}.")
    elif before and after:
        notes.append(
            f"{equalization['num_layers']} layers were equalized first; the function stayed. The most uneven output was "
            f"{before['figure']:.3g} times as wide as its median channel ({before['layer']}), then {after['figure']:.3g} "
            f"({after['layer']})."
        )
    if equalization.get("left"):
        left = ", ".join(f"{entry['layer']} ({entry['figure']:.3g})" for entry in equalization["left"])
        notes.append(f"Still uneven, because no gain passes the layers around them: {left}.")
    return notes


def lineage(gate: GateReport, conversion: Json) -> list[tuple[str, str]]:
    """What went in, and by what it was judged."""
    inputs = [(record.role, f"artifact {record.artifact_id}, {record.uri}") for record in gate.lineage]
    facts = {
        "judged file, SHA-256": gate.candidate.sha256,
        "judged output": gate.output,
        "float model, SHA-256": gate.baseline.sha256,
        "calibration examples, SHA-256": _path(conversion, "calibration", "sha256"),
        "calibration": _calibration(conversion),
        "examples judged on": gate.split,
        "runtime": f"{gate.runtime.name} {gate.runtime.version} {gate.runtime.kernels}",
        "stack": gate.stack,
        "libraries": ", ".join(
            f"{name} {version}" for name, version in (conversion.get("library_versions") or {}).items()
        ),
    }
    return [*inputs, *((name, str(value)) for name, value in facts.items() if value)]


def _calibration(conversion: Json) -> str | None:
    facts = conversion.get("calibration")
    if not facts:
        return None
    return f"{facts['num_range']} of {facts['num_distinct']} distinct examples set ranges, from {facts['source']}, seed {facts['seed']}"
