"""Opens the Pusher node's artifacts, asks for clearance, publishes, and notes the outcome on the output artifact."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeproof_edge.bundle import unpack
from edgeproof_edge.manifest import UPRIGHT
from edgeproof_edge.progress import progress
from pydantic import ValidationError
from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils

from components.artifacts import exists, join, local_copy, read_bytes_if_there, write_bytes
from components.data.data_summary import DataSummary
from components.data.examples import NUM_TURNED_IMAGES, ExampleSpec, check_class_names
from components.pusher.clearance import Blessing, GateRecord, clear, first_problem
from components.pusher.provenance import (
    REASON_VARIABLE,
    SPAN_VARIABLE,
    TRIGGER_VARIABLE,
    Build,
    Material,
    git_commit,
    installed_licenses,
    statement,
)
from components.tflite_converter.report import CalibrationFacts, ConversionReport
from releases.archive import Release
from releases.bundles.bundle import (
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
from releases.bundles.observation import Observation, read_observation
from releases.errors import ReleaseError
from releases.repository import Repository
from releases.stores.location import open_for_publishing

_BLESSED_FILE = "BLESSED"  # the name TFX's own Evaluator gives it
_PUBLISHER = "pipeline"  # in the audit; a person who promotes is named


class Executor(base_executor.BaseExecutor):
    """Runs the Pusher node; see ``component.Pusher``."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Publishes the model, or notes why not.

        Raises:
            ReleaseError: The judged bytes were changed, or the repository cannot take this release.
            SurroundingsError: The destination is full or not writable.
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
    for examples in input_dict.get("examples") or []:
        check_class_names(examples.uri, class_names)
    conversion_report = _read(input_dict["model"][0].uri, CONVERSION_REPORT_FILE)
    files = {MODEL_FILE: model, GATE_REPORT_FILE: gate_report}
    if conversion_report is not None:
        files[CONVERSION_REPORT_FILE] = conversion_report
    if class_names:
        files[LABELS_FILE] = labels_text(class_names)
    build = _build(record, _parsed(conversion_report), input_dict, exec_properties)
    files[PROVENANCE_FILE] = statement(files, (GATE_REPORT_FILE, CONVERSION_REPORT_FILE), build)
    spec = ExampleSpec.from_json(exec_properties["example_spec"]) if exec_properties["example_spec"] else None
    description = Description(
        labels=class_names,
        recipe=record.recipe,
        stack=record.stack,
        verdict=record.verdict,
        inputs=_meanings(spec, input_dict.get("examples") or []),
        observation=_observation(input_dict["evaluation"][0].uri),
        answer=record.answer,
    )
    return draft(exec_properties["model_name"], files, description)


def _observation(evaluation: str) -> Observation | None:
    with local_copy(evaluation) as directory:
        return read_observation(directory)


def _meanings(spec: ExampleSpec | None, examples: list[types.Artifact]) -> dict[str, InputMeaning]:
    """Images are NHWC pixels 0..255, as a camera gives them; texts have their categories; other inputs mean what their owner knows."""
    if spec is None or spec.parse_module:
        return {}
    if spec.image is not None:
        has_turned = any(artifact.get_int_custom_property(NUM_TURNED_IMAGES) for artifact in examples)
        orientation = UPRIGHT if has_turned else None
        return {spec.image_feature: InputMeaning("NHWC", (0.0, 255.0), orientation, resize=spec.image.resize)}
    summaries = [summary for artifact in examples if (summary := DataSummary.read(artifact.uri)) is not None]
    features = {name: feature for summary in summaries for name, feature in summary.features.items()}
    return {
        name: InputMeaning(categories=feature.vocabulary) for name, feature in features.items() if feature.vocabulary
    }


def _build(
    record: GateRecord,
    conversion: ConversionReport | None,
    input_dict: Mapping[str, list[types.Artifact]],
    exec_properties: Mapping[str, Any],
) -> Build:
    materials = [_examples_material(artifact) for artifact in input_dict.get("examples") or []]
    if conversion is not None and conversion.calibration is not None:
        materials.append(_calibration_material(conversion.calibration))
    materials.append(Material("float SavedModel", {"sha256": record.baseline_sha256}, {}))
    library_versions = conversion.library_versions if conversion else {}
    return Build(
        model=exec_properties["model_name"],
        recipe=record.recipe,
        materials=tuple(materials),
        code_version=exec_properties["code_version"],
        library_versions=library_versions,
        git_commit=git_commit(Path.cwd()),
        artifact_ids={name: artifacts[0].id for name, artifacts in sorted(input_dict.items()) if artifacts},
        library_licenses=installed_licenses(library_versions),
        reason=os.environ.get(REASON_VARIABLE, ""),
        trigger_key=os.environ.get(TRIGGER_VARIABLE, ""),
        data_span=os.environ.get(SPAN_VARIABLE, ""),
    )


def _calibration_material(calibration: CalibrationFacts) -> Material:
    facts = {"num_examples": calibration.num_range, "seed": calibration.seed}
    return Material("calibration examples", {"sha256": calibration.sha256}, facts)


def _parsed(conversion_report: bytes | None) -> ConversionReport | None:
    if conversion_report is None:
        return None
    try:
        return ConversionReport.model_validate_json(conversion_report)
    except ValidationError as error:
        raise ReleaseError(
            f"{CONVERSION_REPORT_FILE} cannot be understood: {first_problem(error)}. Nothing was published; run the converter again."
        ) from None


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
    progress.info("not published: %s", reason)


def _note_release(pushed: types.Artifact, repository: Repository, release: Release, channel: str) -> None:
    pushed.set_int_custom_property("pushed", 1)
    pushed.set_string_custom_property("pushed_destination", repository.store.location)
    pushed.set_string_custom_property("pushed_version", release.version)
    pushed.set_int_custom_property("sequence", release.sequence)
    pushed.set_string_custom_property("channel", channel)
    pushed.set_string_custom_property("release_sha256", release.content_sha256)
    pushed.set_string_custom_property("bundle_sha256", release.bundle_sha256)
    progress.info("published: release %s in %s", release.version, repository.store.location)
    offered = repository.find(channel, release.model)
    pushed.set_string_custom_property("offered_version", offered.version)
    if offered.sequence != release.sequence:
        progress.info("the same content was published before; channel %s stays at %s", channel, offered.version)
