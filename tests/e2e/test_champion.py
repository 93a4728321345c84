"""A team that asks for no worse than the last release: better and equal models pass, a worse one is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.projects import Project, make_project

pytestmark = pytest.mark.e2e
RULE = ("--set", "gate.champion_min_ratio=1")
#: Few epochs: worse than the demo's model.
WORSE = ("--set", "train.epochs=3")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return make_project(tmp_path_factory.mktemp("champion"))


def verdict(record: dict[str, Any]) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(Path(record["gate_report"]).read_text(encoding="utf-8"))
    return report


def test_a_worse_model_than_the_last_blessed_one_is_refused(project: Project) -> None:
    import tensorflow_model_analysis as tfma

    exit_code, first = project.run(*RULE)
    assert exit_code == 0
    assert verdict(first)["champion"] is None
    exit_code, worse = project.run(*RULE, *WORSE)
    assert exit_code == 1
    report = verdict(worse)
    assert "no_worse_than_release" in {rule["name"] for rule in report["verdict"]["rules"] if not rule["passed"]}
    assert report["champion"]["sha256"] == verdict(first)["candidate"]["sha256"]
    assert report["champion"]["num_correct"] == verdict(first)["counts"]["num_correct_candidate"]
    assert worse["release"] is None
    directory = str(Path(worse["gate_report"]).parent)
    assert not tfma.load_validation_result(directory).validation_ok
    found = {
        model: len(tfma.load_eval_result(directory, model_name=model).slicing_metrics)
        for model in ("baseline", "candidate")
    }
    assert found["baseline"] == found["candidate"] >= 1 + 10  # the whole and every digit
    exit_code, again = project.run(*RULE)
    assert exit_code == 0
    assert verdict(again)["champion"]["sha256"] == verdict(first)["candidate"]["sha256"]
