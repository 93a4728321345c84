"""The Pusher node on real artifacts: publishes the judged bytes, or notes why not."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from components.errors import ReleaseError
from components.pusher.release import list_releases, published_state, read_latest, verify
from components.pusher.store import DirectoryStore

if TYPE_CHECKING:
    from tfx import types

pytestmark = pytest.mark.tfx

_MODEL = (Path(__file__).parents[2] / "edge/models/int8.tflite").read_bytes()


class _Node:
    """Artifacts of one Pusher node, as the nodes before it leave them when a model is accepted."""

    def __init__(self, directory: Path) -> None:
        from tfx.types import standard_artifacts

        self.destination = directory / "published"
        self.model = self._artifact(standard_artifacts.Model(), directory / "model", 7)
        self.blessing = self._artifact(standard_artifacts.ModelBlessing(), directory / "blessing", 8)
        self.evaluation = self._artifact(standard_artifacts.ModelEvaluation(), directory / "evaluation", 9)
        self.pushed = self._artifact(standard_artifacts.PushedModel(), directory / "pushed", 10)
        self.file("model/model.tflite").write_bytes(_MODEL)
        self.file("model/float.tflite").write_bytes(b"not judged, not published")
        self.file("model/conversion_report.json").write_text("{}\n")
        self.file("blessing/BLESSED").touch()
        self.blessing.set_int_custom_property("blessed", 1)
        self.blessing.set_int_custom_property("current_model_id", 7)
        self.report = {
            "verdict": {"accepted": True, "sentence": "ACCEPTED"},
            "candidate": {"sha256": hashlib.sha256(_MODEL).hexdigest(), "name": "int8"},
            "counts": {"num_examples": 10_000, "num_correct_float": 9400, "num_correct_candidate": 9300},
            "ratio": {"minimum": "97/100"},
            "stack": "tfx116",
        }

    def _artifact(self, artifact: types.Artifact, directory: Path, artifact_id: int) -> types.Artifact:
        directory.mkdir()
        artifact.uri = str(directory)
        artifact.id = artifact_id
        return artifact

    def file(self, path: str) -> Path:
        return self.destination.parent / path

    def run(self, **changes: Any) -> types.Artifact:
        from components.pusher.executor import Executor

        self.file("evaluation/gate_report.json").write_text(json.dumps(self.report))
        Executor().Do(
            {"model": [self.model], "model_blessing": [self.blessing], "evaluation": [self.evaluation]},
            {"pushed_model": [self.pushed]},
            {
                "destination": str(self.destination),
                "model_name": "digits",
                "class_names": '["cat", "dog"]',
                "code_version": "abc",
                "published_state": "none",
                **changes,
            },
        )
        return self.pushed


@pytest.fixture
def node(tmp_path: Path) -> _Node:
    return _Node(tmp_path)


def test_an_accepted_model_is_published_as_it_was_judged(node: _Node) -> None:
    pushed = node.run()
    store = DirectoryStore(node.destination)
    release = read_latest(store)
    assert release is not None
    directory = node.destination / release.path
    assert (directory / "model.tflite").read_bytes() == _MODEL
    assert (directory / "labels.txt").read_text() == "cat\ndog\n"
    assert sorted(path.name for path in directory.iterdir()) == [
        "conversion_report.json",
        "gate_report.json",
        "labels.txt",
        "manifest.json",
        "model.tflite",
    ]
    assert pushed.get_int_custom_property("pushed") == 1
    assert pushed.get_int_custom_property("sequence") == 1
    assert pushed.get_string_custom_property("pushed_destination") == str(directory)
    assert pushed.get_string_custom_property("pushed_version") == release.version
    assert pushed.get_string_custom_property("release_sha256") == release.sha256
    assert verify(store).problems == ()


def test_a_retry_publishes_nothing_new(node: _Node) -> None:
    first = node.run().get_string_custom_property("pushed_version")
    assert node.run().get_string_custom_property("pushed_version") == first
    assert len(list_releases(DirectoryStore(node.destination))) == 1


def test_a_model_without_class_names_has_no_labels_file(node: _Node) -> None:
    pushed = node.run(class_names="[]")
    assert not (Path(pushed.get_string_custom_property("pushed_destination")) / "labels.txt").exists()


def _take_blessing_file(node: _Node) -> None:
    node.file("blessing/BLESSED").rename(node.file("blessing/NOT_BLESSED"))


def _take_blessing_property(node: _Node) -> None:
    node.blessing.set_int_custom_property("blessed", 0)


def _bless_another_model(node: _Node) -> None:
    node.blessing.set_int_custom_property("current_model_id", 6)


def _refuse_in_report(node: _Node) -> None:
    node.report["verdict"] = {"accepted": False, "sentence": "REFUSED"}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param(_take_blessing_file, "did not bless", id="no-blessing-file"),
        pytest.param(_take_blessing_property, "did not bless", id="no-blessing-property"),
        pytest.param(_bless_another_model, "is for model 6", id="blessing-of-another-model"),
        pytest.param(_refuse_in_report, "did not accept this model: REFUSED", id="refused-in-the-report"),
    ],
)
def test_a_refusal_is_a_finished_run_that_publishes_nothing(node: _Node, change: Any, reason: str) -> None:
    change(node)
    pushed = node.run()
    assert pushed.get_int_custom_property("pushed") == 0
    assert reason in pushed.get_string_custom_property("reason")
    assert not node.destination.exists()


def test_bytes_that_changed_after_the_verdict_are_an_error_and_stay_home(node: _Node) -> None:
    node.file("model/model.tflite").write_bytes(_MODEL + b"\0")
    with pytest.raises(ReleaseError, match="changed after it was judged"):
        node.run()
    assert not node.destination.exists()


def test_the_component_refuses_a_wrong_destination_or_class_names_when_it_is_built(tmp_path: Path) -> None:
    from tfx.types import channel_utils, standard_artifacts

    from components.pusher.component import Pusher

    arguments: dict[str, Any] = {
        "model": channel_utils.as_channel([standard_artifacts.Model()]),
        "model_blessing": channel_utils.as_channel([standard_artifacts.ModelBlessing()]),
        "evaluation": channel_utils.as_channel([standard_artifacts.ModelEvaluation()]),
        "destination": str(tmp_path),
        "model_name": "digits",
        "class_names": "[]",
        "code_version": "abc",
        "published_state": published_state(str(tmp_path)),
    }
    assert Pusher(**arguments).outputs["pushed_model"].type is standard_artifacts.PushedModel
    with pytest.raises(ReleaseError, match="releases go to a directory"):
        Pusher(**{**arguments, "destination": "gs://bucket"})
    with pytest.raises(ReleaseError, match="class_names"):
        Pusher(**{**arguments, "class_names": "cat,dog"})
