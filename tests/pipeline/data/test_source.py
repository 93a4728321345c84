"""From the config's data section to examples: preflight, spans, and each format through the driver and its executor."""

from __future__ import annotations

import gzip
import json
import struct
from pathlib import Path
from typing import Any

import google_crc32c
import pytest
from PIL import Image

from components.data.example_proto import encode_example
from components.errors import DataError
from pipeline.config.data import DataConfig
from pipeline.data.checks import preflight
from pipeline.data.files import SpanVersion, has_spans, matched_files, newest_span, split_patterns

_IMAGE = {"height": 4, "width": 4, "channels": 1}


def _config(path: Path, **data: Any) -> DataConfig:
    given = {"format": "image_folder", "path": path, **data}
    if given["format"] == "image_folder":
        given.setdefault("image", _IMAGE)
    else:
        given.setdefault("num_classes", 1000)
        given.setdefault("features", {"x": {"dtype": "float32"}})
    return DataConfig.model_validate(given)


def _touch(path: Path, content: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def _image(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("L", (4, 4))
    image.putdata([(seed * 31 + index * (1 + seed % 5)) % 256 for index in range(16)])
    image.save(path)
    return path


# Patterns and spans


def test_one_pattern_is_divided_by_hash_and_has_a_default_per_format(tmp_path: Path) -> None:
    assert split_patterns(_config(tmp_path)) == {"all": "*/*"}
    assert split_patterns(_config(tmp_path, format="csv")) == {"all": "*"}
    assert split_patterns(_config(tmp_path, pattern="a/*/*.png")) == {"all": "a/*/*.png"}


def test_only_an_image_folder_may_leave_calibration_out(tmp_path: Path) -> None:
    two = {"train": "train/*/*", "eval": "test/*/*"}

    assert split_patterns(_config(tmp_path, patterns=two)) == two
    with pytest.raises(DataError, match=r"data\.patterns has no calibration files, which csv data needs"):
        split_patterns(_config(tmp_path, format="csv", patterns=two))


@pytest.mark.parametrize(
    ("files", "pattern", "newest"),
    [
        pytest.param(["a/1.png"], "*/*", (None, None), id="no-placeholder"),
        pytest.param(["span-1/c/a", "span-2/c/a"], "span-{SPAN}/*/*", (2, None), id="newest-span"),
        pytest.param(["span-9/c/a", "span-10/c/a"], "span-{SPAN}/*/*", (10, None), id="numbers-not-text"),
        pytest.param(
            ["s-1/v7/c/a", "s-2/v1/c/a", "s-2/v3/c/a"], "s-{SPAN}/v{VERSION}/*/*", (2, 3), id="newest-version-in-it"
        ),
        pytest.param(["s-007/c/a"], "s-{SPAN:3}/*/*", (7, None), id="a-padded-number-with-its-width"),
        pytest.param(["s-2/c/a", "s-3/empty"], "s-{SPAN}/*/*", (2, None), id="a-span-without-files-does-not-count"),
        pytest.param(["2024-02-01/c/a", "2023-12-31/c/a"], "{YYYY}-{MM}-{DD}/*/*", (19754, None), id="dates-are-spans"),
    ],
)
def test_the_newest_span_and_version_are_found(
    tmp_path: Path, files: list[str], pattern: str, newest: tuple[int | None, int | None]
) -> None:
    for file in files:
        _touch(tmp_path / file)

    assert newest_span(tmp_path, pattern) == SpanVersion(*newest)


@pytest.mark.parametrize(
    "pattern", ["v{VERSION}/*/*", "{SPAN}/{SPAN}/*/*", "{YYYY}-{MM}/*/*", "{SPAN}-{YYYY}{MM}{DD}/*/*"]
)
def test_placeholders_that_tfx_would_not_take_are_refused(tmp_path: Path, pattern: str) -> None:
    with pytest.raises(DataError, match=r"must hold \{SPAN\} once"):
        newest_span(tmp_path, pattern)


@pytest.mark.parametrize(
    ("pattern", "spans"),
    [("*/*", False), ("version-{VERSION}/*/*", False), ("span-{SPAN:3}/*/*", True), ("{YYYY}-{MM}-{DD}/*/*", True)],
)
def test_data_comes_in_spans_where_its_pattern_says_so(tmp_path: Path, pattern: str, spans: bool) -> None:
    assert has_spans(_config(tmp_path, pattern=pattern)) is spans


def test_only_the_newest_spans_files_are_matched(tmp_path: Path) -> None:
    for file in ("span-1/cat/1.png", "span-2/cat/2.png", "span-2/cat/.DS_Store"):
        _touch(tmp_path / file)

    assert matched_files(_config(tmp_path, pattern="span-{SPAN}/*/*")) == {"all": [tmp_path / "span-2/cat/2.png"]}


# Preflight


@pytest.mark.parametrize(
    ("files", "data", "message"),
    [
        pytest.param([], {"pattern": "*/*"}, r"matches no file under .* holds nothing", id="an-empty-folder"),
        pytest.param(["cat.png"], {}, r"matches no file under .* holds cat\.png", id="no-label-folders"),
        pytest.param(["t/cat/1.png"], {}, r"matches only folders .* such as t/cat", id="one-folder-too-deep"),
        pytest.param(["cat/1.png"], {"pattern": "*"}, "no folder part for the label", id="no-label-part"),
        pytest.param(["trian/cat/1"], {"patterns": {"train": "train/*/*", "eval": "trian/*/*"}},
                     r"data\.patterns\.train 'train/\*/\*' matches no file .* holds trian/", id="a-typo"),
        pytest.param(["span-007/c/a"], {"pattern": "span-{SPAN}/*/*"}, r"padded with zeros.*\{SPAN:3\}", id="zeros"),
        pytest.param(["span-old/c/a", "span-1/c/a"], {"pattern": "span-{SPAN}/*/*"}, "old is not a span", id="text"),
        pytest.param(["x/c/a"], {"pattern": "span-{SPAN}/*/*"}, r"no files under .* holds x/", id="no-span"),
        pytest.param(["s-1/train/c/a", "s-2/train/c/a", "s-1/eval/c/a"],
                     {"patterns": {"train": "s-{SPAN}/train/*/*", "eval": "s-{SPAN}/eval/*/*"}},
                     "different newest spans.*train: span 2.*eval: span 1", id="a-span-that-is-not-complete"),
    ],
)  # fmt: skip
def test_preflight_refuses_an_image_folder_that_holds_no_data(
    tmp_path: Path, files: list[str], data: dict[str, Any], message: str
) -> None:
    for file in files:
        _touch(tmp_path / file)

    with pytest.raises(DataError, match=message):
        preflight(_config(tmp_path, **data))


def test_preflight_names_the_nearest_folder_that_exists(tmp_path: Path) -> None:
    _touch(tmp_path / "mnist" / "1.png")

    with pytest.raises(DataError, match=r"minst/train does not exist. The nearest .* it holds mnist/"):
        preflight(_config(tmp_path / "minst" / "train"))


def test_preflight_refuses_a_path_that_is_a_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is a file; it must be the folder"):
        preflight(_config(_touch(tmp_path / "data.zip")))


def test_preflight_accepts_an_image_folder(tmp_path: Path) -> None:
    _image(tmp_path / "cat" / "1.png")

    preflight(_config(tmp_path))


def test_preflight_names_the_first_image_of_another_size(tmp_path: Path) -> None:
    for seed in range(5):
        _image(tmp_path / "cat" / f"{seed}.png", seed)
    for name in ("8.png", "9.png"):
        Image.new("L", (7, 4)).save(tmp_path / "cat" / name)

    with pytest.raises(DataError, match=r"^2 of 7 files .* says, 4 x 4 x 1: the first is cat/8\.png, 4 x 7 x 1\. Set"):
        preflight(_config(tmp_path))


@pytest.mark.parametrize(
    ("mode", "data", "is_refused"),
    [
        pytest.param("L", {"image": {**_IMAGE, "resize": "area"}}, False, id="resize-allows-any-size"),
        pytest.param("RGB", {"image": {**_IMAGE, "resize": "area"}}, True, id="resize-converts-no-channels"),
        pytest.param("RGB", {"schema_file": "own.pbtxt"}, False, id="a-teams-own-schema-says-it"),
    ],
)
def test_preflight_refuses_only_the_sizes_that_the_run_refuses(
    tmp_path: Path, mode: str, data: dict[str, Any], is_refused: bool
) -> None:
    (tmp_path / "cat").mkdir()
    Image.new(mode, (7, 4)).save(tmp_path / "cat" / "1.png")

    if is_refused:
        with pytest.raises(DataError, match=r"cat/1\.png, 4 x 7 x 3\. Set data\.image\.channels"):
            preflight(_config(tmp_path, **data))
    else:
        preflight(_config(tmp_path, **data))


def test_preflight_names_files_that_are_no_images(tmp_path: Path) -> None:
    _image(tmp_path / "cat" / "1.png")
    _touch(tmp_path / "cat" / "2.png", (tmp_path / "cat" / "1.png").read_bytes()[:20])
    _touch(tmp_path / "cat" / "notes.txt", b"labels by Ann")

    with pytest.raises(
        DataError, match=r"^2 of 3 files .*cat/2\.png: does not decode: .*; cat/notes\.txt: is no PNG, JPEG"
    ):
        preflight(_config(tmp_path))


def test_preflight_spreads_its_look_over_a_large_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.data.checks._IMAGES_LOOKED_INTO", 4)
    for seed in range(10):
        _image(tmp_path / f"c{seed}" / "1.png", seed)
    preflight(_config(tmp_path))
    for seed in range(5, 10):
        Image.new("L", (7, 4)).save(tmp_path / f"c{seed}" / "1.png")

    with pytest.raises(DataError, match=r"^2 of 4 files \(of 10\) looked into under .*: the first is c5/1\.png"):
        preflight(_config(tmp_path))


_RECORD = struct.pack("<Q", 3) + b"crc1" + b"abc" + b"crc2"


def _framed(payload: bytes) -> bytes:
    def checksum(data: bytes) -> bytes:
        crc = google_crc32c.value(data)
        return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)

    length = struct.pack("<Q", len(payload))
    return length + checksum(length) + payload + checksum(payload)


_EXAMPLES = b"".join(_framed(encode_example({"label": [number], "x": [number / 2]})) for number in range(60))


@pytest.mark.parametrize(
    ("data_format", "name", "content", "message"),
    [
        pytest.param(
            "tfrecord", "a.tfrecord", gzip.compress(_RECORD), "gzip-compressed, but its name", id="hidden-gzip"
        ),
        pytest.param("tfrecord", "a.gz", _RECORD, "not gzip-compressed, but its name", id="no-gzip-inside"),
        pytest.param("tfrecord", "a.tfrecord", b"label,x\n1,2.5\n", "not a TFRecord file", id="csv-as-tfrecord"),
        pytest.param("tfrecord", "a.tfrecord", b"", "is empty", id="empty-tfrecord"),
        pytest.param(
            "csv", "a.csv", b"lable,x\n1,2\n", r"lacks the column.*'label' \(data.label\); it has lable, x", id="typo"
        ),
        pytest.param(
            "csv", "a.csv", b"label,y\n1,2\n", r"lacks the column.*'x' \(data.features\)", id="csv-no-feature"
        ),
        pytest.param("csv", "a.csv", b"\x89PNG\xff\xfe", "is not CSV", id="png-as-csv"),
        pytest.param("parquet", "a.parquet", b"label,x\n1,2\n", "is not a Parquet file", id="csv-as-parquet"),
    ],
)
def test_preflight_looks_into_record_files(
    tmp_path: Path, data_format: str, name: str, content: bytes, message: str
) -> None:
    _touch(tmp_path / name, content)

    with pytest.raises(DataError, match=message):
        preflight(_config(tmp_path, format=data_format))


@pytest.mark.parametrize(
    ("name", "content"), [("a.tfrecord", _EXAMPLES), ("a.tfrecord.gz", gzip.compress(_EXAMPLES))], ids=["plain", "gzip"]
)
def test_preflight_accepts_plain_and_gzip_tfrecords(tmp_path: Path, name: str, content: bytes) -> None:
    _touch(tmp_path / name, content)

    assert sum(preflight(_config(tmp_path, format="tfrecord")).summary.num_examples.values()) == 60


@pytest.mark.parametrize(
    ("content", "is_gzip"), [(_EXAMPLES, False), (gzip.compress(_EXAMPLES), True)], ids=["plain", "gzip"]
)
def test_preflight_names_a_file_that_was_cut(tmp_path: Path, content: bytes, is_gzip: bool) -> None:
    path = _touch(tmp_path / ("a.gz" if is_gzip else "a.tfrecord"), content[:-7])

    with pytest.raises(DataError, match=rf"{path} is damaged: it ends in the middle of"):
        preflight(_config(tmp_path, format="tfrecord"))


def test_preflight_wants_one_csv_header(tmp_path: Path) -> None:
    _touch(tmp_path / "a.csv", b"label,x\n1,2\n")
    _touch(tmp_path / "b.csv", b"x,label\n1,2\n")

    with pytest.raises(DataError, match=r"b\.csv has other columns \(x, label\) than .*a\.csv \(label, x\)"):
        preflight(_config(tmp_path, format="csv"))


def test_preflight_wants_the_group_column(tmp_path: Path) -> None:
    _touch(tmp_path / "a.csv", b"label,x\n1,2\n")

    with pytest.raises(DataError, match=r"'session' \(data.group_by\)"):
        preflight(_config(tmp_path, format="csv", group_by="session"))


def test_preflight_counts_examples_by_split_and_class(tmp_path: Path) -> None:
    for seed in range(30):
        _image(tmp_path / ("cat" if seed % 3 else "dog") / f"{seed}.png", seed)

    look = preflight(_config(tmp_path))

    assert look.sentences == (
        "examples: 30 files: train about 24, calibration about 3, eval about 3",
        "classes: cat 20 (66.7%), dog 10 (33.3%)",
    )
    assert len(look.examples) == 8


def test_preflight_counts_pictures_that_lie_on_their_side(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 8
    _image(tmp_path / "cat" / "1.png")
    Image.open(_image(tmp_path / "cat" / "2.png", 2)).save(tmp_path / "cat" / "2.png", exif=exif)

    assert any(
        each.startswith("EXIF orientation: 1 of 2 files") and "must turn them, too" in each
        for each in preflight(_config(tmp_path)).sentences
    )


def test_a_folder_that_is_seldom_a_class_is_named(tmp_path: Path) -> None:
    for name in ("photos", "masks"):
        _image(tmp_path / name / "1.png")

    sentences = preflight(_config(tmp_path)).sentences
    assert any("'masks' is taken for a class" in each and "data.ignore" in each for each in sentences)
    assert preflight(_config(tmp_path, ignore=["masks"])).summary.class_names == ("photos",)


def test_what_is_ignored_is_no_data(tmp_path: Path) -> None:
    _image(tmp_path / "cat" / "1.png")
    _touch(tmp_path / "cat" / "notes.txt")
    _touch(tmp_path / "masks" / "1.png")

    assert matched_files(_config(tmp_path, ignore=["*.txt", "masks"])) == {"all": [tmp_path / "cat/1.png"]}


def test_an_empty_class_folder_is_named(tmp_path: Path) -> None:
    _image(tmp_path / "cat" / "1.png")
    (tmp_path / "dog").mkdir()

    with pytest.raises(DataError, match=r"1 class folder\(s\) under .* hold no image: dog\. Put images"):
        preflight(_config(tmp_path))
    preflight(_config(tmp_path, ignore=["dog"]))


def test_a_flat_folder_is_told_what_an_image_folder_is(tmp_path: Path) -> None:
    _image(tmp_path / "1.png")

    with pytest.raises(DataError, match=r"An image folder has one folder per class"):
        preflight(_config(tmp_path))


def test_preflight_reads_a_small_table_whole(tmp_path: Path) -> None:
    lines = "".join(f"{('ok', 'worn')[number % 2]},{number / 4},{'ab'[number % 2]}\n" for number in range(1200))
    _touch(tmp_path / "a.csv", ("label,x,site\n" + lines).encode("utf-8-sig"))
    features = {"x": {}, "site": {"dtype": "string"}}
    config = _config(tmp_path, format="csv", num_classes=None, class_names=["ok", "worn"], features=features)

    look = preflight(config)

    assert look.is_complete
    assert look.sentences[0].startswith("examples: 1,200: train 9")
    assert look.sentences[1] == "classes: ok 600 (50.0%), worn 600 (50.0%)"
    assert look.summary.features["site"].vocabulary == ("a", "b")


def test_preflight_looks_at_the_beginning_of_a_large_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.data.checks._BYTES_READ_WHOLE", 1000)
    lines = ["label,x", *(f"{number},{number}" for number in range(1500)), "1,much"]
    _touch(tmp_path / "a.csv", "\n".join(lines).encode())

    look = preflight(_config(tmp_path, format="csv"))

    assert not look.is_complete
    assert look.sentences == ("examples: looked at the first 1,000; the run reads all",)


# Every format, through TFX's driver and the executor that the component names


def _ingest(data: DataConfig, tmp_path: Path) -> Any:
    from tfx.components.example_gen.driver import FileBasedDriver
    from tfx.types import standard_artifacts

    from pipeline.data.source import example_gen

    component = example_gen(data, code_version="1")
    properties = FileBasedDriver(None).resolve_exec_properties(dict(component.exec_properties), None, None)
    artifact = standard_artifacts.Examples()
    artifact.uri = str(tmp_path / "examples")
    artifact.set_string_custom_property("tfx_version", "1.16.0")
    artifact.span = properties["span"]
    executor = component.executor_spec.executor_class
    context = executor.Context(
        beam_pipeline_args=["--runner=FnApiRunner", "--sdk_container_image=local"], tmp_dir=str(tmp_path), unique_id="1"
    )
    executor(context).Do({}, {"examples": [artifact]}, properties)
    return artifact


def _rows(artifact: Any, *names: str) -> dict[str, list[tuple[Any, ...]]]:
    """Split -> the values of the features ``names`` of each example, sorted."""
    import tensorflow as tf

    def values(feature: Any) -> Any:
        found = list(getattr(feature, feature.WhichOneof("kind")).value) if feature.WhichOneof("kind") else []
        return found[0] if len(found) == 1 else tuple(found)

    rows = {}
    for split in json.loads(artifact.split_names):
        files = [str(path) for path in Path(artifact.uri, f"Split-{split}").iterdir()]
        records = tf.data.TFRecordDataset(files, compression_type="GZIP").as_numpy_iterator()
        examples = [tf.train.Example.FromString(record).features.feature for record in records]
        rows[split] = sorted(tuple(values(features[name]) for name in names) for features in examples)
    return rows


def _check_divided(artifact: Any, number: int) -> None:
    """Each label (one per example) is in exactly one of the three splits, and the counts are noted."""
    rows = _rows(artifact, "label")
    assert list(rows) == ["train", "calibration", "eval"]
    assert sorted(row for split in rows.values() for row in split) == [(label,) for label in range(number)]
    assert {split: artifact.get_int_custom_property(f"num_examples_{split}") for split in rows} == {
        split: len(found) for split, found in rows.items()
    }


def _write_tfrecord(path: Path, labels: range, *, is_gzip: bool) -> None:
    import tensorflow as tf

    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path), "GZIP" if is_gzip else "") as records:
        for label in labels:
            example = tf.train.Example()
            example.features.feature["label"].int64_list.value.append(label)
            example.features.feature["x"].float_list.value.append(label / 2)
            records.write(example.SerializeToString())


