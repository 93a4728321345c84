"""Contract with TensorFlow: what private_tensorflow.py calls is where it was, and gives what the converter gives."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgeproof_edge.interpreter import TFLiteModel
from numpy.typing import NDArray

from components.compat import keep_dense_per_tensor
from components.repair.graph import FloatGraph
from components.repair.range_statistics import measure
from components.repair.recipes import IoType, Recipe
from components.saved_models.saved_model import read_signature
from components.tflite_converter import worker
from components.tflite_converter.job import ConversionJob, UnsupportedOperator
from components.tflite_converter.private_tensorflow import quantize_flatbuffer, unsupported_operators

Array = NDArray[Any]
Rows = Mapping[str, Array]

#: LiteRT and TensorFlow add up in another order.
SCALE_TOLERANCE = 1e-5


def test_other_exceptions_carry_no_operators() -> None:
    assert unsupported_operators(ValueError("no")) == ()


@pytest.mark.tfx
def test_operators_and_nodes_are_read_from_a_converter_error() -> None:
    from tensorflow.lite.python.convert_phase import ConverterError

    try:
        from tensorflow.lite.python.metrics import converter_error_data_pb2 as data
    except ImportError:  # TF 2.21
        from tensorflow.compiler.mlir.lite.metrics import converter_error_data_pb2 as data

    error = ConverterError("two operators")
    for code, operator in (("ERROR_NEEDS_FLEX_OPS", "tf.Erf"), ("UNKNOWN", "tf.Other")):
        detail = data.ConverterErrorData(error_code=data.ConverterErrorData.ErrorCode.Value(code))
        detail.operator.name = operator
        detail.location.call.add(name="model/gelu/Erf@__inference_edge_1")
        detail.location.call.add(name="PartitionedCall")
        error.append_error(detail)
    assert unsupported_operators(error) == (UnsupportedOperator("Erf", "model/gelu/Erf"),)


def draw_rows(saved_model: Path, num_rows: int = 40) -> dict[str, Array]:
    random = np.random.default_rng(5)
    return {
        spec.name: random.integers(0, 10, (num_rows, *spec.shape[1:])).astype(np.int32)
        if spec.dtype == "int32"
        else random.normal(size=(num_rows, *spec.shape[1:])).astype(np.float32)
        for spec in read_signature(saved_model).inputs
    }


def job_for(saved_model: Path, recipe: Recipe, input_type: IoType, output_type: IoType) -> ConversionJob:
    signature = read_signature(saved_model)
    return ConversionJob(str(saved_model), signature.key, recipe, input_type, output_type)


def by_stock_converter(job: ConversionJob, rows: Rows) -> bytes:
    """What TensorFlow's public API makes of the SavedModel with the rows as its representative dataset."""
    import tensorflow as tf

    sets = {
        Recipe.INT8: tf.lite.OpsSet.TFLITE_BUILTINS_INT8,
        Recipe.INT16X8: tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8,
    }
    converter = tf.lite.TFLiteConverter.from_saved_model(job.saved_model, signature_keys=[job.signature])
    keep_dense_per_tensor(converter)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = worker.RepresentativeData(rows, 1)
    converter.target_spec.supported_ops = [sets[job.recipe]]
    converter.inference_input_type = tf.as_dtype(job.input_type.value)
    converter.inference_output_type = tf.as_dtype(job.output_type.value)
    return bytes(converter.convert())


def by_worker(job: ConversionJob, rows: Rows) -> bytes:
    return worker.make_model(job, worker.convert_to_float(job), worker.RepresentativeData(rows, 1)).model


def assert_same_content(found: bytes, expected: bytes) -> None:
    """Same operators and versions in the same order, on tensors of the same type, shape, scale and values."""
    one, other = FloatGraph.parse(found), FloatGraph.parse(expected)
    assert describe_operators(one) == describe_operators(other)
    for mine, theirs in zip(one.operators, other.operators, strict=True):
        for a, b in zip([*mine.inputs, *mine.outputs], [*theirs.inputs, *theirs.outputs], strict=True):
            if a < 0 or b < 0:
                assert a == b
                continue
            assert (one.dtype(a), one.shape(a)) == (other.dtype(b), other.shape(b))
            np.testing.assert_allclose(scales(one, a), scales(other, b), rtol=SCALE_TOLERANCE)
            assert zero_points(one, a) == zero_points(other, b)
            assert_same_values(one.constant(a), other.constant(b))
    assert interface(found) == interface(expected)


