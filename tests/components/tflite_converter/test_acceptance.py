from __future__ import annotations

from dataclasses import replace

import pytest
from edgeproof_edge.flatbuffer import Inspection, OperatorUse
from edgeproof_edge.tensors import TensorSpec

from components.errors import ConversionError
from components.repair.recipes import IoType, Recipe
from components.saved_models.saved_model import Signature
from components.tflite_converter import acceptance

INT8_MODEL = Inspection(
    size_bytes=1,
    sha256="0" * 64,
    operators=(
        OperatorUse("CONV_2D", 3, 1, ("int8", "int8", "int32"), ("int8",), 10),
        OperatorUse("QUANTIZE", 1, 1, ("float32",), ("int8",), 0),
    ),
    float_operators=(),
    num_float_operators=0,
    crossings=(),
    custom_operators=(),
    flex_operators=(),
    inputs=(TensorSpec("image", (-1, 8), "int8", 0.1, 0), TensorSpec("tokens", (-1, 4), "int32")),
    outputs=(TensorSpec("probs", (-1, 3), "int8", 0.1, 0),),
    signature_key="edge",
    minimum_runtime=None,
)
SIGNATURE = Signature(
    "edge",
    (TensorSpec("image", (-1, 8), "float32"), TensorSpec("tokens", (-1, 4), "int32")),
    (TensorSpec("probs", (-1, 3), "float32"),),
)
FLOAT_MODEL = replace(
    INT8_MODEL,
    operators=(
        OperatorUse("CONV_2D", 1, 2, ("float32", "float32", "float32"), ("float32",), 40),
        OperatorUse("QUANTIZE", 1, 1, ("float32",), ("int8",), 0),
    ),
    float_operators=("CONV_2D",),
)


def test_an_integer_model_passes() -> None:
    assert acceptance.check_operators(INT8_MODEL, Recipe.INT8, allow_float_operators=False) == ()
    acceptance.check_io_types(INT8_MODEL, SIGNATURE, IoType.INT8, IoType.INT8)


@pytest.mark.parametrize("recipe", [Recipe.INT8, Recipe.INT16X8])
def test_a_float_model_in_place_of_an_integer_one_is_refused(recipe: Recipe) -> None:
    with pytest.raises(ConversionError, match="gave a float model: none of its 2 operators"):
        acceptance.check_operators(FLOAT_MODEL, recipe, allow_float_operators=True)


@pytest.mark.parametrize("recipe", [Recipe.INT8, Recipe.INT16X8, Recipe.DYNAMIC])
def test_weights_of_fewer_bits_are_refused(recipe: Recipe) -> None:
    narrow = OperatorUse("CONV_2D", 3, 1, ("int8", "int4", "int32"), (recipe.activation_dtype,), 5)
    with pytest.raises(ConversionError, match=rf"weights as int4 \(CONV_2D\), and recipe {recipe.value} as int8"):
        acceptance.check_operators(replace(INT8_MODEL, operators=(narrow,)), recipe, allow_float_operators=True)


@pytest.mark.parametrize("recipe", [Recipe.FLOAT32, Recipe.DYNAMIC, Recipe.FLOAT16])
def test_float_recipes_may_compute_in_float(recipe: Recipe) -> None:
    assert acceptance.check_operators(FLOAT_MODEL, recipe, allow_float_operators=False) == ()


def test_float_islands_are_named_and_refused_only_where_that_is_asked_for() -> None:
    mixed = replace(INT8_MODEL, float_operators=("ERF", "LOG"))
    (warning,) = acceptance.check_operators(mixed, Recipe.INT8, allow_float_operators=True)
    assert "ERF, LOG" in warning
    with pytest.raises(ConversionError, match="compute in float: ERF, LOG"):
        acceptance.check_operators(mixed, Recipe.INT8, allow_float_operators=False)


def test_custom_and_flex_operators_are_refused_in_every_recipe() -> None:
    foreign = replace(FLOAT_MODEL, custom_operators=("MyOp",), flex_operators=("FlexErf",))
    with pytest.raises(ConversionError, match="MyOp, FlexErf"):
        acceptance.check_operators(foreign, Recipe.FLOAT32, allow_float_operators=True)


@pytest.mark.parametrize(
    ("inspection", "message"),
    [
        pytest.param(
            replace(INT8_MODEL, inputs=(TensorSpec("image", (-1, 8), "float32"), INT8_MODEL.inputs[1])),
            "input 'image' came out as float32; int8 was asked for",
            id="input-stayed-float",
        ),
        pytest.param(
            replace(INT8_MODEL, inputs=(INT8_MODEL.inputs[0], TensorSpec("tokens", (-1, 4), "int8", 1.0, 0))),
            "input 'tokens' came out as int8; int32 was asked for",
            id="ids-were-quantized",
        ),
        pytest.param(replace(INT8_MODEL, outputs=()), r"lost output\(s\) probs", id="output-lost"),
    ],
)
def test_inputs_and_outputs_must_be_what_was_asked_for(inspection: Inspection, message: str) -> None:
    with pytest.raises(ConversionError, match=message):
        acceptance.check_io_types(inspection, SIGNATURE, IoType.INT8, IoType.INT8)


def test_a_type_that_nobody_asked_for_may_be_float() -> None:
    mixed = replace(INT8_MODEL, outputs=(TensorSpec("probs", (-1, 3), "float32"),))
    (warning,) = acceptance.check_io_types(mixed, SIGNATURE, IoType.INT8, IoType.INT8, may_be_float=True)
    assert "output 'probs' is float32" in warning
    assert acceptance.type_of(mixed.outputs, SIGNATURE.outputs, IoType.INT8) is IoType.FLOAT32
    assert acceptance.type_of(INT8_MODEL.outputs, SIGNATURE.outputs, IoType.INT8) is IoType.INT8


def test_a_model_that_changes_variables_is_said_to_do_so() -> None:
    assign = OperatorUse("ASSIGN_VARIABLE", 1, 1, ("resource", "float32"), (), 0)
    stateful = replace(FLOAT_MODEL, operators=(*FLOAT_MODEL.operators, assign))
    (warning,) = acceptance.check_operators(stateful, Recipe.FLOAT32, allow_float_operators=True)
    assert "training=False" in warning


def test_a_file_that_the_runtime_refuses_is_a_conversion_error() -> None:
    with pytest.raises(ConversionError, match=r"model\.tflite was converted but cannot run: .*"):
        acceptance.load("model.tflite", b"\x00" * 64)