@pytest.mark.tfx
@pytest.mark.parametrize("is_gzip", [True, False], ids=["gzip", "plain"])
def test_tfrecords_are_divided_by_hash(tmp_path: Path, is_gzip: bool) -> None:
    _write_tfrecord(tmp_path / "data" / ("a.gz" if is_gzip else "a.tfrecord"), range(100), is_gzip=is_gzip)
    data = _config(tmp_path / "data", format="tfrecord")

    preflight(data)
    _check_divided(_ingest(data, tmp_path), 100)


@pytest.mark.tfx
def test_tfrecords_of_the_newest_span_keep_the_splits_of_a_person(tmp_path: Path) -> None:
    for span, first in ((1, 0), (2, 100)):
        for number, split in enumerate(("train", "calibration", "eval")):
            labels = range(first + 10 * number, first + 10 * number + 10)
            _write_tfrecord(tmp_path / "data" / f"span-{span}" / split / "a.gz", labels, is_gzip=True)
    patterns = {split: f"span-{{SPAN}}/{split}/*" for split in ("train", "calibration", "eval")}

    artifact = _ingest(_config(tmp_path / "data", format="tfrecord", patterns=patterns), tmp_path)

    assert _rows(artifact, "label")["eval"] == [(label,) for label in range(120, 130)]
    assert artifact.span == 2


