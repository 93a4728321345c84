"""How long a search may go on: seconds of processor time, which do not run faster on a busy machine.

Without a limit of the user's, the budget grows with the model: what the first candidate took tells what the others will.
"""

from __future__ import annotations

import time

#: What every search may take; a candidate of a small model takes 0.1 s.
BASE_SECONDS = 120.0
#: Candidates of a large model that the budget holds: the whole ladder with float islands makes about 30.
NUM_CANDIDATES = 40


class Budget:
    """The processor time of one search; the clock starts when it is made."""

    def __init__(self, max_seconds: float | None) -> None:
        """Takes the user's limit, or None for one that fits the model."""
        self._limit = max_seconds
        self._started = time.process_time()
        self._candidate_seconds = 0.0

    def saw_candidate(self, seconds: float) -> None:
        """Learns what a candidate takes."""
        self._candidate_seconds = max(self._candidate_seconds, seconds)

    @property
    def spent(self) -> float:
        """Seconds of processor time since the start."""
        return time.process_time() - self._started

    @property
    def limit(self) -> float:
        """Seconds after which nothing more is tried."""
        if self._limit is not None:
            return self._limit
        return max(BASE_SECONDS, NUM_CANDIDATES * self._candidate_seconds)

    @property
    def is_spent(self) -> bool:
        """Whether nothing more may be tried."""
        return self.spent > self.limit
