"""A compiled pipeline's own commands, run as Kubeflow runs them, give the release that a local run gives."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.kubeflow.verdict import verdict_in
from pipeline.mlmd import MetadataLocation, NodeRun, Run, RunPurpose, RunStore
from tests.e2e import mysql_server
from tests.e2e.pods import Cluster, ended, start_container
from tests.e2e.projects import Project, make_project
from tests.e2e.sandbox import GROUP, USER, Sandbox, why_not

#: Where pods of a hardened cluster see the volume.
MOUNTED = "/mnt/edgeproof"
JOB = "edgeproof-digits-29412345"
IMAGE = "registry.example/edgeproof@sha256:" + "0" * 64


def for_pods(project: Project, mounted: str | None = None, metadata: str | None = None) -> Path:
    """The project's config for pods that see its folder as a volume; a repository with keys is there.

    Args:
        project: On this machine.
        mounted: Where the pods see its folder; by default where it is.
        metadata: Address of ML Metadata; by default a file on the volume.
    """
    volume = mounted or str(project.directory)
    settings = yaml.safe_load(project.config.read_text(encoding="utf-8"))
    settings["data"] |= {"path": f"{volume}/images", "class_names": [str(digit) for digit in range(10)]}
    settings["workspace"] = f"{volume}/runs"
    settings["release"] = {"path": f"{volume}/published", "keys": f"{volume}/keys"}
    settings["kubeflow"] = {
        "image": IMAGE,
        "metadata": metadata or f"sqlite://{volume}/metadata.sqlite",
        "volumes": [{"claim": "edgeproof", "path": volume}],
        **({"project": mounted} if mounted else {}),
    }
    project.config.write_text(yaml.safe_dump(settings), encoding="utf-8")
    place = project.directory
    made = project.edgeproof("release", "init", f"{place}/published", "--keys", f"{place}/keys")
    assert made.returncode == 0, made.stderr
    return project.config


@pytest.fixture
def for_a_cluster(tmp_path: Path) -> Project:
    project = make_project(tmp_path / "volume")
    for_pods(project)
    return project


def compiled(project: Project, sandbox: Sandbox | None = None, arguments: Sequence[str] = ()) -> Cluster:
    file = project.directory / f"{uuid.uuid4().hex}.yaml"
    result = project.edgeproof("kubeflow", "compile", str(project.config), "-o", str(file), *arguments)
    assert result.returncode == 0, result.stderr
    outputs = project.directory / f"outputs-{file.stem}"
    outputs.mkdir()
    cluster = Cluster.of_file(file, outputs, str(uuid.uuid4()))
    cluster.sandbox = sandbox
    if sandbox is not None:
        sandbox.open_volume()
    return cluster


def recorded(project: Project, run_id: str, metadata: str | None = None) -> Run:
    file = MetadataLocation.of_file(project.directory / "metadata.sqlite")
    run = RunStore(file if metadata is None else MetadataLocation(metadata)).run(run_id)
    assert run is not None
    return run


def seen_from_here(project: Project, node: NodeRun | None, artifact: str) -> Path:
    """Where an artifact of a pod lies on this machine."""
    assert node is not None
    return project.directory / Path(node.output(artifact).uri).relative_to(MOUNTED)


@pytest.fixture(params=["sqlite", "postgresql", "mysql"])
def metadata(request: pytest.FixtureRequest) -> Iterator[str | None]:
    """ML Metadata on the volume, and on real servers."""
    name = f"pods{uuid.uuid4().hex[:8]}"
    if request.param == "sqlite":
        yield None
    elif request.param == "postgresql":
        pytest.importorskip("psycopg", reason="the dev extra brings it")
        from tests.telemetry.conftest import running_server

        with running_server() as server:
            yield server.create_database(name)
    else:
        with mysql_server.running_server() as port:
            yield mysql_server.create_database(port, name)


@pytest.fixture
def hardened(tmp_path: Path, metadata: str | None) -> tuple[Project, Sandbox]:
    """A project whose pods are another user's, on a root that is read-only but for the volume."""
    if reason := why_not():
        pytest.skip(f"no pod of a hardened cluster can be made here: {reason}")
    project = make_project(tmp_path / "volume")
    for_pods(project, MOUNTED, metadata)
    return project, Sandbox.make(project.directory, MOUNTED, tmp_path / "root")


