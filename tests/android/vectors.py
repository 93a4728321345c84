"""What the Java and Kotlin tests of edge/android compare themselves with, written by the code that judges models. No test itself."""

from __future__ import annotations

import io
import json
import random
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from edgeproof_edge.answers import answered_classes
from edgeproof_edge.bundle import BundleError, content_sha256, open_bundle
from edgeproof_edge.errors import InputError
from edgeproof_edge.flatbuffer.reading import read_model
from edgeproof_edge.interpreter import TFLiteModel
from edgeproof_edge.manifest import Manifest
from edgeproof_edge.tensors import TensorSpec, dequantize, quantize

from releases.bundles.bundle import build
from tests.edge.bundles import CREATED, MODELS, golden_draft, rows_for

VALUES_PER_SPEC = 12_000
SCALES = (1.0, 0.5, 0.0235, 1 / 255, float(np.float32(0.0078125)), 3.4e-5, 1e-30, 1e30, float(np.float32(0.1)))
ZERO_POINTS = {"int8": (-128, -3, 0, 127), "uint8": (0, 128, 255), "int16": (0,), "uint16": (32_768,), "int32": (0,)}
EDGE_VALUES = (
    0.0,
    -0.0,
    0.5,
    1.5,
    2.5,
    -0.5,
    -1.5,
    1e300,
    -1e300,
    5e-324,
    np.inf,
    -np.inf,
    np.nan,
    2.0**31,
    -(2.0**63),
)
#: Models that Android's runtime has types for; each kind of input and output.
REPLAYED = ("int8", "uint8", "int16x8", "float32", "two_inputs_int8", "two_inputs", "int8_float_io", "int8_softmax")


def write(directory: Path) -> None:
    """Writes everything."""
    (directory / "tensor-math.bin").write_bytes(tensor_math())
    (directory / "answers.bin").write_bytes(answers())
    bundles = {name: bundle_of(name) for name in REPLAYED}
    for name, data in bundles.items():
        (directory / f"{name}.tar").write_bytes(data)
        (directory / f"{name}.replay").write_bytes(replay(data))
    (directory / "replays.txt").write_text("".join(f"{name}\n" for name in bundles))
    (directory / "bundles.bin").write_bytes(damaged_bundles(list(bundles.values())))
    (directory / "manifests.bin").write_bytes(damaged_manifests(list(bundles.values())))
    (directory / "operators.bin").write_bytes(operators())


def bundle_of(name: str) -> bytes:
    return build(golden_draft(f"{name}.tflite"), 7, "000007-abcdefabcdef", CREATED)


def specs() -> Iterator[TensorSpec]:
    for dtype, zero_points in ZERO_POINTS.items():
        for zero_point in zero_points:
            for scale in SCALES:
                yield TensorSpec("x", (1,), dtype, scale, zero_point)


def tensor_math() -> bytes:
    """Codes of values, and the real values of these codes: by NumPy, as the gate counts them."""
    random_values = np.random.default_rng(0)
    out = io.BytesIO()
    every = list(specs())
    out.write(struct.pack(">i", len(every)))
    per_spec = VALUES_PER_SPEC // 8
    for spec in every:
        bounds = np.iinfo(spec.dtype)
        codes = random_values.integers(bounds.min, bounds.max, per_spec, dtype=np.int64, endpoint=True)
        ties = (codes - spec.zero_point + 0.5) * spec.scale
        spread = random_values.normal(size=per_spec) * spec.scale * (float(bounds.max) - bounds.min)
        with np.errstate(over="ignore"):
            values = np.concatenate([EDGE_VALUES, ties, spread, spread.astype(np.float32).astype(np.float64)])
            encoded = quantize(values, spec)
            decoded = dequantize(encoded, spec)
        text = spec.dtype.encode()
        out.write(struct.pack(">H", len(text)) + text + struct.pack(">dii", spec.scale, spec.zero_point, len(values)))
        rows = np.empty(len(values), np.dtype([("value", ">f8"), ("code", ">i8"), ("real", ">f4")]))
        rows["value"], rows["code"], rows["real"] = values, encoded, decoded
        out.write(rows.tobytes())
    return out.getvalue()


