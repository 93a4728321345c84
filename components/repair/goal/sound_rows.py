"""Which rows may decide: those without fault codes, and with finite outputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Floats = NDArray[np.float64]

#: Rows beyond this many widths of the rest of an input hold fault codes (-999 among pixels), as long as they are rare:
#: more than 2 % of the rows are a domain.
FAULT_WIDTHS = 3.0
MAX_FAULT_SHARE = 0.02


def ordinary_rows(inputs: Mapping[str, Array]) -> NDArray[np.bool_]:
    """``[n]``: False for rows that hold a value far outside what the rest of a real-valued input holds.

    Vectors are looked at column by column (their columns have scales of their own), other tensors as a whole.
    """
    num_rows = len(next(iter(inputs.values())))
    faulty = np.zeros(num_rows, np.bool_)
    for array in inputs.values():
        if array.dtype.kind == "f" and array.size:
            lowest, highest = _row_extremes(array)
            low, high = np.percentile(lowest, 2, axis=0), np.percentile(highest, 98, axis=0)
            margin = FAULT_WIDTHS * (high - low)
            faulty |= ((lowest < low - margin) | (highest > high + margin)).any(axis=1)
    return ~faulty if faulty.mean() <= MAX_FAULT_SHARE else np.ones(num_rows, np.bool_)


def _row_extremes(array: Array) -> tuple[Floats, Floats]:
    values = np.asarray(array, np.float64)
    if values.ndim <= 2:
        columns = values.reshape(len(values), -1)
        return columns, columns
    flat = values.reshape(len(values), -1)
    return flat.min(axis=1, keepdims=True), flat.max(axis=1, keepdims=True)


def finite_rows(arrays: Mapping[str, Array]) -> NDArray[np.bool_]:
    """``[n]``: rows in which every array is finite."""
    return np.asarray(np.logical_and.reduce([is_finite(array) for array in arrays.values()]))


def is_finite(array: Array) -> NDArray[np.bool_]:
    """``[n]``: rows in which the array is finite."""
    flat = np.asarray(array).reshape(len(array), -1)
    return np.asarray(np.isfinite(flat).all(axis=1)) if flat.dtype.kind == "f" else np.ones(len(flat), np.bool_)
