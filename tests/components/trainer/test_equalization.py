"""Channels of a trained model come to one range before fake quantization, and the model computes what it did."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from components.compat import skip_autograph_conversion
from tests.incidents.classifiers import imbalanced_net, residual_net
from tests.incidents.data import digit_images

pytestmark = pytest.mark.tfx

#: Scales of eight channels: what a skewed BatchNorm leaves in the weights.
SKEW = np.logspace(-2, 2, 8).astype(np.float32)
#: Of the outputs' spread: what float32 may round.
ROUNDING = 1e-4


@pytest.fixture(autouse=True)
def plain_keras() -> None:
    import tf_keras as keras

    skip_autograph_conversion()
    keras.utils.set_random_seed(3)


def images(num_rows: int = 64, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).normal(size=(num_rows, 8, 8, 3)).astype(np.float32)


def model_of(middle: Callable[[Any, Any], Any]) -> Any:
    """Image -> ``middle(layers, image)`` -> scores of three classes, with weights that are not Keras's zeros and ones."""
    import tf_keras as keras

    layers = keras.layers
    image = keras.Input((8, 8, 3), name="image")
    x = middle(layers, image)
    x = layers.GlobalAveragePooling2D()(x) if len(x.shape) == 4 else x
    model = keras.Model(image, layers.Dense(3, name="scores")(x))
    random = np.random.default_rng(5)
    for layer in model.layers:
        if type(layer).__name__ == "BatchNormalization":
            layer.set_weights([random.uniform(0.5, 1.5, weight.shape) for weight in layer.get_weights()])
        if layer.name.startswith("skewed"):
            layer.set_weights([layer.get_weights()[0] * SKEW, *layer.get_weights()[1:]])
        if layer.name == "offset":
            layer.set_weights([layer.get_weights()[0], np.resize([900.0, -900.0], 8)])
    return model


def skewed(layers: Any, x: Any, name: str = "skewed", **options: Any) -> Any:
    """A convolution whose eight channels differ ten-thousandfold, once the model is built."""
    return layers.Conv2D(8, 3, name=name, **options)(x)


def conv(layers: Any, x: Any, filters: int = 6, size: int = 1, **options: Any) -> Any:
    return layers.Conv2D(filters, size, **options)(x)


def normed(layers: Any, x: Any, **options: Any) -> Any:
    """A depthwise convolution with BatchNorm, as MobileNets have it."""
    return layers.ReLU()(layers.BatchNormalization(**options)(layers.DepthwiseConv2D(3, use_bias=False)(x)))


def residual(layers: Any, x: Any) -> Any:
    stream = layers.Conv2D(8, 1, name="offset")(x)  # with constants of +-900 in its channels
    branch = layers.BatchNormalization()(layers.Conv2D(16, 1, use_bias=False)(stream))
    branch = layers.Conv2D(8, 1)(layers.ReLU()(branch))
    return conv(layers, layers.Add()([stream, branch]), activation="relu")


def squeeze_and_excite(layers: Any, x: Any) -> Any:
    x = skewed(layers, x, activation="relu")
    gate = conv(layers, layers.GlobalAveragePooling2D(keepdims=True)(x), 8, activation="sigmoid")
    return conv(layers, layers.Multiply()([x, gate]))


def branches(layers: Any, x: Any) -> Any:
    small = conv(layers, x, 6, activation="relu", name="small")
    large = conv(layers, layers.Rescaling(1e3)(x), 2, activation="relu", name="large")
    return conv(layers, layers.Concatenate(name="joined")([small, large]))


