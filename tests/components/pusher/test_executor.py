"""The Pusher node on real artifacts: publishes the judged bytes, or notes why not."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from edgeproof_edge.flatbuffer import inspect
from edgeproof_edge.manifest import Answer, Manifest, VerdictSummary
from securesystemslib.exceptions import VerificationError

from components.evaluator.report.gate_report import VerdictRecord
from releases.bundles.observation import write_observation
from releases.errors import ReleaseError
from releases.repository import Repository
from releases.stores.location import published_state
from releases.stores.store import DirectoryStore
from releases.trust.keys import KeyRing
from releases.trust.metadata import MissingRepositoryError
from releases.verification import verify
from tests.components.pusher.samples import as_bytes, errors, gate_report, metric
from tests.components.tflite_converter.test_report import REPORT as CONVERSION_REPORT

if TYPE_CHECKING:
    from tfx import types

pytestmark = pytest.mark.tfx

_MODELS = Path(__file__).parents[2] / "edge/models"
_MODEL = (_MODELS / "int8.tflite").read_bytes()


class _Node:
    """Artifacts of one Pusher node, as the nodes before it leave them when a model is accepted."""

    def __init__(self, directory: Path) -> None:
        from tfx.types import standard_artifacts

        self.destination = directory / "published"
        self.keys = directory / "keys"
        self.model = self._artifact(standard_artifacts.Model(), directory / "model", 7)
        self.blessing = self._artifact(standard_artifacts.ModelBlessing(), directory / "blessing", 8)
        self.evaluation = self._artifact(standard_artifacts.ModelEvaluation(), directory / "evaluation", 9)
        self.pushed = self._artifact(standard_artifacts.PushedModel(), directory / "pushed", 10)
        self.file("model/model.tflite").write_bytes(_MODEL)
        self.file("model/float.tflite").write_bytes(b"not judged, not published")
        self.file("model/conversion_report.json").write_text(CONVERSION_REPORT.to_json())
        self.file("blessing/BLESSED").touch()
        self.blessing.set_int_custom_property("blessed", 1)
        self.blessing.set_int_custom_property("current_model_id", 7)
        self.examples: list[types.Artifact] = []
        self.report = gate_report(_MODEL)

    def _artifact(self, artifact: types.Artifact, directory: Path, artifact_id: int) -> types.Artifact:
        directory.mkdir()
        artifact.uri = str(directory)
        artifact.id = artifact_id
        return artifact

    def file(self, path: str) -> Path:
        return self.destination.parent / path

    def run(self, **changes: Any) -> types.Artifact:
        from components.pusher.executor import Executor

        self.file("evaluation/gate_report.json").write_bytes(as_bytes(self.report))
        Executor().Do(
            {
                "model": [self.model],
                "model_blessing": [self.blessing],
                "evaluation": [self.evaluation],
                "examples": self.examples,
            },
            {"pushed_model": [self.pushed]},
            {
                "destination": str(self.destination),
                "channel": "dev",
                "keys": str(self.keys),
                "makes_repository": 1,
                "model_name": "digits",
                "class_names": '["cat", "dog"]',
                "example_spec": "",
                "code_version": "abc",
                "published_state": "none",
                **changes,
            },
        )
        return self.pushed

    @property
    def repository(self) -> Repository:
        return Repository.of(DirectoryStore(self.destination), KeyRing.open(self.keys))


@pytest.fixture
def node(tmp_path: Path) -> _Node:
    return _Node(tmp_path)


def test_an_accepted_model_is_published_as_it_was_judged(node: _Node) -> None:
    pushed = node.run()
    release = node.repository.find("dev")
    files = Path(pushed.uri)
    assert (files / "model.tflite").read_bytes() == _MODEL
    assert (files / "labels.txt").read_text() == "cat\ndog\n"
    assert sorted(path.name for path in files.iterdir()) == [
        "conversion_report.json",
        "gate_report.json",
        "labels.txt",
        "manifest.json",
        "model.tflite",
        "provenance.dsse.json",
        "provenance.intoto.json",
    ]
    assert pushed.get_int_custom_property("pushed") == 1
    assert pushed.get_int_custom_property("sequence") == 1
    assert pushed.get_string_custom_property("channel") == "dev"
    assert pushed.get_string_custom_property("pushed_destination") == str(node.destination)
    assert pushed.get_string_custom_property("pushed_version") == release.version
    assert pushed.get_string_custom_property("release_sha256") == release.content_sha256
    assert pushed.get_string_custom_property("bundle_sha256") == release.bundle_sha256
    assert verify(node.repository.store, node.repository.anchor).problems == ()


def test_the_provenance_names_the_evidence_and_what_was_judged_but_no_path(node: _Node) -> None:
    text = (Path(node.run().uri) / "provenance.intoto.json").read_text()
    statement = json.loads(text)
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    subjects = {subject["name"]: subject["digest"]["sha256"] for subject in statement["subject"]}
    assert subjects["model.tflite"] == hashlib.sha256(_MODEL).hexdigest()
    byproducts = [each["name"] for each in statement["predicate"]["runDetails"]["byproducts"]]
    assert byproducts == ["conversion_report.json", "gate_report.json"]
    ids = statement["predicate"]["buildDefinition"]["internalParameters"]["artifactIds"]
    assert ids == {"evaluation": 9, "model": 7, "model_blessing": 8}
    assert str(node.destination.parent) not in text


def test_the_provenance_is_signed_in_an_envelope_that_other_tools_take(node: _Node) -> None:
    from securesystemslib.dsse import Envelope

    files = Path(node.run().uri)
    envelope = Envelope.from_dict(json.loads((files / "provenance.dsse.json").read_text()))
    assert envelope.payload == (files / "provenance.intoto.json").read_bytes()
    assert envelope.payload_type == "application/vnd.in-toto+json"
    envelope.verify([node.repository.ring.public("online")], 1)
    with pytest.raises(VerificationError):
        envelope.verify([node.repository.ring.public("stable")], 1)


def test_why_the_run_was_started_is_in_the_provenance(node: _Node, monkeypatch: pytest.MonkeyPatch) -> None:
    from components.pusher.provenance import REASON_VARIABLE, TRIGGER_VARIABLE
    from pipeline.mlmd import RunPurpose
    from pipeline.running.launching import announce

    for variable in (REASON_VARIABLE, TRIGGER_VARIABLE):
        monkeypatch.setenv(variable, "of an earlier run")
    announce(RunPurpose("drift", "key-7", data_span="7"))
    statement = json.loads((Path(node.run().uri) / "provenance.intoto.json").read_text())
    parameters = statement["predicate"]["buildDefinition"]["internalParameters"]
    assert (parameters["reason"], parameters["triggerKey"], parameters["dataSpan"]) == ("drift", "key-7", "7")


def test_the_libraries_say_their_licences(node: _Node) -> None:
    statement = json.loads((Path(node.run().uri) / "provenance.intoto.json").read_text())
    parameters = statement["predicate"]["buildDefinition"]["internalParameters"]
    assert parameters["libraryVersions"] == {"tensorflow": "2.16.2"}
    assert "Apache" in parameters["libraryLicenses"]["tensorflow"]


def test_a_conversion_report_that_is_none_is_an_error(node: _Node) -> None:
    node.file("model/conversion_report.json").write_text("{}")
    with pytest.raises(ReleaseError, match=r"conversion_report\.json cannot be understood.*run the converter again"):
        node.run()
    assert not node.destination.exists()


def test_the_holdout_gives_golden_vectors_and_histograms(node: _Node) -> None:
    _observed(node)
    manifest = json.loads((Path(node.run().uri) / "manifest.json").read_text())
    assert manifest["golden"]["num_examples"] >= 1
    assert manifest["reference"]["num_examples"] == 40
    assert sum(manifest["reference"]["predictions"]) == 40
    assert manifest["runtime"]["delegated_fraction"] is not None


def test_the_manifest_says_at_which_threshold_one_unit_answers(node: _Node) -> None:
    data = (_MODELS / "two_inputs.tflite").read_bytes()  # its output `norm` is one unit
    node.file("model/model.tflite").write_bytes(data)
    node.report = gate_report(data, output="norm", decision_threshold=0.25)
    manifest = Manifest.from_json((Path(node.run().uri) / "manifest.json").read_bytes())
    assert (manifest.schema_version, manifest.answer) == (4, Answer("norm", 0.25))


def test_a_damaged_observation_is_an_error_and_nothing_is_published(node: _Node) -> None:
    _observed(node)
    node.file("evaluation/golden.npz").unlink()
    with pytest.raises(ReleaseError, match=r"observation\.json cannot be read"):
        node.run()
    assert not node.destination.exists()


def test_a_model_of_real_values_says_its_errors(node: _Node) -> None:
    _observed(node, None)
    values = errors(root_mean_squared_error_float=1.25, root_mean_squared_error_candidate=1.25)
    node.report = gate_report(_MODEL, counts=None, ratio=None, metric=metric("rmse", "103/100"), errors=(values,))
    pushed = node.run(class_names="[]")
    manifest = Manifest.from_json((Path(pushed.uri) / "manifest.json").read_bytes())
    assert manifest.schema_version == 3
    assert manifest.verdict == VerdictSummary(600, None, None, None, "rmse", "1.25", "1.25", "103/100")
    assert manifest.reference is not None
    assert manifest.reference.values is not None
    assert manifest.golden is not None
    assert manifest.golden.minimum_margin is None
    release = node.repository.find("dev")
    assert (release.metric, release.candidate_value, release.num_correct_float) == ("rmse", "1.25", None)
    assert verify(node.repository.store, node.repository.anchor).problems == ()


def _observed(node: _Node, threshold: float | None = 0.5) -> str:
    """Lays what the Evaluator saw on 40 examples beside the verdict; returns the output's name."""
    import numpy as np

    from components.evaluator.scoring.observation import observe

    shape = inspect(_MODEL).inputs[0].shape[1:]
    rows = np.random.default_rng(3).uniform(-4, 4, (40, *shape)).astype(np.float32)
    observation = observe(_MODEL, [{"x": rows}], {}, threshold)
    assert observation is not None
    write_observation(observation, Path(node.evaluation.uri))
    return observation.reference.confidence.name if observation.reference.confidence else ""


