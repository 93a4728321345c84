"""report.html shows what the reports say, leaves out what they lack, and needs nothing but itself."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgeproof_edge.flatbuffer import FloatIsland

from components.device.outcome import DeviceProblem
from components.errors import DataError
from components.evaluator.counting.class_statistics import MAX_CONFUSION_CLASSES
from components.evaluator.page.charts import axis_ticks, number_ticks, whole_ticks
from components.evaluator.page.classes import class_rows, commonest_confusions, confusion_difference, confusion_matrix
from components.evaluator.page.flips import read_flipped
from components.evaluator.page.page import PAGE_FILE, render_page, write_page
from components.evaluator.page.reports import Reports
from components.evaluator.page.run_facts import RunFacts
from components.evaluator.page.slices import error_slices
from components.evaluator.page.tiles import tiles
from components.evaluator.page.wording import clipped, percent, size
from components.evaluator.report.gate_report import GateReport, write_report
from components.repair.facts import CandidateFacts, FindingFacts, OutputAgreement, OutputLossFacts, SelectionScore
from components.repair.recipes import Recipe
from components.tflite_converter.report import ConversionReport, FileFacts
from components.trainer.history import Epoch, History
from components.trainer.qat_report import EqualizationFacts, Imbalance, QatReport, Score
from components.trainer.qat_report import write_report as write_qat_report
from tests.components.evaluator.gate.test_device_rules import measured
from tests.components.evaluator.report.test_diagnosis import CALIBRATION
from tests.components.tflite_converter.test_report import REPORT

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


CONVERSION = ConversionReport(
    **{
        **dict(REPORT),
        "float_model": FileFacts(file="float.tflite", sha256="c" * 64, size_bytes=40_000),
        "model": FileFacts(file="model.tflite", sha256="e" * 64, size_bytes=12_800),
        "calibration": CALIBRATION.model_copy(update={"num_range": 452, "num_distinct": 899}),
        "candidates": (
            CandidateFacts(
                name="int8 minmax",
                recipe=Recipe.INT8,
                sha256="e" * 64,
                size_bytes=12_800,
                score=SelectionScore(
                    outputs=(
                        OutputAgreement(
                            output="digit", num_rows=447, num_same=437, num_not_finite=0, relative_error=0.1
                        ),
                    ),
                    labels=None,
                ),
                losses=(OutputLossFacts(output="digit", loss=0.85, met=False),),
                met_goal=False,
                float_operators=("SOFTMAX",),
                seconds=0.07,
                chosen=True,
                why_chosen="closest to float",
            ),
            CandidateFacts(
                name="int8",
                recipe=Recipe.INT8,
                sha256="0" * 64,
                size_bytes=1,
                score=None,
                float_operators=(),
                seconds=1,
                chosen=False,
            ),
        ),
        "findings": (
            FindingFacts(name="channel imbalance", tensor="t", figure=105.2, threshold=10.0, remedy="equalized"),
        ),
        "warnings": ("the recipe saved nothing",),
        "inspection": replace(REPORT.inspection, float_islands=(FloatIsland(("SOFTMAX",), ("tfl.dequantize",)),)),
    }
)
QAT = QatReport(
    float_model=Score(num_correct=528, num_examples=548),
    fake_quantized=Score(num_correct=527, num_examples=548),
    tflite=Score(num_correct=526, num_examples=548),
    tflite_sha256="b" * 64,
    tflite_size_bytes=12_800,
    float_operators=(),
    equalization=EqualizationFacts(
        num_layers=4,
        changes=(),
        worst_before=Imbalance(layer="stem", figure=89.25),
        worst_after=Imbalance(layer="gate", figure=12.5),
        left=(Imbalance(layer="gate", figure=12.5),),
        largest_difference=1e-6,
        skipped="",
    ),
    epochs=3,
    learning_rate=0.0005,
    seed=7,
    seconds=12.5,
)
HISTORY = History(
    epochs=tuple(
        Epoch(
            number=number,
            figures={
                "loss": 2.0 / number,
                "val_loss": math.nan if number == 2 else 2.5 / number,
                "accuracy": 1 - 0.5 / number,
                "val_accuracy": 0.9 - 0.5 / number,
            },
            seconds=1.0,
        )
        for number in range(1, 6)
    ),
    monitor="val_loss",
    kept_epoch=4,
    stopped_early=True,
)
FACTS = RunFacts(
    model="pets",
    run="7 (2026-11-27T10:00:00)",
    time="2026-11-27 10:01",
    reason="new photos <of> March",
    release="000003-4b8aa8afd22f on channel dev",
    commit="0123456789ab",
    data="span 3",
    num_examples={"train": 700, "calibration": 200, "eval": 100},
    num_train_by_class=(175, 175, 175, 175),
)


def write_reports(directory: Path, gate: GateReport, **others: Any) -> None:
    """The reports of one run in one directory, each written by its owner."""
    write_report(gate, directory)
    if "conversion" in others:
        (directory / "conversion_report.json").write_text(others["conversion"].to_json(), encoding="utf-8")
    if "qat" in others:
        write_qat_report(others["qat"], directory)
    if "history" in others:
        (directory / "history.json").write_text(others["history"].model_dump_json(), encoding="utf-8")


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
    write_reports(tmp_path, gate_report(), conversion=CONVERSION, qat=QAT, history=HISTORY)
    write_flips(tmp_path)
    path = write_page(tmp_path, tmp_path, tmp_path, FACTS)
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
        pytest.param(
            "<title>Refused: pets int8, release 000003-4b8aa8afd22f on channel dev, run 7 (2026-11-27T10:00:00), 2026-11-27 10:01</title>",
            id="title",
        ),
        pytest.param("<dt>started</dt><dd>new photos &lt;of&gt; March</dd>", id="reason"),
        pytest.param("<dt>data</dt><dd>span 3</dd>", id="span"),
        pytest.param("<dt>examples</dt><dd>train 700, calibration 200, eval 100</dd>", id="split-sizes"),
        pytest.param("<dt>git commit</dt><dd>0123456789ab</dd>", id="commit"),
        pytest.param('aria-label="loss by epoch"', id="curve-of-the-loss"),
        pytest.param('aria-label="accuracy by epoch"', id="curve-of-the-accuracy"),
        pytest.param("Trained for 5 epochs and ended early; epoch 4 was kept.", id="training"),
        pytest.param("loss 0.5 (train), 0.625 (calibration)", id="figures-of-the-epoch"),
        pytest.param('<td class="right" style="--share: 0.4">8</td>', id="confusion-matrix"),
        pytest.param(
            '<td class="n wide">175</td><td class="n">25</td><td class="n">80.0\N{NO-BREAK SPACE}%</td>'
            '<td class="n">32.0\N{NO-BREAK SPACE}%</td><td class="n fail">-12</td>',
            id="accuracy-by-class",
        ),
    ],
)
def test_the_page_shows(page: Path, text: str) -> None:
    assert text in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("device", "texts"),
    [
        pytest.param(measured(), ("On the device", "pi (ssh): Raspberry Pi 4", "1.000 ms"), id="measured"),
        pytest.param(DeviceProblem("pi", "it is off."), ("On the device", "it is off."), id="unreachable"),
        pytest.param(None, (), id="none"),
    ],
)
def test_the_page_shows_what_a_device_did(device: Any, texts: tuple[str, ...]) -> None:
    text = render_page(Reports(gate_report(device=device)))
    assert all(each in text for each in texts)
    assert ("On the device" in text) == bool(texts)


SKIPPED_EQUALIZATION = EqualizationFacts(
    num_layers=0, changes=(), worst_before=None, worst_after=None, left=(), largest_difference=0, skipped="it failed"
)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        pytest.param({"equalization": None}, "Fine-tuned for 3 epochs", id="not-equalized"),
        pytest.param({"equalization": SKIPPED_EQUALIZATION}, "not equalized first: it failed.", id="skipped"),
        pytest.param(
            {"tflite": None, "tflite_problem": "no kernel"},
            "The int8-qat .tflite does not run: no kernel",
            id="no-tflite",
        ),
    ],
)
def test_the_page_shows_what_qat_came_to(changes: dict[str, Any], text: str, tmp_path: Path) -> None:
    write_reports(tmp_path, gate_report(), qat=QAT.model_copy(update=changes))
    path = write_page(tmp_path, None, tmp_path)
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
    write_page(page.parent, page.parent, page.parent, FACTS)
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
def test_a_page_is_drawn_of_whatever_there_is(report: GateReport) -> None:
    text = render_page(Reports(report))
    assert "Refused" in text
    assert "None" not in re.sub(r"<style.*?</style>", "", text, flags=re.DOTALL)


@pytest.mark.parametrize("name", ["conversion_report.json", "qat_report.json", "history.json"])
def test_a_report_with_a_renamed_field_is_missed_aloud(name: str, tmp_path: Path) -> None:
    write_reports(tmp_path, gate_report(), conversion=CONVERSION, qat=QAT, history=HISTORY)
    values = json.loads((tmp_path / name).read_text(encoding="utf-8"))
    values["renamed"] = values.pop("schema_version")
    (tmp_path / name).write_text(json.dumps(values), encoding="utf-8")
    path = write_page(tmp_path, tmp_path, tmp_path)
    assert path is not None
    assert f"{name} is not shown: it is no report of this version (renamed: " in path.read_text(encoding="utf-8")


def report_of_classes(number: int) -> GateReport:
    """Many classes, each third with a name of 200 characters without a blank; the last has no example."""
    names = [("name_" * 40 if label % 3 == 0 else "Rallus aquaticus ") + str(label) for label in range(number)]
    totals = [10] * (number - 1) + [0]
    of_float, of_candidate = [min(9, total) for total in totals], [min(8, total) for total in totals]
    num_examples, num_float, num_candidate = sum(totals), sum(of_float), sum(of_candidate)
    counts = {
        "num_examples": num_examples,
        "num_correct_float": num_float,
        "num_correct_candidate": num_candidate,
        "num_only_float_correct": num_float - num_candidate,
        "num_neither_correct": num_examples - num_float,
        "examples_by_label": totals,
        "correct_float_by_label": of_float,
        "correct_candidate_by_label": of_candidate,
    }
    rows = [
        [8 if row == answer else 2 * (answer == (row + 1) % number) for answer in range(number)]
        for row in range(number)
    ]
    confusion = {"float_model": rows, "candidate": rows} if number <= MAX_CONFUSION_CLASSES else None
    changes = [
        {"label": label, "float_answer": label, "candidate_answer": label + 1, "num_examples": 1} for label in range(9)
    ]
    return gate_report(class_names=names, counts=counts, confusion=confusion, slices=[], changes=changes)


def test_many_classes_are_folded_and_named_once(tmp_path: Path) -> None:
    text = render_page(Reports(report_of_classes(1000), facts=FACTS))
    assert "987 more classes" in text
    assert text.count('<span class="name" title="name_name_') >= 333
    assert "Without an example in the holdout: name_name_name_name_name…me_name_999." in text
    assert len(text) < 600_000


def test_more_classes_than_a_matrix_holds_are_told_by_their_confusions() -> None:
    report = report_of_classes(30)
    assert confusion_matrix(report) is None
    assert commonest_confusions(report)[0]["num_examples"] == 2
    assert "What int8 mixes up" in render_page(Reports(report))


def test_classes_stand_by_what_the_candidate_knows_of_them() -> None:
    rows = class_rows(gate_report(), (1, 2, 3))
    assert [(row.name, row.num_train, row.difference) for row in rows[:2]] == [("dog", 2, -12), ("cat", 1, 0)]
    assert rows[-1].num_train is None


def test_a_page_without_facts_has_no_empty_ones() -> None:
    text = render_page(Reports(gate_report()))
    assert "<title>Refused: int8</title>" in text
    assert '<dl class="facts">' not in text


def test_a_training_of_one_epoch_is_a_sentence() -> None:
    history = HISTORY.model_copy(update={"epochs": HISTORY.epochs[:1], "kept_epoch": 1, "stopped_early": False})
    text = render_page(Reports(gate_report(), history=history))
    assert "Trained for 1 epoch; epoch 1 was kept." in text
    assert "by epoch" not in text


def test_the_middle_of_a_long_name_is_left_out() -> None:
    assert clipped("a" * 20 + "b" * 20, 10) == "aaaaaa…bbb"
    assert clipped("short", 10) == "short"


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        pytest.param(0.4, 2.0, ["0.0", "0.5", "1.0", "1.5", "2.0"], id="a-loss"),
        pytest.param(0.91, 0.93, ["0.910", "0.915", "0.920", "0.925", "0.930"], id="close-together"),
        pytest.param(0.0, 3e9, ["0", "1e+09", "2e+09", "3e+09"], id="large"),
    ],
)
def test_an_axis_of_numbers_has_round_labels(low: float, high: float, expected: list[str]) -> None:
    assert number_ticks(low, high)[1] == expected


def test_epochs_are_whole_and_the_last_stands_there() -> None:
    assert whole_ticks(1, 3) == [1, 2, 3]
    assert whole_ticks(1, 100)[-1] == 100
    assert len(whole_ticks(1, 100)) <= 6


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
    found = confusion_difference(gate_report())
    assert found is not None
    row = found["rows"][1]
    assert [cell["value"] for cell in row] == [0, -12, 0, 12]
    assert (row[1]["is_worse"], row[3]["is_worse"]) == (True, True)
    assert confusion_difference(gate_report(confusion={"float_model": [[0]] * 99, "candidate": [[0]] * 99})) is None


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
        pytest.param(0.1, 4.47, ([2.0, 4.0], 0), id="several-times"),
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
    scrolled, inner, _ = measured(page, width, tmp_path)
    assert scrolled <= inner


@needs_chromium
@pytest.mark.parametrize("number", [pytest.param(20, id="a-whole-matrix"), pytest.param(1000, id="a-thousand")])
def test_many_classes_with_long_names_fit_a_phone(number: int, tmp_path: Path) -> None:
    write_reports(tmp_path, report_of_classes(number))
    page = write_page(tmp_path, None, None, FACTS)
    assert page is not None
    scrolled, inner, narrowest_name = measured(page, 360, tmp_path)
    assert scrolled <= inner
    assert narrowest_name >= 60  # squeezed further, a name is a column of letters


def measured(page: Path, width: int, tmp_path: Path) -> tuple[int, int, int]:
    """Pixels: what the page takes, what the window has, the narrowest name in a table.

    A headless window is at least 500 pixels wide, so the page stands in a frame, without its ban on scripts, and measures itself.
    """
    text = re.sub(r"<meta http-equiv=[^>]+>", "", page.read_text(encoding="utf-8"))
    measure = """<script>
      const names = [...document.querySelectorAll('.name')].map(name => name.offsetWidth).filter(width => width > 0)
      parent.postMessage([document.documentElement.scrollWidth, innerWidth, Math.min(9999, ...names)].join(' '), '*')
    </script></body>"""
    (tmp_path / "probe.html").write_text(text.replace("</body>", measure), encoding="utf-8")
    frame = tmp_path / "frame.html"
    listen = "<script>onmessage = message => { document.title = message.data }</script>"
    frame.write_text(
        f'{listen}<iframe src="probe.html" style="border:0;width:{width}px;height:900px"></iframe>', encoding="utf-8"
    )
    document = browse(frame.as_uri(), 1400, tmp_path, "--dump-dom", "--virtual-time-budget=5000").stdout
    numbers = re.search(r"<title>(\d+) (\d+) (\d+)</title>", document)
    assert numbers is not None, document[:300]
    scrolled, inner, names = (int(number) for number in numbers.groups())
    assert inner == width
    return scrolled, inner, names


def error_record(name: str, value: str, of_float: float, of_candidate: float) -> dict[str, Any]:
    figures = {"mean_absolute_error": (9.0, 9.0), "root_mean_squared_error": (of_float, of_candidate)}
    errors = {
        f"{key}_{of}": v for key, pair in figures.items() for of, v in zip(("float", "candidate"), pair, strict=True)
    }
    return {"name": name, "value": value, "num_examples": 300, **errors}


def test_errors_stand_by_slice_those_that_grew_most_first() -> None:
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
    text = render_page(Reports(report))
    assert "Errors by slice" in text
    assert "Root mean squared error per slice" in text
