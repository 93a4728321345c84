"""Contract of SchemaGen: a schema as text in, a Schema artifact out.

TFX's ImportSchemaGen takes a file's path, which its cache knows by name alone and which another machine does not have.
"""

from __future__ import annotations

from typing import Any, ClassVar

from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import channel_utils, component_spec, standard_artifacts

from components.schema_gen import executor


class SchemaGenSpec(component_spec.ComponentSpec):
    """`code_version` is there for the TFX cache only."""

    PARAMETERS = {
        "schema_text": component_spec.ExecutionParameter(type=str),
        "code_version": component_spec.ExecutionParameter(type=str),
    }
    INPUTS: ClassVar[dict[str, Any]] = {}
    OUTPUTS = {
        "schema": component_spec.ChannelParameter(type=standard_artifacts.Schema),
    }


class SchemaGen(base_component.BaseComponent):
    """Writes ``schema.pbtxt``; what the data must keep is said by the config, never inferred from the data."""

    SPEC_CLASS = SchemaGenSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(self, schema_text: str, code_version: str) -> None:
        """Builds the node.

        Args:
            schema_text: Text proto of tensorflow.metadata.v0.Schema.
            code_version: Hash of our sources and library versions, so that the TFX cache sees changed code.
        """
        super().__init__(
            spec=SchemaGenSpec(
                schema_text=schema_text,
                code_version=code_version,
                schema=channel_utils.as_channel([standard_artifacts.Schema()]),
            )
        )
