"""A bucket of tokens per device: a device may send a burst after silence, and a steady rate for ever."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

#: Devices that are remembered; the one that was silent longest is forgotten, and has then a full bucket anyway.
MAX_REMEMBERED = 100_000


class RateLimit:
    """Counts requests; kept in this process's memory."""

    def __init__(self, per_minute: float, burst: int, clock: Callable[[], float]) -> None:
        self._per_second = per_minute / 60
        self._burst = burst
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def seconds_to_wait(self, sender: str) -> float:
        """Takes one request of a sender; above zero, it was one too many and may come again after so many seconds."""
        now = self._clock()
        level, then = self._buckets.pop(sender, (float(self._burst), now))
        level = min(self._burst, level + (now - then) * self._per_second)
        is_allowed = level >= 1
        self._buckets[sender] = (level - 1 if is_allowed else level, now)
        if len(self._buckets) > MAX_REMEMBERED:
            self._buckets.popitem(last=False)
        return 0.0 if is_allowed else (1 - level) / self._per_second
