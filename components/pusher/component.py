"""Contract of the Pusher: an accepted model goes to a repository of signed releases, anything else stays where it is."""

from __future__ import annotations

from tfx.dsl.components.base import base_component, executor_spec
from tfx.orchestration.data_types import RuntimeParameter
from tfx.types import BaseChannel, channel_utils, component_spec, standard_artifacts

from components.pusher import executor
from releases.bundles.bundle import read_class_names
from releases.stores.location import open_store


class PusherSpec(component_spec.ComponentSpec):
    """The converter's model, both outputs of the Evaluator and the holdout; the blessing is required, unlike in TFX's own."""

    PARAMETERS = {
        "destination": component_spec.ExecutionParameter(type=str),
        "channel": component_spec.ExecutionParameter(type=str),
        "keys": component_spec.ExecutionParameter(type=str),
        "makes_repository": component_spec.ExecutionParameter(type=int),
        "model_name": component_spec.ExecutionParameter(type=str),
        "class_names": component_spec.ExecutionParameter(type=str),
        "example_spec": component_spec.ExecutionParameter(type=str),
        "code_version": component_spec.ExecutionParameter(type=str),
        "published_state": component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {
        "model": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "model_blessing": component_spec.ChannelParameter(type=standard_artifacts.ModelBlessing),
        "evaluation": component_spec.ChannelParameter(type=standard_artifacts.ModelEvaluation),
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples, optional=True),
    }
    OUTPUTS = {
        "pushed_model": component_spec.ChannelParameter(type=standard_artifacts.PushedModel),
    }


class Pusher(base_component.BaseComponent):
    """Publishes the judged model.tflite, with its evidence, as the next release, and points a channel at it.

    A refusal is a finished run: ``pushed_model`` then has the properties pushed=0 and ``reason``. A release sets pushed=1,
    ``pushed_destination``, ``pushed_version``, ``sequence``, ``channel``, ``release_sha256`` (what a device runs) and
    ``bundle_sha256``; its files lie at the root of the artifact.
    """

    SPEC_CLASS = PusherSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(
        self,
        model: BaseChannel,
        model_blessing: BaseChannel,
        evaluation: BaseChannel,
        destination: str,
        keys: str,
        model_name: str,
        class_names: str,
        code_version: str,
        published_state: str | RuntimeParameter,
        examples: BaseChannel | None = None,
        example_spec: str = "",
        channel: str = "dev",
        makes_repository: bool = False,
    ) -> None:
        """Builds the node.

        Args:
            model: Model channel of the converter (model.tflite, conversion_report.json).
            model_blessing: ModelBlessing channel of the Evaluator.
            evaluation: ModelEvaluation channel of the Evaluator (gate_report.json, golden vectors and reference histograms).
            destination: Directory or address of the repository.
            keys: Directory of the repository's keys; the channel's and ``online`` are needed.
            model_name: Name of the model.
            class_names: JSON list of class names in the order of the model's outputs; ``[]`` where there are none.
            code_version: Hash of our sources and library versions, so that the TFX cache sees changed code.
            published_state: ``releases.stores.location.published_state(...)`` as the node starts: the TFX cache sees a wiped destination.
            examples: Examples channel, for the provenance; None leaves them out.
            example_spec: ``ExampleSpec.to_json()``, for what inputs mean; empty where nobody knows.
            channel: The channel to point at the release.
            makes_repository: Whether a missing repository is made, with development keys.

        Raises:
            ReleaseError: The destination cannot hold releases, or class_names is not a JSON list of strings.
        """
        open_store(destination)
        read_class_names(class_names)
        super().__init__(
            spec=PusherSpec(
                model=model,
                model_blessing=model_blessing,
                evaluation=evaluation,
                examples=examples,
                destination=destination,
                channel=channel,
                keys=keys,
                makes_repository=int(makes_repository),
                model_name=model_name,
                class_names=class_names,
                example_spec=example_spec,
                code_version=code_version,
                published_state=published_state,
                pushed_model=channel_utils.as_channel([standard_artifacts.PushedModel()]),
            )
        )
