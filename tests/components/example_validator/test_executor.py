"""Data that breaks its schema stops the run, through real statistics and the stock validation."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from PIL import Image

from components.data.examples import ExampleSpec, ImageSpec, TensorFeature
from components.data.feature_schema import feature_names, feature_schema, schema_text
from components.errors import DataError
from components.example_validator.minimums import Minimum, minimums_to_json

pytestmark = pytest.mark.tfx

_IMAGES = ExampleSpec(class_names=("cat", "dog"), image=ImageSpec(8, 8, 1))
_TENSORS = ExampleSpec(
    class_names=("a", "b"), features=(TensorFeature("x", "float32", (2,)), TensorFeature("age", "int64"))
)


def _png(height: int = 8, width: int = 8) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (width, height), 7).save(buffer, "PNG")
    return buffer.getvalue()


def _image_row(label: int = 0, size: int = 8) -> dict[str, list[Any]]:
    sizes = {"height": [size], "width": [8], "channels": [1]}
    return {"image": [_png(size)], "label": [label], "path": [b"cat/1.png"], "group": [b"ab"], **sizes}


def _tensor_row(**changes: Any) -> dict[str, list[Any]]:
    row = {"x": [0.5, 1.5], "age": [3], "label": [1], "unused": [b"text"], **changes}
    return {name: values for name, values in row.items() if values is not None}


def _example(row: Mapping[str, list[Any]]) -> bytes:
    import tensorflow as tf

    example = tf.train.Example()
    for name, values in row.items():
        kind = {int: "int64_list", float: "float_list", bytes: "bytes_list"}[type(values[0])]
        getattr(example.features.feature[name], kind).value.extend(values)
    serialized: bytes = example.SerializeToString()
    return serialized


def _artifact(kind: Any, uri: Path, split_names: str = "") -> Any:
    artifact = kind()
    artifact.uri = str(uri)
    artifact.set_string_custom_property("tfx_version", "1.16.0")
    if split_names:
        artifact.split_names = split_names
    return artifact


def _validate(
    spec: ExampleSpec,
    splits: Mapping[str, list[dict[str, list[Any]]]],
    tmp_path: Path,
    minimums: Mapping[str, Minimum] = MappingProxyType({}),
) -> Any:
    """Examples -> StatisticsGen as the pipeline sets it up -> our ExampleValidator."""
    import tensorflow as tf
    from tfx import types
    from tfx.components.statistics_gen.executor import Executor as StatisticsExecutor
    from tfx.types import artifact_utils
    from tfx.types import standard_artifacts as kinds

    from components.example_validator.executor import Executor
    from pipeline.data.source import statistics_gen

    names = artifact_utils.encode_split_names(list(splits))
    examples = _artifact(kinds.Examples, tmp_path / "examples", names)
    examples.set_string_custom_property("payload_format", "FORMAT_TF_EXAMPLE")
    for split, rows in splits.items():
        folder = tmp_path / "examples" / f"Split-{split}"
        folder.mkdir(parents=True)
        with tf.io.TFRecordWriter(str(folder / "data_tfrecord-00000-of-00001.gz"), "GZIP") as records:
            for row in rows:
                records.write(_example(row))
    feature_schema_ = feature_schema(spec)
    (tmp_path / "schema").mkdir()
    (tmp_path / "schema" / "schema.pbtxt").write_text(schema_text(feature_schema_), encoding="utf-8")
    schema = _artifact(kinds.Schema, tmp_path / "schema")
    channels = types.Channel(type=kinds.Examples), types.Channel(type=kinds.Schema)
    options = statistics_gen(*channels, feature_names(feature_schema_)).exec_properties
    statistics = _artifact(kinds.ExampleStatistics, tmp_path / "statistics")
    context = StatisticsExecutor.Context(
        beam_pipeline_args=["--runner=FnApiRunner", "--sdk_container_image=local"], tmp_dir=str(tmp_path), unique_id="1"
    )
    StatisticsExecutor(context).Do(
        {"examples": [examples], "schema": [schema]}, {"statistics": [statistics]}, dict(options)
    )
    anomalies = _artifact(kinds.ExampleAnomalies, tmp_path / "anomalies")
    Executor().Do(
        {"statistics": [statistics], "schema": [schema]},
        {"anomalies": [anomalies]},
        {"exclude_splits": "[]", "minimums": minimums_to_json(minimums), "cut_by_shares": 1},
    )
    return statistics


def test_good_images_pass_and_their_bytes_get_no_statistics(tmp_path: Path) -> None:
    from tensorflow_metadata.proto.v0 import statistics_pb2

    rows = [_image_row(label=index % 2) for index in range(20)]

    statistics = _validate(_IMAGES, {"train": rows, "eval": rows[:4]}, tmp_path)

    content = (Path(statistics.uri) / "Split-train" / "FeatureStats.pb").read_bytes()
    (dataset,) = statistics_pb2.DatasetFeatureStatisticsList.FromString(content).datasets
    features = {".".join(feature.path.step): feature for feature in dataset.features}
    assert features["image"].WhichOneof("stats") == "bytes_stats"
    assert features["image"].bytes_stats.common_stats.num_non_missing == 20
    assert features["image"].bytes_stats.unique == 0
    for name in ("path", "group"):
        assert not features[name].string_stats.rank_histogram.buckets


def test_good_tensors_pass_and_unknown_features_are_ignored(tmp_path: Path) -> None:
    rows = [_tensor_row(age=[index]) for index in range(10)]

    _validate(_TENSORS, {"train": rows, "calibration": rows, "eval": rows}, tmp_path)


def _refusal(spec: ExampleSpec, bad: Mapping[str, dict[str, list[Any]]], tmp_path: Path) -> dict[str, str]:
    """Split -> its part of the refusal, where each split of ``bad`` has one bad example among good ones."""
    good = [_image_row() if spec.image else _tensor_row()] * 10
    with pytest.raises(DataError) as refusal:
        _validate(spec, {"train": good, **{split: [*good, row] for split, row in bad.items()}}, tmp_path)
    head, _, advice = str(refusal.value).partition(" Next: ")
    parts = head.partition(": ")[2].split("; split ")
    return {"advice": advice, **{part.removeprefix("split ").partition(",")[0]: part for part in parts}}


def test_images_that_break_the_config_stop_the_run(tmp_path: Path) -> None:
    found = _refusal(_IMAGES, {"calibration": _image_row(label=2), "eval": _image_row(size=9)}, tmp_path)

    assert set(found) == {"calibration", "eval", "advice"}
    assert "feature 'label': Out-of-range values" in found["calibration"]
    assert "2" in found["calibration"]
    assert "feature 'height': Out-of-range values" in found["eval"]
    assert "9" in found["eval"]
    assert "data.class_names" in found["advice"]
    assert "data.image.resize" in found["advice"]


def test_tensors_that_break_the_config_stop_the_run(tmp_path: Path) -> None:
    bad = {
        "lacks-age": _tensor_row(age=None),
        "other-shape": _tensor_row(x=[0.5, 1.5, 2.5]),
        "nan": _tensor_row(x=[0.5, float("nan")]),
    }

    found = _refusal(_TENSORS, bad, tmp_path)

    assert set(found) == {*bad, "advice"}
    assert "feature 'age': " in found["lacks-age"]
    assert "Column dropped" in found["lacks-age"]
    assert "feature 'x': " in found["other-shape"]
    assert "feature 'x': " in found["nan"]
    assert "NaN" in found["nan"]
    for advice in ("fill in or remove", "a pad for examples with fewer", "examples with NaN"):
        assert advice in found["advice"]


@pytest.mark.exhaustive
def test_a_feature_of_another_name_or_type_stops_the_run(tmp_path: Path) -> None:
    rows = [{"x": [1.0, 2.0], "agee": [3], "label": [b"cat"]}] * 10

    with pytest.raises(DataError) as refusal:
        _validate(_TENSORS, {"train": rows}, tmp_path)

    message = str(refusal.value)
    assert "feature 'age': Column dropped" in message
    assert "feature 'label': " in message
    assert "labels are class numbers" in message


@pytest.mark.exhaustive
def test_splits_that_later_steps_would_refuse_for_their_size_stop_the_run(tmp_path: Path) -> None:
    minimums = {
        "calibration": Minimum(6, "min_samples"),
        "eval": Minimum(4, "min_examples"),
        "absent": Minimum(9, "none"),
    }
    splits = {"train": [_tensor_row()] * 95, "calibration": [_tensor_row()] * 5, "eval": [_tensor_row()] * 4}

    with pytest.raises(DataError, match=r"^too few examples: split calibration holds 5 \(min_samples needs 6\); add"):
        _validate(_TENSORS, splits, tmp_path / "short", minimums)
    _validate(_TENSORS, {**splits, "calibration": [_tensor_row()] * 6}, tmp_path / "enough", minimums)


@pytest.mark.exhaustive
def test_whole_numbers_where_floats_are_expected_name_the_key_to_set_once(tmp_path: Path) -> None:
    spec = ExampleSpec(
        class_names=("a", "b"), features=(TensorFeature("rooms", "float32"), TensorFeature("x", "float32"))
    )
    rows = [{"rooms": [3], "x": [0.5], "label": [1]}] * 10

    with pytest.raises(DataError) as refusal:
        _validate(spec, {"train": rows, "calibration": rows, "eval": rows}, tmp_path)

    assert str(refusal.value).endswith("Next: set data.features.rooms.dtype to int64.")
    assert len(re.findall("feature 'rooms'", str(refusal.value))) == 3
