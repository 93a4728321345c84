"""The ReleaseImporter in real runs: what it brings, and when TFX's cache may answer for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from releases.errors import ReleaseError
from releases.offer import channel_state
from releases.repository import Repository
from tests.releases.samples import MODEL, make_repository, sample

pytestmark = [pytest.mark.tfx, pytest.mark.usefixtures("no_sync")]


class Runner:
    """Runs a pipeline of this one node, as the local runner does."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._metadata = str(directory / "metadata.sqlite")
        self._compiled: Any = None

    def node(self, state: str | None) -> Any:
        from components.release_importer.component import ReleaseImporter

        return ReleaseImporter(
            location=str(self.directory / "repository"),
            keys=str(self.directory / "keys"),
            channel="stable",
            model_name="digits",
            code_version="test",
            channel_state=state,
        ).with_id("Champion")

    def compile(self, state: str | None) -> Any:
        from tfx.dsl.compiler import compiler
        from tfx.orchestration import metadata, pipeline

        return compiler.Compiler().compile(
            pipeline.Pipeline(
                pipeline_name="p",
                pipeline_root=str(self.directory / "artifacts"),
                components=[self.node(state)],
                enable_cache=True,
                metadata_connection_config=metadata.sqlite_metadata_connection_config(self._metadata),
            )
        )

    def run(self, compiled: Any = None) -> tuple[str, Any]:
        """Runs a compiled pipeline, or the one that a local run would build now: the node's state and its model."""
        from ml_metadata.metadata_store import metadata_store
        from ml_metadata.proto import metadata_store_pb2 as proto
        from tfx.orchestration.local.local_dag_runner import LocalDagRunner

        if compiled is None:
            place = (str(self.directory / "repository"), self.directory / "keys", "stable")
            compiled = self.compile(channel_state(*place))
        LocalDagRunner().run_with_ir(compiled)
        connection = proto.ConnectionConfig()
        connection.sqlite.filename_uri = self._metadata
        store = metadata_store.MetadataStore(connection)
        execution = max(store.get_executions(), key=lambda one: one.id)
        (event,) = [e for e in store.get_events_by_execution_ids([execution.id]) if e.type == proto.Event.OUTPUT]
        (artifact,) = store.get_artifacts_by_id([event.artifact_id])
        return proto.Execution.State.Name(execution.last_known_state), artifact


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """Releases 1 and 2, `stable` at 1."""
    repository = make_repository(tmp_path)
    for text in "ab":
        repository.publish(sample(text), "dev", "test")
    repository.point("1", "stable", 100, "test")
    return repository


def version(artifact: Any) -> str:
    return str(artifact.custom_properties["release_version"].string_value)


def test_the_cache_answers_until_the_channel_moves(repository: Repository, tmp_path: Path) -> None:
    runner = Runner(tmp_path)
    state, first = runner.run()
    assert state == "COMPLETE"
    assert (Path(first.uri) / "model.tflite").read_bytes() == MODEL
    assert version(first) == repository.find("1").version
    state, again = runner.run()
    assert (state, again.id) == ("CACHED", first.id)
    repository.point("2", "stable", 100, "test")
    assert version(runner.run()[1]) == repository.find("2").version
    repository.roll_back("stable", "test")
    state, back = runner.run()
    assert (state, version(back)) == ("COMPLETE", version(first))


def test_a_pipeline_that_was_compiled_once_looks_in_every_run(repository: Repository, tmp_path: Path) -> None:
    import copy

    runner = Runner(tmp_path)
    compiled = runner.compile(None)
    assert version(runner.run(copy.deepcopy(compiled))[1]) == repository.find("1").version
    repository.point("2", "stable", 100, "test")
    state, artifact = runner.run(copy.deepcopy(compiled))
    assert (state, version(artifact)) == ("COMPLETE", repository.find("2").version)


def test_an_empty_channel_gives_a_reason_and_no_model(tmp_path: Path) -> None:
    make_repository(tmp_path)
    _, artifact = Runner(tmp_path).run()
    assert "offers no release of digits yet" in artifact.custom_properties["reason"].string_value
    assert list(Path(artifact.uri).iterdir()) == []


def test_a_release_that_cannot_be_read_says_how_to_go_on(repository: Repository, tmp_path: Path) -> None:
    (tmp_path / "repository" / repository.find("1").file).unlink()
    with pytest.raises(ReleaseError, match=r"channel stable, which cannot be read: .* gate.champion_channel=null"):
        Runner(tmp_path).run()
