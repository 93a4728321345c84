"""The numbers that go into and come out of a quantized model: one definition for the gate and for the device.

A code q of a tensor with scale s and zero point z stands for the real value (q - z) * s. Rules, in order: divide in
float64, round half to even, add the zero point, clip to the integer's range, and only then cast. A plain cast truncates
and wraps around: white turns black.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgeproof_edge.errors import InputError

QUANTIZED_DTYPES = ("int8", "uint8", "int16", "uint16", "int32")
"""Integer types that float64 holds exactly, bounds included."""


@dataclass(frozen=True)
class TensorSpec:
    """What goes in or comes out of a model.

    Attributes:
        name: Name of the input or output.
        shape: Dimensions, batch first; -1 where the graph leaves the size open.
        dtype: NumPy name of the element type ("int8", "float32", ...), or TFLite's own name where NumPy has none
            ("string").
        scale: Real value of one step; 0.0 for a tensor that is not quantized.
        zero_point: The code that stands for 0.0.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float = 0.0
    zero_point: int = 0

    @property
    def is_quantized(self) -> bool:
        """Whether the elements are codes, to be read as (code - zero_point) * scale."""
        return self.scale != 0.0


def quantize(values: ArrayLike, spec: TensorSpec) -> NDArray[Any]:
    """Turns real-world values into the codes of a quantized tensor.

    Ties round to the even neighbor, as `numpy.rint` does and as the gate counts them. Infinities and values beyond the
    range clip to the first or last code; NaN becomes the zero point, the code of 0.0.

    Args:
        values: Real-world values of any shape, float or integer.
        spec: The tensor the codes are for.

    Returns:
        Codes of the same shape, of dtype `spec.dtype`.

    Raises:
        InputError: The tensor is not quantized.
    """
    bounds = _code_range(spec)
    real = np.asarray(values, dtype=np.float64)
    with np.errstate(over="ignore"):  # a huge value over a tiny scale is an infinity, and infinities clip
        codes = np.rint(real / spec.scale) + spec.zero_point
    codes = np.where(np.isnan(codes), spec.zero_point, np.clip(codes, bounds.min, bounds.max))
    return codes.astype(spec.dtype)


def dequantize(codes: ArrayLike, spec: TensorSpec) -> NDArray[np.float32]:
    """Turns codes back into real-world values: float32, of the same shape, rounded once.

    Args:
        codes: Codes of dtype `spec.dtype`, any shape.
        spec: The tensor the codes come from.

    Raises:
        InputError: The tensor is not quantized.
    """
    _code_range(spec)
    return ((np.asarray(codes).astype(np.float64) - spec.zero_point) * spec.scale).astype(np.float32)


def _code_range(spec: TensorSpec) -> np.iinfo[Any]:
    if not spec.is_quantized or spec.dtype not in QUANTIZED_DTYPES:
        raise InputError(
            f"tensor {spec.name!r} holds {spec.dtype} with scale {spec.scale}, not quantized codes; "
            "pass its values as they are, without quantize or dequantize."
        )
    return np.iinfo(spec.dtype)
