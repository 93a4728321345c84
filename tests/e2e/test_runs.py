"""The whole chain on the demo's data: published once, cached after, re-run where something changed, finished after a kill."""

from __future__ import annotations

import hashlib
import json
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from edgeproof_edge.manifest import Manifest

from tests.e2e.projects import Project, make_project

pytestmark = pytest.mark.e2e
States = Callable[[dict[str, Any]], dict[str, str]]


def test_the_first_run_publishes_the_bytes_that_were_judged(project: Project, first_run: dict[str, Any]) -> None:
    report = json.loads(Path(first_run["gate_report"]).read_text(encoding="utf-8"))
    model = Path(first_run["release"]["path"]) / "model.tflite"
    assert report["candidate"]["sha256"] == hashlib.sha256(model.read_bytes()).hexdigest()
    assert report["counts"]["num_examples"] == report["expected_num_examples"] > 500
    manifest = Manifest.from_json(model.with_name("manifest.json").read_bytes())
    assert manifest.sequence == 1
    assert manifest.golden is not None
    assert manifest.reference is not None
    assert manifest.reference.num_examples == report["counts"]["num_examples"]
    assert manifest.inputs[0].layout == "NHWC"
    assert json.loads(project.edgeproof("release", "verify", str(project.config), "--json").stdout)["problems"] == []


def test_a_second_run_is_served_from_the_cache(project: Project, first_run: dict[str, Any], states: States) -> None:
    exit_code, record = project.run()
    assert exit_code == 0
    rerun = {name for name, state in states(record).items() if state != "cached"}
    assert rerun <= {"Pusher"}  # it looks whether the release is still there
    assert record["release"]["version"] == first_run["release"]["version"]


def test_an_accepted_model_is_promoted_and_rolled_back_from_the_command_line(
    project: Project, first_run: dict[str, Any]
) -> None:
    config = str(project.config)
    promoted = project.edgeproof("release", "promote", config, "dev", "stable", "--rollout", "10", "--yes")
    assert promoted.returncode == 0, promoted.stderr
    assert first_run["release"]["version"] in promoted.stdout
    audit = json.loads(project.edgeproof("release", "audit", config, "--channel", "stable", "--json").stdout)
    assert "10 % of the devices" in audit[-1]["detail"]


def test_report_explains_the_last_run(project: Project, first_run: dict[str, Any]) -> None:
    result = project.edgeproof("report", str(project.config))
    assert result.returncode == 0
    assert "ACCEPTED" in result.stdout
    assert first_run["release"]["version"] in result.stdout
    assert "warning" not in result.stderr
    page = next(line.split()[1] for line in result.stdout.splitlines() if line.startswith("page "))
    text = (project.directory / page).read_text(encoding="utf-8")
    assert re.search(
        rf"<title>Accepted: digits int8, release {first_run['release']['version']} on channel dev, run \d+ \(", text
    )
    assert "<dt>examples</dt><dd>train 696, calibration 548, eval 553</dd>" in text
    assert "Trained for 15 epochs; epoch 15 was kept." in text


@pytest.mark.exhaustive
def test_report_says_when_a_later_run_came_to_no_verdict(project: Project, first_run: dict[str, Any]) -> None:
    assert project.edgeproof("run", str(project.config), "--set", "data.path=nowhere").returncode == 2
    result = project.edgeproof("report", str(project.config))
    assert result.returncode == 0
    assert "ACCEPTED" in result.stdout
    assert "a later run" in result.stderr
    assert project.run()[0] == 0
    assert "warning" not in project.edgeproof("report", str(project.config)).stderr


@pytest.mark.exhaustive
def test_a_wiped_release_directory_is_filled_again(project: Project, first_run: dict[str, Any], states: States) -> None:
    project.commit_point.unlink()
    exit_code, record = project.run()
    assert exit_code == 0
    assert project.commit_point.is_file()
    assert states(record)["Trainer"] == "cached"


@pytest.mark.exhaustive
def test_a_changed_model_module_is_trained_again(tmp_path: Path, states: States) -> None:
    project = make_project(tmp_path)
    quick = ("--set", "train.epochs=1", "--set", "gate.min_float_accuracy=0")
    project.run(*quick)
    module = project.directory / "model.py"
    module.write_text(module.read_text(encoding="utf-8").replace("(32, 1)", "(24, 1)"), encoding="utf-8")
    _, record = project.run(*quick)
    assert states(record)["ImageExampleGen"] == "cached"
    assert states(record)["Trainer"] == "complete"
    assert states(record)["Evaluator"] == "complete"
    compared = project.edgeproof("runs", "compare", "1", "2", "--json")
    differences = json.loads(compared.stdout)["differences"]
    kinds = {difference["kind"] for difference in differences}
    assert [d["what"] for d in differences if d["kind"] == "file"] == ["model.py"]
    assert {"code", "result", "class"} <= kinds
    assert not kinds & {"config", "data"}


@pytest.mark.exhaustive
def test_an_interrupted_and_a_killed_run_are_finished_by_the_next(tmp_path: Path, states: States) -> None:
    project = make_project(tmp_path)
    for number, exit_code in ((signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)):
        process = project.start("run", str(project.config))
        assert process.stderr is not None
        for line in process.stderr:
            if "epoch" in line:  # it trains; the line [5/8] Trainer comes before
                break
        process.send_signal(number)
        process.communicate()
        assert process.returncode == exit_code
    assert not project.commit_point.exists()
    exit_code, record = project.run("--set", "train.epochs=15")
    assert exit_code == 0
    assert states(record)["ImageExampleGen"] == "cached"
    assert project.commit_point.is_file()
    runs = json.loads(project.edgeproof("runs", "--json").stdout)
    assert [run["state"] for run in runs] == ["interrupted at Trainer", "killed at Trainer", "complete"]
    assert runs[2]["num_examples"] == {"train": 696, "calibration": 548, "eval": 553}  # of a cached step, too