@pytest.mark.tfx
def test_csv_rows_of_one_group_stay_together(tmp_path: Path) -> None:
    lines = [f"{index},{index / 2 + 0.25},session-{index // 5}" for index in range(150)]
    _touch(tmp_path / "data" / "a.csv", "\n".join(["label,x,session", *lines]).encode())
    data = _config(tmp_path / "data", format="csv", group_by="session")

    preflight(data)
    artifact = _ingest(data, tmp_path)

    _check_divided(artifact, 150)
    sessions = {split: {row[0] for row in rows} for split, rows in _rows(artifact, "session").items()}
    assert sum(len(names) for names in sessions.values()) == 30


@pytest.mark.tfx
def test_parquet_keeps_zeros_lists_and_bytes(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    columns = {
        "label": list(range(100)),
        "x": [[0.0, index / 2] for index in range(100)],
        "is_new": [index % 2 == 0 for index in range(100)],
        "image": [b"\x89\xff" + bytes([index]) for index in range(100)],
        "note": [None if index % 3 else "text" for index in range(100)],
    }
    (tmp_path / "data").mkdir()
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "data" / "a.parquet")
    data = _config(tmp_path / "data", format="parquet", features={"x": {"shape": [2]}})

    preflight(data)
    artifact = _ingest(data, tmp_path)

    _check_divided(artifact, 100)
    rows = _rows(artifact, "label", "x", "is_new", "image", "note")
    found = {row[0]: row[1:] for split in rows.values() for row in split}
    assert found[0] == ((0.0, 0.0), 1, b"\x89\xff\x00", b"text")
    assert found[1] == ((0.0, 0.5), 0, b"\x89\xff\x01", ())


