"""Opens the Pusher node's artifacts, asks for clearance, publishes, and notes the outcome on the output artifact."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from edgeproof_edge.bundle import unpack
from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils

from components.artifacts import exists, join, read_bytes_if_there, write_bytes
from components.evaluator.counting.observation import observe
from components.examples import ExampleSpec, read_batches, split_files
from components.pusher.clearance import Blessing, GateRecord, clear
from components.pusher.provenance import Build, Material, git_commit, statement
from releases.archive import Release
from releases.bundle import (
    CONVERSION_REPORT_FILE,
    GATE_REPORT_FILE,
    LABELS_FILE,
    MODEL_FILE,
    PROVENANCE_FILE,
    Description,
    Draft,
    InputMeaning,
    draft,
    labels_text,
    read_class_names,
)
from releases.location import open_for_publishing
from releases.observation import Observation
from releases.repository import Repository

_BLESSED_FILE = "BLESSED"  # the name TFX's own Evaluator gives it
_BATCH_SIZE = 256
_PUBLISHER = "pipeline"  # in the audit; a person who promotes is named

#: What the provenance says of the calibration examples, by its name in the conversion report.
_CALIBRATION_FACTS = {"num_examples": "num_range", "seed": "seed"}

_progress = logging.getLogger("edgeproof.progress")


class Executor(base_executor.BaseExecutor):
    """Runs the Pusher node; see `component.Pusher`."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Publishes the model, or notes why not.

        Raises:
            ReleaseError: the judged bytes were changed, or the repository cannot take this release.
            SurroundingsError: the destination is full or not writable.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        model = artifact_utils.get_single_instance(input_dict["model"])
        blessing = artifact_utils.get_single_instance(input_dict["model_blessing"])
        evaluation = artifact_utils.get_single_instance(input_dict["evaluation"])
        pushed = artifact_utils.get_single_instance(output_dict["pushed_model"])

        model_bytes = _read(model.uri, MODEL_FILE)
        gate_report = _read(evaluation.uri, GATE_REPORT_FILE)
        clearance = clear(_read_blessing(blessing), gate_report, model_bytes, model.id)
        if clearance.record is None or gate_report is None or model_bytes is None:
            _note_refusal(pushed, clearance.reason)
            return
        release_draft = _draft(clearance.record, model_bytes, gate_report, input_dict, exec_properties)
        repository = open_for_publishing(
            exec_properties["destination"],
            Path(exec_properties["keys"]),
            exec_properties["channel"],
            bool(exec_properties["makes_repository"]),
        )
        release = repository.publish(release_draft, exec_properties["channel"], _PUBLISHER)
        _write_files(pushed.uri, repository.read_bundle(release))
        _note_release(pushed, repository, release, exec_properties["channel"])


def _read(uri: str, name: str) -> bytes | None:
    return read_bytes_if_there(join(uri, name))


def _read_blessing(artifact: types.Artifact) -> Blessing:
    is_blessed = artifact.get_int_custom_property("blessed") == 1 and exists(join(artifact.uri, _BLESSED_FILE))
    model_id = artifact.get_custom_property("current_model_id")  # Kubeflow writes a name here, which says nothing to us
    return Blessing(is_blessed, model_id if isinstance(model_id, int) else None)


def _draft(
    record: GateRecord,
    model: bytes,
    gate_report: bytes,
    input_dict: Mapping[str, list[types.Artifact]],
    exec_properties: Mapping[str, Any],
) -> Draft:
    """Puts the release together from the artifacts."""
    class_names = read_class_names(exec_properties["class_names"])
    conversion_report = _read(input_dict["model"][0].uri, CONVERSION_REPORT_FILE)
    files = {MODEL_FILE: model, GATE_REPORT_FILE: gate_report}
    if conversion_report is not None:
        files[CONVERSION_REPORT_FILE] = conversion_report
    if class_names:
        files[LABELS_FILE] = labels_text(class_names)
    build = _build(record, gate_report, conversion_report, input_dict, exec_properties)
    files[PROVENANCE_FILE] = statement(files, (GATE_REPORT_FILE, CONVERSION_REPORT_FILE), build)
    spec = ExampleSpec.from_json(exec_properties["example_spec"]) if exec_properties["example_spec"] else None
    description = Description(
        labels=class_names,
        recipe=record.recipe,
        stack=record.stack,
        verdict=record.verdict,
        inputs=_meanings(spec),
        observation=_observe(model, spec, input_dict, exec_properties),
    )
    return draft(exec_properties["model_name"], files, description)


