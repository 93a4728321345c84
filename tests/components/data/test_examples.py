"""One description of an example, and one parser for everybody who reads it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps

from components.data.examples import (
    MISSING_INTEGER,
    ExampleSpec,
    ImageSpec,
    TensorFeature,
    check_class_names,
    read_batches,
    split_files,
    write_class_names,
)
from components.errors import DataError, ModelError
from components.image_example_gen.images import ImageFacts, examine_image

GRAY = ExampleSpec(class_names=("a", "b"), image=ImageSpec(4, 4, 1))
TABLE = ExampleSpec(label="y", features=(TensorFeature("x", "float32", (3,)), TensorFeature("token", "int32")))


@pytest.mark.parametrize("spec", [GRAY, TABLE, ExampleSpec(parse_module="m.py")], ids=["image", "tensors", "module"])
def test_the_description_survives_json(spec: ExampleSpec) -> None:
    assert ExampleSpec.from_json(spec.to_json()) == spec


def test_an_empty_split_is_named(tmp_path: Path) -> None:
    (tmp_path / "Split-eval").mkdir()
    with pytest.raises(DataError, match="Split-eval holds no files"):
        split_files(str(tmp_path / "Split-eval"))


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        pytest.param(("cat", "dog"), None, id="the-same"),
        pytest.param(("kitten", "dog"), "only in the examples: cat; only now: kitten", id="renamed"),
        pytest.param(("dog", "cat"), "in another order: cat, dog in the examples, dog, cat now", id="swapped"),
    ],
)
def test_class_names_are_those_of_the_examples(tmp_path: Path, names: tuple[str, ...], reason: str | None) -> None:
    check_class_names(str(tmp_path), names)  # an artifact of another writer says nothing
    write_class_names(str(tmp_path), ("cat", "dog"))
    if reason is None:
        check_class_names(str(tmp_path), names)
    else:
        with pytest.raises(DataError, match=reason):
            check_class_names(str(tmp_path), names)


def write_records(path: Path, rows: list[dict[str, Any]]) -> list[str]:
    import tensorflow as tf

    def feature(value: Any) -> Any:
        if isinstance(value, bytes):
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        if isinstance(value, list):
            return tf.train.Feature(float_list=tf.train.FloatList(value=value))
        return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))

    with tf.io.TFRecordWriter(str(path), "GZIP") as writer:
        for row in rows:
            features = tf.train.Features(feature={name: feature(value) for name, value in row.items()})
            writer.write(tf.train.Example(features=features).SerializeToString())
    return [str(path)]


def png(height: int, width: int, value: int) -> bytes:
    import tensorflow as tf

    return bytes(tf.io.encode_png(np.full((height, width, 1), value, np.uint8)).numpy())


@pytest.mark.tfx
def test_images_come_out_as_pixels(tmp_path: Path) -> None:
    files = write_records(
        tmp_path / "r.gz", [{"image": png(4, 4, value), "label": value % 2} for value in (0, 128, 255)]
    )
    batches = list(read_batches(files, GRAY, batch_size=2))
    assert [len(batch.labels) for batch in batches] == [2, 1]
    assert batches[0].inputs["image"].dtype == np.float32
    assert batches[0].inputs["image"][1, 0, 0, 0] == 128
    assert batches[1].labels.tolist() == [1]


@pytest.mark.tfx
def test_an_image_of_another_size_is_refused_with_both_sizes(tmp_path: Path) -> None:
    files = write_records(tmp_path / "r.gz", [{"image": png(5, 4, 1), "label": 0}])
    with pytest.raises(DataError, match="is not 4 x 4 x 1"):
        list(read_batches(files, GRAY, 2))


@pytest.mark.tfx
def test_an_image_of_another_size_is_resized_where_the_config_says_so(tmp_path: Path) -> None:
    files = write_records(tmp_path / "r.gz", [{"image": png(8, 8, 200), "label": 0}])
    spec = ExampleSpec(image=ImageSpec(4, 4, 1, resize="area"))
    assert next(read_batches(files, spec, 2)).inputs["image"].shape == (1, 4, 4, 1)


@pytest.mark.tfx
def test_a_picture_that_was_taken_on_its_side_comes_out_upright(tmp_path: Path) -> None:
    pixels = np.arange(4 * 4, dtype=np.uint8).reshape(4, 4) * 15
    upright = Image.fromarray(pixels)
    backwards = {5: 5, 6: 8, 7: 7, 8: 6}  # what undoes the turn of an orientation; the others undo themselves
    rows = []
    for orientation in range(1, 9):
        encoded, exif = io.BytesIO(), Image.Exif()
        exif[ExifTags.Base.Orientation] = backwards.get(orientation, orientation)
        upright.save(encoded, "PNG", exif=exif)
        turned = ImageOps.exif_transpose(Image.open(encoded))
        stored, exif = io.BytesIO(), Image.Exif()
        exif[ExifTags.Base.Orientation] = orientation
        turned.save(stored, "PNG", exif=exif)
        facts = examine_image(stored.getvalue())
        assert isinstance(facts, ImageFacts)
        assert facts.orientation == orientation
        rows.append({"image": stored.getvalue(), "image_orientation": orientation, "label": 0})
    (batch,) = read_batches(write_records(tmp_path / "r.gz", rows), GRAY, batch_size=8)
    for row in batch.inputs["image"]:
        assert row[..., 0].tolist() == pixels.tolist()


@pytest.mark.tfx
def test_tensors_keep_shape_and_dtype(tmp_path: Path) -> None:
    files = write_records(tmp_path / "r.gz", [{"x": [1.0, 2.0, 3.0], "token": 7, "y": 1}])
    batch = next(read_batches(files, TABLE, 4))
    assert batch.inputs["x"].tolist() == [[1.0, 2.0, 3.0]]
    assert batch.inputs["token"].dtype == np.int32


@pytest.mark.tfx
def test_a_missing_feature_is_named(tmp_path: Path) -> None:
    files = write_records(tmp_path / "r.gz", [{"x": [1.0, 2.0, 3.0], "y": 1}])
    with pytest.raises(DataError, match="token"):
        list(read_batches(files, TABLE, 4))


@pytest.mark.tfx
def test_a_file_is_refused_at_every_cut(tmp_path: Path) -> None:
    """TensorFlow's own reader takes a file for a shorter one at some of them, and not always at the same."""
    files = write_records(tmp_path / "r.gz", [{"x": [1.0, 2.0, float(n)], "token": 7, "y": 1} for n in range(9)])
    whole = Path(files[0]).read_bytes()
    for length in range(len(whole)):
        Path(files[0]).write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"r\.gz is damaged"):
            next(read_batches(files, TABLE, 4))
    Path(files[0]).write_bytes(whole)
    assert sum(len(batch.labels) for batch in read_batches(files, TABLE, 4)) == 9


