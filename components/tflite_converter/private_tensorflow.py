"""What the converter takes from TensorFlow that its public API does not promise; a contract test holds it in place.

``TFLiteConverter`` quantizes only as a part of converting a SavedModel. Its quantizers work on a float .tflite that
carries a range (min, max) per tensor, in 10-60 ms: called directly, they make many candidates from one conversion, with
ranges that are ours. TensorFlow 2.16 and 2.21 have them in the same places and differ in a few arguments.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from components.repair.cures.float_islands import hide, remove_walls, reveal, wall_off
from components.repair.graph import FloatGraph
from components.tflite_converter.job import UnsupportedOperator

#: Names of the converter's error codes for operators without a TFLite kernel (converter_error_data.proto).
UNSUPPORTED_OPERATOR_CODES = ("ERROR_NEEDS_FLEX_OPS", "ERROR_NEEDS_CUSTOM_OPS")


def unsupported_operators(error: Exception) -> tuple[UnsupportedOperator, ...]:
    """Reads operators without a TFLite kernel, and the graph nodes they came from, out of a converter error.

    TensorFlow's ``ConverterError`` carries them as protos in ``errors``; any other exception gives an empty tuple.
    """
    problems = []
    for detail in getattr(error, "errors", ()):
        codes = type(detail).DESCRIPTOR.enum_types_by_name["ErrorCode"].values_by_number
        if codes[detail.error_code].name in UNSUPPORTED_OPERATOR_CODES:
            calls = detail.location.call
            node = calls[0].name.split("@")[0] if calls else ""
            problems.append(UnsupportedOperator(detail.operator.name.removeprefix("tf."), node))
    return tuple(sorted(set(problems), key=lambda operator: (operator.node, operator.operator)))


def quantize_flatbuffer(
    model_with_ranges: bytes,
    *,
    activations: str = "int8",
    input_type: str = "float32",
    output_type: str = "float32",
    float_tensors: Sequence[str] = (),
) -> bytes:
    """Quantizes a float .tflite whose activation tensors carry ranges, as ``FloatGraph.set_range`` writes them.

    Weights become int8, one scale per output channel, and one per tensor for Dense layers. Operators without an integer
    kernel stay float where activations are int8, and are an error where they are int16. Inputs that are integers already
    (token ids) keep their type.

    Args:
        model_with_ranges: The float model; a tensor without a range stays float.
        activations: "int8" or "int16".
        input_type: Type of real-valued inputs: "int8", "uint8" or "float32" with int8 activations, "float32" with int16.
        output_type: Type of real-valued outputs, likewise.
        float_tensors: Names of activation tensors that stay float: their producer and their consumers compute in float.

    Raises:
        ConversionError: The operators around ``float_tensors`` did not come through as they should.
        RuntimeError: The quantizer refuses the model, in its own words.
    """
    if activations == "int16":
        return _quantize_int16(model_with_ranges, input_type, output_type, float_tensors)
    if not float_tensors:
        return _quantize_int8(model_with_ranges, input_type, output_type, ())
    walled = wall_off(FloatGraph.parse(model_with_ranges), float_tensors)
    quantized = _quantize_int8(walled.graph.pack(), input_type, output_type, walled.float_nodes)
    return remove_walls(quantized, walled)


def _quantize_int8(model: bytes, input_type: str, output_type: str, float_nodes: Sequence[str]) -> bytes:
    import tensorflow as tf
    from tensorflow.lite.python.convert import mlir_quantize

    return _share_buffers(
        mlir_quantize(
            model,
            input_data_type=tf.as_dtype(input_type),
            output_data_type=tf.as_dtype(output_type),
            denylisted_nodes=list(float_nodes),
            **_dense_per_tensor(mlir_quantize, "disable_per_channel_for_dense_layers"),
        )
    )


def _quantize_int16(model: bytes, input_type: str, output_type: str, float_tensors: Sequence[str]) -> bytes:
    """The older quantizer, which ``TFLiteConverter`` too takes for int16: its bias is int64, as the kernels want it."""
    import tensorflow as tf
    from tensorflow.lite.python.optimize import calibrator

    hidden = hide(FloatGraph.parse(model), float_tensors) if float_tensors else None
    quantizer = calibrator.Calibrator(
        calibrator.add_intermediate_tensors(model if hidden is None else hidden.graph.pack())
    )
    quantized = quantizer.calibrate_and_quantize(
        lambda: iter(()),  # no rows: the ranges in the file stay as they are
        tf.as_dtype(input_type),
        tf.as_dtype(output_type),
        allow_float=hidden is not None,
        activations_type=tf.int16,
        bias_type=tf.int64,
        **_dense_per_tensor(quantizer.calibrate_and_quantize, "disable_per_channel_quantization_for_dense_layers"),
    )
    return _share_buffers(bytes(quantized) if hidden is None else reveal(bytes(quantized), hidden))


def calibrate_flatbuffer(float_model: bytes, batches: Iterable[Mapping[str, NDArray[Any]]]) -> bytes:
    """TensorFlow's own calibration: the model with the ranges of all tensors, those inside LSTM operators included.

    Args:
        float_model: The float model.
        batches: Rows by the signature's input names, each ``[batch, ...]``.
    """
    from tensorflow.lite.python.optimize import calibrator

    with_intermediates = calibrator.add_intermediate_tensors(float_model)
    return bytes(calibrator.Calibrator(with_intermediates).calibrate(lambda: (dict(batch) for batch in batches)))


def _dense_per_tensor(quantizer: Callable[..., Any], argument: str) -> dict[str, bool]:
    """TF 2.17 and newer have to be told; see ``components.compat.keep_dense_per_tensor``."""
    return {argument: True} if argument in inspect.signature(quantizer).parameters else {}


def _share_buffers(model: bytes) -> bytes:
    """Lets equal constants share their bytes, the last step of ``TFLiteConverter`` too."""
    from tensorflow.lite.python.lite import _deduplicate_readonly_buffers

    return bytes(_deduplicate_readonly_buffers(model))
