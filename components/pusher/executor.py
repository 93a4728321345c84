"""Opens the Pusher node's artifacts, asks for clearance, publishes, and notes the outcome on the output artifact."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils

from components.pusher import release as releases
from components.pusher.clearance import Blessing, GateRecord, clear
from components.pusher.release import Release
from components.pusher.store import Store

_BLESSED_FILE = "BLESSED"  # the name TFX's own Evaluator gives it

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
            ReleaseError: the judged bytes were changed, or the destination cannot take this release.
            SurroundingsError: the destination is full or not writable.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        model = artifact_utils.get_single_instance(input_dict["model"])
        blessing = artifact_utils.get_single_instance(input_dict["model_blessing"])
        evaluation = artifact_utils.get_single_instance(input_dict["evaluation"])
        pushed = artifact_utils.get_single_instance(output_dict["pushed_model"])

        model_bytes = _read(model.uri, releases.MODEL_FILE)
        gate_report = _read(evaluation.uri, releases.GATE_REPORT_FILE)
        clearance = clear(_read_blessing(blessing), gate_report, model_bytes, model.id)
        if clearance.record is None or gate_report is None or model_bytes is None:
            _note_refusal(pushed, clearance.reason)
            return
        class_names = releases.read_class_names(exec_properties["class_names"])
        files = _files(model_bytes, gate_report, _read(model.uri, releases.CONVERSION_REPORT_FILE), class_names)
        store = releases.open_store(exec_properties["destination"])
        description = _description(clearance.record, class_names)
        _note_release(pushed, store, releases.publish(store, exec_properties["model_name"], files, description))


def _read(uri: str, name: str) -> bytes | None:
    path = Path(uri) / name
    return path.read_bytes() if path.is_file() else None


def _read_blessing(artifact: types.Artifact) -> Blessing:
    is_blessed = artifact.get_int_custom_property("blessed") == 1 and (Path(artifact.uri) / _BLESSED_FILE).is_file()
    model_id = artifact.get_custom_property("current_model_id")  # Kubeflow writes a name here, which says nothing to us
    return Blessing(is_blessed, model_id if isinstance(model_id, int) else None)


def _files(
    model: bytes, gate_report: bytes, conversion_report: bytes | None, class_names: tuple[str, ...]
) -> dict[str, bytes]:
    files = {releases.MODEL_FILE: model, releases.GATE_REPORT_FILE: gate_report}
    if conversion_report is not None:
        files[releases.CONVERSION_REPORT_FILE] = conversion_report
    if class_names:
        files[releases.LABELS_FILE] = releases.labels_text(class_names)
    return files


def _description(record: GateRecord, class_names: tuple[str, ...]) -> releases.Description:
    return releases.Description(labels=class_names, recipe=record.recipe, stack=record.stack, verdict=record.verdict)


def _note_refusal(pushed: types.Artifact, reason: str) -> None:
    pushed.set_int_custom_property("pushed", 0)
    pushed.set_string_custom_property("reason", reason)
    _progress.info("not published: %s", reason)


def _note_release(pushed: types.Artifact, store: Store, release: Release) -> None:
    pushed.set_int_custom_property("pushed", 1)
    pushed.set_string_custom_property("pushed_destination", str(Path(store.location) / release.path))
    pushed.set_string_custom_property("pushed_version", release.version)
    pushed.set_int_custom_property("sequence", release.sequence)
    pushed.set_string_custom_property("release_sha256", release.sha256)
    _progress.info("published: release %s in %s", release.version, store.location)
    latest = releases.read_latest(store)
    if latest is not None and latest.sequence > release.sequence:
        _progress.info("the same content was published before; the newest release stays %s", latest.version)