def interface(data: bytes) -> list[tuple[str, tuple[int, ...], str]]:
    model = TFLiteModel.load(data)
    return [(spec.name, spec.shape, spec.dtype) for spec in (*model.inputs, *model.outputs)]


def describe_operators(graph: FloatGraph) -> list[tuple[str, int]]:
    return [(graph.kind(operator), graph.version(operator)) for operator in graph.operators]


def scales(graph: FloatGraph, tensor: int) -> list[float]:
    quantization = graph.tensors[tensor].quantization
    return [] if quantization is None or quantization.scale is None else [float(s) for s in quantization.scale]


def zero_points(graph: FloatGraph, tensor: int) -> list[int]:
    quantization = graph.tensors[tensor].quantization
    return [] if quantization is None or quantization.zeroPoint is None else [int(z) for z in quantization.zeroPoint]


def assert_same_values(found: Array | None, expected: Array | None) -> None:
    if found is None or expected is None:
        assert found is expected
    elif found.dtype in (np.int32, np.int64):  # biases in units of two scales
        np.testing.assert_allclose(found, expected, atol=1, rtol=SCALE_TOLERANCE)
    else:
        np.testing.assert_array_equal(found, expected)


@pytest.mark.exhaustive
@pytest.mark.tfx
@pytest.mark.parametrize(
    ("name", "recipe", "input_type", "output_type"),
    [
        pytest.param("images", Recipe.INT8, IoType.INT8, IoType.INT8, id="int8"),
        pytest.param("images", Recipe.INT8, IoType.UINT8, IoType.FLOAT32, id="int8-with-uint8-in-and-float-out"),
        pytest.param("images", Recipe.INT16X8, IoType.FLOAT32, IoType.FLOAT32, id="int16x8"),
        pytest.param("two_inputs", Recipe.INT8, IoType.INT8, IoType.INT8, id="int8-with-token-ids"),
        pytest.param("two_inputs", Recipe.INT16X8, IoType.FLOAT32, IoType.FLOAT32, id="int16x8-with-token-ids"),
    ],
)
def test_quantizing_the_float_file_gives_what_the_converter_gives(
    saved_models: dict[str, Path], name: str, recipe: Recipe, input_type: IoType, output_type: IoType
) -> None:
    job, rows = job_for(saved_models[name], recipe, input_type, output_type), draw_rows(saved_models[name])
    assert_same_content(by_worker(job, rows), by_stock_converter(job, rows))


@pytest.mark.exhaustive
@pytest.mark.tfx
def test_an_lstm_is_measured_from_a_fresh_state_where_the_converter_lets_it_run_on(
    saved_models: dict[str, Path],
) -> None:
    job, rows = (
        job_for(saved_models["sequence"], Recipe.INT8, IoType.INT8, IoType.INT8),
        draw_rows(saved_models["sequence"]),
    )
    ours, theirs = FloatGraph.parse(by_worker(job, rows)), FloatGraph.parse(by_stock_converter(job, rows))
    assert describe_operators(ours) == describe_operators(theirs)
    for mine, other in zip(ours.operators, theirs.operators, strict=True):
        assert scales(ours, mine.outputs[0]) == pytest.approx(scales(theirs, other.outputs[0]), rel=0.05)


@pytest.mark.tfx
def test_ranges_differ_from_the_converters_only_where_an_addition_runs_in_place(saved_models: dict[str, Path]) -> None:
    """TensorFlow's calibration reads operands after the sum was written over them; the measured range is inside."""
    saved_model = saved_models["residual"]
    job, rows = job_for(saved_model, Recipe.INT8, IoType.INT8, IoType.INT8), draw_rows(saved_model)
    ours, theirs = FloatGraph.parse(by_worker(job, rows)), FloatGraph.parse(by_stock_converter(job, rows))
    assert describe_operators(ours) == describe_operators(theirs)
    different = [
        (mine.outputs[0], other.outputs[0])
        for mine, other in zip(ours.operators, theirs.operators, strict=True)
        if scales(ours, mine.outputs[0]) != pytest.approx(scales(theirs, other.outputs[0]), rel=SCALE_TOLERANCE)
    ]
    for mine, other in different:
        assert [ours.kind(position) for position in ours.consumers(mine)] == ["ADD"]
        assert scales(ours, mine)[0] < scales(theirs, other)[0]


