"""Writes the schema where the steps after it look for one."""

from __future__ import annotations

from typing import Any

from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils

from components.artifacts import join, write_bytes

#: The name that TFX's own components give it.
SCHEMA_FILE = "schema.pbtxt"


class Executor(base_executor.BaseExecutor):
    """Runs the SchemaGen node; see `component.SchemaGen`."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes the one file."""
        self._log_startup(input_dict, output_dict, exec_properties)
        schema = artifact_utils.get_single_instance(output_dict["schema"])
        write_bytes(join(schema.uri, SCHEMA_FILE), exec_properties["schema_text"].encode())
