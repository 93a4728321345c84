from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from components.data.examples import ExampleSpec, TensorFeature
from components.errors import CalibrationError, ConversionError
from components.repair.recipes import IoType

pytestmark = pytest.mark.tfx

SPEC = ExampleSpec(features=(TensorFeature("image", "float32", (8, 8, 1)),))


def write_split(directory: Path, images: NDArray[np.float32]) -> None:
    import tensorflow as tf

    directory.mkdir(parents=True)
    options = tf.io.TFRecordOptions(compression_type="GZIP")
    with tf.io.TFRecordWriter(str(directory / "data_tfrecord-00000-of-00001.gz"), options) as writer:
        for row, image in enumerate(images):
            features = {
                "image": tf.train.Feature(float_list=tf.train.FloatList(value=image.reshape(-1))),
                "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[row % 3])),
                "domain": tf.train.Feature(
                    bytes_list=tf.train.BytesList(value=[b"night" if row % 60 == 0 else b"day"])
                ),
            }
            example = tf.train.Example(features=tf.train.Features(feature=features))
            writer.write(example.SerializeToString())


@pytest.fixture
def artifacts(tmp_path: Path, saved_models: dict[str, Path], images: NDArray[np.float32]) -> dict[str, Any]:
    """Inputs and output of one execution; the eval split is unreadable, so that reading it would fail."""
    from tfx.types import artifact_utils, standard_artifacts

    examples, model, output = standard_artifacts.Examples(), standard_artifacts.Model(), standard_artifacts.Model()
    examples.uri, model.uri, output.uri = str(tmp_path / "examples"), str(saved_models["images"]), str(tmp_path / "out")
    examples.split_names = artifact_utils.encode_split_names(["calibration", "eval"])
    examples.set_string_custom_property("tfx_version", "1.16.0")
    write_split(tmp_path / "examples" / "Split-calibration", images)
    (tmp_path / "examples" / "Split-eval").mkdir()
    (tmp_path / "examples" / "Split-eval" / "broken.gz").write_bytes(b"not a record")
    return {"examples": examples, "model": model, "tflite_model": output}


def execute(artifacts: dict[str, Any], stratify_by: tuple[str, ...] = (), **changes: Any) -> None:
    from tfx.types import channel_utils

    from components.tflite_converter.component import TFLiteConverter
    from components.tflite_converter.executor import Executor

    node = TFLiteConverter(
        model=channel_utils.as_channel([artifacts["model"]]),
        examples=channel_utils.as_channel([artifacts["examples"]]),
        example_spec=replace(SPEC, slice_features=stratify_by).to_json(),
        code_version="test",
        **changes,
    )
    inputs = {"model": [artifacts["model"]], "examples": [artifacts["examples"]]}
    Executor().Do(inputs, {"tflite_model": [artifacts["tflite_model"]]}, dict(node.exec_properties))


@pytest.mark.usefixtures("in_process")
def test_the_component_converts_and_describes_its_output(artifacts: dict[str, Any]) -> None:
    execute(artifacts, num_samples=100)
    output = artifacts["tflite_model"]
    report = json.loads((Path(output.uri) / "conversion_report.json").read_text())
    data = (Path(output.uri) / "model.tflite").read_bytes()
    assert (Path(output.uri) / "float.tflite").is_file()
    assert output.get_string_custom_property("format") == "tflite"
    assert output.get_string_custom_property("recipe") == "int8"
    assert output.get_string_custom_property("sha256") == report["model"]["sha256"]
    assert output.get_int_custom_property("size_bytes") == len(data)
    assert output.get_int_custom_property("calibration_examples") == 100
    assert {stratum["label"]: stratum["num_distinct"] for stratum in report["calibration"]["strata"]} == {
        "0": 200,
        "1": 200,
        "2": 200,
    }


@pytest.mark.usefixtures("in_process")
def test_a_rare_domain_sets_ranges_where_the_draw_is_stratified_by_it(artifacts: dict[str, Any]) -> None:
    execute(artifacts, num_samples=30, stratify_by=("domain",))
    report = json.loads((Path(artifacts["tflite_model"].uri) / "conversion_report.json").read_text())
    drawn = {stratum["label"]: stratum["num_drawn"] for stratum in report["calibration"]["strata"]}
    assert drawn["0, domain night"] >= 1
    with pytest.raises(CalibrationError, match="stratify_by names 'season', which no example"):
        execute(artifacts, stratify_by=("season",))


def test_a_missing_or_small_calibration_split_is_refused(artifacts: dict[str, Any]) -> None:
    with pytest.raises(CalibrationError, match="needs a split named 'other'; the examples have calibration, eval"):
        execute(artifacts, calibration_split="other")
    with pytest.raises(
        CalibrationError, match="calibration split 'calibration' has 600 examples; int8 calibration needs 700"
    ):
        execute(artifacts, min_samples=700)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        pytest.param({"recipe": "int4"}, ConversionError, "recipe 'int4' is unknown", id="recipe"),
        pytest.param({"recipe": "float16", "input_type": IoType.INT8}, ConversionError, "input_type", id="io-type"),
        pytest.param({"num_samples": 0}, CalibrationError, "convert.calibration.num_samples is 0", id="samples"),
    ],
)
def test_wrong_parameters_are_refused_when_the_pipeline_is_built(
    artifacts: dict[str, Any], changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        execute(artifacts, **changes)
