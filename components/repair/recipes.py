"""The recipes a model can be converted by, and which number types may stand at its inputs and outputs.

``auto`` is int8 by the cheapest cure that keeps what float knows (repair/search/ladder.py); it stops at plain int8 where that
is enough. A SavedModel trained with quantization in the loop (int8-qat) brings its own ranges; where the Trainer made
one, it is the last candidate that auto tries.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from components.errors import ConversionError


class IoType(str, Enum):
    """Number type of real-valued inputs or outputs. Integer inputs (token ids) keep their own type in every recipe."""

    INT8 = "int8"
    UINT8 = "uint8"
    FLOAT32 = "float32"


class Maker(str, Enum):
    """What makes the file of a recipe."""

    FLOAT = "float"  # the float .tflite itself
    CONVERTER = "converter"  # TensorFlow's converter, from the SavedModel; ranges are measured while the model runs
    RANGES = "ranges"  # the quantizer, from the float .tflite and the ranges of calibration rows
    TRAINING = "training"  # TensorFlow's converter, from a SavedModel that brings its ranges
    SEARCH = "search"  # the ladder of repair/search


@dataclass(frozen=True)
class Storage:
    """What a recipe is.

    Attributes:
        weights: Type in which weights are stored.
        activations: Type in which activations are computed.
        maker: What makes the file.
        is_fallback: Whether ``auto`` may fall back on it where int8 does not meet the goal and the config names it.
        has_fast_kernels: Whether comparing many rows costs little.
    """

    weights: str
    activations: str
    maker: Maker
    is_fallback: bool = False
    has_fast_kernels: bool = True


class Recipe(str, Enum):
    """How weights and activations are stored and computed; what each is stands in ``STORAGE``."""

    AUTO = "auto"  # int8, repaired where plain int8 loses too much; another recipe only where that is allowed
    FLOAT32 = "float32"
    DYNAMIC = "dynamic"  # int8 weights, ranges of activations measured while the model runs
    FLOAT16 = "float16"  # float16 weights, float32 arithmetic
    INT8 = "int8"  # int8 weights and activations
    INT8_QAT = "int8-qat"  # int8 with the ranges that quantization-aware training found
    INT16X8 = "int16x8"  # int8 weights, int16 activations: close to float, but without fast kernels

    @property
    def storage(self) -> Storage:
        """What it is."""
        return STORAGE[self]

    @property
    def needs_calibration(self) -> bool:
        """Whether the ranges of activations come from calibration data."""
        return self.storage.maker in (Maker.RANGES, Maker.SEARCH)

    @property
    def activation_dtype(self) -> str:
        """Numpy name of the type in which activations are computed."""
        return self.storage.activations

    @property
    def io_types(self) -> tuple[IoType, ...]:
        """The types that inputs and outputs may have; the first is the default."""
        if self.activation_dtype == "int8":
            return (IoType.INT8, IoType.UINT8, IoType.FLOAT32)
        return (IoType.FLOAT32,)


#: The one table of recipes: config, command line, converter and checks read it.
STORAGE: dict[Recipe, Storage] = {
    Recipe.AUTO: Storage("int8", "int8", Maker.SEARCH),
    Recipe.INT8: Storage("int8", "int8", Maker.RANGES),
    Recipe.INT8_QAT: Storage("int8", "int8", Maker.TRAINING),
    Recipe.INT16X8: Storage("int8", "int16", Maker.RANGES, is_fallback=True, has_fast_kernels=False),
    Recipe.FLOAT16: Storage("float16", "float32", Maker.CONVERTER, is_fallback=True),
    Recipe.DYNAMIC: Storage("int8", "float32", Maker.CONVERTER, is_fallback=True),
    Recipe.FLOAT32: Storage("float32", "float32", Maker.FLOAT),
}

#: Recipes that ``auto`` may fall back on where int8 does not meet the goal, if the config allows them by name.
FALLBACKS = tuple(recipe for recipe, storage in STORAGE.items() if storage.is_fallback)


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


def resolve_io_types(recipe: Recipe, input_type: IoType | None, output_type: IoType | None) -> tuple[IoType, IoType]:
    """Returns the types of inputs and outputs: the wanted ones, else the recipe's default; outputs follow the inputs.

    Raises:
        ConversionError: The recipe cannot have that type there.
    """
    at_input = _resolve(recipe, input_type, "input", recipe.io_types[0])
    return at_input, _resolve(recipe, output_type, "output", at_input)


def _resolve(recipe: Recipe, wanted: IoType | None, side: str, default: IoType) -> IoType:
    if wanted is None:
        return default
    if wanted not in recipe.io_types:
        raise ConversionError(
            f"{side}_type {wanted.value!r} does not fit recipe {recipe.value}; "
            f"it takes {' or '.join(io_type.value for io_type in recipe.io_types)}. Change {side}_type, or leave it out."
        )
    return wanted
