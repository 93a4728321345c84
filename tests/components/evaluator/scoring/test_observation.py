"""Golden vectors are rows that every kernel family answers alike; histograms count every row once."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgeproof_edge.interpreter import Kernels, TFLiteModel
from edgeproof_edge.tensors import TensorSpec
from numpy.typing import NDArray

from components.evaluator.scoring.observation import (
    NUM_GOLDEN,
    choose_golden,
    confidence,
    histogram,
    observe,
    pack_arrays,
)
from components.evaluator.scoring.observed_rows import SAFE_MARGIN, Watch

MODELS = Path(__file__).parents[3] / "edge" / "models"
OUTPUT = Watch(TensorSpec("scores", (-1, 3), "int8", 1 / 256, -128), 0.5)


def _rows(margins: list[float]) -> NDArray[np.float32]:
    """Scores whose answer, 0 and 1 in turn, leads by the given margins."""
    scores = np.full((len(margins), 3), 0.1, np.float32)
    for number, margin in enumerate(margins):
        scores[number, number % 2] += margin
    return scores


def _arrays(data: bytes) -> dict[str, NDArray[Any]]:
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def test_rows_without_a_safe_lead_or_with_another_answer_are_not_golden() -> None:
    scores = _rows([0.5] * 20 + [0.05] * 20)
    other = scores.copy()
    other[3] = [0.0, 0.0, 0.9]  # the other kernels answer differently
    golden = choose_golden({"x": np.arange(40.0)[:, None]}, scores, other, OUTPUT, 1.0)
    assert golden is not None
    chosen = _arrays(golden.data)["input:x"][:, 0]
    assert set(chosen) == set(range(20)) - {3}
    assert golden.entry.minimum_margin >= SAFE_MARGIN
    assert golden.entry.tolerance == pytest.approx(24 / 256)


def test_golden_rows_are_spread_over_the_answers() -> None:
    scores = np.full((200, 3), 0.1, np.float32)
    scores[:, 0] += 0.6
    scores[195:] = [0.1, 0.8, 0.1]
    golden = choose_golden({"x": np.arange(200.0)[:, None]}, scores, scores, OUTPUT, 1.0)
    assert golden is not None
    chosen = _arrays(golden.data)["input:x"][:, 0]
    assert len(chosen) == NUM_GOLDEN
    assert set(range(195, 200)) <= set(chosen)


def test_where_too_few_rows_are_safe_those_that_lead_furthest_are_taken() -> None:
    scores = _rows([0.01 * number for number in range(60)][:13])
    golden = choose_golden({"x": np.arange(13.0)[:, None]}, scores, scores, OUTPUT, 1.0)
    assert golden is not None
    assert 0 not in _arrays(golden.data)["input:x"][:, 0]  # leads by nothing


def test_where_no_row_has_one_answer_there_is_no_golden_file() -> None:
    scores = _rows([0.5, 0.5])
    assert choose_golden({"x": np.zeros((2, 1))}, scores, scores[::-1], OUTPUT, 1.0) is None
    assert choose_golden({"x": np.zeros((2, 1))}, np.full((2, 3), np.nan), scores, OUTPUT, 1.0) is None


@pytest.mark.parametrize("name", ["int8", "float32", "int8_float_io", "int8_softmax", "dynamic"])
def test_a_real_model_reproduces_its_golden_vectors_under_both_kernel_families(name: str) -> None:
    data = (MODELS / f"{name}.tflite").read_bytes()
    model = TFLiteModel.load(data)
    random = np.random.default_rng(7)
    spec = model.inputs[0]
    low, high = (
        ((-128 - spec.zero_point) * spec.scale, (127 - spec.zero_point) * spec.scale) if spec.is_quantized else (-3, 3)
    )
    rows = random.uniform(low, high, (300, *spec.shape[1:])).astype(np.float32)
    observation = observe(data, [{"anything": rows[:100]}, {"anything": rows[100:]}], {})
    assert observation is not None
    assert observation.reference.num_examples == 300
    assert all(sum(each.counts) == 300 for each in (*observation.reference.inputs, observation.reference.confidence))
    assert sum(observation.reference.predictions) == 300
    assert observation.golden is not None
    entry, arrays = observation.golden.entry, _arrays(observation.golden.data)
    assert observe(data, [{"anything": rows}], {}) == observation  # whatever the batches: same bytes
    expected = arrays[f"output:{entry.output}"]
    for kernels in Kernels:
        found = TFLiteModel.load(data, kernels).predict({spec.name: arrays[f"input:{spec.name}"]})[entry.output]
        found = found.reshape(expected.shape)
        if found.shape[1] > 1:
            assert (found.argmax(axis=1) == expected.argmax(axis=1)).all()
        assert np.abs(found - expected).max() <= entry.tolerance


def test_no_examples_no_observation() -> None:
    assert observe((MODELS / "int8.tflite").read_bytes(), [], {}) is None


def test_a_histogram_has_a_bin_below_and_one_above() -> None:
    found = histogram("x", "mean", np.array([-1.0, 0.0, 0.5, 1.0, 9.0]), (0.0, 1.0))
    assert found.counts == (1, 2, 2)


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        pytest.param([[0.9, 0.1]], 0.9, id="probabilities"),
        pytest.param([[10.0, 0.0]], 1 / (1 + np.exp(-10)), id="logits"),
        pytest.param([[0.2]], 0.8, id="one-unit"),
        pytest.param([[3.0]], 1 / (1 + np.exp(-3)), id="one-logit"),
    ],
)
def test_confidence(scores: list[list[float]], expected: float) -> None:
    assert confidence(np.array(scores))[0] == pytest.approx(expected)


def test_equal_arrays_are_equal_bytes() -> None:
    arrays = {"b": np.arange(3), "a": np.eye(2, dtype=np.float32)}
    assert pack_arrays(arrays) == pack_arrays(dict(reversed(arrays.items())))
    assert _arrays(pack_arrays(arrays))["a"].tolist() == [[1, 0], [0, 1]]


def test_golden_rows_of_a_real_value_are_spread_from_the_lowest_to_the_highest() -> None:
    values = np.concatenate([np.linspace(0, 1, 300), [50.0, 100.0]])[:, None].astype(np.float32)
    other = values.copy()
    other[7] += 12  # beyond 24 of 256 steps
    price = Watch(TensorSpec("price", (-1, 1), "float32"), None)
    golden = choose_golden({"x": np.arange(302.0)[:, None]}, values, other, price, 100.0)
    assert golden is not None
    chosen = _arrays(golden.data)["input:x"][:, 0]
    assert len(chosen) == NUM_GOLDEN
    assert {300, 301} <= set(chosen)
    assert 7 not in chosen
    assert golden.entry.minimum_margin is None
    assert golden.entry.tolerance == pytest.approx(100 * 24 / 256)
    assert choose_golden({"x": np.zeros((2, 1))}, values[:2], values[:2] * np.nan, price, 1.0) is None


def test_a_real_value_has_a_histogram_of_its_own_and_no_classes() -> None:
    data = (MODELS / "float32.tflite").read_bytes()
    spec = TFLiteModel.load(data).inputs[0]
    rows = np.random.default_rng(7).uniform(-3, 3, (300, *spec.shape[1:])).astype(np.float32)
    observation = observe(data, [{"anything": rows}], {}, None)
    assert observation is not None
    reference = observation.reference
    assert (reference.predictions, reference.confidence) == ((), None)
    assert reference.values is not None
    assert (reference.values.statistic, sum(reference.values.counts)) == ("value", 300)
