"""The rules behind the estimates, on golden files and on changed copies of them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from edgeproof_edge.examinations import delegate_tables as tables
from edgeproof_edge.examinations.delegates import CpuOperator, Estimate, Share, Target, estimate
from edgeproof_edge.flatbuffer.reading import _BUILTIN_NAMES

from components.repair.graph import FloatGraph
from tests.edge.rewriting import golden, rewritten

ALL, PART, NONE = Share.ALL, Share.PART, Share.NONE


def estimate_for(data: bytes, target: Target) -> Estimate:
    return next(found for found in estimate(data) if found.target is target)


@pytest.mark.parametrize(
    ("name", "edge_tpu", "nnapi", "gpu", "core_ml"),
    [
        pytest.param("int8", ALL, ALL, ALL, NONE, id="int8"),
        pytest.param("uint8", ALL, ALL, ALL, NONE, id="uint8"),
        pytest.param("int8_float_io", PART, ALL, ALL, NONE, id="int8-with-float-io"),
        pytest.param("float_island", PART, ALL, ALL, NONE, id="float-island"),
        pytest.param("hard_swish_int8", PART, ALL, ALL, NONE, id="hard-swish"),
        pytest.param("float32", NONE, ALL, ALL, ALL, id="float32"),
        pytest.param("float16", NONE, ALL, ALL, ALL, id="float16"),
        pytest.param("int16x8", NONE, NONE, NONE, NONE, id="int16x8"),
        pytest.param("flex", NONE, NONE, NONE, NONE, id="tf-select"),
        pytest.param("custom", NONE, NONE, NONE, NONE, id="custom-operator"),
    ],
)
def test_verdicts_on_golden_files(name: str, edge_tpu: Share, nnapi: Share, gpu: Share, core_ml: Share) -> None:
    verdicts = {found.target: found.verdict for found in estimate(golden(name))}
    assert verdicts == {Target.EDGE_TPU: edge_tpu, Target.NNAPI: nnapi, Target.GPU: gpu, Target.CORE_ML: core_ml}


def test_every_estimate_says_that_it_is_one_and_names_its_source() -> None:
    for found in estimate(golden("float_island")):
        content = json.loads(json.dumps(found.to_json()))
        assert content["is_estimate"] is True
        assert content["source"]
        assert content["assumption"]
        assert content["verdict"] in {"all", "part", "none"}


def test_edge_tpu_takes_one_piece_only() -> None:
    found = estimate_for(golden("hard_swish_int8"), Target.EDGE_TPU)
    assert found.cpu_operators == (
        CpuOperator("HARD_SWISH", 1, "not supported"),
        CpuOperator("MEAN", 1, "behind the first one that stays"),
    )
    assert found.reason == "2 of 3 operators stay on the CPU"


def test_casts_at_the_borders_do_not_cut_the_edge_tpu_piece() -> None:
    found = estimate_for(golden("int8_float_io"), Target.EDGE_TPU)
    assert {operator.name for operator in found.cpu_operators} == {"QUANTIZE", "DEQUANTIZE"}


def test_edge_tpu_takes_no_open_dimension_but_the_batch() -> None:
    def open_width(model: Any) -> None:
        for tensor in model.subgraphs[0].tensors:
            if tensor.shapeSignature is not None and len(tensor.shapeSignature) == 4:
                tensor.shapeSignature = [-1, 8, -1, 3]

    assert "batch fixed to 1" in estimate_for(golden("int8"), Target.EDGE_TPU).assumption
    found = estimate_for(rewritten("hard_swish_int8", open_width), Target.EDGE_TPU)
    assert found.verdict is NONE
    assert {operator.reason for operator in found.cpu_operators} == {"the compiler takes no open dimensions"}


def test_edge_tpu_takes_three_dimensions_larger_than_one() -> None:
    def batch_of_two(model: Any) -> None:
        for tensor in model.subgraphs[0].tensors:
            if len(tensor.shape) == 4 and model.buffers[tensor.buffer].data is None:
                tensor.shape = [2, *tensor.shape[1:]]

    found = estimate_for(rewritten("hard_swish_int8", batch_of_two), Target.EDGE_TPU)
    assert found.cpu_operators[0] == CpuOperator("CONV_2D", 1, "more than 3 dimensions larger than 1")


def test_nnapi_takes_no_dense_layer_with_one_scale_per_channel() -> None:
    def per_channel(model: Any) -> None:
        graph = model.subgraphs[0]
        weights = graph.tensors[graph.operators[0].inputs[1]]
        weights.quantization.scale = [0.01, 0.02, 0.03, 0.04]
        weights.quantization.zeroPoint = [0, 0, 0, 0]

    found = estimate_for(rewritten("int8", per_channel), Target.NNAPI)
    assert found.cpu_operators == (CpuOperator("FULLY_CONNECTED", 1, "one scale per channel"),)


def test_newer_versions_of_an_operator_stay_on_the_cpu() -> None:
    def raise_version(model: Any) -> None:
        model.operatorCodes[0].version = 12

    found = estimate_for(rewritten("int8", raise_version), Target.NNAPI)
    assert found.cpu_operators == (CpuOperator("FULLY_CONNECTED", 1, "version 12, supported up to 5"),)


def test_core_ml_takes_no_integer_weights() -> None:
    found = estimate_for(golden("dynamic"), Target.CORE_ML)
    assert found.cpu_operators == (CpuOperator("FULLY_CONNECTED", 1, "int8 weights"),)


@pytest.mark.parametrize("table", ["EDGE_TPU", "NNAPI", "GPU", "CORE_ML"])
def test_tables_know_only_operators_that_tflite_has(table: str) -> None:
    assert set(getattr(tables, table)) - set(_BUILTIN_NAMES.values()) == set()


@pytest.mark.parametrize(
    ("num_accelerated", "num_operators", "share"),
    [
        pytest.param(3, 3, ALL, id="all"),
        pytest.param(2, 3, PART, id="part"),
        pytest.param(0, 3, NONE, id="none"),
        pytest.param(0, 0, NONE, id="an-empty-model"),
    ],
)
def test_shares(num_accelerated: int, num_operators: int, share: Share) -> None:
    assert Share.of(num_accelerated, num_operators) is share


def with_custom_operator(name: str) -> bytes:
    def rename(model: Any) -> None:
        for code in model.operatorCodes:
            if code.customCode:
                code.customCode = name

    return rewritten("custom", rename)


def test_a_file_that_is_compiled_is_said_to_be_so() -> None:
    found = estimate_for(with_custom_operator("edgetpu-custom-op"), Target.EDGE_TPU)
    assert found.verdict is not NONE
    assert found.reason.startswith("compiled for the Edge TPU already")
    elsewhere = estimate_for(with_custom_operator("edgetpu-custom-op"), Target.GPU)
    assert (elsewhere.verdict, elsewhere.cpu_operators) == (NONE, ())
    assert "compiled for the Edge TPU and runs nowhere else" in elsewhere.reason
    assert "compiled for the Ethos-U" in estimate_for(with_custom_operator("ethos-u"), Target.EDGE_TPU).reason


def image_of_bytes() -> bytes:
    """Image uint8 -> CAST to float -> QUANTIZE to int8 -> RELU, as converted detectors begin."""
    graph = FloatGraph.empty()
    image, real, codes, result = (
        graph.add_tensor(name, [1, 4, 4, 3], dtype)
        for name, dtype in (("image", "uint8"), ("real", "float32"), ("codes", "int8"), ("result", "int8"))
    )
    graph.insert_operator(0, "CAST", 1, [image], [real])
    graph.insert_operator(1, "QUANTIZE", 1, [real], [codes])
    graph.insert_operator(2, "RELU", 1, [codes], [result])
    graph.set_interface([image], [result])
    return graph.pack()


def test_an_image_of_bytes_that_is_cast_keeps_nothing_behind_it_from_the_edge_tpu() -> None:
    found = estimate_for(image_of_bytes(), Target.EDGE_TPU)
    assert sorted(operator.name for operator in found.cpu_operators) == ["CAST", "QUANTIZE"]
    assert found.verdict is PART


def recurrent() -> bytes:
    """X [1, 4, 3] -> UNIDIRECTIONAL_SEQUENCE_LSTM with an int16 cell state -> y."""
    graph = FloatGraph.empty()
    x, cell, y = (
        graph.add_tensor(name, shape, dtype)
        for name, shape, dtype in (("x", [1, 4, 3], "int8"), ("cell", [1, 2], "int16"), ("y", [1, 4, 2], "int8"))
    )
    graph.insert_operator(0, "UNIDIRECTIONAL_SEQUENCE_LSTM", 1, [x, cell], [y])
    graph.set_interface([x], [y])
    return graph.pack()


def test_the_int16_state_of_an_lstm_keeps_it_from_no_edge_tpu() -> None:
    assert estimate_for(recurrent(), Target.EDGE_TPU).verdict is ALL


def test_tile_is_mapped() -> None:
    graph = FloatGraph.empty()
    x, y = (graph.add_tensor(name, [1, 4], "int8") for name in ("x", "y"))
    repeats = graph.add_tensor("repeats", [2], "int32", np.ones(2))
    graph.insert_operator(0, "TILE", 1, [x, repeats], [y])
    graph.set_interface([x], [y])
    assert estimate_for(graph.pack(), Target.EDGE_TPU).verdict is ALL
