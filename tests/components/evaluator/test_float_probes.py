"""Why a float model is near chance: found by running it again, not guessed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from components.data.examples import Batch
from components.evaluator.counting.class_statistics import ClassStatistics, count_confusion
from components.evaluator.counting.counts import compare
from components.evaluator.counting.tally import Tally
from components.evaluator.float_probes import best_order, probe_float_model
from tests.components.evaluator.samples import case_of

RANDOM = np.random.default_rng(11)
NAMES = ("ant", "bee", "cat", "dog", "eel")


def tally_of_answers(labels: NDArray[np.int64], answers: NDArray[np.int64]) -> Tally:
    comparison = compare(labels, np.eye(5)[answers], np.eye(5)[answers])
    return Tally(ClassStatistics(comparison.counts(), confusion=count_confusion(comparison)))


def test_another_order_of_the_classes_is_found_and_named() -> None:
    labels = RANDOM.integers(0, 5, 600)
    answers = np.array([0, 2, 3, 1, 4])[labels]
    probe = probe_float_model(case_of(class_names=NAMES), tally_of_answers(labels, answers), None)
    assert probe is not None
    assert probe.cause.startswith(
        "class order: with the classes in another order the float model is right for 600 of 600"
    )
    assert "bee -> output 2" in probe.cause


def test_a_model_that_guesses_has_no_better_order() -> None:
    labels, answers = RANDOM.integers(0, 5, 600), RANDOM.integers(0, 5, 600)
    assert probe_float_model(case_of(), tally_of_answers(labels, answers), None) is None


def test_one_answer_for_everything_is_said() -> None:
    labels = RANDOM.integers(0, 5, 600)
    probe = probe_float_model(case_of(class_names=NAMES), tally_of_answers(labels, np.full(600, 3)), None)
    assert probe is not None
    assert "one answer for everything: the float model answers dog for 600 of 600" in probe.cause


def test_the_best_order_is_the_best_of_all() -> None:
    from itertools import permutations

    for _ in range(20):
        table = RANDOM.integers(0, 50, (5, 5))
        best = max(sum(int(table[label, order[label]]) for label in range(5)) for order in permutations(range(5)))
        assert int(table[np.arange(5), best_order(table)].sum()) == best


@pytest.fixture(scope="module")
def color_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pixels 0..255, RGB: the class is how bright red is, by thirds, and how dark blue is."""
    import tensorflow as tf

    class Model(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, 4, 4, 3], tf.float32, name="image")])
        def __call__(self, image: Any) -> dict[str, Any]:
            mean = tf.reduce_mean(image, axis=[1, 2]) / 255.0
            return {"scores": -tf.abs((mean[:, :1] - 0.5 * mean[:, 2:]) - tf.constant([[-0.3, 0.0, 0.3, 0.6, 0.9]]))}

    directory = tmp_path_factory.mktemp("color")
    model = Model()
    tf.saved_model.save(model, str(directory), signatures={"edge": model.__call__})
    return directory


@pytest.mark.tfx
@pytest.mark.parametrize(
    ("spoil", "cause"),
    [
        pytest.param(
            lambda pixels: pixels / 255, "pixel range: pixels are 0..1, and the model wants 0..255", id="0..1"
        ),
        pytest.param(lambda pixels: pixels[..., ::-1], "channel order: red and blue have changed places", id="bgr"),
        pytest.param(
            lambda pixels: pixels[..., ::-1] / 255, "(BGR for RGB), and pixel range: pixels are 0..1", id="both"
        ),
    ],
)
def test_pixels_of_another_range_or_order_are_found(color_model: Path, spoil: Any, cause: str) -> None:
    colors = RANDOM.uniform(0, 255, (256, 1, 1, 3))
    pixels = np.clip(np.broadcast_to(colors, (256, 4, 4, 3)), 0, 255).astype(np.float32)
    mean = pixels.mean(axis=(1, 2)) / 255
    labels = np.abs((mean[:, :1] - 0.5 * mean[:, 2:]) - np.array([[-0.3, 0.0, 0.3, 0.6, 0.9]])).argmin(axis=1)
    given = np.ascontiguousarray(spoil(pixels)).astype(np.float32)
    from components.saved_models.saved_model import FloatModel

    answers = FloatModel.load(color_model).predict({"image": given})["scores"].argmax(axis=1)
    case = case_of(class_names=NAMES)
    object.__setattr__(case, "saved_model", color_model)
    probe = probe_float_model(case, tally_of_answers(labels, answers), Batch({"image": given}, labels, {}))
    assert probe is not None
    assert cause in probe.cause
