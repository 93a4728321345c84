"""Contract of the Pusher: an accepted model goes to a release directory, anything else stays where it is."""

from __future__ import annotations

from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import BaseChannel, channel_utils, component_spec, standard_artifacts

from components.pusher import executor
from components.pusher.release import open_store, read_class_names


class PusherSpec(component_spec.ComponentSpec):
    """The converter's model and both outputs of the Evaluator; the blessing is required, unlike in TFX's own Pusher."""

    PARAMETERS = {
        "destination": component_spec.ExecutionParameter(type=str),
        "model_name": component_spec.ExecutionParameter(type=str),
        "class_names": component_spec.ExecutionParameter(type=str),
        "code_version": component_spec.ExecutionParameter(type=str),
        "published_state": component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {
        "model": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "model_blessing": component_spec.ChannelParameter(type=standard_artifacts.ModelBlessing),
        "evaluation": component_spec.ChannelParameter(type=standard_artifacts.ModelEvaluation),
    }
    OUTPUTS = {
        "pushed_model": component_spec.ChannelParameter(type=standard_artifacts.PushedModel),
    }


class Pusher(base_component.BaseComponent):
    """Publishes the judged model.tflite, with its reports, as the next release of a directory.

    A refusal is a finished run: `pushed_model` then has the properties pushed=0 and `reason`. A release sets pushed=1,
    `pushed_destination`, `pushed_version`, `sequence` and `release_sha256`.
    """

    SPEC_CLASS = PusherSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(
        self,
        model: BaseChannel,
        model_blessing: BaseChannel,
        evaluation: BaseChannel,
        destination: str,
        model_name: str,
        class_names: str,
        code_version: str,
        published_state: str,
    ) -> None:
        """Builds the node.

        Args:
            model: Model channel of the converter (model.tflite, conversion_report.json).
            model_blessing: ModelBlessing channel of the Evaluator.
            evaluation: ModelEvaluation channel of the Evaluator (gate_report.json).
            destination: directory of the releases; it need not exist yet.
            model_name: name of the model; a directory holds the releases of one model.
            class_names: JSON list of class names in the order of the model's outputs; `[]` where there are none.
            code_version: hash of our sources and library versions, so that the TFX cache sees changed code.
            published_state: `release.published_state(destination)`, so that the TFX cache sees a wiped destination.

        Raises:
            ReleaseError: the destination is not a directory's path, or class_names is not a JSON list of strings.
        """
        open_store(destination)
        read_class_names(class_names)
        super().__init__(
            spec=PusherSpec(
                model=model,
                model_blessing=model_blessing,
                evaluation=evaluation,
                destination=destination,
                model_name=model_name,
                class_names=class_names,
                code_version=code_version,
                published_state=published_state,
                pushed_model=channel_utils.as_channel([standard_artifacts.PushedModel()]),
            )
        )
