"""The section ``convert``: how the edge model is made."""

from __future__ import annotations

from enum import Enum
from typing import Literal

from pydantic import Field

from pipeline.config.section import Section


class RecipeName(str, Enum):
    """Recipes of ``components.repair.recipes``, by their names in the config."""

    AUTO = "auto"
    FLOAT32 = "float32"
    DYNAMIC = "dynamic"
    FLOAT16 = "float16"
    INT8 = "int8"
    INT8_QAT = "int8-qat"
    INT16X8 = "int16x8"


class CalibrationConfig(Section):
    """How int8 ranges are measured."""

    min_samples: int = Field(
        500,
        gt=0,
        description="Examples the calibration split must hold; 200 rows moved agreement by half a point from draw to draw.",
    )
    num_samples: int = Field(
        500, gt=0, description="Examples drawn from it, stratified by label; TensorFlow's guide says 100-500."
    )
    seed: int = Field(7, ge=0, description="Of the draw.")
    stratify_by: tuple[str, ...] = Field(
        (), description="Features that the draw is stratified by beside the label, such as the domain of a frame."
    )


class GoalConfig(Section):
    """What recipe auto must keep of the float model on calibration examples that set no range."""

    max_accuracy_loss: float = Field(
        0.005, gt=0, lt=1, description="Share of float's right answers that may be lost, where an output names classes."
    )
    max_relative_error: float = Field(
        0.05,
        gt=0,
        description="Root mean square error / spread of the output, where it is a real value; a tenth of it is aimed at. 0.05 adds 1 % "
        "to the error of a model that explains 90 % of the variance.",
    )
    outputs: dict[str, Literal["classes", "ids", "values"]] = Field(
        {}, description="What outputs are, by name. Default: found from what the float model gives."
    )


class ConvertConfig(Section):
    """The edge model."""

    recipe: RecipeName = Field(
        RecipeName.AUTO,
        description="How the weights and activations are stored; auto is int8 by the cheapest cure that meets the goal.",
    )
    select_tf_operators: bool = Field(
        False,
        description="Whether operators without a TFLite kernel may come along as TensorFlow's own; the device then needs TF Select, "
        "some 100 MB.",
    )
    goal: GoalConfig = GoalConfig()
    fallbacks: tuple[Literal["int16x8", "float16", "dynamic"], ...] = Field(
        (), description="Recipes that auto may try where no int8 model meets the goal, in this order."
    )
    max_candidates: int = Field(24, gt=0, description="Models that auto makes at most; the longest ladder is about 20.")
    max_seconds: float = Field(
        120.0, gt=0, description="Seconds after which auto makes no further model; small models take one or two."
    )
    input_type: Literal["int8", "uint8", "float32"] | None = Field(
        None,
        description="Type of the model's input. Default: int8 for auto (float32 where only a float input meets the goal) and int8, "
        "float32 otherwise.",
    )
    output_type: Literal["int8", "uint8", "float32"] | None = Field(
        None, description="Type of the model's output. Default: as input_type."
    )
    calibration: CalibrationConfig = CalibrationConfig()
