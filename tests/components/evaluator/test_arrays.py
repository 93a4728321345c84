"""Reading a labeled .npz: what is accepted, and a clear message for the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgeproof_edge.errors import InputError
from edgeproof_edge.tensors import TensorSpec

from components.errors import DataError
from components.evaluator.arrays import load_npz_dataset
from components.saved_model import Signature

IMAGES = Signature("edge", (TensorSpec("image", (-1, 2, 2), "float32"),), (TensorSpec("scores", (-1, 3), "float32"),))
TWO_INPUTS = Signature(
    "edge", (TensorSpec("left", (-1, 2), "float32"), TensorSpec("right", (-1, 2), "int32")), IMAGES.outputs
)
PIXELS = np.arange(12, dtype=np.uint8).reshape(3, 2, 2)
LABELS = np.array([0, 1, 2])


def saved(tmp_path: Path, **arrays: Any) -> Path:
    path = tmp_path / "data.npz"
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize("name", ["x", "image"])
def test_a_single_input_is_x_or_goes_by_its_name(tmp_path: Path, name: str) -> None:
    dataset = load_npz_dataset(saved(tmp_path, **{name: PIXELS, "y": LABELS}), IMAGES)
    (rows,) = dataset.inputs.slices(100)
    assert rows["image"].dtype == np.uint8  # until a model takes it
    assert np.array_equal(rows["image"], PIXELS)
    assert dataset.labels.tolist() == [0, 1, 2]
    assert dataset.features == {}


def test_several_inputs_go_by_their_names(tmp_path: Path) -> None:
    left, right = np.zeros((3, 2), np.float32), np.ones((3, 2), np.int32)
    dataset = load_npz_dataset(saved(tmp_path, left=left, right=right, y=LABELS, site=LABELS), TWO_INPUTS)
    assert [set(rows) for rows in dataset.inputs.slices(2)] == [{"left", "right"}] * 2
    assert set(dataset.features) == {"site"}


@pytest.mark.parametrize("labels", [LABELS.astype(np.uint8), LABELS.reshape(3, 1), LABELS.astype(np.float32)])
def test_labels_are_whole_numbers_of_any_type(tmp_path: Path, labels: Any) -> None:
    found = load_npz_dataset(saved(tmp_path, x=PIXELS, y=labels), IMAGES).labels
    assert found.dtype == np.int64
    assert found.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        pytest.param({"x": PIXELS}, r"needs array 'y' with the class indices; found \['x'\]", id="no-labels"),
        pytest.param({"y": LABELS, "z": PIXELS}, r"needs array 'x' or 'image'; found \['y', 'z'\]", id="no-inputs"),
        pytest.param(
            {"z": PIXELS}, r"'x' or 'image' and array 'y' with the class indices; found \['z'\]", id="neither"
        ),
        pytest.param({"x": PIXELS, "y": LABELS[:2]}, "2 labels and inputs of length", id="lengths-differ"),
        pytest.param({"x": PIXELS[:0], "y": LABELS[:0]}, "0 labels", id="no-rows"),
        pytest.param({"x": PIXELS, "y": np.eye(3)}, "one-hot", id="one-hot"),
        pytest.param({"x": PIXELS, "y": LABELS + 0.5}, "no class indices", id="halves"),
        pytest.param({"x": PIXELS, "y": LABELS * np.nan}, "no class indices", id="nan"),
        pytest.param({"x": PIXELS, "y": np.array(["a", "b", "c"])}, "no class indices", id="text"),
        pytest.param({"x": PIXELS, "y": np.array([None] * 3)}, "plain arrays", id="pickled"),
        pytest.param({"x": PIXELS.reshape(3, 4), "y": LABELS}, "shape", id="wrong-shape"),
        pytest.param({"x": PIXELS.astype(str), "y": LABELS}, "found <U", id="text-inputs"),
    ],
)
def test_what_cannot_be_scored_is_an_error(tmp_path: Path, arrays: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        load_npz_dataset(saved(tmp_path, **arrays), IMAGES)


def test_every_input_needs_its_array(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="one array per input"):
        load_npz_dataset(saved(tmp_path, left=np.zeros((3, 2)), y=LABELS), TWO_INPUTS)


@pytest.mark.parametrize(
    "content", [None, b"", b"not a zip", b"PK\x03\x04 cut"], ids=["absent", "empty", "text", "cut"]
)
def test_what_is_no_npz_is_an_error(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "data.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=r"data\.npz"):
        load_npz_dataset(path, IMAGES)


def test_a_single_array_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "data.npy"
    np.save(path, PIXELS)
    with pytest.raises(DataError, match="bare array"):
        load_npz_dataset(path, IMAGES)
