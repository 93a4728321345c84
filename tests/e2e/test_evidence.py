"""What a run leaves for people: the page and the list of runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.projects import Project

pytestmark = [pytest.mark.e2e, pytest.mark.exhaustive]


def test_the_page_lies_beside_the_verdict(tuned: tuple[Project, dict[str, Any]]) -> None:
    text = Path(tuned[1]["gate_report"]).with_name("report.html").read_text(encoding="utf-8")
    assert "✓ Accepted" in text


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
