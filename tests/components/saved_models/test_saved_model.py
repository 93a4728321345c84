"""A SavedModel is opened by its raw-tensor signature, whoever exported it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgeproof_edge.errors import InputError
from edgeproof_edge.tensors import TensorSpec

from components.errors import ModelError
from components.saved_models.saved_model import FloatModel, bind_inputs, read_signature, saved_model_dir

IMAGE = TensorSpec("image", (-1, 2, 2, 1), "float32")
IDS = TensorSpec("ids", (-1, 3), "int32")


def test_one_array_fits_one_input_whatever_its_name() -> None:
    assert list(bind_inputs({"x": np.zeros((5, 2, 2, 1), np.uint8)}, [IMAGE])) == ["image"]


def test_pixels_become_the_models_dtype() -> None:
    assert bind_inputs({"x": np.full((1, 2, 2, 1), 255, np.uint8)}, [IMAGE])["image"].dtype == np.float32


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        pytest.param(
            {"x": np.zeros((5, 2, 2, 1)), "z": np.zeros((5, 3))}, "need arrays of those names", id="wrong-names"
        ),
        pytest.param({"image": np.zeros((5, 3, 2, 1)), "ids": np.zeros((5, 3), int)}, "wants shape", id="wrong-shape"),
        pytest.param({"image": np.zeros((5, 2, 2)), "ids": np.zeros((5, 3), int)}, "wants shape", id="wrong-rank"),
        pytest.param({"image": np.zeros((5, 2, 2, 1)), "ids": np.zeros((5, 3))}, "wants int32", id="floats-for-ids"),
        pytest.param(
            {"image": np.zeros((5, 2, 2, 1)), "ids": np.full((5, 3), 2**40)}, "wants int32", id="ids-overflow"
        ),
        pytest.param(
            {"image": np.full((5, 2, 2, 1), "a"), "ids": np.zeros((5, 3), int)}, "wants float32", id="text-for-pixels"
        ),
    ],
)
def test_arrays_that_do_not_fit_are_refused(arrays: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        bind_inputs(arrays, [IMAGE, IDS])


def test_a_directory_without_a_saved_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"holds no SavedModel"):
        saved_model_dir(str(tmp_path))


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    import tensorflow as tf

    def save_signatures(*keys: str, batch: int | None = None) -> Path:
        module = tf.Module()
        module.weight = tf.Variable(2.0)

        def double(x: Any) -> dict[str, Any]:
            return {"y": x * module.weight}

        def parse(examples: Any) -> dict[str, Any]:
            return {"y": tf.strings.length(examples)}

        raw = tf.function(double, input_signature=[tf.TensorSpec([batch, 2], tf.float32, name="x")])
        text = tf.function(parse, input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
        signatures = {key: text if key.startswith("text") else raw for key in keys}
        tf.saved_model.save(module, str(tmp_path / "m"), signatures=signatures)
        return tmp_path / "m"

    return save_signatures


@pytest.mark.tfx
@pytest.mark.parametrize(
    ("keys", "chosen"),
    [
        pytest.param(("edge", "serving_default", "text"), "edge", id="edge-comes-first"),
        pytest.param(("serving_default",), "serving_default", id="raw-serving-default"),
        pytest.param(("predict", "text"), "predict", id="the-only-raw-one"),
    ],
)
def test_the_raw_signature_is_found(save: Callable[..., Path], keys: tuple[str, ...], chosen: str) -> None:
    signature = read_signature(save(*keys))
    assert signature.key == chosen
    assert signature.inputs == (TensorSpec("x", (-1, 2), "float32"),)


@pytest.mark.tfx
@pytest.mark.parametrize("keys", [("text",), ("a", "b")], ids=["only-strings", "two-raw-ones"])
def test_an_unclear_signature_is_refused_with_what_there_is(save: Callable[..., Path], keys: tuple[str, ...]) -> None:
    with pytest.raises(ModelError, match=r"needs one signature that takes raw tensors.*" + keys[0]):
        read_signature(save(*keys))


@pytest.mark.tfx
def test_a_damaged_saved_model_is_refused(save: Callable[..., Path]) -> None:
    directory = save("edge")
    (directory / "saved_model.pb").write_bytes(b"\xff" * 100)
    with pytest.raises(ModelError, match="damaged"):
        read_signature(directory)


@pytest.mark.tfx
@pytest.mark.parametrize("batch", [None, 1, 4], ids=["free-batch", "batch-of-one", "batch-of-four"])
def test_any_number_of_rows_is_predicted(save: Callable[..., Path], batch: int | None) -> None:
    model = FloatModel.load(save("edge", batch=batch))
    rows = np.arange(20, dtype=np.float32).reshape(10, 2)
    np.testing.assert_array_equal(model.predict({"x": rows})["y"], rows * 2)


def test_a_column_of_a_table_fits_an_input_of_one_number() -> None:
    column = np.arange(3.0, dtype=np.float32)
    found = bind_inputs({"miles": column}, (TensorSpec("miles", (-1, 1), "float32"),))["miles"]
    assert found.tolist() == [[0.0], [1.0], [2.0]]
    assert bind_inputs({"miles": column}, (TensorSpec("miles", (-1,), "float32"),))["miles"].shape == (3,)
    with pytest.raises(InputError, match="wants shape"):
        bind_inputs({"miles": column}, (TensorSpec("miles", (-1, 2), "float32"),))
