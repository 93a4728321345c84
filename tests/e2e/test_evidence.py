"""What a run leaves for people: the page and the list of runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.projects import Project

pytestmark = pytest.mark.e2e


def test_the_page_lies_beside_the_verdict(tuned: tuple[Project, dict[str, Any]]) -> None:
    text = Path(tuned[1]["gate_report"]).with_name("report.html").read_text(encoding="utf-8")
    assert "✓ Accepted" in text


def test_the_run_is_listed(tuned: tuple[Project, dict[str, Any]]) -> None:
    project, record = tuned
    runs = json.loads(project.edgeproof("runs", "--json").stdout)
    assert [(run["run_id"], run["verdict"], run["why"]) for run in runs] == [
        (record["run_id"], "accepted", "first run")
    ]
    assert runs[0]["release"] == record["release"]["version"]
