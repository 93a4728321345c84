"""TFLiteModel against plain NumPy, across kernels and batch sizes, and what it says about inputs it cannot take."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from edgeproof_edge import interpreter
from edgeproof_edge.errors import InputError, ModelFileError
from edgeproof_edge.interpreter import Delegation, Kernels, TFLiteModel, delegation, runtime_version
from edgeproof_edge.rows import Feeding, RowOrder, RowUse
from edgeproof_edge.tensors import dequantize, quantize
from numpy.typing import NDArray

from tests.edge.rewriting import rewritten

MODELS = Path(__file__).parent / "models"
UNLOADABLE = ("custom", "flex")
LOADABLE = sorted(path.stem for path in MODELS.glob("*.tflite") if path.stem not in UNLOADABLE)
LSB_TOLERANCE = {"int8": 4, "uint8": 2, "int16": 2}
"""Codes by which two kernels may differ on these files."""
FLOAT_TOLERANCE = 0.05
"""Float outputs reach 6; in dynamic.tflite and behind DEQUANTIZE they carry the rounding of 8-bit activations."""


def load(name: str, kernels: Kernels = Kernels.XNNPACK) -> TFLiteModel:
    return TFLiteModel.load(MODELS / f"{name}.tflite", kernels)


def rows_for(model: TFLiteModel, num_rows: int, seed: int = 3) -> dict[str, NDArray[np.generic]]:
    draw = np.random.default_rng(seed)
    rows: dict[str, NDArray[np.generic]] = {}
    for spec in model.inputs:
        shape = (num_rows, *spec.shape[1:])
        if spec.dtype == "int32":
            rows[spec.name] = draw.integers(0, 10, shape).astype(np.int32)
        elif spec.name == "image":
            rows[spec.name] = draw.integers(0, 256, shape).astype(np.uint8)
        else:
            rows[spec.name] = np.clip(draw.normal(0, 1.2, shape), -3, 3).astype(np.float32)
    return rows


def weights_of_dense(path: Path) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """Kernel codes [outputs, inputs], kernel scales [outputs] or [1], and bias codes of the file's only layer."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(bytearray(path.read_bytes()), 0))
    graph = model.subgraphs[0]
    (operator,) = graph.operators
    kernel, bias = (graph.tensors[index] for index in operator.inputs[1:])
    codes = np.frombuffer(bytes(model.buffers[kernel.buffer].data), np.int8).reshape(kernel.shape)
    bias_codes = np.frombuffer(bytes(model.buffers[bias.buffer].data), np.int32)
    return codes.astype(np.int64), np.array(kernel.quantization.scale, np.float64), bias_codes.astype(np.int64)


@pytest.mark.parametrize("kernels", list(Kernels), ids=lambda kernels: kernels.value)
def test_one_int8_layer_agrees_with_plain_numpy(kernels: Kernels) -> None:
    model = load("int8", kernels)
    (source,), (target,) = model.inputs, model.outputs
    kernel, kernel_scale, bias = weights_of_dense(MODELS / "int8.tflite")
    x = rows_for(model, 500)["x"]

    accumulated = (quantize(x, source).astype(np.int64) - source.zero_point) @ kernel.T + bias
    codes = np.rint(accumulated * (source.scale * kernel_scale / target.scale)) + target.zero_point
    expected = (np.clip(codes, -128, 127) - target.zero_point) * target.scale

    steps_off = np.abs(model.predict({"x": x})["scores"] - expected) / target.scale
    assert steps_off.max() < 1.01  # one code, where the kernel's fixed-point rounding meets a tie
    assert (steps_off > 0.5).mean() < 0.01


