"""Changed and damaged copies of the golden files, for tests that need a file no converter makes."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flatbuffers
from ai_edge_litert import schema_py_generated as schema

MODELS = Path(__file__).parent / "models"
REQUANTIZING = {"FULLY_CONNECTED": 9, "CONV_2D": 3}


def golden(name: str) -> bytes:
    return (MODELS / f"{name}.tflite").read_bytes()


def rewritten(name: str, change: Callable[[Any], None]) -> bytes:
    """The golden file after ``change`` worked on its ModelT."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(bytearray(golden(name)), 0))
    change(model)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def with_requantization_scale(name: str, largest: float) -> bytes:
    """The golden file with its first convolution or dense layer's largest requantization scale set to ``largest``."""

    def change(model: Any) -> None:
        graph = model.subgraphs[0]
        codes = [code.builtinCode for code in model.operatorCodes]
        operator = next(op for op in graph.operators if codes[op.opcodeIndex] in REQUANTIZING.values())
        source, weights, bias = (graph.tensors[index].quantization for index in operator.inputs)
        target = graph.tensors[operator.outputs[0]].quantization
        factor = largest * target.scale[0] / (source.scale[0] * max(weights.scale))
        weights.scale = [scale * factor for scale in weights.scale]
        bias.scale = [source.scale[0] * scale for scale in weights.scale]

    return rewritten(name, change)


def damaged(data: bytes, draw: random.Random) -> bytes:
    """The file cut short, with a stretch missing, with bytes changed behind the identifier, or with a number blown up."""
    spoiled = bytearray(data)
    kind = draw.randrange(5)
    if kind == 0:
        return bytes(spoiled[: draw.randrange(len(spoiled))])
    if kind == 1:
        start = draw.randrange(len(spoiled))
        return bytes(spoiled[:start] + spoiled[start + draw.randrange(1, 64) :])
    for _ in range(draw.choice([1, 2, 8, 64])):
        position = draw.randrange(8, len(spoiled) - 4)
        if kind == 4:
            spoiled[position : position + 4] = draw.choice(
                [b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff", b"\x00\x00\x00\x80"]
            )
        else:
            spoiled[position] = draw.randrange(256) if kind == 2 else spoiled[position] ^ (1 << draw.randrange(8))
    return bytes(spoiled)
