"""What ``edgeproof check`` says of a real-valued label before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from components.errors import DataError, ModelError
from pipeline.config import PipelineConfig, validated


def export(directory: Path, num_units: int) -> Path:
    """A SavedModel that gives ``num_units`` numbers per row of ``x`` [n, 2]."""
    import tensorflow as tf

    module = tf.Module()
    module.weights = tf.Variable(tf.ones([2, num_units]))
    signature = [tf.TensorSpec([None, 2], tf.float32, name="x")]
    module.edge = tf.function(lambda x: {"y": tf.linalg.matmul(x, module.weights)}, input_signature=signature)
    tf.saved_model.save(module, str(directory), signatures={"edge": module.edge})
    return directory


@pytest.mark.tfx
@pytest.mark.parametrize(("num_units", "is_good"), [(1, True), (3, False)], ids=["one-number", "three-numbers"])
def test_a_saved_model_gives_one_number_where_the_label_is_one(tmp_path: Path, num_units: int, is_good: bool) -> None:
    from pipeline.preflight import check

    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "a.csv").write_text("x,price\n" + "".join(f"{number},2.5\n" for number in range(80)))
    config = validated(
        {
            "name": "prices",
            "workspace": "work",
            "data": {"format": "csv", "path": "rows", "label": "price", "label_type": "value", "features": {"x": {}}},
            "model": {"saved_model": str(export(tmp_path / "exported", num_units))},
            "convert": {"calibration": {"min_samples": 1}},
            "gate": {"metric": "mae", "min_examples": 1},
        },
        tmp_path,
    )
    if is_good:
        assert f"data: csv under {tmp_path / 'rows'}, real-valued label 'price'" in check(config)
    else:
        with pytest.raises(ModelError, match=r"has shape \(3,\), but data\.label_type is value: 'price' is one real"):
            check(config)


MODULE = """
import tf_keras as keras
def build_model(hyperparameters, data):
    scale = data.features["x"]
    return keras.Sequential([keras.Input((1,), name="x"), keras.layers.Normalization(mean=scale.mean, variance=scale.variance),
                             keras.layers.Dense(2)])
"""


def table_config(tmp_path: Path, module: str, num_rows: int = 200, **gate: int) -> PipelineConfig:
    (tmp_path / "rows").mkdir()
    lines = "".join(f"{number},{('cold', 'hot')[number % 2]}\n" for number in range(num_rows))
    (tmp_path / "rows" / "a.csv").write_text("x,state\n" + lines)
    (tmp_path / "model.py").write_text(module)
    data = {"format": "csv", "path": "rows", "label": "state", "class_names": ["cold", "hot"], "features": {"x": {}}}
    return validated(
        {
            "name": "states",
            "workspace": "work",
            "data": data,
            "model": {"module": "model.py"},
            "convert": {"calibration": {"min_samples": 1}},
            "gate": {"min_examples": 1, **gate},
        },
        tmp_path,
    )


@pytest.mark.parametrize(("num_rows", "min_examples", "is_good"), [(200, 500, False), (200, 5, True)])
def test_too_few_examples_are_told_before_the_run(
    tmp_path: Path, num_rows: int, min_examples: int, is_good: bool
) -> None:
    from pipeline.data.checks import preflight
    from pipeline.preflight import _check_numbers

    config = table_config(tmp_path, MODULE, num_rows, min_examples=min_examples)
    if is_good:
        _check_numbers(config, preflight(config.data))
    else:
        with pytest.raises(DataError, match=r"too few examples: split eval holds \d+ \(gate.min_examples needs 500\)"):
            _check_numbers(config, preflight(config.data))


def test_too_few_images_are_told_before_the_run(tmp_path: Path) -> None:
    from pipeline.data.checks import preflight
    from pipeline.preflight import _check_numbers

    for number in range(100):
        path = tmp_path / "images" / str(number % 2) / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4), number).save(path)
    data = {"format": "image_folder", "path": "images", "image": {"height": 4, "width": 4, "channels": 1}}
    for min_examples in (10, 500):
        gate = {"min_examples": min_examples}
        convert = {"calibration": {"min_samples": 1}}
        values = {"name": "few", "data": data, "model": {"module": "m.py"}, "gate": gate, "convert": convert}
        config = validated(values, tmp_path)
        if min_examples == 10:
            _check_numbers(config, preflight(config.data))  # 10 of 100 are expected, and luck may bring them
        else:
            with pytest.raises(DataError, match="too few examples: split eval holds"):
                _check_numbers(config, preflight(config.data))


@pytest.mark.tfx
@pytest.mark.parametrize(
    ("more", "message"),
    [
        pytest.param("", None, id="good"),
        pytest.param("def augment(inputs, labels):\n    return inputs['y'], labels\n", r"raised .*'y'", id="augment"),
        pytest.param('loss = "categorical_crossentropy"\n', "the losses that fit are the sparse ones", id="loss"),
    ],
)
def test_one_step_of_training_is_tried(tmp_path: Path, more: str, message: str | None) -> None:
    from pipeline.preflight import check

    config = table_config(tmp_path, MODULE + more)
    if message is None:
        findings = check(config)
        assert "classes: cold 100 (50.0%), hot 100 (50.0%)" in findings
    else:
        with pytest.raises(ModelError, match=message):
            check(config)


def test_a_weight_of_no_class_is_told_before_the_run(tmp_path: Path) -> None:
    from pipeline.preflight import check

    config = table_config(tmp_path, MODULE)
    train = config.train.model_copy(update={"class_weights": {"warm": 3.0}})
    with pytest.raises(ModelError, match=r"class_weights names 'warm', but the classes are cold, hot"):
        check(config.model_copy(update={"train": train}))


@pytest.mark.tfx
def test_an_input_of_open_size_is_exported_with_the_size_of_the_images(tmp_path: Path) -> None:
    import tf_keras as keras

    from components.data.examples import ExampleSpec, ImageSpec
    from components.saved_models.saved_model import read_signature
    from components.trainer.export import export

    layers = [keras.Input((None, None, 3), name="image"), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2)]
    export(keras.Sequential(layers), tmp_path / "model", ExampleSpec(image=ImageSpec(5, 7, 3)))
    assert read_signature(tmp_path / "model").inputs[0].shape == (-1, 5, 7, 3)
