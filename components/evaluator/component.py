"""Contract of the Evaluator: two models and a holdout in, a verdict and a blessing out."""

from __future__ import annotations

from typing import Any, ClassVar

from edgeproof_edge.answers import DEFAULT_DECISION_THRESHOLD
from edgeproof_edge.errors import InputError
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.orchestration.data_types import RuntimeParameter
from tfx.types import BaseChannel, channel_utils, component_spec, standard_artifacts

from components.data.examples import ExampleSpec
from components.evaluator import executor
from components.evaluator.counting.metric import LabelKind
from components.evaluator.counting.slices import check_label_slices, slices_from_json
from components.evaluator.gate.thresholds import GateRules
from components.evaluator.scoring.kernels import DEFAULT_SAMPLE_SIZE


class EvaluatorSpec(component_spec.ComponentSpec):
    """All inputs but the champion are required: without a baseline, or a count of its own, nothing can be proved."""

    PARAMETERS: ClassVar[dict[str, Any]] = {
        "eval_split": component_spec.ExecutionParameter(type=str),
        "example_spec": component_spec.ExecutionParameter(type=str),
        "num_classes": component_spec.ExecutionParameter(type=int),
        "decision_threshold": component_spec.ExecutionParameter(type=float),
        "rules": component_spec.ExecutionParameter(type=str),
        "slices": component_spec.ExecutionParameter(type=str),
        "kernel_sample_size": component_spec.ExecutionParameter(type=int),
        "output": component_spec.ExecutionParameter(type=str, optional=True),
        "golden_split": component_spec.ExecutionParameter(type=str, optional=True),
        "eval_config": component_spec.ExecutionParameter(type=str, optional=True),
        "device_state": component_spec.ExecutionParameter(type=str, optional=True),
        "code_version": component_spec.ExecutionParameter(type=str),
    }
    INPUTS: ClassVar[dict[str, Any]] = {
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "statistics": component_spec.ChannelParameter(type=standard_artifacts.ExampleStatistics),
        "float_model": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "tflite_model": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "champion": component_spec.ChannelParameter(type=standard_artifacts.Model, optional=True),
    }
    OUTPUTS: ClassVar[dict[str, Any]] = {
        "evaluation": component_spec.ChannelParameter(type=standard_artifacts.ModelEvaluation),
        "blessing": component_spec.ChannelParameter(type=standard_artifacts.ModelBlessing),
    }


class Evaluator(base_beam_component.BaseBeamComponent):
    """Compares the exact .tflite bytes with the float SavedModel on every example of the holdout.

    ``evaluation`` holds ``gate_report.json``, what ``tfma.load_eval_result`` and ``tfma.load_validation_result`` read
    (models ``candidate`` and ``baseline``), ``flipped.npz`` with a few examples that changed their answer, of an accepted
    model ``observation.json`` and ``golden.npz`` for its release, and the
    properties ``verdict``, ``num_examples``, ``float_accuracy`` and ``candidate_accuracy`` (of real-valued labels ``metric``,
    ``float_error`` and ``candidate_error``, as text); ``blessing`` is what TFX's own Evaluator writes, for the .tflite model.
    """

    SPEC_CLASS = EvaluatorSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executor.Executor)

    def __init__(
        self,
        examples: BaseChannel,
        float_model: BaseChannel,
        tflite_model: BaseChannel,
        statistics: BaseChannel,
        example_spec: str,
        rules: str,
        code_version: str,
        num_classes: int = 0,
        eval_split: str = "eval",
        decision_threshold: float = DEFAULT_DECISION_THRESHOLD,
        slices: str = "[]",
        kernel_sample_size: int = DEFAULT_SAMPLE_SIZE,
        champion: BaseChannel | None = None,
        eval_config: str | None = None,
        output: str | None = None,
        golden_split: str | None = None,
        device_state: str | RuntimeParameter | None = None,
    ) -> None:
        """Builds the node.

        Args:
            examples: Examples channel with the holdout.
            float_model: Model channel of the Trainer: the baseline.
            tflite_model: Model channel of the converter: the candidate, with the custom property ``sha256``.
            statistics: ExampleStatistics channel over the same examples; it says how many the holdout has.
            example_spec: :meth:`ExampleSpec.to_json`.
            rules: :meth:`GateRules.to_json`.
            code_version: Hash of our sources and library versions, so that the TFX cache sees changed code.
            num_classes: Number of classes; 0 takes it from the models' outputs.
            eval_split: Name of the holdout.
            decision_threshold: For models with one output unit; at or above it, class 1.
            slices: :func:`slices_to_json`.
            kernel_sample_size: Examples that a second kernel family scores too; 0 switches that off.
            champion: Model channel for the rule that compares with the model released now: a resolver of the last blessed model, which
                may be empty, or a ReleaseImporter.
            eval_config: Text of a TFMA EvalConfig whose metrics and plots TFMA computes beside the counts; None for none.
            output: Name of the output that is judged; None where the models have one.
            device_state: What the device of the rules is, so that the TFX cache sees another one; None where there is none.
            golden_split: Split whose examples may travel to devices as golden rows; None takes them from the holdout.

        Raises:
            InputError: The rules, the slices or the class names cannot be meant.
        """
        needs_champion = GateRules.from_json(rules).champion_min_ratio is not None
        if needs_champion != (champion is not None):
            raise InputError("the rule about the current release and the channel that gives it belong together.")
        is_value = GateRules.from_json(rules).metric.labels is LabelKind.VALUE
        check_label_slices(slices_from_json(slices), has_real_label=is_value)
        class_names = ExampleSpec.from_json(example_spec).class_names
        if class_names and num_classes not in (0, len(class_names)):
            raise InputError(
                f"the Evaluator was given {num_classes} classes and {len(class_names)} class names; they must agree."
            )
        super().__init__(
            spec=EvaluatorSpec(
                examples=examples,
                statistics=statistics,
                float_model=float_model,
                tflite_model=tflite_model,
                eval_split=eval_split,
                example_spec=example_spec,
                num_classes=num_classes,
                decision_threshold=float(decision_threshold),
                rules=rules,
                slices=slices,
                kernel_sample_size=kernel_sample_size,
                output=output,
                golden_split=golden_split,
                device_state=device_state,
                champion=champion,
                eval_config=eval_config,
                code_version=code_version,
                evaluation=channel_utils.as_channel([standard_artifacts.ModelEvaluation()]),
                blessing=channel_utils.as_channel([standard_artifacts.ModelBlessing()]),
            )
        )