@pytest.mark.parametrize("name", LOADABLE)
def test_xnnpack_and_builtin_kernels_agree(name: str) -> None:
    xnnpack, builtin = load(name), load(name, Kernels.BUILTIN)
    rows = rows_for(xnnpack, 64)
    ours, theirs = xnnpack.predict(rows), builtin.predict(rows)
    for spec in xnnpack.outputs:
        tolerance = LSB_TOLERANCE[spec.dtype] * spec.scale * 1.001 if spec.is_quantized else FLOAT_TOLERANCE
        np.testing.assert_allclose(ours[spec.name], theirs[spec.name], rtol=1e-4, atol=tolerance)


@pytest.mark.parametrize("name", [name for name in LOADABLE if name != "running_mean"])
def test_a_batch_gives_what_its_rows_give_one_by_one(name: str) -> None:
    model = load(name)
    rows = rows_for(model, 7)
    together = model.predict(rows)
    size = max(1, model.inputs[0].shape[0])
    for start in range(0, 7, size):
        alone = load(name).predict({key: value[start : start + size] for key, value in rows.items()})
        for key, values in alone.items():
            np.testing.assert_allclose(together[key][start : start + size], values, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", LOADABLE)
def test_outputs_have_names_rows_and_real_numbers(name: str) -> None:
    model = load(name)
    found = model.predict(rows_for(model, 5))
    assert list(found) == [spec.name for spec in model.outputs]
    for spec in model.outputs:
        assert found[spec.name].dtype == np.float32
        assert found[spec.name].shape == (5, *spec.shape[1:])


@pytest.mark.parametrize(
    ("name", "feeding"),
    [
        pytest.param("float32", Feeding.TOGETHER, id="open-batch"),
        pytest.param("fixed_batch_resizable", Feeding.TOGETHER, id="declared-1-and-resizable"),
        pytest.param("two_inputs_int8", Feeding.TOGETHER, id="two-inputs"),
        pytest.param("fixed_batch", Feeding.APART, id="reshape-with-a-fixed-batch"),
        pytest.param("batch_sum", Feeding.APART, id="output-does-not-follow-the-batch"),
        pytest.param("batch_of_three", Feeding.APART, id="declared-3"),
        pytest.param("instance_norm", Feeding.APART, id="normalization-over-the-batch"),
        pytest.param("instance_norm_int8", Feeding.APART, id="normalization-over-the-batch-in-int8"),
        pytest.param("lstm", Feeding.RESET, id="fused-lstm"),
        pytest.param("lstm_int8", Feeding.RESET, id="fused-lstm-in-int8"),
        pytest.param("running_mean", Feeding.STREAM, id="variable"),
    ],
)
def test_how_rows_go_in_is_found_by_state_and_by_values(name: str, feeding: Feeding) -> None:
    model = load(name)
    model.predict(rows_for(model, 60))
    assert model.row_use.feeding is feeding
    assert model.row_use.num_probe_rows <= 4 * 9


@pytest.mark.parametrize("name", [name for name in LOADABLE if name not in ("batch_of_three", "running_mean")])
def test_rows_give_what_a_fresh_interpreter_gives_at_batch_1(name: str) -> None:
    model = load(name)
    rows = rows_for(model, 40)
    expected = by_plain_interpreter(MODELS / f"{name}.tflite", rows)
    (first, *_), found = model.outputs, model.predict(rows)
    np.testing.assert_allclose(found[first.name], expected, rtol=1e-5, atol=1e-5)


def test_a_stream_is_carried_on_from_call_to_call_and_begins_anew_when_it_is_told_to() -> None:
    model = load("running_mean")
    x = rows_for(model, 30)["x"]
    whole = model.predict({"x": x})["scores"]
    mean, kernel_free = np.zeros(8), []
    for row in x:
        mean = 0.75 * mean + 0.25 * row
        kernel_free.append(mean)
    kernel, *_ = np.linalg.lstsq(np.column_stack([np.array(kernel_free), np.ones(30)]), whole, rcond=None)
    np.testing.assert_allclose(np.column_stack([np.array(kernel_free), np.ones(30)]) @ kernel, whole, atol=1e-5)

    model.restart()
    parts = [model.predict({"x": x[start : start + 7]})["scores"] for start in range(0, 30, 7)]
    assert np.array_equal(np.concatenate(parts), whole)


def test_rows_that_are_no_stream_are_told_nothing_of_each_other() -> None:
    stream = load("running_mean")
    x = rows_for(stream, 12)["x"]
    apart = TFLiteModel.load(MODELS / "running_mean.tflite", order=RowOrder.INDEPENDENT)
    assert np.array_equal(apart.predict({"x": x})["scores"][::-1], apart.predict({"x": x[::-1]})["scores"])
    assert np.array_equal(apart.predict({"x": x})["scores"][0], stream.predict({"x": x})["scores"][0])
    assert not np.allclose(apart.predict({"x": x})["scores"][5], stream.predict({"x": x})["scores"][5])


def test_a_fused_lstm_goes_on_where_rows_are_a_stream() -> None:
    path = MODELS / "lstm.tflite"
    x = rows_for(load("lstm"), 6)["x"]
    reset, carried = TFLiteModel.load(path), TFLiteModel.load(path, order=RowOrder.STREAM)
    assert np.array_equal(reset.predict({"x": x})["scores"][0], carried.predict({"x": x})["scores"][0])
    assert not np.allclose(reset.predict({"x": x})["scores"][3], carried.predict({"x": x})["scores"][3])


def test_a_stream_takes_whole_batches_only() -> None:
    model = TFLiteModel.load(three_wide_stream())
    with pytest.raises(InputError, match=r"takes 3 at a time; found 4"):
        model.predict({"x": np.zeros((4, 8), np.float32)})


def test_equal_rows_tell_nothing_and_are_run_by_declared_batch() -> None:
    model = load("float32")
    (spec,) = model.inputs
    model.predict({spec.name: np.ones((20, *spec.shape[1:]), np.float32)})
    assert model.row_use == RowUse(Feeding.APART, 0, is_known=False)
    model.predict(rows_for(model, 20))
    assert model.row_use.feeding is Feeding.TOGETHER


def test_a_reduction_over_the_rows_is_known_before_any_comes() -> None:
    assert load("instance_norm").row_use == RowUse(Feeding.APART)
    assert not load("float32").row_use.is_known


def by_plain_interpreter(path: Path, rows: dict[str, NDArray[np.generic]]) -> NDArray[np.float32]:
    """The first output, with a new interpreter of LiteRT's own for every row."""
    outputs = []
    content = path.read_bytes()
    for row in range(len(next(iter(rows.values())))):
        plain = Interpreter(model_content=content, num_threads=1)
        plain.allocate_tensors()
        runner_inputs = {detail["name"]: detail for detail in plain.get_input_details()}
        model_inputs = TFLiteModel.load(content)._inputs
        for bound in model_inputs:
            detail = next(d for d in runner_inputs.values() if d["index"] == bound.tensor_index)
            values = rows[bound.spec.name][row : row + 1]
            codes = quantize(values, bound.spec) if bound.spec.is_quantized else values.astype(detail["dtype"])
            plain.set_tensor(detail["index"], codes)
        plain.invoke()
        bound = TFLiteModel.load(content)._outputs[0]
        values = plain.get_tensor(bound.tensor_index)
        outputs.append(dequantize(values, bound.spec) if bound.spec.is_quantized else values)
    return np.concatenate(outputs)


def three_wide_stream() -> bytes:
    """The stream's file with a batch of three."""

    def widen(model: Any) -> None:
        for graph in model.subgraphs:
            for tensor in graph.tensors:
                if tensor.shape is not None and len(tensor.shape) == 2 and tensor.shape[0] == 1:
                    tensor.shape = [3, *tensor.shape[1:]]
        for buffer in model.buffers:
            if buffer.data is not None and len(buffer.data) == 4 * 8 and not np.any(np.asarray(buffer.data)):
                buffer.data = np.zeros(3 * 4 * 8, np.uint8)

    return rewritten("running_mean", widen)


def test_batch_sizes_may_change_between_calls() -> None:
    model = load("int8")
    rows = rows_for(model, 300)["x"]
    whole = model.predict({"x": rows})["scores"]  # 256 rows, then 44
    for size in (1, 2, 255, 256, 257, 1):
        assert np.array_equal(model.predict({"x": rows[:size]})["scores"], whole[:size])


def test_the_delegate_stays_when_the_batch_is_resized() -> None:
    model = load("int8")
    before = delegation(model)
    model.predict(rows_for(model, 9))
    assert model._allocated_batch == 9
    assert delegation(model) == before == Delegation(1, 1.0, ())


def test_a_declared_batch_is_filled_up_and_the_filling_dropped() -> None:
    model = load("batch_of_three")
    rows = rows_for(model, 4)["x"]
    found = model.predict({"x": rows})["scores"]
    assert found.shape == (4, 4)
    assert np.array_equal(found[3], model.predict({"x": rows[3:]})["scores"][0])


def test_large_activations_cut_the_rows_of_one_invoke(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load("hard_swish")._max_rows == interpreter.MAX_BATCH
    monkeypatch.setattr(interpreter, "MAX_ACTIVATION_BYTES", 20_000)
    model = load("hard_swish")
    assert 1 <= model._max_rows < 10
    assert model.predict(rows_for(model, 25))["scores"].shape == (25, 4)
    monkeypatch.setattr(interpreter, "MAX_ACTIVATION_BYTES", 0)
    assert load("hard_swish")._max_rows == 1


def test_no_rows_give_no_rows() -> None:
    assert load("int8").predict({"x": np.zeros((0, 8))})["scores"].shape == (0, 4)


def test_bytes_and_paths_load_alike() -> None:
    path = MODELS / "int8.tflite"
    rows = {"x": np.ones((3, 8))}
    found = [
        TFLiteModel.load(source).predict(rows)["scores"].tolist()
        for source in (path, str(path), path.read_bytes(), bytearray(path.read_bytes()), memoryview(path.read_bytes()))
    ]
    assert all(scores == found[0] for scores in found)


def test_nan_counts_as_zero_and_infinity_as_the_last_code_of_a_quantized_input() -> None:
    model = load("int8")
    spoiled = np.array([[np.nan, np.inf, -np.inf, 0, 0, 0, 0, 0]])
    (spec,) = model.inputs
    top, bottom = (127 - spec.zero_point) * spec.scale, (-128 - spec.zero_point) * spec.scale
    clean = np.array([[0, top, bottom, 0, 0, 0, 0, 0]])
    assert np.array_equal(model.predict({"x": spoiled})["scores"], model.predict({"x": clean})["scores"])


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint8"])
def test_token_ids_go_in_as_any_integer_that_fits(dtype: str) -> None:
    model = load("two_inputs")
    ids = np.arange(10).reshape(2, 5)
    x = np.zeros((2, 4), np.float32)
    expected = model.predict({"ids": ids.astype(np.int32), "x": x})["scores"]
    assert np.array_equal(model.predict({"ids": ids.astype(dtype), "x": x})["scores"], expected)


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        pytest.param(np.zeros((1, 5), np.float32), "holds float32; the model wants int32", id="float-ids"),
        pytest.param(np.full((1, 5), 2**31), "2147483648", id="ids-that-do-not-fit"),
        pytest.param(np.zeros((1, 5), bool), "holds bool; the model wants int32", id="bool-ids"),
        pytest.param(
            np.zeros((1, 6), np.int32), r"'ids' has shape \(1, 6\); the model wants \(batch, 5\)", id="wrong-width"
        ),
        pytest.param(np.zeros(5, np.int32), r"'ids' has shape \(5,\)", id="no-batch"),
        pytest.param(np.zeros((2, 5), np.int32), "same number of rows", id="rows-differ"),
        pytest.param(np.array([["a"] * 5]), "holds <U1", id="text"),
        pytest.param(np.full((1, 5), 99, np.int32), "cannot run the given values", id="id-beyond-the-table"),
    ],
)
def test_wrong_token_ids_are_named(ids: NDArray[np.generic], words: str) -> None:
    with pytest.raises(InputError, match=words):
        load("two_inputs").predict({"ids": ids, "x": np.zeros((1, 4), np.float32)})