def answers() -> bytes:
    """Answered classes and rankings, with ties, zeros of both signs and NaN."""
    random_values = np.random.default_rng(1)
    rows = [random_values.integers(-3, 4, size).astype(np.float32) for size in (1, 2, 3, 10, 1000) for _ in range(40)]
    rows += [
        np.array(row, np.float32)
        for row in ([np.nan, 1.0], [1.0, np.nan, np.nan], [0.0, -0.0], [-0.0, 0.0], [0.5], [np.nan])
    ]
    out = io.BytesIO(struct.pack(">i", len(rows)))
    out.seek(0, io.SEEK_END)
    for row in rows:
        top = np.argsort(-row, kind="stable")[:5]
        out.write(struct.pack(">i", len(row)) + row.astype(">f4").tobytes())
        out.write(struct.pack(">di", 0.5, int(answered_classes(row[None], 0.5)[0])))
        out.write(struct.pack(">i", len(top)) + top.astype(">i4").tobytes())
    return out.getvalue()


def replay(data: bytes) -> bytes:
    """What LiteRT was given and gave on the golden rows and others: real values, codes in, codes out, real values."""
    bundle = open_bundle(data)
    model = TFLiteModel.load(bundle.files["model.tflite"])
    rows = rows_for(model, 20, seed=5)
    if (golden := bundle.manifest.golden) is not None:
        with np.load(io.BytesIO(bundle.files[golden.file])) as archive:
            rows = {name: np.concatenate([archive[f"input:{name}"], values]) for name, values in rows.items()}
    inputs = {entry.spec.name: entry.spec for entry in bundle.manifest.inputs}
    number = len(next(iter(rows.values())))
    out = io.BytesIO(struct.pack(">i", number))
    out.seek(0, io.SEEK_END)
    for index in range(number):
        one = {name: values[index : index + 1] for name, values in rows.items()}
        codes = {
            name: quantize(one[name], spec) if spec.is_quantized else one[name].astype(spec.dtype)
            for name, spec in inputs.items()
        }
        raw = dict(
            zip(
                (spec.name for spec in model.outputs),
                model.invoke_codes([codes[spec.name] for spec in model.inputs]),
                strict=True,
            )
        )
        real = model.predict(one)
        for name in inputs:
            out.write(struct.pack(">i", one[name].size) + one[name].astype(">f8").tobytes())
        for name in inputs:
            out.write(struct.pack(">i", codes[name].nbytes) + codes[name].tobytes())
        for entry in bundle.manifest.outputs:
            out.write(struct.pack(">i", raw[entry.spec.name].nbytes) + np.asarray(raw[entry.spec.name]).tobytes())
        for entry in bundle.manifest.outputs:
            values = np.asarray(real[entry.spec.name], np.float32)
            out.write(struct.pack(">i", values.size) + values.astype(">f4").tobytes())
    return out.getvalue()


def damaged_bundles(bundles: list[bytes]) -> bytes:
    """Sound bundles with their content's hash, and damaged ones, each as Python judges it."""
    chance = random.Random(2)
    cases = list(bundles)
    sound = bundles[0]
    for _ in range(300):
        damaged = bytearray(sound)
        damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
        cases.append(bytes(damaged))
    cases += [sound[: chance.randrange(len(sound))] for _ in range(60)]
    cases += [sound + bytes(512), sound + b"\1" + bytes(511), sound[512:], b"", bytes(512), bytes(1024)]
    out = io.BytesIO(struct.pack(">i", len(cases)))
    out.seek(0, io.SEEK_END)
    for case in cases:
        try:
            digests = {entry.name: entry.sha256 for entry in open_bundle(case).manifest.files}
            text = content_sha256(digests).encode()
        except BundleError:
            text = b""
        out.write(struct.pack(">H", len(text)) + text + struct.pack(">i", len(case)) + case)
    return out.getvalue()


