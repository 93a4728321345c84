"""A user's mistakes: one clear message each, exit code 2, and nothing trained, published or left half-made.

The runs happen in this process, because importing TFX for each of them would take longer than the rest.
"""

from __future__ import annotations

import fcntl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgeproof_edge.errors import InputError
from PIL import Image

from pipeline.config import PipelineConfig, validated
from pipeline.errors import RunError
from pipeline.running.local_runner import run
from tests.e2e.projects import Project

pytestmark = pytest.mark.e2e

MODEL = """
import tf_keras as keras
def build_model(hyperparameters):
    return keras.Sequential([
        keras.Input((4, 4, 1), name="image"), keras.layers.Rescaling(1 / 255), keras.layers.Conv2D(4, 3, activation="relu"),
        keras.layers.Flatten(), keras.layers.Dense(2, activation="softmax")])
"""


VECTOR_MODEL = """
import tf_keras as keras
def build_model(hyperparameters):
    return keras.Sequential([keras.Input((2,), name="x"), keras.layers.Dense(2)])
"""


def write_image(path: Path, size: tuple[int, int] = (4, 4), seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    bright = 150 if path.parent.name == "bright" else 0
    pixels = np.random.default_rng(seed).integers(0, 100, size) + bright
    Image.fromarray(pixels.astype(np.uint8)).save(path)


def make_folder(root: Path) -> None:
    """400 images of two classes, and a model that can tell them apart."""
    for number in range(400):
        write_image(root / "images" / ("bright" if number % 2 else "dark") / f"{number}.png", seed=number)
    (root / "model.py").write_text(MODEL, encoding="utf-8")


def config_of(root: Path, **sections: dict[str, Any]) -> PipelineConfig:
    values: dict[str, Any] = {
        "name": "mistakes",
        "workspace": "work",
        "data": {
            "format": "image_folder",
            "path": "images",
            "image": {"height": 4, "width": 4, "channels": 1},
            "shares": {"train": 50, "calibration": 25, "eval": 25},
        },
        "model": {"module": "model.py"},
        "train": {"epochs": 1},
        "convert": {"calibration": {"min_samples": 20}},
        "gate": {"min_examples": 20},
    }
    for name, section in sections.items():
        values[name] = {**values[name], **section}
    return validated(values, root)


def damage_an_image(root: Path) -> dict[str, Any]:
    """Its header is whole, so that not preflight but the ingest finds it."""
    image = root / "images" / "dark" / "0.png"
    image.write_bytes(image.read_bytes()[:-20])
    return {}


def put_an_image_of_another_size(root: Path) -> dict[str, Any]:
    write_image(root / "images" / "dark" / "big.png", size=(9, 9))
    return {}


def break_the_module(root: Path) -> dict[str, Any]:
    (root / "model.py").write_text("def build_model(h):\n    raise ValueError('no such backbone')\n", encoding="utf-8")
    return {}


def ask_for_more_calibration(root: Path) -> dict[str, Any]:
    return {"convert": {"calibration": {"min_samples": 5000}}}


def name_a_missing_folder(root: Path) -> dict[str, Any]:
    return {"data": {"path": str(root / "imagse")}}


def leave_the_calibration_empty(root: Path) -> dict[str, Any]:
    (root / "images" / "empty").mkdir()
    patterns = {"train": "images/*/*", "calibration": "empty/*/*", "eval": "images/*/*"}
    return {"data": {"path": str(root), "patterns": patterns}}


def write_records(root: Path, row: dict[str, Any]) -> dict[str, Any]:
    import tensorflow as tf

    def feature(value: Any) -> Any:
        if isinstance(value, list):
            return tf.train.Feature(float_list=tf.train.FloatList(value=value))
        return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))

    (root / "records").mkdir()
    with tf.io.TFRecordWriter(str(root / "records" / "rows.gz"), "GZIP") as writer:
        for number in range(200):
            good = {"x": [float(number), 1.0], "label": number % 2}
            features = {
                name: feature(value)
                for name, value in {**good, **(row if number == 7 else {})}.items()
                if value is not None
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())
    (root / "model.py").write_text(VECTOR_MODEL, encoding="utf-8")
    features = {"x": {"dtype": "float32", "shape": [2]}}
    data = {"format": "tfrecord", "path": str(root / "records"), "num_classes": 2, "image": None, "features": features}
    return {"data": data}


def put_a_label_outside_the_classes(root: Path) -> dict[str, Any]:
    return write_records(root, {"label": 11})


def leave_a_feature_out(root: Path) -> dict[str, Any]:
    return write_records(root, {"x": None})


