from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import pytest
from edgeproof_edge.interpreter import TFLiteModel
from numpy.typing import NDArray

from components.repair import agreement
from components.repair.recipes import Recipe


class FakeModel:
    """Returns fixed outputs, by the interface of a loaded model."""

    def __init__(self, **outputs: NDArray[Any]) -> None:
        self._outputs = outputs

    def predict(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        return self._outputs


def loaded(**outputs: Any) -> TFLiteModel:
    return cast(TFLiteModel, FakeModel(**{name: np.asarray(value, np.float32) for name, value in outputs.items()}))


REFERENCE = [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]


def test_the_same_outputs_agree_fully() -> None:
    score = agreement.score(loaded(probs=REFERENCE), loaded(probs=REFERENCE), {}, np.array([0, 1, 1]))
    (output,) = score.outputs
    assert (output.num_rows, output.num_same, output.num_not_finite, output.relative_error) == (3, 3, 0, 0.0)
    assert score.labels is not None
    assert (score.labels.num_rows, score.labels.num_correct_float, score.labels.num_correct_model) == (3, 2, 2)


def test_a_changed_class_counts() -> None:
    score = agreement.score(
        loaded(probs=REFERENCE), loaded(probs=[[0.9, 0.1], [0.8, 0.2], [0.6, 0.4]]), {}, np.array([0, 1, 1])
    )
    assert score.outputs[0].num_same == 2
    assert score.labels is not None
    assert score.labels.num_correct_model == 1


def test_nan_never_agrees_and_leaves_no_error_figure() -> None:
    score = agreement.score(
        loaded(probs=REFERENCE), loaded(probs=[[np.nan, 0.1], [0.2, 0.8], [0.6, 0.4]]), {}, np.array([0, 1, 0])
    )
    (output,) = score.outputs
    assert (output.num_same, output.num_not_finite, output.relative_error) == (2, 1, None)
    assert score.labels is not None
    assert score.labels.num_correct_model == 2


def test_regression_has_an_error_and_no_classes() -> None:
    score = agreement.score(loaded(y=[[0.0], [2.0]]), loaded(y=[[1.0], [1.0]]), {}, np.array([0, 1]))
    (output,) = score.outputs
    assert (output.num_same, output.relative_error) == (None, 1.0)
    assert score.labels is None


def test_a_constant_output_has_no_relative_error() -> None:
    assert (
        agreement.score(loaded(y=[[1.0], [1.0]]), loaded(y=[[1.0], [1.0]]), {}, None).outputs[0].relative_error is None
    )


@pytest.mark.parametrize(
    "labels",
    [
        pytest.param(None, id="none"),
        pytest.param(np.array(["a", "b", "a"]), id="names"),
        pytest.param(np.array([0, 1, 2]), id="a-class-the-model-has-not"),
        pytest.param(np.array([0, -1, 1]), id="negative"),
        pytest.param(np.array([[0, 1], [1, 0], [1, 1]]), id="several-tags-of-a-row"),
    ],
)
def test_labels_that_are_no_class_ids_are_not_counted(labels: NDArray[Any] | None) -> None:
    assert agreement.score(loaded(probs=REFERENCE), loaded(probs=REFERENCE), {}, labels).labels is None


def test_outputs_are_compared_by_name() -> None:
    score = agreement.score(
        loaded(a=[[1.0], [2.0]], b=[[3.0], [5.0]]), loaded(b=[[3.0], [5.0]], a=[[1.0], [2.0]]), {}, None
    )
    assert [(o.output, o.relative_error) for o in score.outputs] == [("a", 0.0), ("b", 0.0)]


def test_a_recipe_without_fast_kernels_is_compared_on_fewer_rows() -> None:
    assert agreement.num_rows_to_compare(Recipe.INT8, 5000) == agreement.MAX_ROWS
    assert agreement.num_rows_to_compare(Recipe.INT16X8, 5000) == agreement.MAX_ROWS_WITHOUT_FAST_KERNELS
    assert agreement.num_rows_to_compare(Recipe.INT8, 7) == 7
