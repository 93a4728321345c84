"""report.html shows what the reports say, leaves out what they lack, and needs nothing but itself."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.errors import DataError
from components.evaluator.report.gate_report import GateReport, write_report
from components.evaluator.report.page import (
    PAGE_FILE,
    confusion_difference,
    error_slices,
    percent,
    render_page,
    size,
    tiles,
    write_page,
)
from components.evaluator.report.page_charts import axis_ticks
from components.evaluator.report.page_flips import read_flipped

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium on PATH: the page was not opened in a browser"
)
NUM_CLASSES = 4


def rule(name: str, *, passed: bool = True) -> dict[str, Any]:
    reason = f"{name} says <b>so</b>"
    return {"name": name, "threshold": "1", "observed": "2", "passed": passed, "reason": reason, "source": "arithmetic"}


def gate_report(**changes: Any) -> GateReport:
    """A refusal with everything that a report can hold, built through the model: a field that is renamed fails here."""
    diagonal = [[20 if row == column else 0 for column in range(NUM_CLASSES)] for row in range(NUM_CLASSES)]
    changed = [list(row) for row in diagonal]
    changed[1][1], changed[1][3] = 8, 12
    labels = {
        "examples_by_label": [25] * 4,
        "correct_float_by_label": [20] * 4,
        "correct_candidate_by_label": [20, 8, 20, 20],
    }
    slice_record = {
        "num_clipped": 0,
        "num_examples": 25,
        "num_correct_float": 20,
        "num_only_float_correct": 12,
        "num_only_candidate_correct": 0,
    }
    values = {
        "verdict": {
            "accepted": False,
            "sentence": "REFUSED  int8 keeps 85.00 % of float accuracy",
            "rules": [rule("accuracy_kept", passed=False), rule("minimum_examples")],
        },
        "cause": "calibration domain: dark images",
        "next_command": "edgeproof run --set convert.recipe=auto",
        "split": "eval",
        "expected_num_examples": 100,
        "decision_threshold": 0.5,
        "output": "scores",
        "notes": ["a note of <i>care</i>"],
        "parts": [{"name": "output", "value": "[4..9]", "num_examples": 100, "loss": 3.0, "sentence": "has 4.0 times"}],
        "other_outputs": [
            {"name": "boxes", "num_examples": 100, "num_nonfinite": 0, "difference": 1.5, "share_of_spread": 0.25}
        ],
        "counts": {"num_examples": 100, "num_correct_float": 80, "num_correct_candidate": 68, "num_neither_correct": 20}
        | {"num_only_float_correct": 12, "num_only_candidate_correct": 0}
        | labels,
        "ratio": {"decimal": "0.850000", "minimum": "97/100", "num_correct_float": 80, "num_correct_candidate": 68},
        "interval": {"lower": 0.77, "upper": None, "confidence": 0.95, "method": "m"},
        "mistakes": {"num_float": 20, "num_candidate": 32, "factor": "1.6"},
        "worst_classes": [{"label": 1, "num_examples": 25, "num_correct_float": 20, "num_correct_candidate": 8}],
        "class_names": ["cat", "dog", "<script>alert(1)</script>", "a class with quite a long name"],
        "baseline": {"sha256": "f" * 64},
        "candidate": {"name": "int8", "sha256": "e" * 64, "size_bytes": 12_800, "float_size_bytes": 40_000}
        | {"recorded_sha256": None},
        "runtime": {"name": "ai-edge-litert", "version": "2.3.0", "kernels": "xnnpack", "num_threads": 1},
        "stack": "tfx116",
        "slices": [
            {"name": "brightness", "value": "[-inf, 64)", "num_correct_candidate": 8, "ratio": "0.400000"}
            | slice_record,
            {"name": "brightness", "value": "[64, inf)", "num_correct_candidate": 20, "ratio": None} | slice_record,
        ],
        "confusion": {"float_model": diagonal, "candidate": changed},
        "changes": [{"label": 1, "float_answer": 1, "candidate_answer": 3, "num_examples": 12}],
        "kernel_agreement": {
            "kernels": "builtin",
            "num_examples": 50,
            "num_same_answer": 49,
            "num_correct_float": 45,
            "num_correct_xnnpack": 44,
            "num_correct_builtin": 44,
            "ratio": "0.977777",
            "worst_difference": 0.1,
            "problem": None,
        },
        "champion": {
            "model_id": 3,
            "num_correct": 70,
            "num_only_champion_correct": 4,
            "num_only_candidate_correct": 2,
            "problem": None,
            "version": "000012-4b8aa8afd22f",
            "channel": "stable",
            "sha256": "e" * 64,
        },
        "latency": [
            {"name": "float", "median_ms": 0.5, "p90_ms": 0.6, "num_runs": 50},
            {"name": "int8", "median_ms": 0.2, "p90_ms": 0.3, "num_runs": 50},
        ],
        "lineage": [{"role": "float_model", "artifact_id": 5, "uri": "/" + "long/" * 30}],
        **changes,
    }
    return GateReport.model_validate(values)


CONVERSION: dict[str, Any] = {
    "float_model": {"size_bytes": 40_000},
    "model": {"size_bytes": 12_800},
    "library_versions": {"tensorflow": "2.16.2"},
    "calibration": {
        "num_range": 452,
        "num_distinct": 899,
        "source": "calibration split",
        "seed": 7,
        "sha256": "d" * 64,
    },
    "candidates": [
        {
            "name": "int8 minmax",
            "recipe": "int8",
            "size_bytes": 12_800,
            "score": {"outputs": [{"num_same": 437, "num_rows": 447}]},
            "losses": [{"output": "digit", "loss": 0.85}],
            "met_goal": False,
            "float_operators": ["SOFTMAX"],
            "seconds": 0.07,
            "chosen": True,
            "why_chosen": "closest to float",
        },
        {
            "name": "int8",
            "recipe": "int8",
            "size_bytes": 1,
            "score": None,
            "float_operators": [],
            "seconds": 1.0,
            "chosen": False,
        },
    ],
    "findings": [
        {"name": "channel imbalance", "tensor": "t", "figure": 105.2, "threshold": 10.0, "remedy": "equalized"}
    ],
    "warnings": ["the recipe saved nothing"],
    "inspection": {
        "operators": [
            {
                "name": "CONV_2D",
                "version": 3,
                "count": 3,
                "input_dtypes": ["int8"],
                "output_dtypes": ["int8"],
                "weight_bytes": 3152,
            }
        ],
        "num_float_operators": 1,
        "crossings": [],
        "minimum_runtime": None,
        "float_islands": [{"operators": ["SOFTMAX"], "tensors": ["tfl.dequantize"]}],
    },
}
QAT = {
    "float_model": {"num_correct": 528, "num_examples": 548},
    "fake_quantized": {"num_correct": 527, "num_examples": 548},
    "tflite": {"num_correct": 526, "num_examples": 548},
    "equalization": {
        "num_layers": 4,
        "worst_before": {"layer": "stem", "figure": 89.25},
        "worst_after": {"layer": "gate", "figure": 12.5},
        "left": [{"layer": "gate", "figure": 12.5}],
        "skipped": "",
    },
    "epochs": 3,
    "learning_rate": 0.0005,
    "seed": 7,
}


def write_flips(directory: Path, num_examples: int = 6, **changes: Any) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (num_examples, 8, 8, 1)).astype(np.float32)
    labels = np.ones(num_examples, np.int64)
    arrays = {"label": labels, "predicted_float": labels, "predicted_candidate": labels + 2, "input": pixels, **changes}
    path = directory / "flipped.npz"
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return path


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """A page with every part."""
    write_report(gate_report(), tmp_path)
    (tmp_path / "conversion_report.json").write_text(json.dumps(CONVERSION), encoding="utf-8")
    (tmp_path / "qat_report.json").write_text(json.dumps(QAT), encoding="utf-8")
    write_flips(tmp_path)
    path = write_page(tmp_path, tmp_path / "conversion_report.json", tmp_path / "qat_report.json")
    assert path is not None
    return path


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("✗ Refused", id="verdict"),
        pytest.param("<p>int8 keeps 85.00 % of float accuracy</p>", id="sentence"),
        pytest.param("calibration domain: dark images", id="cause"),
        pytest.param("interval 77.00\N{NO-BREAK SPACE}% to no upper end", id="interval"),
        pytest.param("float 20, int8 32, 1.6 times as many", id="mistakes"),
        pytest.param("brightness: below 64", id="worst-slice"),
        pytest.param("+12", id="confusion"),
        pytest.param("data:image/png;base64,", id="flipped-examples"),
        pytest.param("97.8 %", id="candidate-agreement"),
        pytest.param("fake-quantized <small>in Keras", id="qat-scores"),
        pytest.param("89.2 times as wide as its median channel (stem), then 12.5 (gate)", id="qat-equalization"),
        pytest.param("Still uneven, because no gain passes the layers around them: gate (12.5)", id="qat-left-uneven"),
        pytest.param("2.50×", id="latency-speed-up"),
        pytest.param("float island", id="islands"),
        pytest.param("the same answer on 49 of 50", id="other-kernels"),
        pytest.param("70 right on the same examples", id="champion"),
        pytest.param("Release 000012-4b8aa8afd22f on channel stable", id="champions-release"),
        pytest.param("f" * 64, id="lineage"),
        pytest.param("<b>Note:</b> a note of &lt;i&gt;care&lt;/i&gt;", id="notes"),
        pytest.param("<b>output [4..9]</b> has 4.0 times", id="parts-of-the-output"),
        pytest.param("<b>boxes</b> (not judged): 1.5 from float", id="other-outputs"),
    ],
)
def test_the_page_shows(page: Path, text: str) -> None:
    assert text in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        pytest.param({"equalization": None}, "Fine-tuned for 3 epochs", id="not-equalized"),
        pytest.param(
            {"equalization": {"skipped": "it failed", "left": []}}, "not equalized first: it failed.", id="skipped"
        ),
        pytest.param(
            {"tflite": None, "tflite_problem": "no kernel"},
            "The int8-qat .tflite does not run: no kernel",
            id="no-tflite",
        ),
    ],
)
def test_the_page_shows_what_qat_came_to(changes: dict[str, Any], text: str, tmp_path: Path) -> None:
    write_report(gate_report(), tmp_path)
    (tmp_path / "qat_report.json").write_text(json.dumps({**QAT, **changes}), encoding="utf-8")
    path = write_page(tmp_path, None, tmp_path / "qat_report.json")
    assert path is not None
    assert text in path.read_text(encoding="utf-8")


def test_the_page_escapes_and_runs_nothing(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)" in text
    assert "<b>so</b>" not in text
    assert re.findall(r"(?:src|href)=\"(?!data:)[^\"]*", text) == []
    assert "default-src 'none'" in text


def test_the_same_reports_give_the_same_bytes(page: Path) -> None:
    first = page.read_bytes()
    write_page(page.parent, page.parent / "conversion_report.json", page.parent / "qat_report.json")
    assert page.read_bytes() == first


def ratio_record(decimal: str, minimum: str) -> dict[str, Any]:
    return {"decimal": decimal, "minimum": minimum, "num_correct_float": 80, "num_correct_candidate": 80}


NOTHING_SCORED = {"counts": None, "ratio": None, "interval": None, "mistakes": None, "worst_classes": [], "slices": []}


@pytest.mark.parametrize(
    "report",
    [
        pytest.param(gate_report(**NOTHING_SCORED, confusion=None, changes=[], latency=[]), id="nothing-scored"),
        pytest.param(gate_report(slices=[], confusion=None), id="classes-stand-in-for-slices"),
        pytest.param(
            gate_report(ratio=ratio_record("0.000000", "97/100"), interval=None, slices=[]), id="nothing-kept"
        ),
        pytest.param(
            gate_report(
                ratio=ratio_record("1.000000", "1"),
                interval={"lower": 1.0, "upper": 1.0, "confidence": 0.95, "method": "m"},
            ),
            id="everything-kept",
        ),
        pytest.param(
            gate_report(
                **NOTHING_SCORED,
                metric={
                    "name": "mae",
                    "title": "mean error",
                    "float_value": "1.5",
                    "candidate_value": None,
                    "ratio": "1.02",
                    "required": "11/10",
                },
            ),
            id="regression",
        ),
    ],
)
def test_a_page_is_drawn_of_whatever_there_is(report: GateReport, tmp_path: Path) -> None:
    text = render_page(report, {}, {}, tmp_path / "none.npz")
    assert "Refused" in text
    assert "None" not in re.sub(r"<style.*?</style>", "", text, flags=re.DOTALL)


def test_a_conversion_report_of_an_older_version_is_shown(tmp_path: Path) -> None:
    older = {key: CONVERSION[key] for key in ("candidates", "inspection")}
    older["inspection"] = {key: value for key, value in older["inspection"].items() if key != "float_islands"}
    assert "CONV_2D" in render_page(gate_report(), older, {}, tmp_path / "none.npz")


def test_a_page_that_cannot_be_drawn_leaves_the_verdict(tmp_path: Path) -> None:
    write_report(gate_report(), tmp_path)
    write_flips(tmp_path, label=None)
    assert write_page(tmp_path) is None
    assert not (tmp_path / PAGE_FILE).exists()


def test_flips_without_images_and_of_unnamed_classes_are_told_in_words(tmp_path: Path) -> None:
    path = write_flips(tmp_path, 2, input=None, predicted_candidate=np.array([-1, 1]))
    first, second = read_flipped(path, ["cat"])
    assert (first.label, first.candidate_answer, first.is_loss, first.picture) == ("1", "not finite", True, None)
    assert second.is_loss is False


def test_damaged_flips_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="of one length"):
        read_flipped(write_flips(tmp_path, predicted_float=np.zeros(3, np.int64)), ())


def test_confusion_differences_say_which_are_worse() -> None:
    found = confusion_difference(gate_report(), ())
    assert found is not None
    row = found["rows"][1]
    assert [cell["value"] for cell in row] == [0, -12, 0, 12]
    assert (row[1]["is_worse"], row[3]["is_worse"]) == (True, True)
    assert confusion_difference(gate_report(confusion={"float_model": [[0]] * 99, "candidate": [[0]] * 99}), ()) is None


def test_shares_are_rounded_down_and_sizes_are_for_people() -> None:
    space = "\N{NO-BREAK SPACE}"
    assert percent("0.969999") == f"96.99{space}%"
    assert percent(None) == "–"
    assert [size(9_999), size(12_800), size(2_500_000)] == [f"9,999{space}B", f"12.8{space}kB", f"2.50{space}MB"]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        pytest.param(0.32, 1.05, ([0.5, 1.0], 0), id="wide"),
        pytest.param(0.962, 1.012, ([0.98, 1.0], 0), id="a-few-points"),
        pytest.param(0.9695, 0.9735, ([0.97, 0.972], 1), id="less-than-a-point"),
    ],
)
def test_an_axis_has_few_round_labels(low: float, high: float, expected: tuple[list[float], int]) -> None:
    assert axis_ticks(low, high) == expected


def test_drawing_leaves_python_as_it_was(page: Path) -> None:
    assert [finder for finder in sys.meta_path if type(finder).__module__.startswith("pygal")] == []


def browse(url: str, width: int, tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Headless Chromium, with its own background traffic off."""
    assert CHROMIUM is not None
    command = [
        CHROMIUM,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--disable-extensions",
        "--host-resolver-rules=MAP * ~NOTFOUND",
        "--enable-logging=stderr",
        f"--user-data-dir={tmp_path / 'profile'}",
        f"--log-net-log={tmp_path / 'net.json'}",
        f"--window-size={width},2000",
        *arguments,
        url,
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


def requests_of_pages(tmp_path: Path) -> list[str]:
    """Addresses that pages (not the browser for itself) asked for; Chromium logs one event per line."""
    log = (tmp_path / "net.json").read_text(encoding="utf-8")
    by_pages = [line for line in log.splitlines() if '"network_isolation_key":"file:' in line]
    return sorted({url for line in by_pages for url in re.findall(r'"url":"((?:https?|wss?):[^"]+)', line)})


@needs_chromium
def test_a_request_would_be_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text('<img src="http://example.invalid/x.png"><script>console.error("seen")</script>', encoding="utf-8")
    result = browse(page.as_uri(), 360, tmp_path, f"--screenshot={tmp_path / 'x.png'}")
    assert requests_of_pages(tmp_path) == ["http://example.invalid/x.png"]
    assert "CONSOLE" in result.stderr


@needs_chromium
@pytest.mark.parametrize("width", [pytest.param(360, id="phone"), pytest.param(1280, id="desktop")])
def test_a_browser_shows_the_page_without_a_message_a_request_or_sideways_scrolling(
    page: Path, width: int, tmp_path: Path
) -> None:
    screenshot = tmp_path / f"{width}.png"
    result = browse(page.as_uri(), width, tmp_path, f"--screenshot={screenshot}")
    assert screenshot.stat().st_size > 10_000
    assert "CONSOLE" not in result.stderr
    assert requests_of_pages(tmp_path) == []

    probe = tmp_path / "probe.html"  # the page without its ban on scripts, and with one that measures
    text = re.sub(r"<meta http-equiv=[^>]+>", "", page.read_text(encoding="utf-8"))
    measure = "<script>document.title = document.documentElement.scrollWidth + ' of ' + innerWidth</script></body>"
    probe.write_text(text.replace("</body>", measure), encoding="utf-8")
    document = browse(probe.as_uri(), width, tmp_path, "--dump-dom").stdout
    found = re.search(r"<title>(\d+) of (\d+)</title>", document)
    assert found is not None
    assert int(found[1]) <= int(found[2])


def error_record(name: str, value: str, of_float: float, of_candidate: float) -> dict[str, Any]:
    figures = {"mean_absolute_error": (9.0, 9.0), "root_mean_squared_error": (of_float, of_candidate)}
    errors = {
        f"{key}_{of}": v for key, pair in figures.items() for of, v in zip(("float", "candidate"), pair, strict=True)
    }
    return {"name": name, "value": value, "num_examples": 300, **errors}


def test_errors_stand_by_slice_those_that_grew_most_first(tmp_path: Path) -> None:
    metric = {"name": "rmse", "title": "root mean squared error", "float_value": "2", "candidate_value": "2.5"}
    errors = [
        error_record("", "", 2.0, 2.5),
        error_record("label", "[-inf, 6)", 1.0, 1.1),
        error_record("label", "[6, inf)", 2.0, 3.0),
    ]
    full = metric | {"ratio": "1.562500", "required": "103/100"}
    report = gate_report(**NOTHING_SCORED, confusion=None, changes=[], metric=full, errors=errors)
    assert [(row["label"], row["factor"]) for row in error_slices(report)] == [
        ("label: 6 and above", "1.500"),
        ("label: below 6", "1.100"),
    ]
    found = {tile["name"]: (tile["value"], tile["note"]) for tile in tiles(report)}
    assert found["times float's error"] == ("1.250", "allowed up to 1.03")  # of rmse the report has the squares' ratio
    assert found["root mean squared error, float"] == ("2", "of 300 examples")
    text = render_page(report, {}, {}, tmp_path / "none.npz")
    assert "Errors by slice" in text
    assert "Root mean squared error per slice" in text
