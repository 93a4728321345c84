"""A model module is held to the contract, trained with fixed seeds and exported with both signatures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from components.data.examples import ExampleSpec, ImageSpec
from components.errors import ModelError
from components.trainer.spec import TRAINING_SPEC_KEY, QatSpec, TrainingSpec
from components.trainer.training import cosine_rate

EXAMPLES = ExampleSpec(class_names=("dark", "bright"), image=ImageSpec(4, 4, 1))
GOOD = """
import tf_keras as keras
def build_model(hyperparameters):
    return keras.Sequential([
        keras.Input((4, 4, 1), name="image"), keras.layers.Rescaling(1 / 255),
        keras.layers.Flatten(), keras.layers.Dense(hyperparameters.get("units", 2), activation="softmax", name="scores")])
"""


def spec_of(tmp_path: Path, source: str = GOOD, **changes: Any) -> TrainingSpec:
    file = tmp_path / "model.py"
    file.write_text(source, encoding="utf-8")
    fields = {"epochs": 8, "batch_size": 16, "learning_rate": 0.05, "seed": 3, **changes}
    return TrainingSpec(EXAMPLES, num_classes=2, code_version="v", module=str(file), **fields)


def test_the_spec_survives_json(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, hyperparameters={"units": 2, "widths": [1, 2]})
    assert TrainingSpec.from_json(spec.to_json()) == spec
    with_qat = spec_of(tmp_path, qat=QatSpec(epochs=2, learning_rate=1e-4, equalize=True))
    assert TrainingSpec.from_json(with_qat.to_json()) == with_qat


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """64 images, dark ones labeled 0 and bright ones 1."""
    import tensorflow as tf

    path = tmp_path_factory.mktemp("records") / "r.gz"
    generator = np.random.default_rng(0)
    with tf.io.TFRecordWriter(str(path), "GZIP") as writer:
        for number in range(64):
            pixels = generator.integers(0, 100, (4, 4, 1)) + 150 * (number % 2)
            png = tf.io.encode_png(pixels.astype(np.uint8)).numpy()
            features = {
                "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[png])),
                "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[number % 2])),
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())
    return [str(path)]


def arguments(spec: TrainingSpec, records: list[str], directory: Path) -> SimpleNamespace:
    """What of TFX's FnArgs the run_fn reads."""
    return SimpleNamespace(
        custom_config={TRAINING_SPEC_KEY: spec.to_json()},
        train_files=records,
        eval_files=records,
        serving_model_dir=str(directory / "served"),
    )


def test_the_learning_rate_falls_along_a_cosine() -> None:
    rates = [cosine_rate(0.002, epoch, 4) for epoch in range(4)]
    assert rates[0] == 0.002
    assert rates == sorted(rates, reverse=True)
    assert rates[2] == pytest.approx(0.001)


@pytest.mark.tfx
def test_training_exports_both_signatures_with_their_names(tmp_path: Path, records: list[str]) -> None:
    import tensorflow as tf

    from components.saved_models.saved_model import FloatModel
    from components.trainer.run_fn import run_fn

    run_fn(arguments(spec_of(tmp_path), records, tmp_path))
    model = FloatModel.load(tmp_path / "served")
    assert model.signature.key == "edge"
    assert [tensor.name for tensor in model.signature.inputs] == ["image"]
    assert [tensor.name for tensor in model.signature.outputs] == ["scores"]
    scores = model.predict({"image": np.stack([np.full((4, 4, 1), 20.0), np.full((4, 4, 1), 220.0)])})["scores"]
    assert scores.argmax(axis=1).tolist() == [0, 1]
    serialized = next(iter(tf.data.TFRecordDataset(records, compression_type="GZIP").batch(64)))
    from_examples = tf.saved_model.load(str(tmp_path / "served")).signatures["serving_default"](serialized)
    assert from_examples["scores"].shape == (64, 2)