def test_bad_values_do_not_change_how_later_batches_run() -> None:
    model = load("two_inputs")
    x = np.zeros((2, 4), np.float32)
    with pytest.raises(InputError):
        model.predict({"ids": np.full((2, 5), 99, np.int32), "x": x})
    assert model.predict({"ids": np.zeros((2, 5), np.int32), "x": x})["scores"].shape == (2, 4)
    model.predict({"ids": np.arange(10, dtype=np.int32).reshape(2, 5), "x": x})
    assert model.row_use.feeding is Feeding.TOGETHER


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        pytest.param({}, r"wants the inputs \['x'\]; found \[\]", id="nothing"),
        pytest.param({"y": np.zeros((1, 8))}, r"\['x'\]; found \['y'\]", id="wrong-name"),
        pytest.param({"x": np.zeros((1, 8)), "y": np.zeros(1)}, r"found \['x', 'y'\]", id="one-too-many"),
        pytest.param({"x": np.zeros((1, 7))}, r"shape \(1, 7\); the model wants \(batch, 8\)", id="wrong-width"),
        pytest.param({"x": np.zeros((1, 8), complex)}, "holds complex128; the model wants real numbers", id="complex"),
        pytest.param({"x": np.zeros((1, 8), object)}, "holds object", id="object"),
    ],
)
def test_wrong_inputs_are_named(inputs: dict[str, NDArray[np.generic]], words: str) -> None:
    with pytest.raises(InputError, match=words):
        load("int8").predict(inputs)


