"""Quantize and dequantize for one example at a time: `tensors`, to the last bit, in microseconds.

`tensors.quantize` is the definition; a tiny model computes faster than it. Rules, in order: 1. Values of 8 bits (pixels
in, codes out) are looked up in a table that the definition made. 2. float32 goes through the same steps in place; a
handful of numbers without NumPy, whose calls cost more than they do. 3. Whatever else comes is left to the definition. A
test compares them on every path.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeproof_edge.tensors import TensorSpec, dequantize, quantize

Array = NDArray[Any]
Transform = Callable[[Array], Array]

_NUM_BYTES = 256
#: Up to so many numbers Python is faster than eight calls of NumPy.
_MAX_HANDFUL = 16


def takes_one_shape(spec: TensorSpec) -> bool:
    """Whether only the batch is open, and values go in that are turned into the tensor's own here."""
    return all(size > 0 for size in spec.shape[1:]) and (spec.is_quantized or spec.dtype == "float32")


def quantizer(spec: TensorSpec) -> Transform:
    """A function from real-world values to what the tensor takes."""
    if not spec.is_quantized:
        return _caster(np.dtype(spec.dtype))
    bounds = np.iinfo(spec.dtype)
    low, high = int(bounds.min), int(bounds.max)
    lowest, highest = float(low), float(high)
    scale, zero_point, dtype = spec.scale, spec.zero_point, np.dtype(spec.dtype)
    of_pixels = _pixel_quantizer(spec)

    def quantized(values: Array) -> Array:
        if values.dtype == np.uint8:
            return of_pixels(values)
        if values.dtype != np.float32:
            return quantize(values, spec)
        if values.size <= _MAX_HANDFUL:
            try:
                codes = [
                    round(value / scale) + zero_point for value in values.ravel().tolist()
                ]  # half to even, as rint
            except (ValueError, OverflowError):  # NaN and infinities
                return quantize(values, spec)
            clipped = [code if low <= code <= high else (low if code < low else high) for code in codes]
            return np.array(clipped, dtype).reshape(values.shape)
        real = values.astype(np.float64)
        np.divide(real, scale, real)  # keywords cost more than the arithmetic of eight numbers
        np.rint(real, real)
        np.add(real, zero_point, real)
        np.maximum(real, lowest, out=real)
        np.minimum(real, highest, out=real)
        flat = real.ravel()
        if (total := flat.dot(flat)) != total:  # a NaN is the only number that makes one of finite codes
            real[np.isnan(real)] = zero_point
        return real.astype(dtype)

    return quantized


def dequantizer(spec: TensorSpec) -> Transform:
    """A function from what the tensor gives to real-world values."""
    dtype = np.dtype(spec.dtype)
    if not spec.is_quantized:
        return _identity if dtype != np.float16 else (lambda codes: codes.astype(np.float32))
    if dtype.itemsize > 1:
        return lambda codes: dequantize(codes, spec)
    table = dequantize(np.arange(_NUM_BYTES, dtype=np.uint8).view(dtype), spec)
    return lambda codes: table[codes.view(np.uint8)]


def _pixel_quantizer(spec: TensorSpec) -> Transform:
    """For pixels: a table; where that only shifts them, as int8 with scale 1 does, an addition."""
    pixels = np.arange(_NUM_BYTES, dtype=np.uint8)
    table = quantize(pixels, spec)
    if table.dtype.itemsize == 1:
        shift = np.uint8((int(table.view(np.uint8)[0])) % _NUM_BYTES)
        if np.array_equal(np.add(pixels, shift), table.view(np.uint8)):
            return lambda values: np.add(values, shift).view(table.dtype)
    return lambda values: table.take(values)


def _caster(dtype: np.dtype[Any]) -> Transform:
    if dtype.kind == "f":
        return lambda values: values.astype(dtype, copy=False)
    return _identity


def _identity(values: Array) -> Array:
    return values
