from __future__ import annotations

import pytest

from components.errors import ConversionError
from components.repair.recipes import FALLBACKS, STORAGE, IoType, Recipe, parse_recipe, resolve_io_types


def test_recipes_are_known_by_their_names() -> None:
    assert [parse_recipe(recipe.value) for recipe in Recipe] == list(Recipe)


def test_an_unknown_recipe_is_refused_with_the_known_ones() -> None:
    with pytest.raises(
        ConversionError,
        match="'int4' is unknown; choose one of auto, float32, dynamic, float16, int8, int8-qat, int16x8",
    ):
        parse_recipe("int4")


@pytest.mark.parametrize("recipe", list(Recipe))
def test_only_recipes_with_integer_activations_need_calibration(recipe: Recipe) -> None:
    brings_its_own_ranges = recipe is Recipe.INT8_QAT
    assert recipe.needs_calibration == (recipe.activation_dtype != "float32" and not brings_its_own_ranges)


@pytest.mark.parametrize(
    ("recipe", "wanted", "resolved"),
    [
        pytest.param(Recipe.INT8, (None, None), (IoType.INT8, IoType.INT8), id="int8-defaults-to-int8"),
        pytest.param(Recipe.INT8, (IoType.UINT8, None), (IoType.UINT8, IoType.UINT8), id="output-follows-input"),
        pytest.param(Recipe.INT8, (None, IoType.FLOAT32), (IoType.INT8, IoType.FLOAT32), id="sides-may-differ"),
        pytest.param(Recipe.INT16X8, (None, None), (IoType.FLOAT32, IoType.FLOAT32), id="int16x8-has-float-io"),
    ],
)
def test_io_types_resolve(
    recipe: Recipe, wanted: tuple[IoType | None, IoType | None], resolved: tuple[IoType, IoType]
) -> None:
    assert resolve_io_types(recipe, *wanted) == resolved


@pytest.mark.parametrize(
    ("recipe", "wanted", "message"),
    [
        pytest.param(
            Recipe.FLOAT16, (IoType.INT8, None), "input_type 'int8' does not fit recipe float16; it takes float32"
        ),
        pytest.param(
            Recipe.INT16X8, (None, IoType.INT8), "output_type 'int8' does not fit recipe int16x8; it takes float32"
        ),
        pytest.param(Recipe.DYNAMIC, (IoType.UINT8, None), "input_type 'uint8' does not fit recipe dynamic"),
    ],
)
def test_io_types_that_a_recipe_cannot_have_are_refused(
    recipe: Recipe, wanted: tuple[IoType | None, IoType | None], message: str
) -> None:
    with pytest.raises(ConversionError, match=message):
        resolve_io_types(recipe, *wanted)


@pytest.mark.parametrize("recipe", list(Recipe))
def test_the_one_table_knows_every_recipe(recipe: Recipe) -> None:
    assert STORAGE[recipe] is recipe.storage
    assert (recipe in FALLBACKS) is recipe.storage.is_fallback
