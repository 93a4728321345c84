"""Runs are read the same from a file, from PostgreSQL and over gRPC; who asks first makes the tables, once."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import ConfigError, RunError
from pipeline.mlmd import MetadataLocation, RunPurpose, RunStore, open_store
from tests.pipeline.metadata_server import serving_metadata

_numbers = itertools.count()


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Any]:
    pytest.importorskip("psycopg", reason="the dev extra brings it")
    from tests.telemetry.conftest import running_server

    with running_server() as server:
        yield server


@pytest.fixture(params=["sqlite", "grpc", "postgresql"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MetadataLocation]:
    """An empty store of each kind."""
    if request.param == "sqlite":
        yield MetadataLocation.of_file(tmp_path / "a file's name.sqlite")
    elif request.param == "grpc":
        with serving_metadata(tmp_path / "server.sqlite") as url:
            yield MetadataLocation(url)
    else:
        server = request.getfixturevalue("postgresql")
        yield MetadataLocation(server.create_database(f"mlmd{next(_numbers)}"))


def record(
    location: MetadataLocation,
    run_id: str,
    pipeline: str,
    states: dict[str, str],
    spec: str = '{"train": {"epochs": 3}}',
) -> None:
    """Executions as TFX records them, each with a model that it wrote and the next one reads."""
    from ml_metadata.proto import metadata_store_pb2 as proto

    store = open_store(location)
    run = store.get_context_by_type_and_name("pipeline_run", run_id)
    model = proto.Artifact(type_id=store.put_artifact_type(proto.ArtifactType(name="Model")), uri=f"s3://b/{run_id}")
    model.custom_properties["sha256"].string_value = "ab"
    for node, state in states.items():
        type_id = store.put_execution_type(proto.ExecutionType(name=f"module.{node}"))
        execution = proto.Execution(type_id=type_id, last_known_state=proto.Execution.State.Value(state))
        execution.custom_properties["spec"].string_value = spec
        node_type = store.put_context_type(proto.ContextType(name="node"))
        name = f"{pipeline}.{node}"
        context = store.get_context_by_type_and_name("node", name) or proto.Context(type_id=node_type, name=name)
        kind = proto.Event.INPUT if model.id else proto.Event.OUTPUT
        _, artifact_ids, _ = store.put_execution(execution, [(model, proto.Event(type=kind))], [run, context])
        model.id = artifact_ids[0]


def test_runs_of_several_pipelines_are_told_apart(location: MetadataLocation) -> None:
    store = RunStore(location)
    assert store.runs() == ()
    store.begin("run-1", RunPurpose("drift", "drift-7", "2026-11-27T03:00:00Z"))
    store.begin("run-2", RunPurpose("by hand"))
    record(location, "run-1", "digits", {"Trainer": "COMPLETE", "Evaluator": "CACHED"})
    record(location, "run-2", "fares", {"Trainer": "FAILED"})
    first, second = RunStore(location).runs()
    assert (first.run_id, first.pipeline, first.state) == ("run-1", "digits", "complete")
    assert first.purpose == RunPurpose("drift", "drift-7", "2026-11-27T03:00:00Z")
    assert (second.pipeline, second.state, second.purpose) == ("fares", "failed at Trainer", RunPurpose("by hand"))
    assert [run.run_id for run in store.runs("fares")] == ["run-2"]
    trainer, evaluator = first.nodes
    assert trainer.settings == {"spec.train.epochs": "3"}
    assert trainer.output("Model") == evaluator.input("Model")
    assert trainer.output("Model").properties == {"sha256": "ab"}
    assert store.run("run-1") == first
    assert store.run("run-9") is None


def test_a_run_begins_once_whoever_says_so_again(location: MetadataLocation) -> None:
    store = RunStore(location)
    for reason in ("first", "second"):
        store.begin("run-1", RunPurpose(reason))
    (run,) = store.runs()
    assert (run.purpose, run.state) == (RunPurpose("first"), "empty")


def test_any_text_is_kept_as_it_is(location: MetadataLocation) -> None:
    purpose = RunPurpose("C:\\new 'é' \"x\" \\u00e9", '{"a": "{\\"b\\": 1}"}')
    RunStore(location).begin("run-1", purpose)
    record(location, "run-1", "digits", {"Trainer": "COMPLETE"}, r'{"train": "{\"epochs\": 3, \"name\": \"é\"}"}')
    (run,) = RunStore(location).runs()
    assert run.purpose == purpose
    assert run.nodes[0].settings == {"spec.train.epochs": "3", "spec.train.name": "é"}


def test_a_run_is_for_the_span_that_it_reads_unless_somebody_named_one(location: MetadataLocation) -> None:
    store = RunStore(location)
    store.begin("run-1", RunPurpose("by hand"))
    store.begin("run-2", RunPurpose("", "drift-7", data_span="7"))
    for run_id in ("run-1", "run-2"):
        store.note_data_span(run_id, "8")
    assert [run.purpose for run in RunStore(location).runs()] == [
        RunPurpose("by hand", data_span="8"),
        RunPurpose("", "drift-7", data_span="7"),
    ]


def test_what_was_running_of_a_node_that_was_stopped_is_failed(location: MetadataLocation) -> None:
    store = RunStore(location)
    store.begin("run-1", RunPurpose("by hand"))
    record(location, "run-1", "digits", {"SchemaGen": "COMPLETE", "Trainer": "RUNNING", "StatisticsGen": "RUNNING"})
    store.fail_running("run-1", "Trainer")
    run = store.run("run-1")
    assert run is not None
    assert {node.name: node.state for node in run.nodes} == {
        "SchemaGen": "complete",
        "Trainer": "failed",
        "StatisticsGen": "running",
    }


def test_clients_that_come_first_at_once_all_get_in(postgresql: Any) -> None:
    url = postgresql.create_database(f"mlmd{next(_numbers)}")
    code = f"from pipeline.mlmd import *; print(RunStore(MetadataLocation({url!r})).prepare())"
    clients = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    answers = [client.communicate(timeout=120) for client in clients]
    assert [client.returncode for client in clients] == [0] * 4, answers
    assert [output.strip() for output, _ in answers] == ["0"] * 4


@pytest.mark.parametrize(
    "url",
    ["", "metadata.sqlite", "sqlite://", "mysql://user@/mlmd", "postgresql://host", "http://host:8080", "grpc://"],
)
def test_what_is_no_address_is_told(url: str) -> None:
    with pytest.raises(ConfigError, match="is no address of ML Metadata"):
        MetadataLocation(url)


def test_a_password_is_never_part_of_what_is_printed() -> None:
    with pytest.raises(ConfigError, match="EDGEPROOF_METADATA_PASSWORD") as refused:
        MetadataLocation("mysql://root:secret@db/mlmd")
    assert "secret" not in str(refused.value)
    location = MetadataLocation("mysql://root@db/mlmd", "secret")
    assert "secret" not in repr(location)
    assert location.connection().mysql.password == "secret"
    assert location.connection().mysql.port == 3306


def test_a_store_that_does_not_answer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.telemetry.servers import free_port

    monkeypatch.setattr("pipeline.mlmd._WAIT_SECONDS", 0.0)
    for scheme in ("postgresql://nobody@127.0.0.1:{}/mlmd", "grpc://127.0.0.1:{}"):
        url = scheme.format(free_port())
        with pytest.raises(RunError, match=r"ML Metadata at \w+://.* does not answer: "):
            RunStore(MetadataLocation(url)).runs()
