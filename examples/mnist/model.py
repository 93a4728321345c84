"""Two convolutions and two depthwise-separable ones, with BatchNorm and ReLU6."""

import tf_keras as keras
from tf_keras import layers


def build_model(hyperparameters: dict) -> keras.Model:
    """Pixels 0..255 in, class probabilities out."""
    image = keras.Input((28, 28, 1), name="image")
    x = layers.Rescaling(1 / 255)(image)
    x = conv_block(x, layers.Conv2D(16, 3, strides=2, padding="same", use_bias=False))
    x = conv_block(x, layers.Conv2D(32, 3, padding="same", use_bias=False))
    for strides in (2, 1):
        x = conv_block(x, layers.DepthwiseConv2D(3, strides=strides, padding="same", use_bias=False))
        x = conv_block(x, layers.Conv2D(64, 1, use_bias=False))
    return keras.Model(image, layers.Dense(10, activation="softmax", name="digit")(layers.Flatten()(x)))


def conv_block(x, convolution: layers.Layer):
    """Convolution, BatchNorm (which the converter folds away) and ReLU6."""
    return layers.ReLU(6.0)(layers.BatchNormalization(momentum=0.9)(convolution(x)))
