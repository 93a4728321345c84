"""A release for microcontrollers: the model as an aligned C array, with the manifest's scales, shapes and labels beside it.

Rules, in order: 1. The bytes in the array are the bytes that were judged. 2. 16-byte alignment, because TFLite Micro reads the
flatbuffer where it lies. 3. No name in the source comes from outside unchecked: labels are C strings with every byte that is
not plain ASCII escaped. 4. Operators that TFLite Micro lacks are named before anybody flashes anything.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum

from edgeproof_edge.bundle import MODEL_FILE, Bundle
from edgeproof_edge.errors import InputError
from edgeproof_edge.flatbuffer import Inspection, inspect
from edgeproof_edge.manifest import TensorEntry

#: tensorflow/lite/micro/micro_mutable_op_resolver.h of tensorflow/tflite-micro, read in November 2026.
_OPERATORS = (
    "ABS ADD ADD_N ARG_MAX ARG_MIN ASSIGN_VARIABLE AVERAGE_POOL_2D BATCH_MATMUL BATCH_TO_SPACE_ND "
    "BROADCAST_ARGS BROADCAST_TO CALL_ONCE CAST CEIL CONCATENATION CONV_2D COS CUMSUM DEPTH_TO_SPACE "
    "DEPTHWISE_CONV_2D DEQUANTIZE DIV ELU EMBEDDING_LOOKUP EQUAL EXP EXPAND_DIMS FILL FLOOR FLOOR_DIV "
    "FLOOR_MOD FULLY_CONNECTED GATHER GATHER_ND GREATER GREATER_EQUAL HARD_SWISH IF L2_NORMALIZATION "
    "L2_POOL_2D LEAKY_RELU LESS LESS_EQUAL LOG LOG_SOFTMAX LOGICAL_AND LOGICAL_NOT LOGICAL_OR LOGISTIC "
    "MAXIMUM MAX_POOL_2D MEAN MINIMUM MIRROR_PAD MUL NEG NOT_EQUAL PACK PAD PADV2 PRELU QUANTIZE "
    "READ_VARIABLE REDUCE_MAX REDUCE_MIN RELU RELU6 RESHAPE RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR "
    "REVERSE_V2 ROUND RSQRT SELECT_V2 SHAPE SIN SLICE SOFTMAX SPACE_TO_BATCH_ND SPACE_TO_DEPTH SPLIT SPLIT_V "
    "SQRT SQUARE SQUARED_DIFFERENCE SQUEEZE STRIDED_SLICE SUB SUM SVDF TANH TRANSPOSE TRANSPOSE_CONV "
    "UNIDIRECTIONAL_SEQUENCE_LSTM UNPACK VAR_HANDLE WHILE ZEROS_LIKE"
)
MICRO_OPERATORS = frozenset(_OPERATORS.split())
#: Operators that come by a name of their own, and are there all the same.
MICRO_CUSTOM_OPERATORS = frozenset({"CIRCULAR_BUFFER", "TFLite_Detection_PostProcess"})

_BYTES_PER_LINE = 16
_PLAIN = re.compile(rb"[ !#->@-\[\]-~]")  # ASCII without quote, backslash, and the question mark of trigraphs
_NAME = re.compile(r"[A-Za-z0-9]+")
_C_TYPES = {"int8": "int8_t", "uint8": "uint8_t", "int16": "int16_t", "int32": "int32_t", "float32": "float"}


class Layout(str, Enum):
    """How the files lie."""

    C_ARRAY = "c-array"
    """A header and a source file."""
    ARDUINO = "arduino"
    """The same as a library of the Arduino IDE."""


def missing_operators(inspection: Inspection) -> tuple[str, ...]:
    """Names of the operators of a model that TFLite Micro lacks, sorted; it widens no float16 weights."""
    used = {use.name for use in inspection.operators}
    widening = {f"{use.name} of float16" for use in inspection.operators if "float16" in use.input_dtypes}
    return tuple(sorted((used - MICRO_OPERATORS - MICRO_CUSTOM_OPERATORS) | widening))


def export(bundle: Bundle, layout: Layout) -> Mapping[str, bytes]:
    """Returns the files of an export, by path.

    Raises:
        InputError: TFLite Micro lacks an operator of the model, or the model holds a type that C sources cannot say.
    """
    manifest = bundle.manifest
    missing = missing_operators(inspect(bundle.files[MODEL_FILE]))
    if missing:
        raise InputError(
            f"TFLite Micro lacks {', '.join(missing)}, which {manifest.model_name} {manifest.version} uses. Build the model "
            "without them, or run it on a device with LiteRT."
        )
    name = "_".join(_NAME.findall(manifest.model_name))
    header, source = _header(bundle, name), _source(bundle, name)
    if layout is Layout.C_ARRAY:
        return {f"{name}_model.h": header, f"{name}_model.cc": source}
    return {
        "library.properties": _properties(bundle, name),
        f"src/{name}_model.h": header,
        f"src/{name}_model.cpp": source,
    }


def _header(bundle: Bundle, name: str) -> bytes:
    manifest = bundle.manifest
    prefix, guard = name.upper(), f"{name.upper()}_MODEL_H_"
    entry = manifest.file(MODEL_FILE)
    lines = [
        f"// {manifest.model_name} {manifest.version}, {manifest.recipe}. Written by Edgeproof; do not edit.",
        f"// SHA-256 of the model: {entry.sha256}",
        "// Real value of a code: (code - ZERO_POINT) * SCALE. To a code: round half to even, add, clip, and only then cast.",
        f"#ifndef {guard}",
        f"#define {guard}",
        "",
        "#include <stdint.h>",
        "",
        *(line for index, tensor in enumerate(manifest.inputs) for line in _tensor(f"{prefix}_INPUT_{index}", tensor)),
        *(
            line
            for index, tensor in enumerate(manifest.outputs)
            for line in _tensor(f"{prefix}_OUTPUT_{index}", tensor)
        ),
        f"#define {prefix}_NUM_LABELS {len(manifest.labels)}",
        "",
        "#ifdef __cplusplus",
        'extern "C" {',
        "#endif",
        f"extern const unsigned char g_{name}_model[];",
        f"extern const unsigned int g_{name}_model_len;",
        *([f"extern const char* const g_{name}_labels[{prefix}_NUM_LABELS];"] if manifest.labels else []),
        "#ifdef __cplusplus",
        "}",
        "#endif",
        "",
        f"#endif  // {guard}",
    ]
    return ("\n".join(lines) + "\n").encode("ascii")


def _tensor(prefix: str, entry: TensorEntry) -> list[str]:
    spec = entry.spec
    if spec.dtype not in _C_TYPES:
        raise InputError(f"tensor {spec.name!r} holds {spec.dtype}, which has no type in C here.")
    sizes = [max(1, size) for size in spec.shape]
    num_elements = 1
    for size in sizes:
        num_elements *= size
    lines = [
        f"// {_comment(spec.name)}",
        f"#define {prefix}_TYPE {_C_TYPES[spec.dtype]}",
        f"#define {prefix}_SIZES {{{', '.join(map(str, sizes))}}}",
        f"#define {prefix}_NUM_ELEMENTS {num_elements}",
    ]
    if spec.is_quantized:
        lines += [f"#define {prefix}_SCALE {_float(spec.scale)}", f"#define {prefix}_ZERO_POINT ({spec.zero_point})"]
    return [*lines, ""]


def _source(bundle: Bundle, name: str) -> bytes:
    data = bundle.files[MODEL_FILE]
    rows = [
        "  " + " ".join(f"0x{byte:02x}," for byte in data[start : start + _BYTES_PER_LINE])
        for start in range(0, len(data), _BYTES_PER_LINE)
    ]
    labels = [f"  {_c_string(label)}," for label in bundle.manifest.labels]
    lines = [
        f'#include "{name}_model.h"',
        "",
        f"alignas(16) const unsigned char g_{name}_model[] = {{",
        *rows,
        "};",
        f"const unsigned int g_{name}_model_len = {len(data)};",
        *([f"const char* const g_{name}_labels[] = {{", *labels, "};"] if labels else []),
    ]
    return ("\n".join(lines) + "\n").encode("ascii")


def _properties(bundle: Bundle, name: str) -> bytes:
    manifest = bundle.manifest
    lines = [
        f"name={name}_model",
        f"version=1.0.{manifest.sequence}",
        "author=Edgeproof",
        "maintainer=Edgeproof",
        f"sentence=The model {name}, release {manifest.version}.",
        "paragraph=A C array with scales, shapes and labels, for TensorFlow Lite Micro.",
        "category=Data Processing",
        "url=https://ai.google.dev/edge/litert/microcontrollers/overview",
        "architectures=*",
        f"includes={name}_model.h",
    ]
    return ("\n".join(lines) + "\n").encode("ascii")


def _float(value: float) -> str:
    """The shortest text that C reads as the same float."""
    text = f"{value:.9g}"
    return f"{text}f" if "." in text or "e" in text else f"{text}.0f"


def _c_string(text: str) -> str:
    """Octal escapes: unlike those of hex, the next character cannot become part of one."""
    pieces = (chr(byte) if _PLAIN.match(bytes([byte])) else f"\\{byte:03o}" for byte in text.encode())
    return f'"{"".join(pieces)}"'


def _comment(text: str) -> str:
    return "".join(
        character if character.isascii() and character.isprintable() and character != "\\" else "?"
        for character in text
    )