@pytest.mark.tfx
def test_images_of_the_newest_version_are_ingested(tmp_path: Path) -> None:
    for version in (1, 2):
        for seed in range(60):
            _image(tmp_path / "data" / "span-3" / f"v{version}" / f"c{seed % 2}" / f"{seed}.png", seed)

    artifact = _ingest(_config(tmp_path / "data", pattern="span-{SPAN}/v{VERSION}/*/*"), tmp_path)

    paths = [row[0].decode() for rows in _rows(artifact, "path").values() for row in rows]
    assert len(paths) == 60
    assert all(path.startswith("span-3/v2/") for path in paths)


@pytest.mark.tfx
def test_the_ingest_holds_every_image_to_the_size_in_the_config(tmp_path: Path) -> None:
    for seed in range(60):
        _image(tmp_path / "data" / f"c{seed % 2}" / f"{seed}.png", seed)
    Image.new("L", (7, 4)).save(tmp_path / "data" / "c0" / "odd.png")

    with pytest.raises(DataError, match=r"^1 of 61 files .* 4 x 4 x 1: the first is c0/odd\.png, 4 x 7 x 1"):
        _ingest(_config(tmp_path / "data"), tmp_path)


@pytest.mark.tfx
@pytest.mark.parametrize(
    ("data_format", "name", "content", "message"),
    [
        pytest.param(
            "csv", "a.csv", b"label,x\n1,2\n3\n", r"a\.csv cannot be read as CSV: line 3 has 1 cell", id="a-short-row"
        ),
        pytest.param(
            "tfrecord", "a.tfrecord", _RECORD, r"a\.tfrecord is damaged: the length of record 1", id="a-wrong-checksum"
        ),
        pytest.param("tfrecord", "a.tfrecord", _framed(b"\xff"), "record 1 is no tf.Example", id="another-message"),
        pytest.param("csv", "a.csv", b"label,x\n1,2\n", "split came out empty", id="too-few-rows-for-three-splits"),
    ],
)
def test_records_that_cannot_be_read_are_one_sentence(
    tmp_path: Path, data_format: str, name: str, content: bytes, message: str
) -> None:
    _touch(tmp_path / "data" / name, content)

    with pytest.raises(DataError, match=message) as refusal:
        _ingest(_config(tmp_path / "data", format=data_format), tmp_path)

    assert "\n" not in str(refusal.value)
    assert "while running" not in str(refusal.value)


