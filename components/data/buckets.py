"""Buckets of a real number: their names and, where nobody gives edges, quantiles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray


def bucket_names(edges: Sequence[float]) -> tuple[str, ...]:
    """``[-inf, 64)``, ``[64, 128)`` and so on."""
    ends = ["-inf", *(f"{edge:g}" for edge in edges), "inf"]
    return tuple(f"[{low}, {high})" for low, high in pairwise(ends))


def bucket_positions(values: ArrayLike, edges: Sequence[float]) -> NDArray[np.int64]:
    """For every number ``[n]`` the position of its bucket; an edge belongs to the bucket above it, NaN to none (``len(edges) + 1``)."""
    numbers = np.asarray(values, np.float64)
    positions = np.searchsorted(np.asarray(edges, np.float64), numbers, side="right").astype(np.int64)
    positions[np.isnan(numbers)] = len(edges) + 1
    return positions


def quantile_edges(
    values: ArrayLike, num_buckets: int, cumulative_shares: Sequence[float] | None = None
) -> tuple[float, ...]:
    """Edges that cut numbers into buckets of about equal size; fewer where many numbers are equal.

    Args:
        values: Numbers ``[n]``; or the edges of a histogram, where ``cumulative_shares`` are given.
        num_buckets: Wanted.
        cumulative_shares: For every histogram edge the share of the numbers below it, rising from 0 to 1.

    Returns:
        Rising edges above the lowest number and not above the highest, rounded to a hundredth of the range's magnitude: people
        read them.
    """
    numbers = np.asarray(values, np.float64).reshape(-1)
    numbers = numbers[np.isfinite(numbers)]
    if not len(numbers):
        return ()
    shares = np.arange(1, num_buckets) / num_buckets
    edges = np.quantile(numbers, shares) if cumulative_shares is None else np.interp(shares, cumulative_shares, numbers)
    low, high = float(numbers.min()), float(numbers.max())
    if low == high:
        return ()
    decimals = 2 - math.floor(math.log10(high - low))
    rounded = {float(f"{round(float(edge), decimals):g}") for edge in edges}  # names of buckets show six digits
    return tuple(sorted(edge for edge in rounded if low < edge <= high))
