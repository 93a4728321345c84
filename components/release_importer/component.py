"""Contract of the ReleaseImporter: a channel's release in, as TFX's Importer takes an artifact in from outside."""

from __future__ import annotations

from typing import Any, ClassVar

from tfx.dsl.components.base import base_component, executor_spec
from tfx.orchestration.data_types import RuntimeParameter
from tfx.types import channel_utils, component_spec, standard_artifacts

from components.release_importer import executor
from releases.stores.location import open_store


class ReleaseImporterSpec(component_spec.ComponentSpec):
    """``channel_state`` and ``code_version`` are there for the TFX cache only."""

    PARAMETERS = {
        "location": component_spec.ExecutionParameter(type=str),
        "keys": component_spec.ExecutionParameter(type=str),
        "channel": component_spec.ExecutionParameter(type=str),
        "model_name": component_spec.ExecutionParameter(type=str),
        "channel_state": component_spec.ExecutionParameter(type=str),
        "code_version": component_spec.ExecutionParameter(type=str),
    }
    INPUTS: ClassVar[dict[str, Any]] = {}
    OUTPUTS = {
        "model": component_spec.ChannelParameter(type=standard_artifacts.Model),
    }


class ReleaseImporter(base_component.BaseComponent):
    """Reads the release that most devices of a channel run, verified as they verify it.

    The output holds model.tflite and has the custom properties ``release_version``, ``channel`` and ``sha256``; where nothing is offered
    yet it holds no file and has the property ``reason``.
    """

    SPEC_CLASS = ReleaseImporterSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(
        self,
        location: str,
        keys: str,
        channel: str,
        model_name: str,
        code_version: str,
        channel_state: str | RuntimeParameter,
    ) -> None:
        """Builds the node.

        Args:
            location: Directory or address of the repository.
            keys: Directory of its keys, for the root to trust; it need not exist.
            channel: Name of the channel.
            model_name: Name of the model.
            code_version: Hash of our sources and library versions, so that the TFX cache sees changed code.
            channel_state: ``releases.offer.channel_state(...)`` when the node runs: an unmoved channel is served from the cache.

        Raises:
            ReleaseError: The location cannot hold releases.
        """
        open_store(location)
        super().__init__(
            spec=ReleaseImporterSpec(
                location=location,
                keys=keys,
                channel=channel,
                model_name=model_name,
                code_version=code_version,
                channel_state=channel_state,
                model=channel_utils.as_channel([standard_artifacts.Model()]),
            )
        )
