"""Reads the channel at run time, and notes on the output artifact which release it was, or why there is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgeproof_edge.bundle import MODEL_FILE
from edgeproof_edge.progress import progress
from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils

from components.artifacts import join, write_bytes
from releases.errors import ReleaseError
from releases.offer import NothingOffered, read_offered


class Executor(base_executor.BaseExecutor):
    """Runs the ReleaseImporter node; see ``component.ReleaseImporter``."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes the released model, or notes that there is none.

        Raises:
            ReleaseError: The repository or the release cannot be read or trusted.
            SurroundingsError: The place cannot be read.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        model = artifact_utils.get_single_instance(output_dict["model"])
        location, channel = exec_properties["location"], exec_properties["channel"]
        try:
            offer = read_offered(location, Path(exec_properties["keys"]), channel, exec_properties["model_name"])
        except ReleaseError as error:
            raise ReleaseError(
                f"gate.champion_channel asks for the release on channel {channel}, which cannot be read: {error} "
                "To compare with the last blessed model instead, add --set gate.champion_channel=null."
            ) from error
        if isinstance(offer, NothingOffered):
            model.set_string_custom_property("reason", offer.reason)
            progress.info("champion: none, %s", offer.reason)
            return
        write_bytes(join(model.uri, MODEL_FILE), offer.data)
        model.set_string_custom_property("release_version", offer.version)
        model.set_string_custom_property("channel", offer.channel)
        model.set_string_custom_property("sha256", offer.sha256)
        progress.info("champion: release %s on channel %s", offer.version, offer.channel)
