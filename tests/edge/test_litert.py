"""Where only tflite-runtime is installed, which brings no schema: the runtime itself tells what goes in and comes out."""

from __future__ import annotations

import numpy as np
import pytest
from edgeproof_edge import interpreter
from edgeproof_edge.errors import SurroundingsError
from edgeproof_edge.flatbuffer import inspect, read_interface, reading
from edgeproof_edge.interpreter import TFLiteModel
from edgeproof_edge.litert import open_delegate, runtime_version

from tests.edge.bundles import MODELS, rows_for

FILES = ["int8", "float32", "uint8", "fixed_batch", "int16x8", "two_inputs", "two_inputs_int8"]


@pytest.mark.parametrize("name", FILES)
def test_the_runtime_tells_what_the_file_does(name: str) -> None:
    content = (MODELS / f"{name}.tflite").read_bytes()
    read, told = read_interface(content), interpreter._interface_of_runtime(content)
    assert {bound.spec.name: bound.tensor_index for bound in told.inputs} == {
        bound.spec.name: bound.tensor_index for bound in read.inputs
    }
    for side in ("inputs", "outputs"):
        specs = {bound.spec.name: bound.spec for bound in getattr(read, side)}
        for bound in getattr(told, side):
            assert bound.spec.shape == specs[bound.spec.name].shape
            assert (bound.spec.dtype, bound.spec.zero_point) == (
                specs[bound.spec.name].dtype,
                specs[bound.spec.name].zero_point,
            )
            assert bound.spec.scale == pytest.approx(specs[bound.spec.name].scale, rel=1e-6)


def test_a_model_runs_without_the_schema_and_an_inspection_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    content = (MODELS / "int8.tflite").read_bytes()
    expected = TFLiteModel.load(content)
    rows = rows_for(expected, 5)
    monkeypatch.setattr(interpreter, "HAS_SCHEMA", False)
    monkeypatch.setattr(reading, "HAS_SCHEMA", False)
    assert (TFLiteModel.load(content).predict(rows)["scores"] == expected.predict(rows)["scores"]).all()
    with pytest.raises(SurroundingsError, match="needs the package ai-edge-litert"):
        inspect(content)


@pytest.mark.parametrize("name", ["lstm", "lstm_int8"])
def test_without_the_schema_an_lstm_forgets_the_row_before_too(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """32-bit ARM has no schema, and there the state of an LSTM ran on from row to row."""
    content = (MODELS / f"{name}.tflite").read_bytes()
    expected = TFLiteModel.load(content)
    rows = rows_for(expected, 5)
    monkeypatch.setattr(interpreter, "HAS_SCHEMA", False)
    monkeypatch.setattr(reading, "HAS_SCHEMA", False)
    model = TFLiteModel.load(content)
    for output, values in expected.predict(rows).items():
        assert np.array_equal(model.predict(rows)[output], values)


def test_a_missing_delegate_is_named() -> None:
    assert runtime_version().startswith("ai-edge-litert ")
    with pytest.raises(SurroundingsError, match=r"libnone\.so cannot be loaded"):
        open_delegate("libnone.so", {})