def _meanings(spec: ExampleSpec | None) -> dict[str, InputMeaning]:
    """Images are NHWC pixels 0..255, as a camera gives them; other inputs mean what their owner knows."""
    if spec is None or spec.image is None or spec.parse_module:
        return {}
    return {spec.image_feature: InputMeaning("NHWC", (0.0, 255.0))}


def _observe(
    model: bytes,
    spec: ExampleSpec | None,
    input_dict: Mapping[str, list[types.Artifact]],
    exec_properties: Mapping[str, Any],
) -> Observation | None:
    examples = input_dict.get("examples") or []
    if spec is None or not examples:
        return None
    split = exec_properties["eval_split"]
    files = [file for uri in artifact_utils.get_split_uris(examples, split) for file in split_files(uri)]

    def batches() -> Iterator[dict[str, Any]]:
        for batch in read_batches(files, spec, _BATCH_SIZE):
            yield batch.inputs

    ranges = {name: meaning.value_range for name, meaning in _meanings(spec).items() if meaning.value_range}
    threshold = None if spec.has_real_label else exec_properties["decision_threshold"]
    return observe(model, batches(), ranges, threshold)


def _build(
    record: GateRecord,
    gate_report: bytes,
    conversion_report: bytes | None,
    input_dict: Mapping[str, list[types.Artifact]],
    exec_properties: Mapping[str, Any],
) -> Build:
    conversion = json.loads(conversion_report) if conversion_report else {}
    judged = json.loads(gate_report)
    materials = [_examples_material(artifact) for artifact in input_dict.get("examples") or []]
    calibration = conversion.get("calibration") or {}
    if calibration.get("sha256"):
        facts = {name: calibration[key] for name, key in _CALIBRATION_FACTS.items() if key in calibration}
        materials.append(Material("calibration examples", {"sha256": calibration["sha256"]}, facts))
    baseline = judged.get("baseline") or {}
    if baseline.get("sha256"):
        materials.append(Material("float SavedModel", {"sha256": baseline["sha256"]}, {}))
    return Build(
        model=exec_properties["model_name"],
        recipe=record.recipe,
        materials=tuple(materials),
        code_version=exec_properties["code_version"],
        library_versions=conversion.get("library_versions") or {},
        git_commit=git_commit(Path.cwd()),
        artifact_ids={name: artifacts[0].id for name, artifacts in sorted(input_dict.items()) if artifacts},
    )


def _examples_material(artifact: types.Artifact) -> Material:
    """Span and version say which data it was; the fingerprint, where the ExampleGen made one, says what was in it."""
    facts: dict[str, str | int] = {"artifact_id": artifact.id}
    for key in ("span", "version", "input_fingerprint"):
        value = artifact.get_custom_property(key)
        if value is None:
            value = getattr(artifact, key, None)
        if isinstance(value, (str, int)) and value != "":
            facts[key] = value
    return Material("examples", {}, facts)


def _write_files(uri: str, bundle: bytes) -> None:
    """Lays the release's files out beside the record, for people and for components that come after."""
    for name, data in unpack(bundle).items():
        write_bytes(join(uri, name), data)


def _note_refusal(pushed: types.Artifact, reason: str) -> None:
    pushed.set_int_custom_property("pushed", 0)
    pushed.set_string_custom_property("reason", reason)
    _progress.info("not published: %s", reason)


def _note_release(pushed: types.Artifact, repository: Repository, release: Release, channel: str) -> None:
    pushed.set_int_custom_property("pushed", 1)
    pushed.set_string_custom_property("pushed_destination", repository.store.location)
    pushed.set_string_custom_property("pushed_version", release.version)
    pushed.set_int_custom_property("sequence", release.sequence)
    pushed.set_string_custom_property("channel", channel)
    pushed.set_string_custom_property("release_sha256", release.content_sha256)
    pushed.set_string_custom_property("bundle_sha256", release.bundle_sha256)
    _progress.info("published: release %s in %s", release.version, repository.store.location)
    offered = repository.find(channel, release.model)
    pushed.set_string_custom_property("offered_version", offered.version)
    if offered.sequence != release.sequence:
        _progress.info("the same content was published before; channel %s stays at %s", channel, offered.version)
