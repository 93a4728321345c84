"""Whether the holdout looks like what calibration saw: values that a quantized input cannot represent.

A quantized input clips what lies beyond the range that calibration measured. A healthy model clips almost nothing; a model calibrated on
dark images clips the bright parts of every other one, and no later layer gets them back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from edgeproof_edge.tensors import TensorSpec
from numpy.typing import NDArray

#: Share of an example's values that may be clipped. Measured: 0.03-0.09 % in healthy models, 33 % where a domain was missing.
CLIPPED_SHARE = 0.01


def clipped_rows(rows: Mapping[str, NDArray[Any]], inputs: Sequence[TensorSpec]) -> NDArray[np.bool_]:
    """Which rows lose more than :data:`CLIPPED_SHARE` of the values of a quantized input.

    Args:
        rows: Real-world values ``[n, ...]`` by input name.
        inputs: The candidate's inputs; those without codes clip nothing.

    Returns:
        Booleans ``[n]``.
    """
    num_rows = len(next(iter(rows.values())))
    clipped = np.zeros(num_rows, np.bool_)
    for spec in inputs:
        if spec.is_quantized and spec.name in rows:
            low, high = representable_range(spec)
            beyond = (rows[spec.name] < low - spec.scale / 2) | (rows[spec.name] > high + spec.scale / 2)
            clipped |= beyond.reshape(num_rows, -1).mean(axis=1) > CLIPPED_SHARE
    return clipped


def representable_range(spec: TensorSpec) -> tuple[float, float]:
    """The lowest and the highest real-world value that a quantized tensor can hold."""
    codes = np.iinfo(np.dtype(spec.dtype))
    return (codes.min - spec.zero_point) * spec.scale, (codes.max - spec.zero_point) * spec.scale
