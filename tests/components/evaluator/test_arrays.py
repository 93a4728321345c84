"""Reading a labeled .npz: what is accepted, and a clear message for the rest."""

from __future__ import annotations

import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgeproof_edge.errors import InputError
from edgeproof_edge.tensors import TensorSpec
from PIL import Image

from components.errors import DataError
from components.evaluator.arrays import load_dataset, load_npz_dataset
from components.saved_models.saved_model import Signature

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


@pytest.mark.parametrize("compressed", [False, True], ids=["stored", "compressed"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_an_npz_is_read_in_slices(tmp_path: Path, compressed: bool, order: Any) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (50, 2, 2), np.uint8)
    path = tmp_path / "data.npz"
    (np.savez_compressed if compressed else np.savez)(path, image=np.asarray(pixels, order=order), y=np.arange(50))
    parts = list(load_npz_dataset(path, IMAGES).inputs.slices(16))
    assert [len(part["image"]) for part in parts] == [16, 16, 16, 2]
    np.testing.assert_array_equal(np.concatenate([part["image"] for part in parts]), pixels)


def test_reading_in_slices_takes_the_memory_of_a_slice(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    big = Signature("edge", (TensorSpec("x", (-1, 64, 64), "float32"),), IMAGES.outputs)
    np.savez_compressed(path, x=np.zeros((4_000, 64, 64), np.float32), y=np.zeros(4_000, np.int64))  # 65 MB
    tracemalloc.start()
    num_rows = sum(len(part["x"]) for part in load_npz_dataset(path, big).inputs.slices(10))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert num_rows == 4_000
    assert peak < 4 * 2**20


def test_a_file_that_ends_early_is_named(tmp_path: Path) -> None:
    path = saved(tmp_path, x=PIXELS, y=LABELS)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", members["x.npy"][:-4])
        archive.writestr("y.npy", members["y.npy"])
    with pytest.raises(DataError, match=r"data\.npz cannot be read.*ends within row 2"):
        list(load_npz_dataset(path, IMAGES).inputs.slices(10))


PICTURES = Signature("edge", (TensorSpec("image", (-1, 4, 5, 3), "float32"),), IMAGES.outputs)


def draw_pictures(folder: Path, size: tuple[int, int] = (5, 4), mode: str = "RGB") -> None:
    for name in ("cat", "dog"):
        (folder / name / "burst").mkdir(parents=True)
        for number in range(3):
            picture = Image.new(mode, size, number if mode == "L" else (number, 7, 9))
            picture.save(folder / name / "burst" / f"{number}.png")
    (folder / "dog" / ".DS_Store").write_text("x")


def test_a_folder_of_pictures_is_a_data_set(tmp_path: Path) -> None:
    draw_pictures(tmp_path)
    dataset = load_dataset(tmp_path, PICTURES)
    assert dataset.class_names == ("cat", "dog")
    assert dataset.labels.tolist() == [0, 0, 0, 1, 1, 1]
    parts = list(dataset.inputs.slices(4))
    assert [part["image"].shape for part in parts] == [(4, 4, 5, 3), (2, 4, 5, 3)]
    assert parts[0]["image"].dtype == np.uint8
    assert parts[1]["image"][1, 0, 0].tolist() == [2, 7, 9]


def test_a_picture_is_turned_as_its_exif_says(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    Image.new("RGB", (4, 5)).save(tmp_path / "cat" / "1.jpg", exif=exif)
    (rows,) = load_dataset(tmp_path, PICTURES).inputs.slices(1)
    assert rows["image"].shape == (1, 4, 5, 3)


@pytest.mark.parametrize(
    ("signature", "size", "words"),
    [
        pytest.param(PICTURES, (6, 4), r"0\.png is 4 x 6; the model takes 4 x 5", id="another-size"),
        pytest.param(IMAGES, (5, 4), r"the model takes image \[-1, 2, 2\]", id="no-picture-input"),
        pytest.param(TWO_INPUTS, (5, 4), "a picture goes into one input", id="two-inputs"),
    ],
)
def test_pictures_that_do_not_fit_are_named(
    tmp_path: Path, signature: Signature, size: tuple[int, int], words: str
) -> None:
    draw_pictures(tmp_path, size)
    with pytest.raises(DataError, match=words):
        list(load_dataset(tmp_path, signature).inputs.slices(10))


def test_a_picture_that_does_not_decode_and_an_empty_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no pictures in class folders"):
        load_dataset(tmp_path, PICTURES)
    draw_pictures(tmp_path)
    (tmp_path / "cat" / "burst" / "1.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"1\.png cannot be read as PNG or JPEG"):
        list(load_dataset(tmp_path, PICTURES).inputs.slices(10))


def test_records_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no file matches .*Quote the pattern"):
        load_dataset(tmp_path / "*.gz", PICTURES)
