"""What the converter takes from TensorFlow that its public API does not promise; a contract test holds it in place."""

from __future__ import annotations

from components.tflite_converter.job import UnsupportedOperator

#: Names of the converter's error codes for operators without a TFLite kernel (converter_error_data.proto).
UNSUPPORTED_OPERATOR_CODES = ("ERROR_NEEDS_FLEX_OPS", "ERROR_NEEDS_CUSTOM_OPS")


def unsupported_operators(error: Exception) -> tuple[UnsupportedOperator, ...]:
    """Reads operators without a TFLite kernel, and the graph nodes they came from, out of a converter error.

    TensorFlow's ``ConverterError`` carries them as protos in ``errors``; any other exception gives an empty tuple.
    """
    found = []
    for detail in getattr(error, "errors", ()):
        codes = type(detail).DESCRIPTOR.enum_types_by_name["ErrorCode"].values_by_number
        if codes[detail.error_code].name in UNSUPPORTED_OPERATOR_CODES:
            calls = detail.location.call
            node = calls[0].name.split("@")[0] if calls else ""
            found.append(UnsupportedOperator(detail.operator.name.removeprefix("tf."), node))
    return tuple(sorted(set(found), key=lambda operator: (operator.node, operator.operator)))