#: Each with a layer `skewed` or `offset`, or a concatenation, that int8 resolves badly.
NETS: dict[str, Callable[[Any, Any], Any]] = {
    "fused-relu": lambda ly, x: conv(ly, skewed(ly, x, activation="relu")),
    "batch-norm": lambda ly, x: conv(ly, normed(ly, skewed(ly, x, activation="relu"))),
    "batch-norm-without-gamma-and-beta": lambda ly, x: conv(
        ly, normed(ly, skewed(ly, x, activation="relu"), scale=False, center=False)
    ),
    "leaky-relu-pool-flatten": lambda ly, x: ly.Dense(6)(
        ly.Flatten()(ly.MaxPooling2D(2)(ly.LeakyReLU(0.2)(skewed(ly, x))))
    ),
    "prelu-pad-resize": lambda ly, x: conv(
        ly, ly.UpSampling2D(2)(ly.ZeroPadding2D(1)(ly.PReLU(shared_axes=[1, 2])(skewed(ly, x)))), size=3
    ),
    "separable-and-dropout": lambda ly, x: ly.SeparableConv2D(6, 3, depth_multiplier=2)(
        ly.Dropout(0.2)(ly.Activation("relu")(skewed(ly, x)))
    ),
    "averages": lambda ly, x: conv(
        ly, ly.Average()([ly.AveragePooling2D(2)(skewed(ly, x)), ly.AveragePooling2D(2)(skewed(ly, x, "skewed_too"))])
    ),
    "groups": lambda ly, x: conv(ly, ly.Conv2D(8, 1, groups=2)(ly.ReLU()(skewed(ly, x)))),
    "reshape-and-dense": lambda ly, x: ly.Flatten()(
        ly.Dense(4, activation="relu")(ly.Reshape((36, 8))(ly.ReLU()(skewed(ly, x))))
    ),
    "gate": squeeze_and_excite,
    "residual-stream-with-offsets": residual,
    "concatenation": branches,
}


#: Nets that every test run rewrites; the others belong to the exhaustive tier.
OFTEN = ("batch-norm", "concatenation", "residual-stream-with-offsets")


def _tier(name: str) -> tuple[pytest.MarkDecorator, ...]:
    return () if name in OFTEN else (pytest.mark.exhaustive,)


@pytest.mark.parametrize("middle", [pytest.param(net, id=name, marks=_tier(name)) for name, net in NETS.items()])
def test_channels_come_to_one_range_and_the_function_is_kept(middle: Callable[[Any, Any], Any]) -> None:
    from components.trainer.equalization import equalized

    model = model_of(middle)
    weights, scores = [w.copy() for w in model.get_weights()], model.predict(images(), verbose=0)
    found = equalized(model, [images(32, 1), images(32, 2)])
    assert found.skipped == ""
    assert found.num_layers >= 2
    ((uneven, figure),) = [
        (name, found.before[name]) for name in ("joined", "offset", "skewed") if name in found.before
    ]
    assert figure > 50
    assert found.after[uneven] < figure / 4
    assert [layer.name for layer in found.model.layers] == [layer.name for layer in model.layers]
    np.testing.assert_allclose(found.model.predict(images(), verbose=0), scores, atol=ROUNDING * float(np.ptp(scores)))
    for left, right in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("name", ["batch-norm", "residual-stream-with-offsets"])
def test_batch_norm_computes_the_same_in_training_too(name: str) -> None:
    from components.trainer.equalization import equalized

    model = model_of(NETS[name])
    found = equalized(model, [images(32, 1)])
    scores = model(images(), training=True).numpy()
    np.testing.assert_allclose(found.model(images(), training=True), scores, atol=ROUNDING * float(np.ptp(scores)))


def called_twice(layers: Any, x: Any) -> Any:
    shared = layers.Conv2D(6, 1, name="shared")
    x = skewed(layers, x)
    return layers.Add()([shared(x), shared(layers.ReLU()(x))])


