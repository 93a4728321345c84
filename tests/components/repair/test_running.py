"""Rows over several interpreters: the same outputs with any number of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from edgeproof_edge.interpreter import TFLiteModel

from components.repair.running import predict

MODELS = Path(__file__).parents[2] / "edge" / "models"


@pytest.mark.parametrize("num_rows", [1, 63, 64, 200, 700])
@pytest.mark.parametrize(
    "name", ["int8", "float32", "instance_norm_int8", "lstm_int8", "running_mean", "batch_of_three", "dynamic"]
)
def test_any_number_of_interpreters_gives_what_one_gives(name: str, num_rows: int) -> None:
    content = (MODELS / f"{name}.tflite").read_bytes()
    width = 64 if name == "dynamic" else 8
    num_rows = num_rows // 3 * 3 if name == "batch_of_three" and num_rows > 3 else num_rows
    rows = {"x": np.random.default_rng(3).normal(size=(num_rows, width)).astype(np.float32)}
    expected = TFLiteModel.load(content).predict(rows)
    for num_workers in (1, 2, 3, 8):
        for output, values in predict(content, rows, num_workers).items():
            np.testing.assert_array_equal(values, expected[output])
