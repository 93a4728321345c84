"""The one door to tf.data: every pipeline of ours begins here and carries the options set here.

Rules: 1. The tuner is off. There is nothing left to tune where every stage says how parallel it is, and the tuner's thread
keeps an iterator from ending for seconds after the last batch. 2. Options travel with the data set: what is built on one
of these has them, too. A model module that builds a pipeline of its own may begin here as well. TensorFlow is imported
inside the functions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

#: Bytes read ahead of a file.
_BUFFER_BYTES = 1 << 20


def records(files: Sequence[str]) -> Any:
    """A ``tf.data.Dataset`` of the serialized examples in gzip TFRecord files, in the order given."""
    import tensorflow as tf

    return with_our_options(tf.data.TFRecordDataset(list(files), compression_type="GZIP", buffer_size=_BUFFER_BYTES))


def one_batch(examples: Sequence[bytes]) -> Any:
    """A ``tf.data.Dataset`` whose one element is a batch of serialized examples."""
    import tensorflow as tf

    return with_our_options(tf.data.Dataset.from_tensors(tf.constant(list(examples))))


def with_our_options(dataset: Any) -> Any:
    """The data set with the options of this house, for a pipeline that begins elsewhere."""
    import tensorflow as tf

    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)


def element_spec(function: Callable[[Any], Any], example: Any) -> Any:
    """The types and shapes that a function gives for one element, as a mapped data set would have them."""
    import tensorflow as tf

    return tf.data.Dataset.from_tensors(example).map(function).element_spec