@pytest.fixture(scope="module")
def branches(saved_models: dict[str, Path]) -> tuple[FloatGraph, dict[str, Array]]:
    """Two branches, 1000 apart in size, joined by a CONCATENATION, with ranges; and the rows that set them."""
    saved_model = saved_models["branches"]
    rows = draw_rows(saved_model, 200)
    model = worker.convert_to_float(job_for(saved_model, Recipe.FLOAT32, IoType.FLOAT32, IoType.FLOAT32))
    graph = FloatGraph.parse(model)
    graph.set_ranges(measure(model, rows).ranges())
    return graph, rows


def output_of(graph: FloatGraph, kind: str) -> int:
    (operator,) = [operator for operator in graph.operators if graph.kind(operator) == kind]
    return int(operator.outputs[0])


def dtypes(graph: FloatGraph) -> dict[str, str]:
    return {graph.name(tensor): graph.dtype(tensor) for tensor in range(len(graph.tensors))}


@pytest.mark.tfx
@pytest.mark.parametrize("activations", ["int8", "int16"])
def test_a_freed_tensor_is_float_and_its_neighbors_keep_their_own_scale(
    branches: tuple[FloatGraph, dict[str, Array]], activations: str
) -> None:
    graph, rows = branches
    joined = output_of(graph, "CONCATENATION")
    data = quantize_flatbuffer(graph.pack(), activations=activations, float_tensors=[graph.name(joined)])
    quantized = FloatGraph.parse(data)
    assert dtypes(quantized)[graph.name(joined)] == "float32"
    (operator,) = [o for o in quantized.operators if quantized.kind(o) == "CONCATENATION"]
    branch_scales = []
    for tensor in operator.inputs:
        position = quantized.producer(tensor)
        assert position is not None
        assert quantized.kind(position) == "DEQUANTIZE"
        branch_scales.append(scales(quantized, quantized.operators[position].inputs[0])[0])
    assert max(branch_scales) > 100 * min(branch_scales)
    assert {kind for kind, _ in describe_operators(quantized)} <= {
        *(kind for kind, _ in describe_operators(graph)),
        "QUANTIZE",
        "DEQUANTIZE",
    }
    expected, found = (TFLiteModel.load(model).predict(rows)["y"] for model in (graph.pack(), data))
    assert np.abs(found - expected).max() < 0.05 * np.ptp(expected)


@pytest.mark.tfx
def test_a_freed_input_and_output_stay_float_at_the_door(branches: tuple[FloatGraph, dict[str, Array]]) -> None:
    graph, _ = branches
    ends = [graph.name(graph.inputs[0]), graph.name(graph.outputs[0])]
    data = quantize_flatbuffer(graph.pack(), input_type="int8", output_type="int8", float_tensors=ends)
    model = TFLiteModel.load(data)
    assert [spec.dtype for spec in (*model.inputs, *model.outputs)] == ["float32", "float32"]
    inner = FloatGraph.parse(data)
    assert inner.dtype(output_of(inner, "CONCATENATION")) == "int8"


@pytest.mark.tfx
@pytest.mark.parametrize("activations", ["int8", "int16"])
def test_the_same_model_gives_the_same_bytes(branches: tuple[FloatGraph, dict[str, Array]], activations: str) -> None:
    graph, _ = branches
    islands = [graph.name(output_of(graph, "CONCATENATION"))]
    first, second = (
        quantize_flatbuffer(graph.pack(), activations=activations, float_tensors=islands) for _ in range(2)
    )
    assert first == second


@pytest.mark.tfx
def test_everything_can_be_freed(branches: tuple[FloatGraph, dict[str, Array]]) -> None:
    graph, rows = branches
    names = [graph.name(tensor) for tensor in range(len(graph.tensors)) if graph.is_activation(tensor)]
    data = quantize_flatbuffer(graph.pack(), input_type="int8", output_type="int8", float_tensors=names)
    expected, found = (TFLiteModel.load(model).predict(rows)["y"] for model in (graph.pack(), data))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)
    assert describe_operators(FloatGraph.parse(data)) == describe_operators(graph)
