"""Stores the weights of operators that compute in float as float16: half the bytes, and nothing that an answer shows.

The runtime widens them once, when it loads the file. A filter bank is left alone: in front of a logarithm, 11 bits are a
floor of noise under a quiet sound.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.repair.graph import FloatGraph

Array = NDArray[Any]

#: Numbers below which the cast and its names take more bytes than are saved.
MIN_WEIGHTS = 1024
#: Largest difference to float32, as a share of the largest weight: float16's own rounding, unless values lie outside its range.
MAX_DIFFERENCE = 2.0**-11
_WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
_WEIGHTS = 1
#: Version of DEQUANTIZE that takes float16.
_CAST_VERSION = 3


def halve_weights(model: bytes) -> bytes:
    """Returns the file with the large float32 weights of its layers stored as float16."""
    graph = FloatGraph.parse(model)
    for operator in [each for each in graph.operators if graph.kind(each) in _WEIGHTED]:
        tensor = operator.inputs[_WEIGHTS]
        values = graph.constant(tensor) if graph.dtype(tensor) == "float32" else None
        half = None if values is None or len(graph.consumers(tensor)) > 1 else _halved(values)
        if half is None:
            continue
        stored = graph.add_tensor(f"{graph.name(tensor)}/float16", half.shape, "float16", half)
        widened = graph.add_tensor(f"{graph.name(tensor)}/float32", half.shape, "float32")
        graph.replace_input(operator, tensor, widened)
        graph.insert_operator(graph.position(operator), "DEQUANTIZE", _CAST_VERSION, [stored], [widened])
    graph.remove_unused()
    return graph.pack()


def _halved(weights: Array) -> Array | None:
    """The weights as float16; None where that saves nothing, or loses something."""
    if weights.size < MIN_WEIGHTS:
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        half = weights.astype(np.float16)
        difference = np.abs(half.astype(np.float32) - weights).max()
    return half if difference <= MAX_DIFFERENCE * np.abs(weights).max() else None
