"""What a run leaves for people: the scores of quantization-aware training, the page, the list of runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from components.saved_model import qat_saved_model
from tests.e2e.projects import Project, make_project

pytestmark = pytest.mark.e2e
EVAL_CONFIG = 'metrics_specs { metrics { class_name: "AUC" } binarize { class_ids { values: 3 } } }'


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, dict[str, Any]]:
    """A project that was run with quantization-aware training, and with a metric of TFMA."""
    project = make_project(tmp_path_factory.mktemp("tuned"))
    (project.directory / "more.pbtxt").write_text(EVAL_CONFIG, encoding="utf-8")
    exit_code, record = project.run(
        "--set", "train.qat=on", "--set", "gate.eval_config=more.pbtxt", "--reason", "a new model"
    )
    assert exit_code == 0
    return project, record


def test_qat_is_scored_beside_the_float_model_that_the_gate_judges_against(
    tuned: tuple[Project, dict[str, Any]],
) -> None:
    project, record = tuned
    trained = next((project.workspace / "artifacts" / "Trainer" / "model").iterdir())
    assert qat_saved_model(str(trained)) is not None
    report = json.loads((trained / "qat_report.json").read_text(encoding="utf-8"))
    scores = [
        report[name]["num_correct"] / report[name]["num_examples"]
        for name in ("float_model", "fake_quantized", "tflite")
    ]
    assert min(scores) > 0.9
    assert report["float_operators"] == []
    gate = json.loads(Path(record["gate_report"]).read_text(encoding="utf-8"))
    assert {entry["uri"] for entry in gate["lineage"] if entry["role"] == "float_model"} == {str(trained)}


def test_the_page_lies_beside_the_verdict(tuned: tuple[Project, dict[str, Any]]) -> None:
    text = Path(tuned[1]["gate_report"]).with_name("report.html").read_text(encoding="utf-8")
    assert "✓ Accepted" in text
    assert "fake-quantized, in Keras" in text


def test_tfmas_metric_is_in_the_report_and_on_the_page(tuned: tuple[Project, dict[str, Any]]) -> None:
    report = Path(tuned[1]["gate_report"])
    (figure,) = json.loads(report.read_text(encoding="utf-8"))["extra_metrics"]
    assert figure["name"] == "auc, class 3"
    assert 0.95 < figure["float_value"] <= 1
    assert figure["candidate_value"] == pytest.approx(figure["float_value"], abs=0.02)
    assert "auc, class 3" in report.with_name("report.html").read_text(encoding="utf-8")


def test_the_run_is_listed(tuned: tuple[Project, dict[str, Any]]) -> None:
    project, record = tuned
    runs = json.loads(project.edgeproof("runs", "--json").stdout)
    assert [(run["run_id"], run["verdict"], run["why"], run["changed"]) for run in runs] == [
        (record["run_id"], "accepted", "a new model", "first run")
    ]
    assert runs[0]["release"] == record["release"]["version"]