@pytest.mark.exhaustive
@pytest.mark.e2e
def test_pods_give_the_release_that_a_local_run_gives(
    hardened: tuple[Project, Sandbox], metadata: str | None, first_run: dict[str, Any]
) -> None:
    project, sandbox = hardened
    cluster = compiled(project, sandbox)
    cluster.parameters = {"reason": "-5 degrees: drift", "trigger_key": "drift-7", "data_span": "7"}
    for task in cluster.in_order():
        result = cluster.run(task)
        assert result.returncode == 0, result.stdout + result.stderr
        assert verdict_in(result.stdout) is None or task == "evaluator"
        peak = re.search(r"([\d.]+) s of processor time, ([\d.]+) GB of memory at most", result.stdout)
        assert peak is not None
        print(f"{task}: {peak[0]}")  # kubeflow/README.md states them
        assert float(peak[2]) < cluster.memory_request(task)
    run = recorded(project, cluster.run_id, metadata)
    assert {node.state for node in run.nodes} == {"complete"}
    assert len(run.nodes) == len(cluster.tasks)
    assert run.purpose == RunPurpose("-5 degrees: drift", "drift-7", "2026-11-27T03:00:00Z", "7")
    release = seen_from_here(project, run.node("Pusher"), "PushedModel")
    provenance = json.loads((release / "provenance.intoto.json").read_text(encoding="utf-8"))
    parameters = provenance["predicate"]["buildDefinition"]["internalParameters"]
    assert [parameters[name] for name in ("reason", "triggerKey", "dataSpan")] == ["-5 degrees: drift", "drift-7", "7"]
    local_release = Path(first_run["release"]["path"])
    assert (release / "model.tflite").read_bytes() == (local_release / "model.tflite").read_bytes()
    assert (project.directory / "published" / "metadata" / "timestamp.json").stat().st_uid == USER
    shown = cluster.outputs("evaluator")
    metrics = shown["metrics"]["artifacts"][0]["metadata"]
    report = json.loads(Path(first_run["gate_report"]).read_text(encoding="utf-8"))
    assert metrics["accepted"] == 1.0
    assert metrics["edge_accuracy"] == report["counts"]["num_correct_candidate"] / report["counts"]["num_examples"]
    assert "<html" in next(cluster.directory.glob("evaluator/report")).read_text(encoding="utf-8")

    job = cronjob(project, sandbox)
    assert job.returncode == 0, job.stdout + job.stderr
    verdict = verdict_in(job.stdout)
    assert verdict is not None
    assert (verdict.is_accepted, "ACCEPTED" in verdict.text) == (True, True)
    by_clock = recorded(project, JOB, metadata)
    assert by_clock.purpose == RunPurpose("schedule 0 3 * * *")
    assert {node.name for node in by_clock.nodes if node.state != "cached"} <= {"Pusher"}


def cronjob(project: Project, sandbox: Sandbox) -> subprocess.CompletedProcess[str]:
    """Runs what the CronJob's manifest says, with the variables that Kubernetes fills in."""
    printed = project.edgeproof("kubeflow", "cronjob", str(project.config), "--cron", "0 3 * * *")
    assert printed.returncode == 0, printed.stderr
    sandbox.open_volume()
    pod = yaml.safe_load(printed.stdout)["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert (pod["securityContext"]["runAsUser"], pod["securityContext"]["fsGroup"]) == (USER, GROUP)
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    environment = {variable["name"]: variable.get("value", JOB) for variable in container["env"]}
    arguments = [re.sub(r"\$\((\w+)\)", lambda match: environment[match[1]], text) for text in container["args"]]
    return ended(start_container([*container["command"], *arguments], environment, sandbox))


@pytest.mark.exhaustive
def test_a_refused_model_ends_green_and_publishes_nothing(for_a_cluster: Project) -> None:
    cluster = compiled(
        for_a_cluster, arguments=("--granularity", "pipeline", "--set", "gate.min_float_accuracy=0.9999")
    )
    result = cluster.run("pipeline")
    assert result.returncode == 0, result.stdout + result.stderr
    verdict = verdict_in(result.stdout)
    assert verdict is not None
    assert (verdict.is_accepted, "REFUSED" in verdict.text) == (False, True)
    assert cluster.outputs("pipeline")["metrics"]["artifacts"][0]["metadata"]["accepted"] == 0.0
    assert list((for_a_cluster.directory / "published").glob("targets/models/*")) == []


@pytest.mark.exhaustive
def test_bad_data_stops_at_the_validator(for_a_cluster: Project) -> None:
    cluster = compiled(for_a_cluster, arguments=("--set", "gate.min_examples=100000"))
    codes = {}
    for task in cluster.in_order():
        result = cluster.run(task)
        codes[task] = result.returncode
        if result.returncode:
            break
    assert list(codes)[-1] == "examplevalidator"
    assert codes["examplevalidator"] == 2
    assert "gate.min_examples" in result.stderr
    assert recorded(for_a_cluster, cluster.run_id).state == "failed at ExampleValidator"


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
    assert recorded(for_a_cluster, cluster.run_id).state == state[number]
    for task in order:
        result = cluster.run(task)
        assert result.returncode == 0, result.stdout + result.stderr
    run = recorded(for_a_cluster, cluster.run_id)
    assert run.state == "complete"
    assert [node.name for node in run.nodes].count("Trainer") == 1