@pytest.mark.tfx
def test_statistics_gen_looks_only_at_the_features_it_is_told(tmp_path: Path) -> None:
    from tfx import types
    from tfx.types import standard_artifacts

    from pipeline.data.source import statistics_gen

    component = statistics_gen(
        types.Channel(type=standard_artifacts.Examples), types.Channel(type=standard_artifacts.Schema), ("x", "label")
    )

    options = json.loads(component.exec_properties["stats_options_json"])
    assert options["_feature_allowlist"] == ["x", "label"]
    assert options["_use_sketch_based_topk_uniques"] is True


@pytest.mark.tfx
def test_kubeflow_resolves_spans_for_every_format(tmp_path: Path) -> None:
    from tfx.components import FileBasedExampleGen
    from tfx.components.example_gen.driver import FileBasedDriver

    from pipeline.data.source import example_gen

    for data in (_config(tmp_path), _config(tmp_path, format="csv")):
        component = example_gen(data, code_version="1")
        assert isinstance(component, FileBasedExampleGen)
        assert component.driver_class is FileBasedDriver


# Real-valued labels


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        pytest.param("dear", r"the label 'price' is no number in 1 of 61 rows \(line 3 of a.csv: 'dear'\)", id="text"),
        pytest.param("", r"the label 'price' has no value in 1 of 61 rows \(line 3 of a.csv\)", id="missing"),
        pytest.param("nan", r"the label 'price' is NaN in 1 of 61 rows \(line 3 of a.csv\)", id="nan"),
        pytest.param("inf", r"the label 'price' is infinite in 1 of 61 rows \(line 3 of a.csv\)", id="infinite"),
    ],
)
def test_a_label_that_is_no_number_is_named_with_its_line(tmp_path: Path, cell: str, reason: str) -> None:
    more = "".join(f"{number},2.5\n" for number in range(59))
    _touch(tmp_path / "a.csv", f"x, price\n1,2.5\n2,{cell}\n{more}".encode())
    config = _config(tmp_path, format="csv", label="price", label_type="value", num_classes=None)
    with pytest.raises(DataError, match=reason):
        preflight(config)
    _touch(tmp_path / "a.csv", f"x, price\n1,2.5\n2,3\n{more}".encode())
    preflight(config)


def test_a_parquet_label_of_text_is_refused(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    config = _config(tmp_path, format="parquet", label="price", label_type="value", num_classes=None)
    for values, is_good in (["dear", "cheap"], False), (["1.5", "2"], True), ([1, 2], True), ([1.5, 2.0], True):
        columns = {"x": [number / 10 for number in range(60)], "price": values * 30}
        pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "a.parquet")
        if is_good:
            preflight(config)
        else:
            with pytest.raises(
                DataError, match=r"the label 'price' is no number in 60 of 60 rows \(row 1 of a.parquet: 'dear'; row 2"
            ):
                preflight(config)
