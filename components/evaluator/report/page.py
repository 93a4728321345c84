"""report.html: the evidence on one self-contained page, for people who decide whether to ship.

Rules, in order: 1. The page shows what the reports beside it say and computes no verdict. 2. It needs nothing but itself: no network, no
script (its own Content-Security-Policy forbids both). 3. A part whose report is absent is left out. 4. The same reports give the same
bytes.

The reports are read as plain JSON and not as the models that wrote them: the page has to show reports of other versions too.
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

from components.evaluator.report.page_charts import Chart, RatioRow, bar_chart, ratio_chart, stacked_chart
from components.evaluator.report.page_flips import class_name, read_flipped

PAGE_FILE = "report.html"
GATE_REPORT_FILE = "gate_report.json"
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
    gate = json.loads((directory / GATE_REPORT_FILE).read_text(encoding="utf-8"))
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


def render_page(gate: Json, conversion: Json, qat: Json, flips: Path) -> str:
    """The page as text; ``conversion`` and ``qat`` are empty where there is no such report."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(percent=percent, size=size, short=short)
    names = tuple(gate.get("class_names") or ())
    values = {
        "gate": gate,
        "verdict": gate["verdict"],
        "sentence": _without_first_word(gate["verdict"]["sentence"]),
        "candidate_name": _path(gate, "candidate", "name") or "edge model",
        "tiles": tiles(gate),
        "broken": [rule for rule in gate["verdict"]["rules"] if not rule["passed"]],
        "ratio_chart": _ratio_chart(gate, names),
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
        "kernels": gate.get("kernel_agreement"),
        "champion": gate.get("champion"),
        "extra_metrics": gate.get("extra_metrics") or [],
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


def tiles(gate: Json) -> list[dict[str, str]]:
    """The key figures: what was kept, both models' figures, mistakes, size."""
    candidate = _path(gate, "candidate", "name") or "edge model"
    found = [_ratio_tile(gate), *_figure_tiles(gate, candidate)]
    mistakes = gate.get("mistakes")
    if mistakes:
        factor = f", {mistakes['factor']} times as many" if mistakes.get("factor") else ""
        more = mistakes["num_candidate"] - mistakes["num_float"]
        found.append({"name": "mistakes", "value": f"{more:+,}", "note": _mistakes_note(mistakes, candidate) + factor})
    of_float, of_candidate = _path(gate, "candidate", "float_size_bytes"), _path(gate, "candidate", "size_bytes")
    if of_candidate is not None:
        note = (
            f"{of_candidate / of_float:.2f} of float's {size(of_float)}" if of_float else "of the file that was judged"
        )
        found.append({"name": "size", "value": size(of_candidate), "note": note})
    return [tile for tile in found if tile]


def _factor(factor: float) -> str:
    """A factor of errors, rounded up, so that the page never promises more than was kept."""
    return f"{math.ceil(1000 * factor - 1e-6) / 1000:.3f}"


def error_slices(gate: Json) -> list[dict[str, Any]]:
    """Slices of real-valued labels with both models' errors, those that grew most first."""
    key = {"mae": "mean_absolute_error", "rmse": "root_mean_squared_error"}.get(_path(gate, "metric", "name"))
    found = []
    for entry in gate.get("errors") or ():
        of_float, of_candidate = entry.get(f"{key}_float"), entry.get(f"{key}_candidate")
        if entry["name"] and of_float and of_candidate is not None:
            label = f"{entry['name']}: {_bucket(str(entry['value']))}"
            errors = {"of_float": f"{of_float:.6g}", "of_candidate": f"{of_candidate:.6g}"}
            num_examples, factor = entry["num_examples"], of_candidate / of_float
            found.append({"label": label, "factor": _factor(factor), "num_examples": num_examples, **errors})
    return sorted(found, key=lambda entry: (-float(entry["factor"]), entry["label"]))[:MAX_ROWS]


def _errors_chart(gate: Json) -> Chart | None:
    rows = error_slices(gate)
    if not rows:
        return None
    candidate = _path(gate, "candidate", "name") or "edge model"
    series = {
        name: [float(row[of]) for row in rows] for name, of in (("float", "of_float"), (candidate, "of_candidate"))
    }
    title = str(_path(gate, "metric", "title") or "error").capitalize()
    return bar_chart("errors", f"{title} per slice", [row["label"] for row in rows], series, "")


def _mistakes_note(mistakes: Json, candidate: str) -> str:
    return f"float {mistakes['num_float']:,}, {candidate} {mistakes['num_candidate']:,}"


def _ratio_tile(gate: Json) -> dict[str, str]:
    ratio = _path(gate, "metric", "ratio") or _path(gate, "ratio", "decimal")
    required = _path(gate, "metric", "required") or _path(gate, "ratio", "minimum")
    if ratio is None or required is None:
        return {}
    is_error = _path(gate, "metric", "name") in ("mae", "rmse")
    if is_error:
        return {
            "name": "times float's error",
            "value": _factor(float(ratio) ** (0.5 if _path(gate, "metric", "name") == "rmse" else 1)),
            "note": f"allowed up to {float(Fraction(required)):g}",
        }
    interval = gate.get("interval")
    note = f"required {percent(Fraction(required))}"
    if interval:
        upper = "no upper end" if interval.get("upper") is None else f"{100 * interval['upper']:.2f}{_NBSP}%"
        note += f"; {100 * interval['confidence']:.0f} % interval {100 * interval['lower']:.2f}{_NBSP}% to {upper}"
    return {"name": "kept of float", "value": percent(ratio), "note": note}


def _figure_tiles(gate: Json, candidate: str) -> list[dict[str, str]]:
    metric, counts = gate.get("metric"), gate.get("counts") or {}
    num_examples = counts.get("num_examples") or next((e["num_examples"] for e in gate.get("errors") or ()), None)
    right = (counts.get("num_correct_float"), counts.get("num_correct_candidate"))
    if metric and metric.get("name") not in (None, "top1", "accuracy"):
        values = (metric.get("float_value"), metric.get("candidate_value"))
        title = str(metric.get("title") or metric["name"])
        return [
            {
                "name": f"{title}, {model}",
                "value": str(value),
                "note": f"of {num_examples:,} examples" if num_examples else "",
            }
            for model, value in zip(("float", candidate), values, strict=True)
            if value is not None
        ]
    if not num_examples:
        return []
    return [
        {
            "name": f"accuracy, {model}",
            "value": percent(Fraction(count, num_examples)),
            "note": f"{count:,} / {num_examples:,}",
        }
        for model, count in zip(("float", candidate), right, strict=True)
        if count is not None
    ]


def worst_slices(gate: Json) -> list[dict[str, Any]]:
    """Slices with a ratio, worst first; classes stand in where the report has no slices."""
    found = [
        {**entry, "ratio": float(entry["ratio"]), "label": f"{entry['name']}: {_bucket(str(entry['value']))}"}
        for entry in gate.get("slices") or ()
        if entry.get("ratio") is not None
    ]
    if not found:
        names = tuple(gate.get("class_names") or ())
        for entry in gate.get("worst_classes") or ():
            if entry["num_correct_float"]:
                ratio = entry["num_correct_candidate"] / entry["num_correct_float"]
                found.append({**entry, "ratio": ratio, "label": f"class {class_name(entry['label'], names)}"})
    return sorted(found, key=lambda entry: (entry["ratio"], entry["label"]))[:MAX_ROWS]


def _bucket(value: str) -> str:
    """A numeric bucket such as ``[64, 128)`` in words; other values as they are."""
    found = _BUCKET.fullmatch(value)
    if found is None:
        return value
    low, high = found.groups()
    if low == "-inf":
        return f"below {high}"
    return f"{low} and above" if high == "inf" else f"{low} to {high}"


def _ratio_chart(gate: Json, names: Sequence[str]) -> Chart | None:
    ratio, required = _path(gate, "ratio", "decimal"), _path(gate, "ratio", "minimum")
    if ratio is None or required is None:
        return None
    interval = gate.get("interval") or {}
    num_examples = _path(gate, "counts", "num_examples")
    whole = RatioRow(
        f"all {num_examples:,}" if num_examples else "all", float(ratio), interval.get("lower"), interval.get("upper")
    )
    lost = [entry for entry in worst_slices(gate) if entry["ratio"] < 1]
    rows = [whole, *(RatioRow(entry["label"], entry["ratio"]) for entry in lost)]
    return ratio_chart(
        "kept",
        "Right answers kept of the float model's, overall and in the worst slices",
        rows,
        float(Fraction(required)),
    )


def _mistakes_chart(gate: Json) -> Chart | None:
    counts = gate.get("counts") or {}
    keys = ("num_neither_correct", "num_only_candidate_correct", "num_only_float_correct")
    if any(counts.get(key) is None for key in keys):
        return None
    neither, only_candidate, only_float = (counts[key] for key in keys)
    candidate = _path(gate, "candidate", "name") or "edge model"
    parts = {"both models wrong": [neither, neither], "only this one wrong": [only_candidate, only_float]}
    return stacked_chart("mistakes", "Mistakes of both models", ["float", candidate], parts, "")


def _classes_chart(gate: Json, names: Sequence[str]) -> Chart | None:
    counts = gate.get("counts") or {}
    columns = [counts.get(f"{key}_by_label") or () for key in ("examples", "correct_float", "correct_candidate")]
    rows = [
        (100 * of_candidate / total - 100 * of_float / total, label, 100 * of_float / total, 100 * of_candidate / total)
        for label, (total, of_float, of_candidate) in enumerate(zip(*columns, strict=False))
        if total
    ]
    worst = sorted(row for row in rows if row[0] < 0)[:MAX_ROWS]
    if not worst:
        return None
    candidate = _path(gate, "candidate", "name") or "edge model"
    series = {"float": [row[2] for row in worst], candidate: [row[3] for row in worst]}
    return bar_chart("classes", "Accuracy per class", [class_name(row[1], names) for row in worst], series, " %")


def confusion_difference(gate: Json, names: Sequence[str]) -> dict[str, Any] | None:
    """How often the candidate gives an answer more (or less) often than float, ``[label][answer]``, with its share of the largest."""
    matrices = (_path(gate, "confusion", "float_model"), _path(gate, "confusion", "candidate"))
    if None in matrices or not matrices[0] or len(matrices[0]) > MAX_MATRIX_CLASSES:
        return None
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


def _changes(gate: Json, names: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {
            "num_examples": change["num_examples"],
            "is_loss": change["float_answer"] == change["label"],
            "is_gain": change["candidate_answer"] == change["label"],
            **{key: class_name(change[key], names) for key in ("label", "float_answer", "candidate_answer")},
        }
        for change in (gate.get("changes") or ())[:MAX_CHANGES]
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


def _sizes_chart(gate: Json, conversion: Json) -> Chart | None:
    of_float = _path(conversion, "float_model", "size_bytes")
    of_model = _path(conversion, "model", "size_bytes")
    if of_float is None or of_model is None:
        return None
    candidate = _path(gate, "candidate", "name") or "edge model"
    return bar_chart(
        "sizes", "Size of the files", ["float", candidate], {"kilobytes": [of_float / 1000, of_model / 1000]}, " kB"
    )


def _latency(gate: Json) -> list[dict[str, Any]]:
    """Milliseconds per variant, with the speed-up over the first, which is float."""
    found = [dict(entry) for entry in gate.get("latency") or ()]
    for entry in found:
        entry["speed_up"] = found[0]["median_ms"] / entry["median_ms"] if entry["median_ms"] else None
    return found


def _latency_chart(gate: Json) -> Chart | None:
    found = gate.get("latency") or ()
    if not found:
        return None
    medians = {"median, ms": [entry["median_ms"] for entry in found]}
    return bar_chart("latency", "Milliseconds per example", [entry["name"] for entry in found], medians, " ms")


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


def lineage(gate: Json, conversion: Json) -> list[tuple[str, str]]:
    """What went in, and by what it was judged."""
    found = [(entry["role"], f"artifact {entry['artifact_id']}, {entry['uri']}") for entry in gate.get("lineage") or ()]
    runtime = gate.get("runtime") or {}
    facts = {
        "judged file, SHA-256": _path(gate, "candidate", "sha256"),
        "float model, SHA-256": _path(gate, "baseline", "sha256"),
        "calibration examples, SHA-256": _path(conversion, "calibration", "sha256"),
        "calibration": _calibration(conversion),
        "examples judged on": gate.get("split"),
        "runtime": " ".join(str(runtime[key]) for key in ("name", "version", "kernels") if runtime.get(key)),
        "stack": gate.get("stack"),
        "libraries": ", ".join(
            f"{name} {version}" for name, version in (conversion.get("library_versions") or {}).items()
        ),
    }
    return [*found, *((name, str(value)) for name, value in facts.items() if value)]


def _calibration(conversion: Json) -> str | None:
    facts = conversion.get("calibration")
    if not facts:
        return None
    return f"{facts['num_range']} of {facts['num_distinct']} distinct examples set ranges, from {facts['source']}, seed {facts['seed']}"
