"""What is counted of examples and answers, on the holdout and on devices alike, so that the two compare.

Rules, in order: 1. Of an input, the mean and the deviation of an example. 2. Of a classifier's answer, its class and how
sure it was. 3. Bins are those of the manifest's reference: `counts[i]` numbers lie in `edges[i - 1] <= number < edges[i]`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def are_probabilities(scores: Array) -> bool:
    """Whether scores may be probabilities: codes of an 8-bit softmax can be off by one step of 1/256."""
    return bool(((scores >= -0.01) & (scores <= 1.01)).all())


def confidence(scores: Array, is_probability: bool | None = None) -> Array:
    """How sure an answer is, 0 to 1: the largest probability; logits go through softmax or a sigmoid first.

    Args:
        scores: `[n, classes]`, or `[n, 1]` of a two-class model.
        is_probability: Whether the model gives probabilities; None decides by these scores, which few rows of logits may
            mislead.
    """
    values = scores.astype(np.float64)
    if is_probability is None:
        is_probability = are_probabilities(values)
    if values.shape[1] == 1:
        positive = values[:, 0] if is_probability else 1 / (1 + np.exp(-np.clip(values[:, 0], -500, 500)))
        return np.clip(np.maximum(positive, 1 - positive), 0.0, 1.0)
    if not is_probability:
        exponents = np.exp(values - values.max(axis=1, keepdims=True))
        values = exponents / exponents.sum(axis=1, keepdims=True)
    highest: Array = np.clip(values.max(axis=1), 0.0, 1.0)
    return highest


def input_statistics(values: Array) -> dict[str, Array]:
    """Mean and deviation of every example `[n, ...]`, each `[n]`."""
    rows = values.reshape(len(values), -1).astype(np.float64)
    return {"mean": rows.mean(axis=1), "deviation": rows.std(axis=1)}


def bin_counts(values: Array, edges: Sequence[float]) -> list[int]:
    """How many values lie in each bin; one more bin than edges."""
    bins = np.searchsorted(np.asarray(edges), values, side="right")
    return [int(count) for count in np.bincount(bins, minlength=len(edges) + 1)]
