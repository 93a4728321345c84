"""What a user does without Edgeproof: TensorFlow's converter, calibrated with the first 200 rows of the pool."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from edgeproof_edge.errors import ModelFileError
from edgeproof_edge.interpreter import TFLiteModel

from tests.incidents.data import Array, Incident

#: Rows of the representative data set: TensorFlow's guide asks for "around 100-500".
NUM_ROWS = 200


def convert_float(incident: Incident) -> bytes:
    """The float32 .tflite of the same converter."""
    return bytes(_converter(incident).convert())


def convert_int8(incident: Incident) -> bytes:
    """The int8 .tflite, with int8 at its inputs and outputs, as the guide has it."""
    import tensorflow as tf

    def rows() -> Iterator[dict[str, Any]]:
        for row in range(NUM_ROWS):
            yield {name: array[row : row + 1] for name, array in incident.pool_x.items()}

    converter = _converter(incident)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = rows
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    return bytes(converter.convert())


def _converter(incident: Incident) -> Any:
    import tensorflow as tf

    return tf.lite.TFLiteConverter.from_saved_model(str(incident.saved_model), signature_keys=["edge"])


def scores(model: bytes, incident: Incident) -> dict[str, float] | None:
    """Runs a .tflite file on the holdout as a device would.

    Returns:
        By output: accuracy where the truth is classes, mean absolute error where it is real-valued. None where the
        runtime refuses the file.
    """
    try:
        found = TFLiteModel.load(model).predict(incident.holdout_x)
    except ModelFileError:
        return None
    return {name: score(found[name], truth) for name, truth in incident.holdout_y.items()}


def is_class(truth: Array) -> bool:
    """Whether an output's truth is classes."""
    return truth.dtype.kind in "iu"


def score(found: Array, truth: Array) -> float:
    """Accuracy of ``[n, classes]`` against classes ``[n]``, or mean absolute error against values of the same shape."""
    if is_class(truth):
        return float(np.mean(found.argmax(axis=1) == truth))
    return float(np.mean(np.abs(found - truth)))