def damaged_manifests(bundles: list[bytes]) -> bytes:
    """Manifests of every schema version, and thousands that differ in one place, each as Python reads it."""
    texts: list[bytes] = []
    for data in bundles[:4]:
        content = json.loads(open_bundle(data).files["manifest.json"])
        for base in (content, version_4(content)):
            texts.append(json.dumps(base).encode())
            texts += [json.dumps(changed).encode() for changed in variants(base)]
    texts += syntax_errors(texts[0])
    out = io.BytesIO(struct.pack(">i", len(texts)))
    out.seek(0, io.SEEK_END)
    for text in texts:
        out.write(struct.pack(">?i", is_taken(text), len(text)) + text)
    return out.getvalue()


def version_4(content: dict[str, Any]) -> dict[str, Any]:
    """The same release as version 4 says it."""
    raised = json.loads(json.dumps(content))
    raised["schema_version"] = 4
    raised["verdict"] |= dict.fromkeys(("float_value", "candidate_value", "maximum_error_factor")) | {"metric": "top1"}
    if raised["reference"] is not None:
        raised["reference"]["values"] = None
    for entry in (*raised["inputs"], *raised["outputs"]):
        entry |= {"orientation": None, "resize": None, "categories": []}
    raised["answer"] = {"output": raised["outputs"][0]["name"], "decision_threshold": 0.25}
    return raised


def variants(content: Any) -> Iterator[Any]:
    """The document with one value replaced, one key removed or one added, everywhere."""
    replacements = (None, True, -2, 0, 3, 1.5, "", "x", "97/0", "upright", [], {}, [1.0, 0.0], 2**30)
    for path in places(content):
        for value in replacements:
            yield replaced(content, path, value)
        if isinstance(path[-1], str):
            yield replaced(content, path, REMOVED)
            yield replaced(content, (*path[:-1], "more"), 1)


REMOVED = object()


def places(content: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items: Any = (
        content.items() if isinstance(content, dict) else enumerate(content[:2]) if isinstance(content, list) else ()
    )
    for key, value in items:
        yield (*path, key)
        yield from places(value, (*path, key))


def replaced(content: Any, path: tuple[Any, ...], value: Any) -> Any:
    copy = json.loads(json.dumps(content))
    holder = copy
    for key in path[:-1]:
        holder = holder[key]
    if value is REMOVED:
        del holder[path[-1]]
    else:
        holder[path[-1]] = value
    return copy


def syntax_errors(text: bytes) -> list[bytes]:
    """What is no JSON, or JSON that Python's reader refuses, and what it takes."""
    return [
        b"", b"{", b"[]", b"null", text + b" ", text + b"{}", text[:-1], b"\xff" + text, b"\xef\xbb\xbf" + text,
        text.replace(b'"sequence": 7', b'"sequence": NaN'), text.replace(b'"sequence": 7', b'"sequence": 7, "sequence": 7'),
        text.replace(b'"sequence": 7', b'"sequence": 07'), text.replace(b'"sequence": 7', b'"sequence": 7.0'),
        text.replace(b'"sequence": 7', b'"sequence": 7e0'), text.replace(b'"recipe": "int8"', b'"recipe": "\\u0041\\n"'),
        text.replace(b'"recipe": "int8"', b'"recipe": "\n"'), text.replace(b'"recipe": "int8"', b'"recipe": "\\x"'),
        text.replace(b'"recipe": "int8"', '"recipe": "ä\U0001f600"'.encode()), text.replace(b'"sequence": 7', b'"sequence": -0'),
        text.replace(b"2026-11-21T09:00:00Z", b"2026-02-30T09:00:00Z"), text.replace(b"2026-11-21T09:00:00Z", b"2026-11-21T09:00:61Z"),
        text.replace(b'"sequence": 7', b'"sequence": ' + b"[" * 150 + b"]" * 150),
    ]  # fmt: skip


def is_taken(text: bytes) -> bool:
    try:
        Manifest.from_json(text)
    except InputError:
        return False
    return True


def operators() -> bytes:
    """How many operators the main graph of every model has."""
    paths = sorted(MODELS.glob("*.tflite"))
    out = io.BytesIO(struct.pack(">i", len(paths)))
    out.seek(0, io.SEEK_END)
    for path in paths:
        name = str(path).encode()
        out.write(struct.pack(">H", len(name)) + name)
        out.write(struct.pack(">i", len(read_model(path.read_bytes()).graphs[0].operators)))
    return out.getvalue()
