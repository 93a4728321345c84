from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from components.errors import CalibrationError
from components.repair.recipes import Recipe
from components.tflite_converter.job import Failure, FailureKind
from components.tflite_converter.worker import RepresentativeData, explain, warn_of_loops
from tests.components.repair.small_graphs import SmallGraph

MODELS = Path(__file__).parents[2] / "edge" / "models"


@pytest.mark.parametrize(
    ("num_rows", "batch_size", "rows"),
    [
        pytest.param(3, 1, [[0], [1], [2]], id="one-by-one"),
        pytest.param(5, 2, [[0, 1], [2, 3], [4, 0]], id="the-last-batch-is-filled-from-the-head"),
        pytest.param(1, 3, [[0, 0, 0]], id="fewer-rows-than-a-batch"),
    ],
)
def test_rows_are_fed_and_counted(num_rows: int, batch_size: int, rows: list[list[int]]) -> None:
    data = RepresentativeData({"x": np.arange(num_rows)}, batch_size)
    for _ in range(2):
        assert [batch["x"].tolist() for batch in data()] == rows
        assert data.num_yielded == num_rows


def test_no_arrays_are_no_rows() -> None:
    data = RepresentativeData({}, 1)
    assert list(data()) == []
    assert data.num_yielded == 0


def test_errors_are_sorted() -> None:
    assert explain(MemoryError()).kind is FailureKind.MEMORY
    assert explain(CalibrationError("tensor 'x' holds nan")) == Failure(FailureKind.CALIBRATION, "tensor 'x' holds nan")
    assert explain(ValueError("odd")).message == "ValueError: odd"


def test_a_loop_is_said_and_a_variable_is_none() -> None:
    graph = SmallGraph(x=(1, 4))
    (warning,) = warn_of_loops(Recipe.INT8, graph.finish(graph.operator("WHILE", graph.inputs, (1, 4), "WhileOptions")))
    assert "unroll=True" in warning
    assert warn_of_loops(Recipe.INT8, (MODELS / "running_mean.tflite").read_bytes()) == ()
