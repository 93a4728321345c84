"""The recipes a model can be converted by, and which number types may stand at its inputs and outputs."""

from __future__ import annotations

from enum import Enum

from components.errors import ConversionError


class IoType(str, Enum):
    """Number type of real-valued inputs or outputs. Integer inputs (token ids) keep their own type in every recipe."""

    INT8 = "int8"
    UINT8 = "uint8"
    FLOAT32 = "float32"


class Recipe(str, Enum):
    """How weights and activations are stored and computed."""

    FLOAT32 = "float32"
    DYNAMIC = "dynamic"  # int8 weights, ranges of activations measured while the model runs
    FLOAT16 = "float16"  # float16 weights, float32 arithmetic
    INT8 = "int8"  # int8 weights and activations
    INT16X8 = "int16x8"  # int8 weights, int16 activations: close to float, but without fast kernels

    @property
    def needs_calibration(self) -> bool:
        """Whether the ranges of activations come from calibration data."""
        return self in (Recipe.INT8, Recipe.INT16X8)

    @property
    def activation_dtype(self) -> str:
        """Numpy name of the type in which activations are computed."""
        return {Recipe.INT8: "int8", Recipe.INT16X8: "int16"}.get(self, "float32")

    @property
    def io_types(self) -> tuple[IoType, ...]:
        """The types that inputs and outputs may have; the first is the default."""
        if self is Recipe.INT8:
            return (IoType.INT8, IoType.UINT8, IoType.FLOAT32)
        return (IoType.FLOAT32,)


def parse_recipe(text: str) -> Recipe:
    """Returns the recipe of that name.

    Raises:
        ConversionError: There is none; the message lists those there are.
    """
    try:
        return Recipe(text)
    except ValueError:
        known = ", ".join(recipe.value for recipe in Recipe)
        raise ConversionError(f"recipe {text!r} is unknown; choose one of {known}.") from None


def resolve_io_types(recipe: Recipe, input_type: str | None, output_type: str | None) -> tuple[IoType, IoType]:
    """Returns the types of inputs and outputs: the wanted ones, else the recipe's default; outputs follow the inputs.

    Raises:
        ConversionError: The recipe cannot have that type there.
    """
    at_input = _resolve(recipe, input_type, "input", recipe.io_types[0])
    return at_input, _resolve(recipe, output_type, "output", at_input)


def _resolve(recipe: Recipe, wanted: str | None, side: str, default: IoType) -> IoType:
    if not wanted:
        return default
    allowed = [io_type.value for io_type in recipe.io_types]
    if wanted not in allowed:
        raise ConversionError(
            f"{side}_type {str(getattr(wanted, 'value', wanted))!r} does not fit recipe {recipe.value}; "
            f"it takes {' or '.join(allowed)}. Change {side}_type, or leave it out."
        )
    return IoType(wanted)
