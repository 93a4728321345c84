"""What inspect finds in the golden files, and that damaged files are errors with a reason, never a crash."""

from __future__ import annotations

import hashlib
import json
import random
import struct
from typing import Any

import pytest
from edgeproof_edge.errors import ModelFileError
from edgeproof_edge.flatbuffer import Crossing, describe_non_tflite, inspect, read_interface

from tests.edge.rewriting import MODELS, damaged, golden, rewritten

NAMES = sorted(path.stem for path in MODELS.glob("*.tflite"))


def test_golden_files_are_there_and_tiny() -> None:
    assert len(NAMES) >= 20
    assert max(len(golden(name)) for name in NAMES) < 20_000


@pytest.mark.parametrize("name", NAMES)
def test_every_golden_file_is_read(name: str) -> None:
    data = golden(name)
    found = inspect(data)
    assert found.size_bytes == len(data)
    assert found.sha256 == hashlib.sha256(data).hexdigest()
    assert found.num_operators >= 1
    assert 0 <= found.weight_bytes < len(data)
    assert all(spec.shape[0] in (-1, 1, 3) for spec in found.inputs)


@pytest.mark.parametrize("name", NAMES)
def test_inspection_is_json(name: str) -> None:
    found = inspect(golden(name))
    content = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert content["num_int_float_crossings"] == found.num_int_float_crossings == len(content["crossings"])
    assert [use["name"] for use in content["operators"]] == [use.name for use in found.operators]
    assert content["inputs"][0]["name"] == found.inputs[0].name


@pytest.mark.parametrize(
    ("name", "inputs", "outputs", "float_operators", "num_crossings"),
    [
        pytest.param("float32", ["float32"], ["float32"], ("FULLY_CONNECTED", "SOFTMAX"), 0, id="float32"),
        pytest.param(
            "float16", ["float32"], ["float32"], ("FULLY_CONNECTED",), 0, id="float16-weights-are-no-crossing"
        ),
        pytest.param("dynamic", ["float32"], ["float32"], ("FULLY_CONNECTED",), 0, id="dynamic-computes-in-float"),
        pytest.param("int8", ["int8"], ["int8"], (), 0, id="int8"),
        pytest.param("uint8", ["uint8"], ["uint8"], (), 0, id="uint8-io-requantizes-without-crossing"),
        pytest.param("int8_float_io", ["float32"], ["float32"], (), 2, id="int8-with-float-io"),
        pytest.param("int8_float_output", ["int8"], ["float32"], (), 1, id="int8-in-float-out"),
        pytest.param("int16x8", ["int16"], ["int16"], (), 0, id="int16x8"),
        pytest.param("int16x8_float_io", ["float32"], ["float32"], (), 2, id="int16x8-with-float-io"),
        pytest.param("float_island", ["int8"], ["int8"], ("SIN",), 2, id="float-island"),
        pytest.param("hard_swish_int8", ["int8"], ["int8"], (), 0, id="hard-swish-int8"),
        pytest.param("two_inputs_int8", ["int32", "int8"], ["int8", "int8"], (), 0, id="token-ids-stay-int32"),
    ],
)
def test_types_float_operators_and_crossings(
    name: str, inputs: list[str], outputs: list[str], float_operators: tuple[str, ...], num_crossings: int
) -> None:
    found = inspect(golden(name))
    assert [spec.dtype for spec in found.inputs] == inputs
    assert [spec.dtype for spec in found.outputs] == outputs
    assert found.float_operators == float_operators
    assert found.num_int_float_crossings == num_crossings


def test_operators_have_versions_types_and_weight_bytes() -> None:
    (use,) = inspect(golden("int8")).operators
    assert (use.name, use.count) == ("FULLY_CONNECTED", 1)
    assert use.version >= 1
    assert use.input_dtypes == ("int8", "int8", "int32")
    assert use.output_dtypes == ("int8",)
    assert use.weight_bytes == 8 * 4 * 1 + 4 * 4  # int8 kernel and int32 bias


def test_an_optional_input_left_out_is_none() -> None:
    uses = [use for use in inspect(golden("float_island")).operators if use.name == "FULLY_CONNECTED"]
    assert ("int8", "int8", "none") in [use.input_dtypes for use in uses]


def test_crossings_name_the_operator_and_both_tensors() -> None:
    into_float, out_of_float = inspect(golden("float_island")).crossings
    assert isinstance(into_float, Crossing)
    assert into_float.operator == "DEQUANTIZE"
    assert out_of_float.operator == "QUANTIZE"
    assert into_float.from_tensor != into_float.to_tensor


