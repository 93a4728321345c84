"""Copies a SavedModel to where TFX's Trainer would have put it."""

from __future__ import annotations

import shutil
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils

from components.artifacts import local_copy, local_output
from components.saved_models.saved_model import SERVING_FOLDER, saved_model_dir


class Executor(base_executor.BaseExecutor):
    """Runs the ModelImporter node; see `component.ModelImporter`."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Copies the directory.

        Raises:
            ModelError: It holds no SavedModel.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        model = artifact_utils.get_single_instance(output_dict["model"])
        with local_copy(exec_properties["saved_model"]) as given, local_output(model.uri) as directory:
            shutil.copytree(saved_model_dir(str(given)), directory / SERVING_FOLDER)