@pytest.mark.tfx
@pytest.mark.exhaustive  # a whole run does the same in tests/e2e
def test_qat_lies_beside_the_float_model_which_stays_the_baseline(tmp_path: Path, records: list[str]) -> None:
    from components.saved_models.saved_model import FloatModel, qat_saved_model, saved_model_dir
    from components.trainer.qat_report import read_report
    from components.trainer.run_fn import run_fn

    plain, tuned = tmp_path / "plain", tmp_path / "tuned"
    for directory, qat in ((plain, None), (tuned, QatSpec(epochs=2, learning_rate=0.005, equalize=True))):
        given = arguments(spec_of(tmp_path, qat=qat), records, directory)
        given.serving_model_dir = str(directory / "Format-Serving")
        run_fn(given)
    assert qat_saved_model(str(plain)) is None
    assert read_report(plain) is None
    assert saved_model_dir(str(tuned)) == tuned / "Format-Serving"
    images = {"image": np.random.default_rng(1).integers(0, 256, (8, 4, 4, 1)).astype(np.float32)}
    baseline = FloatModel.load(plain).predict(images)["scores"]
    np.testing.assert_array_equal(FloatModel.load(tuned).predict(images)["scores"], baseline)

    directory = qat_saved_model(str(tuned))
    assert directory is not None
    quantized = FloatModel.load(directory)
    assert [tensor.name for tensor in quantized.signature.outputs] == ["scores"]
    assert not np.array_equal(quantized.predict(images)["scores"], baseline)
    report = read_report(tuned)
    assert report is not None
    assert report.float_operators == ()
    assert [score.num_examples for score in (report.float_model, report.fake_quantized, report.tflite)] == [64] * 3
    assert report.tflite.num_correct >= 60


def test_a_tflite_that_does_not_run_is_told_and_not_raised() -> None:
    from components.trainer.qat import load_if_it_runs
    from components.trainer.qat_report import QatReport, Score

    model, problem = load_if_it_runs(b"no model")
    assert model is None
    report = QatReport(
        float_model=Score(num_examples=10, num_correct=9),
        fake_quantized=Score(num_examples=10, num_correct=2),
        tflite=None,
        tflite_problem=problem,
        tflite_sha256="",
        tflite_size_bytes=8,
        float_operators=(),
        epochs=1,
        learning_rate=1e-4,
        seed=7,
        seconds=1.0,
    )
    assert problem
    assert report.sentence == f"qat: right of 10: float 9, fake-quantized 2, int8-qat .tflite does not run ({problem})"
    assert QatReport.model_validate_json(report.model_dump_json()) == report


