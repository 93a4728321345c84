"""Contract of the TFLiteConverter: a float SavedModel and examples in, a .tflite model with its report out."""

from __future__ import annotations

from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import BaseChannel, channel_utils, component_spec, standard_artifacts

from components.data.examples import ExampleSpec
from components.errors import CalibrationError
from components.repair.recipes import IoType, Recipe, parse_recipe, resolve_io_types
from components.repair.settings import AutoSettings
from components.tflite_converter import executor
from components.tflite_converter.calibration import DEFAULT_MIN_SAMPLES, DEFAULT_NUM_SAMPLES, DEFAULT_SEED


class TFLiteConverterSpec(component_spec.ComponentSpec):
    """`code_version` is there for the TFX cache only, which sees no code changes."""

    PARAMETERS = {
        "recipe": component_spec.ExecutionParameter(type=str),
        "min_samples": component_spec.ExecutionParameter(type=int),
        "num_samples": component_spec.ExecutionParameter(type=int),
        "seed": component_spec.ExecutionParameter(type=int),
        "input_type": component_spec.ExecutionParameter(type=str),
        "output_type": component_spec.ExecutionParameter(type=str),
        "allow_float_operators": component_spec.ExecutionParameter(type=int),
        "select_tf_operators": component_spec.ExecutionParameter(type=int),
        "auto_settings": component_spec.ExecutionParameter(type=str),
        "calibration_split": component_spec.ExecutionParameter(type=str),
        "example_spec": component_spec.ExecutionParameter(type=str),
        "code_version": component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {
        "model": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
    }
    OUTPUTS = {
        "tflite_model": component_spec.ChannelParameter(type=standard_artifacts.Model),
    }


class TFLiteConverter(base_component.BaseComponent):
    """Converts a SavedModel to `model.tflite` (with `float.tflite` and `conversion_report.json` beside it).

    The output has the custom properties format, recipe, sha256, size_bytes and calibration_examples.
    """

    SPEC_CLASS = TFLiteConverterSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(
        self,
        model: BaseChannel,
        examples: BaseChannel,
        example_spec: str,
        code_version: str,
        recipe: Recipe = Recipe.AUTO,
        min_samples: int = DEFAULT_MIN_SAMPLES,
        num_samples: int = DEFAULT_NUM_SAMPLES,
        seed: int = DEFAULT_SEED,
        input_type: IoType | None = None,
        output_type: IoType | None = None,
        allow_float_operators: bool = True,
        select_tf_operators: bool = False,
        calibration_split: str = "calibration",
        auto_settings: str | None = None,
    ) -> None:
        """Builds the node.

        Args:
            model: Model channel with the float SavedModel.
            examples: Examples channel; only its calibration split is read.
            example_spec: `ExampleSpec.to_json()`: how an example becomes the model's raw inputs.
            code_version: hash of our sources and library versions, so that the TFX cache sees changed code.
            recipe: how weights and activations are stored.
            min_samples: examples the calibration split must hold.
            num_samples: most examples that set ranges.
            seed: of the draw.
            input_type: int8, uint8 or float32; None for the recipe's default.
            output_type: likewise; None for that of the inputs.
            allow_float_operators: whether int8 and int16x8 may leave operators that compute in float.
            select_tf_operators: whether operators without a TFLite kernel may come along as TensorFlow's own.
            calibration_split: name of the split.
            auto_settings: `AutoSettings.to_json()`: goal, bounds and fallbacks of recipe auto; None for the defaults.

        Raises:
            ConversionError: the recipe cannot have that input or output type, or the settings of recipe auto make no sense.
            CalibrationError: a number of samples is below 1.
        """
        resolve_io_types(parse_recipe(recipe), input_type, output_type)
        for name, value in (("min_samples", min_samples), ("num_samples", num_samples)):
            if value < 1:
                raise CalibrationError(f"convert.calibration.{name} is {value}; it must be at least 1.")
        ExampleSpec.from_json(example_spec)
        settings = AutoSettings() if auto_settings is None else AutoSettings.from_json(auto_settings)
        super().__init__(
            spec=TFLiteConverterSpec(
                model=model,
                examples=examples,
                recipe=recipe.value,
                min_samples=min_samples,
                num_samples=num_samples,
                seed=seed,
                input_type="" if input_type is None else input_type.value,
                output_type="" if output_type is None else output_type.value,
                allow_float_operators=int(allow_float_operators),
                select_tf_operators=int(select_tf_operators),
                auto_settings=settings.to_json(),
                calibration_split=calibration_split,
                example_spec=example_spec,
                code_version=code_version,
                tflite_model=channel_utils.as_channel([standard_artifacts.Model()]),
            )
        )
