"""A release for Android: its files as assets, and a Java class that knows the model's tensors, without any library.

Rules, in order: 1. The bytes are those that were judged. 2. The class computes codes as `tensors` does, to the last bit: divide in double,
round half to even, add, clip, and only then cast. 3. No name in the source comes from outside unchecked: whatever is not plain ASCII is
escaped, in texts and in comments. 4. What Java cannot say is refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from edgeproof_edge.bundle import LABELS_FILE, MANIFEST_FILE, MODEL_FILE, Bundle
from edgeproof_edge.errors import InputError
from edgeproof_edge.manifest import TensorEntry
from edgeproof_edge.tensors import TensorSpec

PACKAGE = "edgeproof.models"
#: More would not fit into one class; they are in labels.txt all the same.
MAX_LABELS = 10_000
_LABELS_PER_METHOD = 500
_WORD = re.compile(r"[A-Za-z0-9]+")
_PLAIN = re.compile(r"[ !#-\[\]-~]")  # ASCII without quote and backslash
#: NumPy's name -> bytes, what ByteBuffer calls it, and the cast from long.
_CODES = {
    "int8": (1, "put((byte) code)", "buffer.get()", (-(2**7), 2**7 - 1)),
    "uint8": (1, "put((byte) code)", "(buffer.get() & 0xff)", (0, 2**8 - 1)),
    "int16": (2, "putShort((short) code)", "buffer.getShort()", (-(2**15), 2**15 - 1)),
    "uint16": (2, "putShort((short) code)", "(buffer.getShort() & 0xffff)", (0, 2**16 - 1)),
    "int32": (4, "putInt((int) code)", "buffer.getInt()", (-(2**31), 2**31 - 1)),
}
#: NumPy's name -> bytes, Java's type, what ByteBuffer calls it.
_PLAIN_TYPES = {
    "float32": (4, "float", "Float"),
    "float64": (8, "double", "Double"),
    "int8": (1, "byte", ""),
    "uint8": (1, "byte", ""),
    "bool": (1, "byte", ""),
    "int16": (2, "short", "Short"),
    "int32": (4, "int", "Int"),
    "int64": (8, "long", "Long"),
}


def export(bundle: Bundle) -> Mapping[str, bytes]:
    """Returns the files of an export, by path: `assets/` and `java/` of an app's `src/main`.

    Raises:
        InputError: The model holds a type that Java cannot say.
    """
    manifest = bundle.manifest
    words = _WORD.findall(manifest.model_name)
    name = "".join(word[0].upper() + word[1:] for word in words) + "Model"
    folder = f"edgeproof/{manifest.model_name}"
    wanted = [MANIFEST_FILE, MODEL_FILE, LABELS_FILE, *([manifest.golden.file] if manifest.golden else [])]
    files = {f"assets/{folder}/{file}": bundle.files[file] for file in wanted if file in bundle.files}
    class_name = name if not name[0].isdigit() else f"Model{name}"
    source = "\n".join(_lines(bundle, class_name, folder)) + "\n"
    return {**files, f"java/{PACKAGE.replace('.', '/')}/{class_name}.java": source.encode("ascii")}


def _lines(bundle: Bundle, name: str, folder: str) -> list[str]:
    manifest = bundle.manifest
    tensors = [
        line
        for kind, entries in (("INPUT", manifest.inputs), ("OUTPUT", manifest.outputs))
        for index, entry in enumerate(entries)
        for line in _tensor(f"{kind}_{index}", entry)
    ]
    return [
        f"package {PACKAGE};",
        "",
        "import java.nio.ByteBuffer;",
        "import java.nio.ByteOrder;",
        "",
        f"/** {_comment(f'{manifest.model_name} {manifest.version}, {manifest.recipe}')}. Written by Edgeproof; do not edit. */",
        f"public final class {name} {{",
        f"  public static final String VERSION = {_text(manifest.version)};",
        "  /** Of the model's file. */",
        f"  public static final String SHA256 = {_text(manifest.file(MODEL_FILE).sha256)};",
        "  /** Folder of the release among the assets: EdgeModel.open(context.getAssets(), ASSETS). */",
        f"  public static final String ASSETS = {_text(folder)};",
        *_labels(manifest.labels),
        "",
        f"  private {name}() {{}}",
        "",
        *tensors,
        "}",
    ]


def _labels(labels: Sequence[str]) -> list[str]:
    """In methods of a few hundred each: Java bounds a method at 64 kB."""
    if len(labels) > MAX_LABELS:
        return [f"  // {len(labels)} labels: more than a class holds; read them from {LABELS_FILE} in ASSETS."]
    starts = range(0, len(labels), _LABELS_PER_METHOD)
    lines = ["  private static final String[] LABELS = labels();", ""]
    lines += ["  /** Names of the classes, in the order of the output. */", "  public static String label(int index) {"]
    lines += ["    return LABELS[index];", "  }", "", "  private static String[] labels() {"]
    lines += [f"    String[] labels = new String[{len(labels)}];", *(f"    labels{start}(labels);" for start in starts)]
    lines += ["    return labels;", "  }"]
    for start in starts:
        lines += ["", f"  private static void labels{start}(String[] labels) {{"]
        rows = enumerate(labels[start : start + _LABELS_PER_METHOD], start)
        lines += [*(f"    labels[{index}] = {_text(label)};" for index, label in rows), "  }"]
    return lines


def _tensor(prefix: str, entry: TensorEntry) -> list[str]:
    spec = entry.spec
    is_known = spec.dtype in _CODES if spec.is_quantized else spec.dtype in _PLAIN_TYPES
    if not is_known:
        raise InputError(f"tensor {spec.name!r} holds {spec.dtype}, which has no type in Java here.")
    sizes = [max(1, size) for size in spec.shape]
    num_elements = 1
    for size in sizes:
        num_elements *= size
    size_bytes = (_CODES[spec.dtype] if spec.is_quantized else _PLAIN_TYPES[spec.dtype])[0]
    method = prefix.title().replace("_", "")
    lines = [
        f"  public static final String {prefix} = {_text(spec.name)};",
        f"  public static final int {prefix}_NUM_ELEMENTS = {num_elements};",
        f"  private static final int[] {prefix}_SHAPE = {{{', '.join(map(str, sizes))}}};",
        "",
        f"  /** Sizes of {prefix}, {_comment(spec.name)}: {_comment(spec.dtype)}, batch first. */",
        f"  public static int[] shapeOf{method}() {{",
        f"    return {prefix}_SHAPE.clone();",
        "  }",
        "",
        f"  /** A buffer of {num_elements * size_bytes} bytes: what the interpreter takes without copying. */",
        f"  public static ByteBuffer new{method}() {{",
        f"    return ByteBuffer.allocateDirect({num_elements * size_bytes}).order(ByteOrder.nativeOrder());",
        "  }",
        "",
    ]
    return [*lines, *(_coding(prefix, method, spec) if spec.is_quantized else _plain(prefix, method, spec)), ""]


def _coding(prefix: str, method: str, spec: TensorSpec) -> list[str]:
    _, put, get, (lowest, highest) = _CODES[spec.dtype]
    scale = repr(float(spec.scale))
    return [
        f"  public static final double {prefix}_SCALE = {scale};",
        f"  public static final int {prefix}_ZERO_POINT = {spec.zero_point};",
        "",
        "  /** Real-world values as codes: rounded half to even, clipped; NaN is the code of 0. */",
        f"  public static void write{method}(float[] values, ByteBuffer buffer) {{",
        *_length(prefix),
        "    buffer.clear();",
        "    for (float value : values) {",
        f"      double real = Math.rint(value / {prefix}_SCALE) + {prefix}_ZERO_POINT;",
        f"      double clipped = Double.isNaN(real) ? {prefix}_ZERO_POINT : Math.max({lowest}.0, Math.min({highest}.0, real));",
        "      long code = (long) clipped;",
        f"      buffer.{put};",
        "    }",
        "    buffer.flip();",
        "  }",
        "",
        "  /** Codes as real-world values. */",
        f"  public static float[] read{method}(ByteBuffer buffer) {{",
        f"    float[] values = new float[{prefix}_NUM_ELEMENTS];",
        "    buffer.clear();",
        "    for (int index = 0; index < values.length; index++) {",
        f"      values[index] = (float) (((double) {get} - {prefix}_ZERO_POINT) * {prefix}_SCALE);",
        "    }",
        "    return values;",
        "  }",
    ]


def _plain(prefix: str, method: str, spec: TensorSpec) -> list[str]:
    _, java, kind = _PLAIN_TYPES[spec.dtype]
    return [
        f"  /** Values as they are ({_comment(spec.dtype)}). */",
        f"  public static void write{method}({java}[] values, ByteBuffer buffer) {{",
        *_length(prefix),
        "    buffer.clear();",
        f"    for ({java} value : values) {{",
        f"      buffer.put{kind}(value);",
        "    }",
        "    buffer.flip();",
        "  }",
        "",
        "  /** Values as they are. */",
        f"  public static {java}[] read{method}(ByteBuffer buffer) {{",
        f"    {java}[] values = new {java}[{prefix}_NUM_ELEMENTS];",
        "    buffer.clear();",
        "    for (int index = 0; index < values.length; index++) {",
        f"      values[index] = buffer.get{kind}();",
        "    }",
        "    return values;",
        "  }",
    ]


def _length(prefix: str) -> list[str]:
    return [
        f"    if (values.length != {prefix}_NUM_ELEMENTS) {{",
        "      throw new IllegalArgumentException(",
        f'          "expected " + {prefix}_NUM_ELEMENTS + " values, got " + values.length);',
        "    }",
    ]


def _text(text: str) -> str:
    """A Java string: UTF-16 escapes beyond ASCII, octal ones within (a line feed must not be written as one of UTF-16)."""
    units = text.encode("utf-16-be", "surrogatepass")
    codes = [int.from_bytes(units[start : start + 2], "big") for start in range(0, len(units), 2)]
    return f'"{"".join(_escaped(code) for code in codes)}"'


def _escaped(code: int) -> str:
    if code > 127:
        return f"\\u{code:04x}"
    return chr(code) if _PLAIN.match(chr(code)) else f"\\{code:03o}"


def _comment(text: str) -> str:
    plain = "".join(character if character.isascii() and character.isprintable() else "?" for character in text)
    return plain.replace("\\", "?").replace("*/", "*?")
