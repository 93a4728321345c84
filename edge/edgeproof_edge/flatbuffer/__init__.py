"""What is in the bytes of a .tflite file: read, checked and described without running it."""

from __future__ import annotations

from edgeproof_edge.flatbuffer.float_islands import FloatIsland
from edgeproof_edge.flatbuffer.inspection import Crossing, Inspection, OperatorUse, inspect
from edgeproof_edge.flatbuffer.interface import BoundTensor, GraphInterface, read_interface
from edgeproof_edge.flatbuffer.reading import FILE_IDENTIFIER, describe_non_tflite
from edgeproof_edge.flatbuffer.requantization import RequantizationScale

__all__ = [
    "FILE_IDENTIFIER",
    "BoundTensor",
    "Crossing",
    "FloatIsland",
    "GraphInterface",
    "Inspection",
    "OperatorUse",
    "RequantizationScale",
    "describe_non_tflite",
    "inspect",
    "read_interface",
]