@pytest.mark.parametrize(
    ("mistake", "fragments"),
    [
        pytest.param(damage_an_image, ["dark/0.png"], id="unreadable-image"),
        pytest.param(
            put_an_image_of_another_size, ["1 of 401 files", "dark/big.png, 9 x 9 x 1"], id="wrong-image-size"
        ),
        pytest.param(
            break_the_module, ["build_model raised ValueError: no such backbone (line 2)"], id="module-raises"
        ),
        pytest.param(
            ask_for_more_calibration, ["split calibration holds", "min_samples needs 5000"], id="too-little-calibration"
        ),
        pytest.param(name_a_missing_folder, ["imagse does not exist"], id="missing-folder"),
        pytest.param(leave_the_calibration_empty, ["empty/*/*", "matches no file"], id="empty-calibration"),
        pytest.param(put_a_label_outside_the_classes, ["label", "11"], id="label-outside-the-classes"),
        pytest.param(leave_a_feature_out, ["x"], id="missing-feature"),
    ],
)
def test_a_mistake_is_one_message_and_nothing_is_trained_or_published(
    tmp_path: Path, mistake: Callable[[Path], dict[str, Any]], fragments: list[str]
) -> None:
    make_folder(tmp_path)
    config = config_of(tmp_path, **mistake(tmp_path))
    with pytest.raises(InputError) as caught:
        run(config)
    assert caught.value.exit_code == 2
    for fragment in fragments:
        assert fragment in str(caught.value)
    assert "Traceback" not in str(caught.value)
    assert not Path(config.release_location, "metadata", "timestamp.json").exists()
    examples = list((config.workspace_dir / "artifacts" / "ImageExampleGen").glob("examples/*/Split-*"))
    assert mistake is not damage_an_image or examples == []
    assert not (config.workspace_dir / "artifacts" / "Trainer").exists()  # TFX makes the folder as the step starts


def save_model(root: Path, gain: float) -> Path:
    """A model whose scores are ``gain`` times noise: at chance, or NaN."""
    import tensorflow as tf

    module = tf.Module()
    module.kernel = tf.Variable(np.random.default_rng(0).normal(size=(16, 2)).astype(np.float32) * gain)

    @tf.function(input_signature=[tf.TensorSpec([None, 4, 4, 1], tf.float32, name="image")])
    def edge(image: Any) -> dict[str, Any]:
        return {"scores": tf.reshape(image - 127.0, [-1, 16]) @ module.kernel}

    tf.saved_model.save(module, str(root / "model"), signatures={"edge": edge})
    return root / "model"


def test_a_pair_of_models_at_chance_is_refused_although_the_ratio_is_one(tmp_path: Path) -> None:
    for number in range(400):  # labels have nothing to do with the pixels
        write_image(tmp_path / "images" / ("a" if number % 2 else "b") / f"{number}.png", seed=number)
    model = {"module": None, "saved_model": str(save_model(tmp_path, 1.0))}
    record = run(config_of(tmp_path, model=model))
    assert not record.is_accepted
    assert record.release is None
    assert "chance" in Path(record.gate_report).read_text(encoding="utf-8")


@pytest.mark.exhaustive
def test_nan_outputs_are_refused(tmp_path: Path) -> None:
    make_folder(tmp_path)
    model = {"module": None, "saved_model": str(save_model(tmp_path, float("nan")))}
    record = run(config_of(tmp_path, model=model, convert={"recipe": "float32"}))
    assert not record.is_accepted
    assert "NaN" in Path(record.gate_report).read_text(encoding="utf-8")


def test_a_second_run_in_the_same_workspace_is_told_to_wait(tmp_path: Path) -> None:
    make_folder(tmp_path)
    config = config_of(tmp_path)
    config.workspace_dir.mkdir()
    with (config.workspace_dir / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(RunError, match=r"another run .* is using"):
            run(config)


@pytest.mark.exhaustive
def test_a_step_can_be_run_again_although_nothing_changed(first_run: dict[str, Any], project: Project) -> None:
    assert {node["state"] for node in first_run["nodes"]} == {"complete"}
    again = project.run("--fresh", "trainer")[1]
    states = {node["name"]: node["state"] for node in again["nodes"]}
    assert states["Trainer"] == states["TFLiteConverter"] == states["Evaluator"] == "complete"
    assert states["ImageExampleGen"] == states["StatisticsGen"] == "cached"
    assert again["release"]["version"] == first_run["release"]["version"]  # the same bytes: releases and keys stay
    unknown = project.edgeproof("run", str(project.config), "--fresh", "Trainr")
    assert unknown.returncode == 2
    assert "names no step; the steps are ImageExampleGen" in unknown.stderr
