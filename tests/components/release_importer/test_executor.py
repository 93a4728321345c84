"""The ReleaseImporter in real runs: what it brings, and when TFX's cache may answer for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.mlmd import Artifact
from releases.errors import ReleaseError
from releases.repository import Repository
from tests.releases.samples import MODEL, make_repository, sample

pytestmark = [pytest.mark.tfx, pytest.mark.usefixtures("no_sync")]


class Runner:
    """Runs a pipeline of this one node, as the local runner does."""

    def __init__(self, directory: Path) -> None:
        from pipeline.mlmd import MetadataLocation

        self.directory = directory
        self._metadata = MetadataLocation.of_file(directory / "metadata.sqlite")
        self._num_runs = 0

    def compile(self) -> Any:
        from tfx.orchestration import pipeline

        from components.release_importer.component import ReleaseImporter
        from pipeline.running.launching import compiled
        from pipeline.running.world import WorldState, state_parameter

        node = ReleaseImporter(
            location=str(self.directory / "repository"),
            keys=str(self.directory / "keys"),
            channel="stable",
            model_name="digits",
            code_version="test",
            channel_state=state_parameter(WorldState.CHANNEL),
        ).with_id("Champion")
        root = str(self.directory / "artifacts")
        return compiled(pipeline.Pipeline(pipeline_name="p", pipeline_root=root, components=[node], enable_cache=True))

    def run(self, ir: Any = None) -> tuple[str, Artifact]:
        """Runs a compiled pipeline, or the one that would be built now: the node's state and its model."""
        from pipeline.running.launching import bound, launch

        self._num_runs += 1
        node = launch(bound(ir or self.compile(), f"run {self._num_runs}"), "Champion", self._metadata)
        return node.state, node.output("Model")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """Releases 1 and 2, `stable` at 1."""
    repository = make_repository(tmp_path)
    for text in "ab":
        repository.publish(sample(text), "dev", "test")
    repository.point("1", "stable", 100, "test")
    return repository


def version(artifact: Artifact) -> str:
    return str(artifact.properties["release_version"])


def test_the_cache_answers_until_the_channel_moves(repository: Repository, tmp_path: Path) -> None:
    runner = Runner(tmp_path)
    state, first = runner.run()
    assert state == "complete"
    assert (Path(first.uri) / "model.tflite").read_bytes() == MODEL
    assert version(first) == repository.find("1").version
    state, again = runner.run()
    assert (state, again.id) == ("cached", first.id)
    repository.point("2", "stable", 100, "test")
    assert version(runner.run()[1]) == repository.find("2").version
    repository.roll_back("stable", "test")
    state, back = runner.run()
    assert (state, version(back)) == ("complete", version(first))


def test_a_pipeline_that_was_compiled_once_looks_in_every_run(repository: Repository, tmp_path: Path) -> None:
    runner = Runner(tmp_path)
    ir = runner.compile()
    assert version(runner.run(ir)[1]) == repository.find("1").version
    assert runner.run(ir)[0] == "cached"
    repository.point("2", "stable", 100, "test")
    state, artifact = runner.run(ir)
    assert (state, version(artifact)) == ("complete", repository.find("2").version)


def test_an_empty_channel_gives_a_reason_and_no_model(tmp_path: Path) -> None:
    make_repository(tmp_path)
    _, artifact = Runner(tmp_path).run()
    assert "offers no release of digits yet" in artifact.properties["reason"]
    assert list(Path(artifact.uri).iterdir()) == []


def test_a_release_that_cannot_be_read_says_how_to_go_on(repository: Repository, tmp_path: Path) -> None:
    (tmp_path / "repository" / repository.find("1").file).unlink()
    with pytest.raises(ReleaseError, match=r"channel stable, which cannot be read: .* gate.champion_channel=null"):
        Runner(tmp_path).run()
