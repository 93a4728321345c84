"""Contract of the ModelImporter: a SavedModel in, as TFX's Importer takes one, but read when the node runs.

TFX's Importer notes an address and reads nothing: what lies there may be another model by the time that it is judged.
"""

from __future__ import annotations

from typing import Any, ClassVar

from tfx.dsl.components.base import base_component, executor_spec
from tfx.orchestration.data_types import RuntimeParameter
from tfx.types import channel_utils, component_spec, standard_artifacts

from components.model_importer import executor


class ModelImporterSpec(component_spec.ComponentSpec):
    """`content_sha256` and `code_version` are there for the TFX cache only."""

    PARAMETERS = {
        "saved_model": component_spec.ExecutionParameter(type=str),
        "content_sha256": component_spec.ExecutionParameter(type=str),
        "code_version": component_spec.ExecutionParameter(type=str),
    }
    INPUTS: ClassVar[dict[str, Any]] = {}
    OUTPUTS = {
        "model": component_spec.ChannelParameter(type=standard_artifacts.Model),
    }


class ModelImporter(base_component.BaseComponent):
    """Copies a SavedModel into the run: what is converted, judged and named in the release stays what it was."""

    SPEC_CLASS = ModelImporterSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(self, saved_model: str, content_sha256: str | RuntimeParameter, code_version: str) -> None:
        """Builds the node.

        Args:
            saved_model: Directory or address of the SavedModel.
            content_sha256: Of its files when the node runs, so that the cache never serves what the same path held before.
            code_version: Hash of our sources and library versions, so that the TFX cache sees changed code.
        """
        super().__init__(
            spec=ModelImporterSpec(
                saved_model=saved_model,
                content_sha256=content_sha256,
                code_version=code_version,
                model=channel_utils.as_channel([standard_artifacts.Model()]),
            )
        )