def test_a_cast_with_two_inputs_is_no_crossing() -> None:
    def repeat_input(model: Any) -> None:
        operators = model.subgraphs[0].operators
        operators[1].inputs = [*operators[1].inputs, *operators[1].inputs]

    assert len(inspect(rewritten("float_island", repeat_input)).crossings) == 1


def test_an_impossible_scale_of_one_channel_is_damage() -> None:
    def spoil(model: Any) -> None:
        graph = model.subgraphs[0]
        graph.tensors[graph.operators[0].inputs[1]].quantization.scale[-1] = float("nan")

    with pytest.raises(ModelFileError, match="impossible scale nan"):
        inspect(rewritten("hard_swish_int8", spoil))


def test_quantized_inputs_carry_scale_and_zero_point() -> None:
    (spec,) = inspect(golden("hard_swish_int8")).inputs
    assert (spec.name, spec.shape, spec.dtype, spec.zero_point) == ("image", (-1, 8, 8, 3), "int8", -128)
    assert spec.scale == pytest.approx(1.0, abs=0.01)


def test_one_signature_names_inputs_and_outputs() -> None:
    found = inspect(golden("two_inputs"))
    assert found.signature_key == "edge"
    assert {spec.name for spec in found.inputs} == {"x", "ids"}
    assert {spec.name for spec in found.outputs} == {"scores", "norm"}


def test_several_signatures_leave_the_tensor_names() -> None:
    found = inspect(golden("two_signatures"))
    assert found.signature_key is None
    assert found.inputs[0].name != "x"
    assert found.inputs[0].name == read_interface(golden("two_signatures")).inputs[0].spec.name


def test_flex_and_custom_operators_are_told_apart() -> None:
    flex, custom = inspect(golden("flex")), inspect(golden("custom"))
    assert (flex.flex_operators, flex.custom_operators) == (("FlexCumprod",), ())
    assert (custom.flex_operators, custom.custom_operators) == ((), ("Cumprod",))


def test_minimum_runtime_is_read() -> None:
    assert inspect(golden("float32")).minimum_runtime == "1.5.0"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        pytest.param(b"", "empty", id="empty"),
        pytest.param(b"TFL", "3 bytes", id="shorter-than-the-identifier"),
        pytest.param(b"\n<!DOCTYPE html><html>404</html>", "HTML page", id="html"),
        pytest.param(b"<html lang=en>sign in</html>", "HTML page", id="html-without-doctype"),
        pytest.param(b"<?xml version='1.0'?><Error/>", "XML", id="bucket-error"),
        pytest.param(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull", id="lfs-pointer"),
        pytest.param(b'{"error": "not found"}', "JSON", id="json"),
        pytest.param(b"PK\x03\x04" + b"0" * 40, "zip", id="keras-archive"),
        pytest.param(b"\x89HDF\r\n\x1a\n" + b"0" * 40, "HDF5", id="keras-h5"),
        pytest.param(b"\x1f\x8b\x08" + b"0" * 40, "gzip", id="gzip"),
        pytest.param(bytes(100), "bytes 4 to 7", id="zeros"),
    ],
)
def test_what_is_no_tflite_file_is_described(data: bytes, words: str) -> None:
    assert words in describe_non_tflite(data)
    with pytest.raises(ModelFileError, match="not a TFLite model") as caught:
        inspect(data)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(golden("int8")[: len(golden("int8")) // 2], id="half-a-file"),
        pytest.param(golden("int8")[:8], id="identifier-only"),
        pytest.param(b"\xff\xff\xff\x7fTFL3", id="root-beyond-the-end"),
        pytest.param(b"\x00\x00\x00\x00TFL3" + bytes(64), id="root-at-zero"),
        pytest.param(struct.pack("<I", 8) + b"TFL3" + b"\xff" * 256, id="identifier-and-noise"),
    ],
)
def test_damaged_files_say_so(data: bytes) -> None:
    with pytest.raises(ModelFileError, match="truncated or damaged"):
        inspect(data)


@pytest.mark.parametrize("name", NAMES)
def test_fuzzed_files_are_read_or_refused_with_a_reason(name: str) -> None:
    draw = random.Random(name)
    data = golden(name)
    num_refused = 0
    for _ in range(120):
        try:
            inspect(damaged(data, draw)).to_json()
        except ModelFileError:
            num_refused += 1
    assert num_refused > 10


def test_vectors_that_share_bytes_end_the_walk_early() -> None:
    """A length field blown up to a million entries inside a large file must not take minutes."""
    data = bytearray(golden("int8") + bytes(4_000_000))
    for position in range(8, 400, 4):
        spoiled = bytearray(data)
        spoiled[position : position + 4] = struct.pack("<I", 900_000)
        try:
            inspect(bytes(spoiled))
        except ModelFileError:
            continue
