"""tf.Examples made without TensorFlow are TensorFlow's, byte for byte."""

from __future__ import annotations

import pytest

from components.data.example_proto import decode_example, encode_example

FEATURES = {"z": [1, -5, 2**62], "a": [0.5, -3.0], "image": [b"\x89\x00"], "path": ["ä/é".encode()], "none": []}


def test_what_is_encoded_comes_back() -> None:
    assert decode_example(encode_example(FEATURES)) == FEATURES


def test_another_type_is_refused() -> None:
    with pytest.raises(TypeError, match="holds no str"):
        encode_example({"a": ["text"]})


@pytest.mark.tfx
def test_the_bytes_are_tensorflows() -> None:
    import tensorflow as tf

    features = {
        "z": tf.train.Feature(int64_list=tf.train.Int64List(value=[1, -5, 2**62])),
        "a": tf.train.Feature(float_list=tf.train.FloatList(value=[0.5, -3.0])),
        "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"\x89\x00"])),
        "path": tf.train.Feature(bytes_list=tf.train.BytesList(value=["ä/é".encode()])),
        "none": tf.train.Feature(),
    }
    example = tf.train.Example(features=tf.train.Features(feature=features))
    assert encode_example(FEATURES) == example.SerializeToString(deterministic=True)