@pytest.mark.tfx
def test_the_same_seed_gives_the_same_weights(tmp_path: Path, records: list[str]) -> None:
    from components.trainer.training import train

    first, second = (train(spec_of(tmp_path), records, records).model.get_weights() for _ in range(2))
    for left, right in zip(first, second, strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.mark.tfx
@pytest.mark.parametrize(
    ("source", "message"),
    [
        pytest.param("x = 1", "has no function build_model", id="no-build-model"),
        pytest.param(
            "def build_model(h):\n    raise ValueError('no width')",
            r"build_model raised ValueError: no width \(line 2\)",
            id="raises",
        ),
        pytest.param("def build_model(h):\n    return 5", "must return a tf_keras.Model; found int", id="no-model"),
        pytest.param(
            "import keras\ndef build_model(h):\n    return keras.Sequential([keras.layers.Dense(2)])",
            "Keras 3 model",
            id="keras-3",
        ),
        pytest.param(
            GOOD.replace('.get("units", 2)', '.get("units", 5)'),
            "has shape .*5.*, but the data has 2 classes",
            id="classes",
        ),
        pytest.param(
            GOOD.replace("(4, 4, 1)", "(8, 8, 1)"),
            "takes images of shape .*8, 8, 1.*, but data.image says",
            id="image-size",
        ),
        pytest.param(GOOD + "def loss(y, p):\n    raise KeyError('y')\n", "KeyError: .*y", id="loss-raises"),
        pytest.param(
            GOOD + "def augment(inputs, labels):\n    raise KeyError('flip')\n", "KeyError: 'flip'", id="augment-raises"
        ),
    ],
)
def test_a_module_that_breaks_the_contract_is_named(
    tmp_path: Path, records: list[str], source: str, message: str
) -> None:
    from components.trainer.run_fn import run_fn

    with pytest.raises(ModelError, match=message):
        run_fn(arguments(spec_of(tmp_path, source), records, tmp_path))


@pytest.mark.tfx
def test_a_diverging_loss_is_an_error(tmp_path: Path, records: list[str]) -> None:
    from components.trainer.run_fn import run_fn

    source = GOOD + "import tensorflow as tf\ndef loss(y, p):\n    return tf.reduce_mean(p) * float('nan')\n"
    with pytest.raises(ModelError, match=r"became NaN in epoch 1; lower train\.learning_rate"):
        run_fn(arguments(spec_of(tmp_path, source), records, tmp_path))


@pytest.mark.tfx
def test_augment_and_optimizer_of_the_module_are_used(tmp_path: Path, records: list[str]) -> None:
    from components.trainer.training import train

    source = GOOD + (
        "def optimizer(hyperparameters):\n    return keras.optimizers.SGD(hyperparameters['rate'])\n"
        "def augment(inputs, labels):\n    return {'image': inputs['image'] * 0.0}, labels\n"
    )
    model = train(spec_of(tmp_path, source, hyperparameters={"rate": 0.125}), records, records).model
    assert type(model.optimizer).__name__ == "SGD"
    assert float(model.optimizer.learning_rate) == 0.125
    kernel = model.layers[-1].get_weights()[0]
    untrained = (
        train(spec_of(tmp_path, source, hyperparameters={"rate": 0.0}), records, records)
        .model.layers[-1]
        .get_weights()[0]
    )
    np.testing.assert_array_equal(kernel, untrained)  # black images leave the weights of the pixels alone


TEAM = """
import tensorflow as tf
def run_fn(fn_args):
    module = tf.Module()
    module.gain = tf.Variable(float(fn_args.custom_config["gain"]))
    @tf.function(input_signature=[tf.TensorSpec([None, 4, 4, 1], tf.float32, name="pixels")])
    def score(pixels):
        return {"scores": tf.reduce_mean(pixels, [1, 2]) * module.gain}
    tf.saved_model.save(module, fn_args.serving_model_dir, signatures={"serving_default": score})
def exports_nothing(fn_args):
    pass
"""


@pytest.mark.tfx
def test_a_teams_own_run_fn_gets_its_hyperparameters(tmp_path: Path, records: list[str]) -> None:
    from components.saved_models.saved_model import FloatModel
    from components.trainer.run_fn import run_fn

    (tmp_path / "team.py").write_text(TEAM, encoding="utf-8")
    spec = TrainingSpec(EXAMPLES, 2, "v", run_fn=f"{tmp_path}/team.py:run_fn", hyperparameters={"gain": 3})
    run_fn(arguments(spec, records, tmp_path))
    scores = FloatModel.load(tmp_path / "served").predict({"pixels": np.ones((1, 4, 4, 1), np.float32)})["scores"]
    assert scores.tolist() == [[3.0]]


@pytest.mark.tfx
@pytest.mark.parametrize(
    ("function", "message"),
    [
        pytest.param("exports_nothing", "holds no SavedModel", id="exports-nothing"),
        pytest.param("no_such", "names no function", id="no-such-function"),
    ],
)
def test_a_teams_run_fn_is_held_to_its_result(tmp_path: Path, records: list[str], function: str, message: str) -> None:
    from components.trainer.run_fn import run_fn

    (tmp_path / "team.py").write_text(TEAM, encoding="utf-8")
    spec = TrainingSpec(EXAMPLES, 2, "v", run_fn=f"{tmp_path}/team.py:{function}", hyperparameters={"gain": 3})
    with pytest.raises(ModelError, match=message):
        run_fn(arguments(spec, records, tmp_path))


VALUE = """
import tf_keras as keras
def build_model(hyperparameters):
    return keras.Sequential([
        keras.Input((4, 4, 1), name="image"), keras.layers.Rescaling(1 / 255),
        keras.layers.Flatten(), keras.layers.Dense(hyperparameters.get("units", 1), name="ink")])
"""


def value_spec(tmp_path: Path, **changes: Any) -> TrainingSpec:
    spec = spec_of(tmp_path, VALUE, **changes)
    return replace(spec, examples=ExampleSpec(label_dtype="float32", image=ImageSpec(4, 4, 1)), num_classes=0)


@pytest.mark.exhaustive
@pytest.mark.tfx
def test_a_real_value_is_trained_by_its_squared_error(tmp_path: Path) -> None:
    import tensorflow as tf

    from components.saved_models.saved_model import FloatModel
    from components.trainer.run_fn import run_fn

    path, generator = tmp_path / "r.gz", np.random.default_rng(0)
    images = generator.integers(0, 256, (128, 4, 4, 1)).astype(np.uint8)
    truth = images.reshape(128, -1).mean(axis=1) / 10 - 5
    with tf.io.TFRecordWriter(str(path), "GZIP") as writer:
        for pixels, value in zip(images, truth, strict=True):
            features = {
                "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[tf.io.encode_png(pixels).numpy()])),
                "label": tf.train.Feature(float_list=tf.train.FloatList(value=[value])),
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())
    run_fn(arguments(value_spec(tmp_path, epochs=40), [str(path)], tmp_path))
    found = FloatModel.load(tmp_path / "served").predict({"image": images.astype(np.float32)})["ink"]
    assert found.shape == (128, 1)
    assert np.abs(found[:, 0] - truth).mean() < 0.5 * truth.std()


@pytest.mark.tfx
def test_a_real_value_needs_one_unit(tmp_path: Path) -> None:
    from components.trainer.contract import build_model, check_model

    spec = value_spec(tmp_path, hyperparameters={"units": 2})
    assert spec.module is not None
    with pytest.raises(ModelError, match=r"'label' is one real number per example\. End the model with Dense\(1\)"):
        check_model(build_model(spec.module, spec.hyperparameters), spec.examples, 0, spec.module)


CALLBACKS = """
class Recorder(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        with open(SEEN, "a") as seen:
            seen.write(f"{epoch + 1} ")
        if epoch + 1 == KILLED_AFTER:
            raise KeyboardInterrupt
def callbacks(hyperparameters):
    return [Recorder()]
"""


@pytest.mark.tfx
@pytest.mark.parametrize("keep_epoch", ["last", "best"])
def test_a_killed_training_goes_on_after_its_last_checkpoint(
    tmp_path: Path, records: list[str], monkeypatch: pytest.MonkeyPatch, keep_epoch: str
) -> None:
    import tensorflow as tf

    from components.trainer import checkpoints
    from components.trainer.history import HISTORY_FILE, History
    from components.trainer.run_fn import run_fn

    monkeypatch.setattr(checkpoints, "INTERVAL_SECONDS", 0.0)
    seen = tmp_path / "seen.txt"

    def source(killed_after: int) -> str:
        return GOOD + CALLBACKS.replace("SEEN", repr(str(seen))).replace("KILLED_AFTER", str(killed_after))

    spec = spec_of(tmp_path, source(5), keep_epoch=keep_epoch)
    first = arguments(spec, records, tmp_path / "Trainer/model/1")
    with pytest.raises(KeyboardInterrupt):
        run_fn(first)
    spec_of(tmp_path, source(0))  # the same name and specification; the kill is what differs
    second = arguments(spec, records, tmp_path / "Trainer/model/2")
    run_fn(second)
    assert seen.read_text().split() == [str(number) for number in range(1, 9)]
    history = History.model_validate_json((tmp_path / "Trainer/model/2" / HISTORY_FILE).read_bytes())
    assert [epoch.number for epoch in history.epochs] == list(range(1, 9))
    assert history.resumed_after == (5,)
    assert list((tmp_path / "Trainer/.checkpoints").iterdir()) == []
    assert tf.saved_model.contains_saved_model(str(tmp_path / "Trainer/model/2/served"))


@pytest.mark.tfx
def test_training_ends_when_patience_does_and_keeps_the_best_epoch(tmp_path: Path, records: list[str]) -> None:
    from components.trainer.spec import EarlyStopping
    from components.trainer.training import train

    source = GOOD + "def optimizer(h):\n    return keras.optimizers.SGD(-0.05)\n"  # uphill: the first epoch is the best
    spec = spec_of(tmp_path, source, early_stopping=EarlyStopping(patience=2, min_delta=0.0), keep_epoch="best")
    trained = train(spec, records, records)
    assert [epoch.number for epoch in trained.history.epochs] == [1, 2, 3]
    assert trained.history.stopped_early
    assert trained.history.kept_epoch == 1
    loss = trained.model.evaluate(*_arrays(records), verbose=0)[0]
    assert loss == pytest.approx(trained.history.epochs[0].figures["val_loss"], rel=1e-4)


def _arrays(records: list[str]) -> tuple[Any, Any]:
    from components.data.examples import read_batches

    batch = next(iter(read_batches(records, EXAMPLES, 64)))
    return batch.inputs["image"], batch.labels


@pytest.mark.tfx
def test_a_monitor_that_no_epoch_has_is_named_with_those_it_has(tmp_path: Path, records: list[str]) -> None:
    from components.trainer.training import train

    spec = spec_of(tmp_path, monitor="val_f1", keep_epoch="best")
    with pytest.raises(
        ModelError, match=r"'val_f1', but the figures of an epoch are accuracy, loss, val_accuracy, val_loss"
    ):
        train(spec, records, records)


@pytest.mark.exhaustive
@pytest.mark.tfx
def test_rare_classes_weigh_more_where_balanced_is_asked_for(tmp_path: Path, records: list[str]) -> None:
    from components.trainer.training import train

    trained = train(spec_of(tmp_path, epochs=1, class_weights="balanced"), records, records)
    assert trained.history.class_weights == {0: 1.0, 1: 1.0}
    named = train(spec_of(tmp_path, epochs=1, class_weights={"dark": 3.0}), records, records)
    assert named.history.class_weights == {0: 3.0, 1: 1.0}
    with pytest.raises(ModelError, match=r"names 'night', but the classes are dark, bright"):
        train(spec_of(tmp_path, class_weights={"night": 3.0}), records, records)


@pytest.mark.exhaustive
@pytest.mark.tfx
def test_tensorboard_reads_the_logs(tmp_path: Path, records: list[str]) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from components.trainer.training import Places, train

    train(spec_of(tmp_path, epochs=3), records, records, Places(summaries=str(tmp_path / "logs")))
    for run in ("train", "validation"):
        accumulator = EventAccumulator(str(tmp_path / "logs" / run))
        accumulator.Reload()
        assert "epoch_accuracy" in accumulator.Tags()["tensors"]


def test_the_best_epoch_is_the_first_that_no_later_one_beats() -> None:
    from components.trainer.history import Epoch, best_epoch

    def epochs(name: str, values: list[float]) -> list[Epoch]:
        return [Epoch(number=n, figures={name: value}, seconds=1) for n, value in enumerate(values, 1)]

    assert best_epoch(epochs("val_loss", [3, 1, 1, 2]), "val_loss").number == 2
    assert best_epoch(epochs("val_accuracy", [0.5, 0.9, 0.8]), "val_accuracy").number == 2
    assert best_epoch(epochs("val_loss", [float("nan"), 2, 3]), "val_loss").number == 2
    assert best_epoch(epochs("val_loss", [1.0, 0.95, 0.8]), "val_loss", 0.1).number == 3
