"""When a device asks again: spread over the fleet, and seldom where asking does not help.

A fleet that was switched on by one power line, or that lost its server for an hour, must not come back as one. Rules, in
order: 1. The first question comes at a random
moment of the first minute: a device that was off may be far behind. 2. Then about every interval, give or take a
tenth. 3. After a failure the wait starts short and doubles, each drawn from its whole lower half up to it ("equal
jitter"), and never beyond the interval or an hour.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

#: Between two questions where all is well.
INTERVAL_SECONDS = 3600.0
FIRST_MINUTE_SECONDS = 60.0
#: Behind the first failure.
FIRST_BACK_OFF_SECONDS = 15.0
MAX_BACK_OFF_SECONDS = 3600.0

_JITTER = 0.1


@dataclass
class Polling:
    """Tells how long to wait; one per device.

    Attributes:
        interval_seconds: Between two questions where all is well.
        random: Where chance comes from; seed it with the device's id for a test.
        num_failures: Failures since the last success.
    """

    interval_seconds: float = INTERVAL_SECONDS
    random: random.Random = field(default_factory=random.Random)
    num_failures: int = 0

    def first_wait(self) -> float:
        """Seconds until the first question after a start."""
        return self.random.uniform(0.0, min(self.interval_seconds, FIRST_MINUTE_SECONDS))

    def succeeded(self) -> float:
        """Seconds until the next question."""
        self.num_failures = 0
        return self.interval_seconds * self.random.uniform(1.0 - _JITTER, 1.0 + _JITTER)

    def failed(self) -> float:
        """Seconds until the next try."""
        longest = min(
            FIRST_BACK_OFF_SECONDS * 2.0 ** min(self.num_failures, 32),
            max(self.interval_seconds, FIRST_BACK_OFF_SECONDS),
            MAX_BACK_OFF_SECONDS,
        )
        self.num_failures += 1
        return self.random.uniform(longest / 2.0, longest)
