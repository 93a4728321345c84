"""What a model answers: the same for the gate, the histograms and the device."""

from __future__ import annotations

import numpy as np
import pytest
from edgeproof_edge.answers import answered_classes, judged_output, leads, named_inputs
from edgeproof_edge.errors import InputError
from edgeproof_edge.tensors import TensorSpec, dequantize


@pytest.mark.parametrize(
    ("scores", "threshold", "answers"),
    [
        pytest.param([[0.49], [0.5], [0.51]], 0.5, [0, 1, 1], id="one-unit-at-its-threshold-is-class-1"),
        pytest.param([[-0.1], [0.0]], 0.0, [0, 1], id="logits-at-zero"),
        pytest.param([[0.2, 0.7, 0.7], [0.5, 0.5, 0.0]], 0.5, [1, 0], id="a-tie-goes-to-the-lower-class"),
    ],
)
def test_the_answer_of_a_row(scores: list[list[float]], threshold: float, answers: list[int]) -> None:
    assert answered_classes(np.array(scores, np.float32), threshold).tolist() == answers


def test_one_half_is_an_ordinary_code_of_an_int8_sigmoid() -> None:
    sigmoid = TensorSpec("score", (1, 1), "int8", 1 / 256, -128)
    scores = dequantize(np.array([[-1], [0], [1]], np.int8), sigmoid)
    assert scores[1, 0] == 0.5
    assert answered_classes(scores).tolist() == [0, 1, 1]


def test_leads_are_over_the_runner_up_or_the_threshold() -> None:
    assert leads(np.array([[0.1, 0.7, 0.2]])).tolist() == pytest.approx([0.5])
    assert leads(np.array([[0.1], [0.75]]), 0.5).tolist() == pytest.approx([0.4, 0.25])


def test_the_judged_output_is_the_only_one_or_the_one_that_was_named() -> None:
    assert (judged_output(["a"]), judged_output(["a", "b"]), judged_output(["a", "b"], "b")) == ("a", None, "b")
    with pytest.raises(InputError, match="no output 'c'; it has"):
        judged_output(["a", "b"], "c")


def test_a_single_array_fits_a_single_input_and_several_go_by_name() -> None:
    assert named_inputs({"x": 1}, ["image"]) == {"image": 1}
    assert named_inputs({"a": 1, "b": 2, "extra": 3}, ["b", "a"]) == {"b": 2, "a": 1}
    with pytest.raises(InputError, match="without \\['b'\\]"):
        named_inputs({"a": 1}, ["a", "b"])