def test_a_retry_publishes_nothing_new(node: _Node) -> None:
    first = node.run().get_string_custom_property("pushed_version")
    assert node.run().get_string_custom_property("pushed_version") == first
    assert len(node.repository.listing().releases) == 1


def test_a_missing_repository_is_made_only_where_that_is_allowed(node: _Node) -> None:
    with pytest.raises(MissingRepositoryError, match="release init"):
        node.run(makes_repository=0)
    assert not node.destination.exists()
    assert not node.keys.exists()


def test_a_late_retry_of_an_old_run_does_not_take_the_channel_back(node: _Node) -> None:
    node.run()
    node.run(class_names='["dog", "cat"]')
    assert node.run().get_int_custom_property("sequence") == 1
    assert node.repository.find("dev").sequence == 2


def test_a_model_without_class_names_has_no_labels_file(node: _Node) -> None:
    pushed = node.run(class_names="[]")
    assert not (Path(pushed.uri) / "labels.txt").exists()


def _take_blessing_file(node: _Node) -> None:
    node.file("blessing/BLESSED").rename(node.file("blessing/NOT_BLESSED"))


def _take_blessing_property(node: _Node) -> None:
    node.blessing.set_int_custom_property("blessed", 0)


def _bless_another_model(node: _Node) -> None:
    node.blessing.set_int_custom_property("current_model_id", 6)


def _refuse_in_report(node: _Node) -> None:
    node.report = gate_report(_MODEL, verdict=VerdictRecord(accepted=False, sentence="REFUSED", rules=()))


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
        "keys": str(tmp_path / "keys"),
        "model_name": "digits",
        "class_names": "[]",
        "code_version": "abc",
        "published_state": published_state(str(tmp_path), "digits"),
    }
    assert Pusher(**arguments).outputs["pushed_model"].type is standard_artifacts.PushedModel
    with pytest.raises(ReleaseError, match="cannot hold releases"):
        Pusher(**{**arguments, "destination": "ftp://bucket"})
    with pytest.raises(ReleaseError, match="class_names"):
        Pusher(**{**arguments, "class_names": "cat,dog"})
