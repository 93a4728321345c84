"""Which operators accelerators take, as their makers document or code it: data for the estimates in `delegates`.

Read from the sources named beside each table in November 2026. Options of an operator (strides, fused activations,
axes) are not in the tables, so they promise too much rather than too little.
"""

from __future__ import annotations

from dataclasses import dataclass

_FLOAT = frozenset({"float32", "float16"})
_CODES = frozenset({"int8", "uint8"})
_REAL = _FLOAT | _CODES
_REAL_OR_INT32 = _REAL | {"int32"}
_BOOL = frozenset({"bool"})


@dataclass(frozen=True)
class OperatorLimits:
    """What an accelerator takes of one operator.

    Attributes:
        dtypes: Types its activations may have.
        max_version: Newest version of the operator that is known there; None where no limit is documented.
    """

    dtypes: frozenset[str]
    max_version: int | None = None


def _same(dtypes: frozenset[str], max_version: int | None, names: str) -> dict[str, OperatorLimits]:
    return {name: OperatorLimits(dtypes, max_version) for name in names.split()}


#: TILE is not in the list, but the compiler maps it: seen in the compiled twin of a model in google-coral/test_data.
EDGE_TPU_SOURCE = "https://coral.ai/docs/edgetpu/models-intro/#supported-operations"
EDGE_TPU = _same(
    _CODES,
    None,
    "ADD AVERAGE_POOL_2D CONCATENATION CONV_2D DEPTHWISE_CONV_2D EXPAND_DIMS FULLY_CONNECTED L2_NORMALIZATION LOGISTIC "
    "UNIDIRECTIONAL_SEQUENCE_LSTM MAXIMUM MAX_POOL_2D MEAN MINIMUM MUL PACK PAD PRELU QUANTIZE REDUCE_MAX REDUCE_MIN "
    "RELU RELU6 RELU_N1_TO_1 RESHAPE RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR RSQRT SLICE SOFTMAX SPACE_TO_DEPTH SPLIT "
    "SQUARED_DIFFERENCE SQUEEZE STRIDED_SLICE SUB SUM TANH TILE TRANSPOSE TRANSPOSE_CONV",
)

NNAPI_SOURCE = "tensorflow/lite/delegates/nnapi/nnapi_delegate.cc, NNAPIDelegateKernel::Validate, Android 11 and newer"
NNAPI = {
    **_same(_REAL_OR_INT32, 2, "ADD ARG_MAX ARG_MIN MUL TOPK_V2 SELECT GATHER SLICE SQUARED_DIFFERENCE SPLIT_V PACK"),
    **_same(_REAL_OR_INT32, 3, "SUB MAXIMUM MINIMUM SPLIT"),
    **_same(_REAL_OR_INT32, 1, "TILE EXPAND_DIMS CAST SQUEEZE FILL"),
    **_same(_REAL_OR_INT32, 2, "STRIDED_SLICE TRANSPOSE SPACE_TO_BATCH_ND BATCH_TO_SPACE_ND"),
    **_same(_REAL_OR_INT32 | _BOOL, 2, "LESS LESS_EQUAL GREATER GREATER_EQUAL EQUAL NOT_EQUAL"),
    **_same(_BOOL, 1, "LOGICAL_OR LOGICAL_AND LOGICAL_NOT"),
    **_same(_BOOL, 2, "REDUCE_ANY"),
    **_same(_REAL, 1, "RESHAPE LEAKY_RELU PRELU"),
    **_same(
        _REAL,
        2,
        "AVERAGE_POOL_2D MAX_POOL_2D SOFTMAX L2_NORMALIZATION CONCATENATION DEQUANTIZE QUANTIZE RELU RELU_N1_TO_1 "
        "RELU6 LOGISTIC TANH PAD PADV2 SPACE_TO_DEPTH MEAN REDUCE_MIN REDUCE_MAX",
    ),
    **_same(_REAL, 3, "DEPTHWISE_CONV_2D RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR TRANSPOSE_CONV LSTM"),
    **_same(_REAL, 5, "CONV_2D FULLY_CONNECTED"),
    **_same(_REAL, None, "HARD_SWISH DEPTH_TO_SPACE"),
    **_same(
        _FLOAT,
        1,
        "L2_POOL_2D LOCAL_RESPONSE_NORMALIZATION FLOOR DIV ABS EXP LOG RSQRT POW SIN SQRT RNN SVDF LOG_SOFTMAX "
        "REDUCE_PROD SUM ELU UNIDIRECTIONAL_SEQUENCE_RNN BIDIRECTIONAL_SEQUENCE_LSTM",
    ),
    **_same(_FLOAT, 2, "UNIDIRECTIONAL_SEQUENCE_LSTM"),
    **_same(_FLOAT | {"int32"}, 2, "NEG"),
    **_same(_FLOAT | {"int32"}, 1, "EMBEDDING_LOOKUP HASHTABLE_LOOKUP"),
}

GPU_SOURCE = "tensorflow/lite/tools/versioning/gpu_compatibility.cc"
GPU = {
    **_same(
        _REAL,
        None,
        "ADD ADD_N AVERAGE_POOL_2D BATCH_MATMUL CONCATENATION CONV_2D CUMSUM DEPTHWISE_CONV_2D DEPTH_TO_SPACE "
        "DEQUANTIZE FULLY_CONNECTED HARD_SWISH LSTM MAX_POOL_2D MEAN MUL PACK QUANTIZE RELU_N1_TO_1 PRELU RESHAPE "
        "SLICE SOFTMAX SPACE_TO_DEPTH SPLIT SPLIT_V STRIDED_SLICE TILE TRANSPOSE TRANSPOSE_CONV RESIZE_BILINEAR "
        "RESIZE_NEAREST_NEIGHBOR RELU RELU6 LEAKY_RELU REDUCE_MAX REDUCE_MIN REDUCE_PROD SUM PAD PADV2 MIRROR_PAD "
        "ABS CEIL COS ELU EXP FLOOR GELU LOG LOGISTIC NEG RSQRT SIGN SIN SQRT SQUARE TANH ATAN2 DIV FLOOR_DIV "
        "FLOOR_MOD MAXIMUM MINIMUM POW SQUARED_DIFFERENCE SUB",
    ),
    **_same(
        _REAL_OR_INT32 | _BOOL,
        None,
        "CAST DYNAMIC_UPDATE_SLICE EMBEDDING_LOOKUP GATHER ONE_HOT SELECT SELECT_V2 EQUAL GREATER GREATER_EQUAL "
        "LOGICAL_AND LESS LESS_EQUAL NOT_EQUAL",
    ),
}

CORE_ML_SOURCE = "tensorflow/lite/delegates/coreml/coreml_delegate.mm, IsNodeSupportedByDelegate, Core ML 3"
CORE_ML = {
    **_same(
        _FLOAT,
        1,
        "ADD AVERAGE_POOL_2D CONCATENATION CONV_2D HARD_SWISH LOGISTIC MAX_POOL_2D MIRROR_PAD MEAN MUL PAD PADV2 RELU "
        "RELU_N1_TO_1 RELU6 RESIZE_BILINEAR SOFTMAX TANH TRANSPOSE_CONV",
    ),
    **_same(_FLOAT, 2, "DEPTHWISE_CONV_2D"),
    **_same(_FLOAT, 6, "FULLY_CONNECTED"),
}
