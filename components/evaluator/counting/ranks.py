"""How well scores rank class 1 above class 0: histograms that add up, and the exact area under their ROC curve.

Scores are ranked in half precision (65,536 steps; one step near 1.0 is 0.0005, an eighth of one int8 code): memory is
flat, and equal scores count half, as in the Mann-Whitney statistic.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

NUM_STEPS = 1 << 16


@dataclass(frozen=True, eq=False)
class Ranks:
    """Examples per step of the score: int64 ``[2, 65536]`` by class, for each model; ``a + b`` merges two parts."""

    of_float: NDArray[np.int64]
    of_candidate: NDArray[np.int64]

    def __add__(self, other: Ranks) -> Ranks:
        return Ranks(self.of_float + other.of_float, self.of_candidate + other.of_candidate)


def rank_batch(
    labels: NDArray[np.int64], float_scores: NDArray[Any], candidate_scores: NDArray[Any], usable: NDArray[np.bool_]
) -> Ranks:
    """Counts one batch.

    Args:
        labels: 0 or 1, ``[n]``.
        float_scores: ``[n, 1]``, or ``[n, 2]`` of which class 1 minus class 0 ranks.
        candidate_scores: The same shape.
        usable: Rows ``[n]`` with finite scores and a label of 0 or 1.
    """
    return Ranks(*(_histogram(labels[usable], scores[usable]) for scores in (float_scores, candidate_scores)))


def _histogram(labels: NDArray[np.int64], scores: NDArray[Any]) -> NDArray[np.int64]:
    ranked = scores[:, 0] if scores.shape[1] == 1 else scores[:, 1].astype(np.float32) - scores[:, 0]
    with np.errstate(over="ignore"):  # beyond 65504 is the last step
        bits = (ranked.astype(np.float16) + np.float16(0)).view(np.uint16).astype(np.int64)  # + 0 turns -0 into 0
    steps = np.where(bits & 0x8000, 0xFFFF - bits, bits | 0x8000)
    counts = np.bincount(labels * NUM_STEPS + steps, minlength=2 * NUM_STEPS)
    return np.asarray(counts.reshape(2, NUM_STEPS), np.int64)


def area_under_curve(histogram: NDArray[np.int64]) -> Fraction | None:
    """Chance that an example of class 1 ranks above one of class 0, ties half; None where a class has no examples."""
    negatives, positives = histogram[0], histogram[1]
    pairs = int(negatives.sum()) * int(positives.sum())
    if pairs == 0:
        return None
    below = np.cumsum(negatives) - negatives
    used = np.flatnonzero(positives)
    wins = sum(
        p * (2 * b + n)
        for p, b, n in zip(positives[used].tolist(), below[used].tolist(), negatives[used].tolist(), strict=True)
    )
    return Fraction(wins, 2 * pairs)
