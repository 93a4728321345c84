"""What can be trained with quantization in the loop is int8 on the device; what cannot is named before training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.errors import ModelError

pytestmark = pytest.mark.tfx


def image_model(middle: Callable[[Any, Any], Any], offset: float = 0.0) -> Any:
    """Pixels -> Rescaling -> ``middle(layers, x)`` -> three probabilities."""
    import tf_keras as keras

    layers = keras.layers
    image = keras.Input((8, 8, 3), name="image")
    x = middle(layers, layers.Rescaling(1 / 127.5, offset=offset, name="scaled")(image))
    return keras.Model(image, layers.Dense(3, activation="softmax")(layers.GlobalAveragePooling2D()(x)))


def convolution(layers: Any, x: Any, **options: Any) -> Any:
    return layers.Conv2D(4, 3, padding="same", **options)(x)


def pixels(num_rows: int = 16) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).integers(0, 256, (num_rows, 8, 8, 3)).astype(np.float32)


@pytest.mark.parametrize(
    ("middle", "message"),
    [
        pytest.param(
            lambda ly, x: ly.BatchNormalization(name="bn")(ly.ReLU()(convolution(ly, x))),
            r"layer 'bn' \(BatchNormalization\) stands behind 're_lu.*right after Conv2D",
            id="batch-norm-behind-relu",
        ),
        pytest.param(
            lambda ly, x: ly.BatchNormalization(name="bn")(convolution(ly, x, activation="relu")),
            "'bn' .* stands behind the relu of",
            id="batch-norm-behind-fused-relu",
        ),
        pytest.param(
            lambda ly, x: ly.Activation("hard_sigmoid", name="gate")(convolution(ly, x)),
            "'gate' .* computes hard_sigmoid: use relu",
            id="activation",
        ),
        pytest.param(
            lambda ly, x: convolution(ly, x, activation="swish", name="c"),
            "'c' .* has activation swish: give it none",
            id="fused-activation-that-stays-float",
        ),
        pytest.param(
            lambda ly, x: ly.LayerNormalization(name="ln")(convolution(ly, x)),
            r"'ln' \(LayerNormalization\) is not supported: use BatchNormalization",
            id="layer-norm",
        ),
        pytest.param(
            lambda ly, x: convolution(ly, ly.RandomFlip()(x)), r"RandomFlip.*use augment\(inputs", id="augmentation"
        ),
        pytest.param(lambda ly, x: convolution(ly, x, dilation_rate=2), "is dilated", id="dilation-that-stays-float"),
        pytest.param(lambda ly, x: convolution(ly, x) * 2.0, "use Keras layers instead of operators", id="operator"),
    ],
)
def test_a_layer_that_cannot_be_quantized_is_named_with_a_pattern_that_can(middle: Any, message: str) -> None:
    from components.trainer.fake_quantization import check_quantizable

    with pytest.raises(ModelError, match=message):
        check_quantizable(image_model(middle), "model.py")


def test_a_model_inside_the_model_is_named() -> None:
    import tf_keras as keras

    from components.trainer.fake_quantization import check_quantizable

    def middle(layers: Any, x: Any) -> Any:
        return keras.Sequential([layers.Conv2D(4, 3)], name="inner")(x)

    with pytest.raises(ModelError, match=r"'inner' .* model inside the model"):
        check_quantizable(image_model(middle), "model.py")


def separable(layers: Any, x: Any) -> Any:
    for layer in (layers.DepthwiseConv2D(3, use_bias=False), layers.Conv2D(4, 1, use_bias=False)):
        x = layers.ReLU(6.0)(layers.BatchNormalization()(layer(x)))
    return x


def squeeze_and_excite(layers: Any, x: Any) -> Any:
    x = convolution(layers, x, activation="relu")
    gate = layers.Conv2D(4, 1, activation="sigmoid")(layers.GlobalAveragePooling2D(keepdims=True)(x))
    return layers.Multiply()([x, gate])


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("middle", "offset"),
    [
        pytest.param(separable, -1.0, id="depthwise-separable-and-a-rescaling-with-an-offset"),
        pytest.param(squeeze_and_excite, 0.0, id="squeeze-and-excite", marks=pytest.mark.exhaustive),
    ],
)
def test_what_passes_the_check_becomes_int8_throughout(tmp_path: Path, middle: Any, offset: float) -> None:
    from edgeproof_edge.flatbuffer import inspect
    from edgeproof_edge.interpreter import TFLiteModel

    from components.data.examples import ExampleSpec, ImageSpec
    from components.tflite_converter.qat_conversion import convert_qat
    from components.trainer.export import export
    from components.trainer.fake_quantization import check_quantizable, fake_quantized, measure_ranges

    model = image_model(middle, offset)
    check_quantizable(model, "model.py")
    before = [weights.copy() for weights in model.get_weights()]
    quantized = fake_quantized(model)
    measure_ranges(quantized, [pixels()])
    for left, right in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)
    np.testing.assert_allclose(quantized.predict(pixels(), verbose=0), model.predict(pixels(), verbose=0), atol=0.03)

    export(quantized, tmp_path / "qat", ExampleSpec(image=ImageSpec(8, 8, 3)), names_of=model)
    data = convert_qat(tmp_path / "qat", "edge")
    inspection = inspect(data)
    assert inspection.float_operators == ()
    assert (inspection.inputs[0].name, inspection.inputs[0].dtype, inspection.inputs[0].scale) == ("image", "int8", 1.0)
    scores = TFLiteModel.load(data).predict({"image": pixels()})[model.output_names[0]]
    np.testing.assert_allclose(scores, model.predict(pixels(), verbose=0), atol=0.05)


def test_ranges_start_where_the_data_is_and_nothing_else_moves() -> None:
    from components.trainer.fake_quantization import fake_quantized, measure_ranges

    model = image_model(separable, -1.0)
    quantized = fake_quantized(model)
    moving_before = [
        w.copy() for w in (layer.get_weights() for layer in quantized.layers if "batch" in layer.name) for w in w
    ]
    measure_ranges(quantized, [pixels()])
    moving_after = [
        w.copy() for w in (layer.get_weights() for layer in quantized.layers if "batch" in layer.name) for w in w
    ]
    for left, right in zip(moving_before, moving_after, strict=True):
        np.testing.assert_array_equal(left, right)
    ranges = {v.name: float(v.numpy()) for v in quantized.variables if v.name.startswith("quant_scaled/output_m")}
    assert ranges == {
        "quant_scaled/output_min:0": pytest.approx(-1.0, abs=0.02),
        "quant_scaled/output_max:0": pytest.approx(1.0, abs=0.02),
    }
    head = [float(v.numpy()) for v in quantized.layers[-1].variables if v.name.endswith("/kernel_max:0")]
    assert head == [pytest.approx(float(np.abs(model.layers[-1].get_weights()[0]).max()), abs=1e-4)]
