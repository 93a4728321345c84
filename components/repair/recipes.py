"""The recipes a model can be converted by, and which number types may stand at its inputs and outputs.

``auto`` is int8 by the cheapest cure that keeps what float knows (repair/ladder.py); it stops at plain int8 where that
is enough. A SavedModel trained with quantization in the loop (int8-qat) brings its own ranges; where the Trainer made
one, it is the last candidate that auto tries.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

from components.errors import ConversionError


class IoType(str, Enum):
    """Number type of real-valued inputs or outputs. Integer inputs (token ids) keep their own type in every recipe."""

    INT8 = "int8"
    UINT8 = "uint8"
    FLOAT32 = "float32"


_ACTIVATION_DTYPES = {"auto": "int8", "int8": "int8", "int8-qat": "int8", "int16x8": "int16"}


class Recipe(str, Enum):
    """How weights and activations are stored and computed."""

    AUTO = "auto"  # int8, repaired where plain int8 loses too much; another recipe only where that is allowed
    FLOAT32 = "float32"
    DYNAMIC = "dynamic"  # int8 weights, ranges of activations measured while the model runs
    FLOAT16 = "float16"  # float16 weights, float32 arithmetic
    INT8 = "int8"  # int8 weights and activations
    INT8_QAT = "int8-qat"  # int8 with the ranges that quantization-aware training found
    INT16X8 = "int16x8"  # int8 weights, int16 activations: close to float, but without fast kernels

    @property
    def needs_calibration(self) -> bool:
        """Whether the ranges of activations come from calibration data."""
        return self in (Recipe.AUTO, Recipe.INT8, Recipe.INT16X8)

    @property
    def activation_dtype(self) -> str:
        """Numpy name of the type in which activations are computed."""
        return _ACTIVATION_DTYPES.get(self.value, "float32")

    @property
    def io_types(self) -> tuple[IoType, ...]:
        """The types that inputs and outputs may have; the first is the default."""
        if self.activation_dtype == "int8":
            return (IoType.INT8, IoType.UINT8, IoType.FLOAT32)
        return (IoType.FLOAT32,)


#: Recipes that ``auto`` may fall back on where int8 does not meet the goal, if the config allows them by name.
FALLBACKS = (Recipe.INT16X8, Recipe.FLOAT16, Recipe.DYNAMIC)


def parse_fallbacks(names: Iterable[str]) -> tuple[Recipe, ...]:
    """Returns the fallbacks of these names, in their order.

    Raises:
        ConversionError: One is no fallback; the message lists those there are.
    """
    by_name = {recipe.value: recipe for recipe in FALLBACKS}
    recipes = []
    for name in names:
        if name not in by_name:
            raise ConversionError(f"fallback {name!r} is unknown; choose among {', '.join(by_name)}.")
        recipes.append(by_name[name])
    return tuple(dict.fromkeys(recipes))


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
