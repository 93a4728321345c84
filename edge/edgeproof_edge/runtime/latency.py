"""How long answers took, in fixed buckets: half octaves from 10 microseconds to 84 seconds, the same on every device.

Buckets of many windows and devices add up exactly; averages of percentiles do not. A percentile read from them is off by
at most the width of a bucket, a factor of 1.19 around its middle.
"""

from __future__ import annotations

import bisect
import threading
from collections.abc import Sequence

#: ``counts[i]`` answers took ``EDGES_MS[i - 1] <= milliseconds < EDGES_MS[i]``; schemas/telemetry_event.schema.json.
EDGES_MS: tuple[float, ...] = tuple(0.01 * 2 ** (k / 2) for k in range(47))
NUM_BUCKETS = len(EDGES_MS) + 1

_HALF_BUCKET = 2**0.25


class LatencyHistogram:
    """Counts of latencies; safe among threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = [0] * NUM_BUCKETS
        self._sum = self._max = 0.0

    def add(self, milliseconds: float, num_answers: int = 1) -> None:
        """Counts answers that took `milliseconds` each."""
        bucket = bisect.bisect_right(EDGES_MS, milliseconds)
        with self._lock:
            self._counts[bucket] += num_answers
            self._sum += milliseconds * num_answers
            if milliseconds > self._max:
                self._max = milliseconds

    def take(self) -> tuple[list[int], float, float]:
        """Counts, sum and maximum so far; counting starts anew."""
        with self._lock:
            taken = self._counts, self._sum, self._max
            self._counts, self._sum, self._max = [0] * NUM_BUCKETS, 0.0, 0.0
        return taken

    def read(self) -> tuple[list[int], float, float]:
        """Counts, sum and maximum so far."""
        with self._lock:
            return list(self._counts), self._sum, self._max

    def percentile(self, share: float) -> float | None:
        """About how many milliseconds a share of the answers took at most; None before the first."""
        counts, _, longest = self.read()
        return percentile_of(counts, share, longest)


def percentile_of(counts: Sequence[int], share: float, longest: float = float("inf")) -> float | None:
    """The middle (geometric) of the bucket in which a share of all answers is reached; None where there are none."""
    total = sum(counts)
    if total == 0:
        return None
    reached = 0
    for bucket, count in enumerate(counts):
        reached += count
        if reached >= share * total and count:
            low = EDGES_MS[bucket - 1] if bucket else EDGES_MS[0] / _HALF_BUCKET
            return min(low * _HALF_BUCKET, longest)
    return longest