@pytest.mark.parametrize(
    "middle",
    [
        pytest.param(lambda ly, x: conv(ly, ly.ReLU(6.0)(skewed(ly, x))), id="relu6"),
        pytest.param(lambda ly, x: conv(ly, ly.Activation("relu6")(skewed(ly, x))), id="activation-relu6"),
        pytest.param(lambda ly, x: conv(ly, skewed(ly, x, activation="tanh")), id="tanh"),
        pytest.param(lambda ly, x: conv(ly, ly.Activation("swish")(skewed(ly, x))), id="swish"),
        pytest.param(called_twice, id="layer-called-twice"),
    ],
)
def test_what_no_gain_passes_is_left_as_it_is_and_named(middle: Callable[[Any, Any], Any]) -> None:
    from components.trainer.equalization import equalized
    from components.trainer.qat import equalization_facts

    model = model_of(middle)
    found = equalized(model, [images(32, 1)])
    np.testing.assert_array_equal(found.model.get_layer("skewed").kernel, model.get_layer("skewed").kernel)
    left = {entry.layer for entry in equalization_facts(found).left}
    assert ("skewed" in left) == (found.before["skewed"] > 10)


def test_nothing_to_do_is_told() -> None:
    import tf_keras as keras

    from components.trainer.equalization import equalized
    from components.trainer.qat import equalization_facts

    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(3)])
    found = equalized(model, [images(32, 1)])
    facts = equalization_facts(found)
    assert found.model is model
    assert (facts.num_layers, facts.changes, facts.worst_before) == (0, (), facts.worst_after)
    assert (
        facts.sentence
        == "equalization before qat: nothing done (no layer where a gain or an offset helps and can pass)"
    )


def test_an_output_keeps_its_channels() -> None:
    import tf_keras as keras

    from components.trainer.equalization import equalized

    layers = keras.layers
    image = keras.Input((8, 8, 3), name="image")
    seen = skewed(layers, image, activation="relu")
    model = keras.Model(image, [conv(layers, seen), seen])
    model.get_layer("skewed").set_weights([model.get_layer("skewed").get_weights()[0] * SKEW, np.zeros(8)])
    found = equalized(model, [images(32, 1)])
    assert found.num_layers == 0


def test_a_sequential_model_is_equalized() -> None:
    import tf_keras as keras

    from components.trainer.equalization import equalized

    layers = keras.layers
    model = keras.Sequential(
        [keras.Input((8, 8, 3)), layers.Conv2D(8, 3), layers.ReLU(), layers.Flatten(), layers.Dense(3)]
    )
    kernel, bias = model.layers[0].get_weights()
    model.layers[0].set_weights([kernel * SKEW, bias])
    found = equalized(model, [images(32, 1)])
    assert found.num_layers == 2


def test_numbers_that_are_not_finite_are_left_alone() -> None:
    from components.trainer.equalization import equalized

    model = model_of(NETS["fused-relu"])
    model.layers[-1].bias.assign([np.nan, 0.0, 0.0])
    found = equalized(model, [images(32, 1)])
    assert (found.model is model, found.skipped) == (True, "the model computes numbers that are not finite")


@pytest.mark.exhaustive
@pytest.mark.parametrize("make", [imbalanced_net, residual_net], ids=["imbalance", "residual"])
def test_fine_tuning_brings_back_what_int8_ruins_only_from_an_equalized_start(make: Callable[[], Any]) -> None:
    from components.trainer.equalization import equalized
    from components.trainer.fake_quantization import fake_quantized, measure_ranges

    model, digits = make(), digit_images()
    batches = [digits.train.x[row : row + 64] for row in range(0, 512, 64)]

    def num_correct(scored: Any) -> int:
        return int((scored.predict(digits.holdout.x, verbose=0).argmax(axis=1) == digits.holdout.y).sum())

    def fine_tuned(start: Any) -> Any:
        quantized = fake_quantized(start)
        measure_ranges(quantized, batches)
        rows = slice(0, 1000)
        quantized.compile("adam", "sparse_categorical_crossentropy")
        quantized.optimizer.learning_rate.assign(1e-4)
        quantized.fit(digits.train.x[rows], digits.train.y[rows], batch_size=64, verbose=0)
        return quantized

    in_float = num_correct(model)
    as_it_is, from_equalized = (num_correct(fine_tuned(start)) for start in (model, equalized(model, batches).model))
    assert 100 * as_it_is < 60 * in_float
    assert 100 * from_equalized >= 99 * in_float
