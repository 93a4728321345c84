"""A compiled pipeline's own commands, run as Kubeflow runs them, give the release that a local run gives."""

from __future__ import annotations

import json
import signal
import uuid
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.mlmd import MetadataLocation, Run, RunStore
from tests.e2e.pods import Cluster
from tests.e2e.projects import Project, make_project

IMAGE = "registry.example/edgeproof@sha256:" + "0" * 64


def for_pods(project: Project) -> Path:
    """The project's config for pods that see its folder as a volume; a repository with keys is there."""
    volume = str(project.directory)
    settings = yaml.safe_load(project.config.read_text(encoding="utf-8"))
    settings["data"]["class_names"] = [str(digit) for digit in range(10)]
    settings["workspace"] = f"{volume}/runs"
    settings["release"] = {"path": f"{volume}/published", "keys": f"{volume}/keys"}
    settings["kubeflow"] = {
        "image": IMAGE,
        "metadata": f"sqlite://{volume}/metadata.sqlite",
        "volumes": [{"claim": "edgeproof", "path": volume}],
    }
    project.config.write_text(yaml.safe_dump(settings), encoding="utf-8")
    made = project.edgeproof("release", "init", f"{volume}/published", "--keys", f"{volume}/keys")
    assert made.returncode == 0, made.stderr
    return project.config


@pytest.fixture
def for_a_cluster(tmp_path: Path) -> Project:
    project = make_project(tmp_path / "volume")
    for_pods(project)
    return project


def compiled(project: Project, *arguments: str) -> Cluster:
    file = project.directory / f"{uuid.uuid4().hex}.yaml"
    result = project.edgeproof("kubeflow", "compile", str(project.config), "-o", str(file), *arguments)
    assert result.returncode == 0, result.stderr
    outputs = project.directory / f"outputs-{file.stem}"
    outputs.mkdir()
    return Cluster.of_file(file, outputs, str(uuid.uuid4()))


def recorded(project: Project, cluster: Cluster) -> Run:
    run = RunStore(MetadataLocation.of_file(project.directory / "metadata.sqlite")).run(cluster.run_id)
    assert run is not None
    return run


def release_of(run: Run) -> str:
    """Where the files of a run's release lie."""
    return next(node for node in run.nodes if node.name == "Pusher").output("PushedModel").uri


@pytest.mark.exhaustive
@pytest.mark.e2e
def test_pods_give_the_release_that_a_local_run_gives(for_a_cluster: Project, first_run: dict[str, Any]) -> None:
    cluster = compiled(for_a_cluster)
    cluster.parameters = {"reason": "-5 degrees: drift", "trigger_key": "drift-7", "data_span": "7"}
    for task in cluster.in_order():
        result = cluster.run(task)
        assert result.returncode == 0, result.stdout + result.stderr
    run = recorded(for_a_cluster, cluster)
    assert {node.state for node in run.nodes} == {"complete"}
    assert len(run.nodes) == len(cluster.tasks)
    assert run.purpose is not None
    assert vars(run.purpose) == {
        "reason": "-5 degrees: drift",
        "trigger_key": "drift-7",
        "schedule_time": "2026-11-27T03:00:00Z",
        "data_span": "7",
    }
    provenance = json.loads((Path(release_of(run)) / "provenance.intoto.json").read_text(encoding="utf-8"))
    parameters = provenance["predicate"]["buildDefinition"]["internalParameters"]
    assert [parameters[name] for name in ("reason", "triggerKey", "dataSpan")] == ["-5 degrees: drift", "drift-7", "7"]
    model = Path(release_of(run)) / "model.tflite"
    assert model.read_bytes() == (Path(first_run["release"]["path"]) / "model.tflite").read_bytes()
    assert (for_a_cluster.directory / "published" / "metadata" / "timestamp.json").is_file()
    shown = cluster.outputs("evaluator")
    metrics = shown["metrics"]["artifacts"][0]["metadata"]
    report = json.loads(Path(first_run["gate_report"]).read_text(encoding="utf-8"))
    assert metrics["accepted"] == 1.0
    assert metrics["edge_accuracy"] == report["counts"]["num_correct_candidate"] / report["counts"]["num_examples"]
    assert "<html" in Path(shown["report"]["artifacts"][0]["uri"]).read_text(encoding="utf-8")

    again = compiled(for_a_cluster, "--granularity", "pipeline")
    result = again.run("pipeline")
    assert result.returncode == 0, result.stdout + result.stderr
    assert {node.name for node in recorded(for_a_cluster, again).nodes if node.state != "cached"} <= {"Pusher"}


@pytest.mark.exhaustive
def test_a_refused_model_ends_green_and_publishes_nothing(for_a_cluster: Project) -> None:
    cluster = compiled(for_a_cluster, "--granularity", "pipeline", "--set", "gate.min_float_accuracy=0.9999")
    result = cluster.run("pipeline")
    assert result.returncode == 0, result.stdout + result.stderr
    assert cluster.outputs("pipeline")["metrics"]["artifacts"][0]["metadata"]["accepted"] == 0.0
    assert list((for_a_cluster.directory / "published").glob("targets/models/*")) == []


@pytest.mark.exhaustive
def test_bad_data_stops_at_the_validator(for_a_cluster: Project) -> None:
    cluster = compiled(for_a_cluster, "--set", "gate.min_examples=100000")
    codes = {}
    for task in cluster.in_order():
        result = cluster.run(task)
        codes[task] = result.returncode
        if result.returncode:
            break
    assert list(codes)[-1] == "examplevalidator"
    assert codes["examplevalidator"] == 2
    assert "gate.min_examples" in result.stderr
    assert recorded(for_a_cluster, cluster).state == "failed at ExampleValidator"


@pytest.mark.exhaustive
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "stopped"])
def test_a_node_that_was_ended_is_finished_by_the_same_run(for_a_cluster: Project, number: signal.Signals) -> None:
    cluster = compiled(for_a_cluster)
    order = list(cluster.in_order())
    for task in order[: order.index("trainer")]:
        assert cluster.run(task).returncode == 0
    process = cluster.start("trainer")
    assert process.stdout is not None
    for line in process.stdout:
        if "Going to run a new execution" in line:
            break
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode == (-9 if number == signal.SIGKILL else 143)
    state = {signal.SIGKILL: "running at Trainer", signal.SIGTERM: "failed at Trainer"}
    assert recorded(for_a_cluster, cluster).state == state[number]
    for task in order:
        result = cluster.run(task)
        assert result.returncode == 0, result.stdout + result.stderr
    run = recorded(for_a_cluster, cluster)
    assert run.state == "complete"
    assert [node.name for node in run.nodes].count("Trainer") == 1
