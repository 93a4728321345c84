"""The section ``convert``: how the edge model is made."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

from pydantic import AfterValidator, Field, WithJsonSchema

from components.repair.recipes import FALLBACKS, IoType, Recipe, parse_fallbacks
from components.repair.settings import (
    DEFAULT_MAX_ACCURACY_LOSS,
    DEFAULT_MAX_CANDIDATES,
    DEFAULT_MAX_RELATIVE_ERROR,
    OutputKindName,
)
from pipeline.config.section import Section


class FloatOperators(str, Enum):
    """Whether operators of an integer model may compute in float."""

    ALLOWED = "allowed"
    NONE = "none"


def _checked_fallback(recipe: Recipe) -> Recipe:
    (checked,) = parse_fallbacks([recipe.value])
    return checked


#: A recipe that auto may fall back on.
Fallback = Annotated[
    Recipe,
    AfterValidator(_checked_fallback),
    WithJsonSchema({"enum": [recipe.value for recipe in FALLBACKS], "type": "string"}),
]


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
        DEFAULT_MAX_ACCURACY_LOSS,
        gt=0,
        lt=1,
        description="Share of float's right answers that may be lost, where an output names classes.",
    )
    max_relative_error: float = Field(
        DEFAULT_MAX_RELATIVE_ERROR,
        gt=0,
        description="Root mean square error / spread of the output, where it is a real value; a tenth of it is aimed at. 0.05 adds 1 % "
        "to the error of a model that explains 90 % of the variance.",
    )
    outputs: dict[str, OutputKindName] = Field(
        {}, description="What outputs are, by name. Default: found from what the float model gives."
    )


class ConvertConfig(Section):
    """The edge model."""

    recipe: Recipe = Field(
        Recipe.AUTO,
        description="How the weights and activations are stored; auto is int8 by the cheapest cure that meets the goal.",
    )
    select_tf_operators: bool = Field(
        False,
        description="Whether operators without a TFLite kernel may come along as TensorFlow's own; the device then needs TF Select, "
        "some 100 MB.",
    )
    goal: GoalConfig = GoalConfig()
    fallbacks: tuple[Fallback, ...] = Field(
        (), description="Recipes that auto may try where no int8 model meets the goal, in this order."
    )
    float_operators: FloatOperators = Field(
        FloatOperators.ALLOWED,
        description="none: every operator computes in integers, or nothing is converted. Otherwise auto leaves operators in float "
        "only where no all-integer model meets the goal.",
    )
    max_candidates: int = Field(
        DEFAULT_MAX_CANDIDATES, gt=0, description="Models that auto makes at most; the longest ladder is about 30."
    )
    max_seconds: float | None = Field(
        None,
        gt=0,
        description="Seconds of processor time after which auto makes no further model. Default: 120, or what 40 models take where one "
        "takes longer than 3; small models take one or two in all.",
    )
    input_type: IoType | None = Field(
        None,
        description="Type of the model's input. Default: int8 for auto (float32 where only a float input meets the goal) and int8, "
        "float32 otherwise.",
    )
    output_type: IoType | None = Field(None, description="Type of the model's output. Default: as input_type.")
    calibration: CalibrationConfig = CalibrationConfig()
