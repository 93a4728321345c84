"""How rows go into a float SavedModel: together, apart, or as a stream; found by what it computes, not by its shapes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgeproof_edge.errors import InputError
from edgeproof_edge.rows import Feeding, RowOrder

from components.saved_models.saved_model import FloatModel, read_facts

pytestmark = pytest.mark.tfx


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    def save_function(call: Callable[[Any, Any], Any], batch: int | None = None) -> Path:
        import tensorflow as tf

        module = tf.Module()
        module.memory = tf.Variable(tf.zeros([1, 3]))
        module.factor = tf.Variable([[1.0, 2.0, 3.0]])
        function = tf.function(
            lambda x: {"y": call(module, x)}, input_signature=[tf.TensorSpec([batch, 3], tf.float32, name="x")]
        )
        tf.saved_model.save(module, str(tmp_path / "m"), signatures={"edge": function})
        return tmp_path / "m"

    return save_function


def plain(module: Any, x: Any) -> Any:
    return x * module.factor


def normalized(module: Any, x: Any) -> Any:
    import tensorflow as tf

    return (x - tf.reduce_mean(x, axis=[0, 1], keepdims=True)) * module.factor


def remembered(module: Any, x: Any) -> Any:
    import tensorflow as tf

    module.memory.assign(0.5 * module.memory + tf.reduce_sum(x, axis=0, keepdims=True))
    return module.memory * module.factor


def random(module: Any, x: Any) -> Any:
    import tensorflow as tf

    return tf.nn.dropout(x, 0.5) * module.factor


def rows(number: int = 40) -> np.ndarray[Any, Any]:
    return np.random.default_rng(5).normal(size=(number, 3)).astype(np.float32)


def test_independent_rows_go_in_together(save: Callable[..., Path]) -> None:
    model = FloatModel.load(save(plain))
    np.testing.assert_allclose(model.predict({"x": rows()})["y"], rows() * [[1, 2, 3]], rtol=1e-6)
    assert model.row_use.feeding is Feeding.TOGETHER


def test_rows_that_would_mix_go_in_one_by_one_and_it_is_said(
    save: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    model = FloatModel.load(save(normalized))
    with caplog.at_level(logging.WARNING, "edgeproof.progress"):
        found = model.predict({"x": rows()})["y"]
    np.testing.assert_allclose(found, (rows() - rows().mean(axis=1, keepdims=True)) * [[1, 2, 3]], atol=1e-5)
    assert model.row_use.feeding is Feeding.APART
    assert "other values when other rows are in its batch" in caplog.text


def test_a_model_that_rolls_dice_is_named(save: Callable[..., Path], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "edgeproof.progress"):
        FloatModel.load(save(random)).predict({"x": rows()})
    assert "other values from call to call" in caplog.text


@pytest.mark.parametrize("batch", [None, 1], ids=["open-batch", "batch-of-one"])
def test_a_variable_makes_rows_a_stream(save: Callable[..., Path], batch: int | None) -> None:
    model = FloatModel.load(save(remembered, batch))
    assert model.order is RowOrder.STREAM
    expected, memory = [], np.zeros(3)
    for row in rows():
        memory = 0.5 * memory + row
        expected.append(memory * [1, 2, 3])
    parts = [model.predict({"x": part})["y"] for part in np.array_split(rows(), 3)]
    np.testing.assert_allclose(np.concatenate(parts), expected, rtol=1e-5, atol=1e-5)
    model.restart()
    np.testing.assert_allclose(model.predict({"x": rows()})["y"], expected, rtol=1e-5, atol=1e-5)


def test_rows_that_are_no_stream_find_the_variables_as_they_were_saved(save: Callable[..., Path]) -> None:
    model = FloatModel.load(save(remembered), RowOrder.INDEPENDENT)
    np.testing.assert_allclose(model.predict({"x": rows()})["y"], rows() * [[1, 2, 3]], rtol=1e-6)
    assert model.row_use.feeding is Feeding.RESET


def test_a_stream_of_three_at_a_time_takes_whole_batches(save: Callable[..., Path]) -> None:
    model = FloatModel.load(save(remembered, 3))
    with pytest.raises(InputError, match="takes 3 at a time; found 40"):
        model.predict({"x": rows()})


@pytest.mark.parametrize(("call", "assigns"), [(plain, False), (remembered, True)], ids=["reads-only", "assigns"])
def test_the_file_tells_what_a_call_assigns(save: Callable[..., Path], call: Any, assigns: bool) -> None:
    facts = read_facts(save(call), "edge")
    assert facts.assigns_variables is assigns
    assert 12 <= facts.bytes_per_row <= 48
