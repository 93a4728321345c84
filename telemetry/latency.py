"""Quantiles of latencies from histograms whose edges are the same for every device, so that any windows add up."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from telemetry.event import LATENCY_EDGES_MS, NUM_LATENCY_COUNTS


def quantile_ms(counts: Sequence[int], share: float) -> float | None:
    """The latency below which a share of the answers lies, in milliseconds; None without answers.

    Between two edges answers are taken as spread evenly on the logarithmic scale of the edges, so the error is below half an octave
    (41 %) and in practice a few percent. Above the last edge it is that edge.

    Args:
        counts: One more than the edges.
        share: From 0 to 1, as in 0.99.
    """
    total = sum(counts)
    if total == 0:
        return None
    wanted, below = share * total, 0
    for index, count in enumerate(counts):
        if count and below + count >= wanted:
            return _between(index, (wanted - below) / count)
        below += count
    return LATENCY_EDGES_MS[-1]


def add(histograms: Iterable[Sequence[int]]) -> list[int]:
    """The sum of histograms, bin by bin."""
    total = [0] * NUM_LATENCY_COUNTS
    for histogram in histograms:
        for index, count in enumerate(histogram):
            total[index] += count
    return total


def _between(index: int, share: float) -> float:
    if index == 0:
        return LATENCY_EDGES_MS[0] * share
    if index >= len(LATENCY_EDGES_MS):
        return LATENCY_EDGES_MS[-1]
    low, high = LATENCY_EDGES_MS[index - 1], LATENCY_EDGES_MS[index]
    return float(low * (high / low) ** share)