@pytest.mark.tfx
def test_a_modules_own_parser_wins(tmp_path: Path) -> None:
    module = tmp_path / "model.py"
    module.write_text(
        "import tensorflow as tf\n"
        "def parse_example(serialized):\n"
        "    parsed = tf.io.parse_single_example(serialized, {'x': tf.io.FixedLenFeature([3], tf.float32),"
        " 'y': tf.io.FixedLenFeature([], tf.int64)})\n"
        "    return parsed['x'] * 2.0, parsed['y']\n",
        encoding="utf-8",
    )
    files = write_records(tmp_path / "r.gz", [{"x": [1.0, 2.0, 3.0], "y": 1}])
    batch = next(read_batches(files, ExampleSpec(parse_module=str(module)), 4))
    assert batch.inputs["x"].tolist() == [[2.0, 4.0, 6.0]]


@pytest.mark.tfx
def test_a_parser_that_raises_is_the_modules_fault(tmp_path: Path) -> None:
    module = tmp_path / "model.py"
    module.write_text("def parse_example(serialized):\n    raise KeyError('pixels')\n", encoding="utf-8")
    files = write_records(tmp_path / "r.gz", [{"x": [1.0], "y": 1}])
    with pytest.raises(ModelError, match=r"parse_example raised KeyError: 'pixels' \(line 2\)"):
        list(read_batches(files, ExampleSpec(parse_module=str(module)), 4))


@pytest.mark.tfx
@pytest.mark.parametrize("with_module", [False, True], ids=["described", "own-parser"])
def test_slice_features_are_read_beside_the_inputs(tmp_path: Path, with_module: bool) -> None:
    rows = [
        {"image": png(4, 4, 7), "label": 0, "site": b"north", "age": 30, "weight": [1.5, 9.0]},
        {"image": png(4, 4, 8), "label": 1, "weight": [2.5]},
        {"image": png(4, 4, 9), "label": 1, "site": b"south"},
    ]
    module = tmp_path / "parser.py"
    module.write_text(
        "import tensorflow as tf\n"
        "def parse_example(serialized):\n"
        "    parsed = tf.io.parse_single_example(serialized, {'label': tf.io.FixedLenFeature([], tf.int64)})\n"
        "    return tf.cast(parsed['label'], tf.float32)[None], parsed['label']\n"
    )
    names = ("site", "age", "weight", "moon")
    spec = ExampleSpec(
        image=ImageSpec(4, 4, 1), slice_features=names, parse_module=str(module) if with_module else None
    )
    (batch,) = read_batches(write_records(tmp_path / "r.gz", rows), spec, batch_size=8)
    assert batch.labels.tolist() == [0, 1, 1]
    assert batch.slice_features["site"].tolist() == [b"north", b"", b"south"]
    assert batch.slice_features["age"].tolist() == [30, MISSING_INTEGER, MISSING_INTEGER]
    assert np.array_equal(batch.slice_features["weight"], np.array([1.5, 2.5, np.nan], np.float32), equal_nan=True)
    assert batch.slice_features["moon"].tolist() == [b"", b"", b""]


@pytest.mark.tfx
def test_real_valued_labels_stay_real(tmp_path: Path) -> None:
    files = write_records(tmp_path / "r.gz", [{"x": [1.0, 2.0, 3.0], "token": 4, "y": [0.25]}])
    (batch,) = read_batches(files, ExampleSpec(label="y", label_dtype="float32", features=TABLE.features), batch_size=8)
    assert batch.labels.dtype == np.float32
    assert batch.labels.tolist() == [0.25]
