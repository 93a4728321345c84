"""Requantization scales: how much the sum of an integer operator is multiplied with to become its output.

That is s_input * s_weights / s_output, one figure per output channel. XNNPACK's kernels are made for [2^-32, 256): a
model with a larger one converts without complaint, runs on runtimes without XNNPACK and is refused by LiteRT with
"failed to create XNNPACK runtime". Measured on ai-edge-litert 2.3.0: 255.9 loads and 256.1 does not; a scale below
2^-32 loads, but turns every sum into zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgeproof_edge.flatbuffer.graph import Operator, Tensor

MIN_REQUANTIZATION_SCALE = 2.0**-32
LIMIT_REQUANTIZATION_SCALE = 256.0
"""The first figure that is too large."""

REQUANTIZING_OPERATORS = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"})
_CODE_DTYPES = frozenset({"int8", "uint8"})


@dataclass(frozen=True)
class RequantizationScale:
    """A requantization scale outside of XNNPACK's range.

    Attributes:
        operator: Name of the operator.
        output: Name of its output tensor.
        scale: The figure: of all its channels the largest, where that is too large, else the smallest.
    """

    operator: str
    output: str
    scale: float

    @property
    def prevents_loading(self) -> bool:
        """Whether it is too large, so that XNNPACK refuses the model; one that is too small only erases the output."""
        return self.scale >= LIMIT_REQUANTIZATION_SCALE

    @property
    def sentence(self) -> str:
        """What is wrong, for people."""
        limit = f"{LIMIT_REQUANTIZATION_SCALE:.0f}"
        return f"{self.operator} {self.output} needs a scale of {self.scale:.3g}, and XNNPACK has kernels below {limit} only"


def refused_requantizations(operators: list[Operator]) -> tuple[RequantizationScale, ...]:
    """The scales that XNNPACK's kernels are not made for, in graph order."""
    problems = (_out_of_range(operator) for operator in operators if operator.name in REQUANTIZING_OPERATORS)
    return tuple(scale for scale in problems if scale is not None)


def _out_of_range(operator: Operator) -> RequantizationScale | None:
    if len(operator.inputs) < 2 or not operator.outputs:
        return None
    source, weights, target = operator.inputs[0], operator.inputs[1], operator.outputs[0]
    if source is None or weights is None or target is None or not (_has_codes(source) and _has_codes(target)):
        return None
    if not weights.num_scales:
        return None
    smallest, largest = (_scale(source, scale, target) for scale in weights.scale_range)
    if largest >= LIMIT_REQUANTIZATION_SCALE:
        return RequantizationScale(operator.name, target.name, largest)
    if smallest < MIN_REQUANTIZATION_SCALE:
        return RequantizationScale(operator.name, target.name, smallest)
    return None


def _has_codes(tensor: Tensor) -> bool:
    return tensor.dtype in _CODE_DTYPES and tensor.scale > 0.0


def _scale(source: Tensor, weight_scale: float, target: Tensor) -> float:
    """In float32, as XNNPACK computes it: 256 is a boundary; a quotient that float32 cannot hold is its largest."""
    with np.errstate(over="ignore", under="ignore"):
        scale = np.float32(source.scale) * np.float32(weight_scale) / np.float32(target.scale)
    return float(np.minimum(scale, np.finfo(np.float32).max))
