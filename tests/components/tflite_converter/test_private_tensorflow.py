"""Contract with TensorFlow: what private_tensorflow.py reads is where it was."""

from __future__ import annotations

import pytest

from components.tflite_converter.job import UnsupportedOperator
from components.tflite_converter.private_tensorflow import unsupported_operators


def test_other_exceptions_carry_no_operators() -> None:
    assert unsupported_operators(ValueError("no")) == ()


@pytest.mark.tfx
def test_operators_and_nodes_are_read_from_a_converter_error() -> None:
    from tensorflow.lite.python.convert_phase import ConverterError

    try:
        from tensorflow.lite.python.metrics import converter_error_data_pb2 as data
    except ImportError:  # TF 2.21
        from tensorflow.compiler.mlir.lite.metrics import converter_error_data_pb2 as data

    error = ConverterError("two operators")
    for code, operator in (("ERROR_NEEDS_FLEX_OPS", "tf.Erf"), ("UNKNOWN", "tf.Other")):
        detail = data.ConverterErrorData(error_code=data.ConverterErrorData.ErrorCode.Value(code))
        detail.operator.name = operator
        detail.location.call.add(name="model/gelu/Erf@__inference_edge_1")
        detail.location.call.add(name="PartitionedCall")
        error.append_error(detail)
    assert unsupported_operators(error) == (UnsupportedOperator("Erf", "model/gelu/Erf"),)
