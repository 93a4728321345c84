"""Whether a device answers as the gate's own interpreter did, within the tolerance of golden vectors.

Kernels of different families differ in the last bits, and nobody promises that they agree on every row. Rules, in order: 1. A row
counts where both kernel families agree here, as a golden row does (``scoring.observation``). 2. There no number may differ by more
than 24 steps of 256. 3. Where the answer leads by 32 steps it must be the same. 4. A number that is not finite agrees with nothing but
itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from edgeproof_edge.answers import answered_classes, leads
from edgeproof_edge.errors import EdgeproofError
from edgeproof_edge.interpreter import Kernels, TFLiteModel
from edgeproof_edge.rows import RowOrder
from edgeproof_edge.tensors import TensorSpec
from numpy.typing import NDArray

from components.device.outcome import OutputAgreement
from components.evaluator.scoring.observation import TOLERANCE
from components.evaluator.scoring.observed_rows import SAFE_MARGIN, Watch

Array = NDArray[Any]


def compare(
    model: bytes,
    rows: Mapping[str, Array],
    outputs: Mapping[str, Array],
    threshold: float | None,
    order: RowOrder = RowOrder.AUTO,
) -> tuple[OutputAgreement, ...]:
    """Compares what a device gave with what this machine gives.

    Args:
        model: The bytes that ran there.
        rows: What ran through it, by input.
        outputs: What came out there, by output.
        threshold: A one-unit output at or above it is class 1; None where outputs are real values.
        order: What rows are to one another.
    """
    judged = TFLiteModel.load(model, Kernels.XNNPACK, order=order)
    expected = judged.predict(rows)
    try:
        other = TFLiteModel.load(model, Kernels.BUILTIN, order=order).predict(rows)
    except EdgeproofError:  # they cannot run it here: then every row is held against XNNPACK
        other = expected
    return tuple(
        agreement(Watch(spec, threshold), expected[spec.name], other[spec.name], outputs[spec.name])
        for spec in judged.outputs
    )


def agreement(watch: Watch, expected: Array, other: Array, given: Array) -> OutputAgreement:
    """Compares one output.

    Args:
        watch: The output, and how its answer is read.
        expected: What XNNPACK gives here, ``[n, ...]``.
        other: What built-in kernels give here.
        given: What the device gave.
    """
    num_rows = len(expected)
    wanted, second, seen = (array.reshape(num_rows, -1).astype(np.float64) for array in (expected, other, given))
    span = watch.fixed_range or _span(wanted)
    tolerance = TOLERANCE * span
    comparable = _distances(wanted, second).max(axis=1, initial=0.0) <= tolerance
    distances = _distances(wanted, seen).max(axis=1, initial=0.0)
    largest = float(distances[comparable].max(initial=0.0))
    seen_alike = OutputAgreement(
        output=watch.output.name,
        num_rows=num_rows,
        num_comparable=int(comparable.sum()),
        num_beyond=int((distances[comparable] > tolerance).sum()),
        largest_difference=float(f"{largest:.6g}") if np.isfinite(largest) else None,
        tolerance=float(f"{tolerance:.6g}"),
    )
    if watch.threshold is None or not is_classes(watch.output, expected):
        return seen_alike
    answers, others, there = (answered_classes(scores, watch.threshold) for scores in (wanted, second, seen))
    lead = np.minimum(leads(wanted, watch.threshold), leads(second, watch.threshold)) >= SAFE_MARGIN * span
    leading = comparable & lead & (answers == others)
    return replace(
        seen_alike,
        num_same_answer=int((answers == there).sum()),
        num_leading=int(leading.sum()),
        num_leading_same=int(((answers == there) & leading).sum()),
    )


def is_classes(output: TensorSpec, values: Array) -> bool:
    """Whether an output can be scores of classes: one row of numbers per example."""
    return values.ndim == 2 and values.shape[1] > 0 and np.dtype(output.dtype).kind in "fiu"


def _distances(left: Array, right: Array) -> Array:
    """Absolute differences; 0 between equal infinities and between NaN, infinite where only one is finite."""
    with np.errstate(invalid="ignore"):
        difference = np.abs(left - right)
    alike = (left == right) | (np.isnan(left) & np.isnan(right))
    return np.where(alike, 0.0, np.where(np.isnan(difference), np.inf, difference))


def _span(values: Array) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.max() - finite.min()) if finite.size else 0.0