@pytest.mark.parametrize(
    ("name", "operator"),
    [pytest.param("custom", "Cumprod", id="custom"), pytest.param("flex", "FlexCumprod", id="flex")],
)
def test_operators_that_litert_lacks_are_named(name: str, operator: str) -> None:
    # In a process of its own: once TensorFlow is imported, its Select operators are there for LiteRT too.
    code = "import sys; from edgeproof_edge.interpreter import TFLiteModel; TFLiteModel.load(sys.argv[1])"
    path = str(MODELS / f"{name}.tflite")
    result = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=False)
    last_line = result.stderr.strip().splitlines()[-1]
    assert last_line.startswith("edgeproof_edge.errors.ModelFileError")
    assert operator in last_line


def test_what_is_no_model_is_refused_with_its_path(tmp_path: Path) -> None:
    page = tmp_path / "model.tflite"
    page.write_text("<!doctype html><title>Sign in</title>")
    with pytest.raises(ModelFileError, match=r"model\.tflite: .*HTML page"):
        TFLiteModel.load(page)
    with pytest.raises(ModelFileError, match="cannot be read"):
        TFLiteModel.load(tmp_path / "absent.tflite")
    with pytest.raises(ModelFileError, match="cannot be read"):
        TFLiteModel.load(tmp_path)
    with pytest.raises(ModelFileError, match="empty"):
        TFLiteModel.load(b"")


def test_delegation_tells_what_the_delegate_leaves_over() -> None:
    assert delegation(load("hard_swish_int8", Kernels.BUILTIN)) == Delegation(0, 0.0, ("CONV_2D", "HARD_SWISH", "MEAN"))
    found = delegation(load("int16x8"))
    assert found is not None
    assert (found.partitions, found.delegated_fraction) == (0, 0.0)


def test_delegation_is_unknown_where_litert_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    model = load("int8")
    monkeypatch.setattr(type(model._interpreter), "_get_ops_details", None)
    assert delegation(model) is None


def test_runtime_version_names_the_distribution() -> None:
    assert runtime_version().startswith("ai-edge-litert 2.")
