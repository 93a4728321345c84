"""A team that asks for no worse than the last blessed model, or than the release on a channel: a worse one is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.projects import Project, make_project

pytestmark = [pytest.mark.e2e, pytest.mark.exhaustive]
RULE = ("--set", "gate.champion_min_ratio=1")
ON_STABLE = (*RULE, "--set", "gate.champion_channel=stable")
#: Fewer epochs: worse than the demo's model, and good enough for every other rule.
WORSE = ("--set", "train.epochs=10")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return make_project(tmp_path_factory.mktemp("champion"))


@pytest.fixture(scope="module")
def first(project: Project) -> dict[str, Any]:
    """The first run, with nothing to compare with: accepted, and release 1 on channel dev."""
    exit_code, record = project.run(*RULE)
    assert exit_code == 0
    return record


def verdict(record: dict[str, Any]) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(Path(record["gate_report"]).read_text(encoding="utf-8"))
    return report


def release(project: Project, *arguments: str) -> None:
    result = project.edgeproof("release", *arguments, "--yes")
    assert result.returncode == 0, result.stderr


def rule_of(report: dict[str, Any]) -> dict[str, Any]:
    rules: list[dict[str, Any]] = report["verdict"]["rules"]
    return next(rule for rule in rules if rule["name"] == "no_worse_than_release")


def test_a_worse_model_than_the_last_blessed_one_is_refused(project: Project, first: dict[str, Any]) -> None:
    import tensorflow_model_analysis as tfma

    assert verdict(first)["champion"] is None
    exit_code, worse = project.run(*RULE, *WORSE)
    assert exit_code == 1
    report = verdict(worse)
    assert not rule_of(report)["passed"]
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


@pytest.mark.usefixtures("first")
def test_a_worse_model_than_the_release_on_a_channel_is_refused_and_a_rollback_is_seen(
    project: Project, states: Callable[[dict[str, Any]], dict[str, str]]
) -> None:
    config = str(project.config)
    _, worse = project.run(*WORSE, *ON_STABLE)  # dev has a better release; stable has none, and nothing is compared
    assert "channel stable of" in rule_of(verdict(worse))["reason"]
    assert worse["release"] is not None
    release(project, "promote", config, worse["release"]["version"], "stable")
    release(project, "promote", config, "1", "stable")
    exit_code, refused = project.run(*WORSE, *ON_STABLE)
    assert exit_code == 1
    champion = verdict(refused)["champion"]
    assert champion["channel"] == "stable"
    assert f"release {champion['version']} on channel stable" in rule_of(verdict(refused))["reason"]
    assert champion["version"].startswith("000001-")
    assert (states(refused)["Trainer"], states(refused)["TFLiteConverter"]) == ("cached", "cached")
    release(project, "rollback", config, "stable")
    exit_code, accepted = project.run(*WORSE, *ON_STABLE)
    assert exit_code == 0
    assert verdict(accepted)["champion"]["version"] == worse["release"]["version"]
