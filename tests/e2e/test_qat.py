"""A run with quantization-aware training: three scores, the float model as baseline, and the fine-tuned model's bytes published."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

from components.evaluator.scoring.both_models import sha256_of_directory
from components.saved_models.saved_model import EDGE_SIGNATURE, qat_saved_model, saved_model_dir
from tests.e2e.projects import Project

pytestmark = [pytest.mark.e2e, pytest.mark.exhaustive]


@pytest.fixture
def trained(tuned: tuple[Project, dict[str, Any]]) -> Path:
    """The Trainer's artifact."""
    return next((tuned[0].workspace / "artifacts" / "Trainer" / "model").iterdir())


@pytest.fixture
def gate(tuned: tuple[Project, dict[str, Any]]) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(Path(tuned[1]["gate_report"]).read_text(encoding="utf-8"))
    return report


def test_the_three_scores_stand_side_by_side(tuned: tuple[Project, dict[str, Any]], trained: Path) -> None:
    report = json.loads((trained / "qat_report.json").read_text(encoding="utf-8"))
    models = ("float_model", "fake_quantized", "tflite")
    assert min(report[model]["num_correct"] / report[model]["num_examples"] for model in models) > 0.9
    assert report["float_operators"] == []
    page = Path(tuned[1]["gate_report"]).with_name("report.html").read_text(encoding="utf-8")
    section = page.split("<h2>Quantization-aware training</h2>")[1].split("</section>")[0]
    rows = re.findall(r"<tr><td>([^<]+) <small>.*?<td class=\"n\">([\d,]+)</td>", section)
    names = ("float", "fake-quantized", "int8-qat .tflite")
    assert rows == [(name, f"{report[model]['num_correct']:,}") for name, model in zip(names, models, strict=True)]


def test_the_gate_judges_against_the_float_model(gate: dict[str, Any], trained: Path) -> None:
    assert gate["verdict"]["accepted"]
    assert {entry["uri"] for entry in gate["lineage"] if entry["role"] == "float_model"} == {str(trained)}
    fine_tuned = qat_saved_model(str(trained))
    assert fine_tuned is not None
    assert gate["baseline"]["sha256"] == sha256_of_directory(saved_model_dir(str(trained)))
    assert gate["baseline"]["sha256"] != sha256_of_directory(fine_tuned)


def test_what_is_published_was_converted_from_the_fine_tuned_model(
    tuned: tuple[Project, dict[str, Any]], gate: dict[str, Any], trained: Path
) -> None:
    from components.tflite_converter.qat_conversion import convert_qat

    fine_tuned = qat_saved_model(str(trained))
    assert fine_tuned is not None
    converted = hashlib.sha256(convert_qat(fine_tuned, EDGE_SIGNATURE)).hexdigest()
    published = Path(tuned[1]["release"]["path"]) / "model.tflite"
    assert hashlib.sha256(published.read_bytes()).hexdigest() == converted == gate["candidate"]["sha256"]
