"""Whether chance explains what was lost: exact tests on paired counts, for the gate and for the search that repairs.

Two models answered the same examples; those that both got right, or both wrong, say nothing. Were the candidate as good as
float, a loss would be as likely as a gain: McNemar's test, one-sided and exact. Of many classes some lose by chance, so
the level holds for all of them together; a class with so few examples that no result could be significant does not count
(Tarone, R. E. (1990), "A modified Bonferroni method for discrete data", Biometrics 46).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

#: Chance that some class of a candidate that is as good as float is called lost. 10 examples of 10 lost have 0.001.
FAMILY_LEVEL = Fraction(1, 100)
#: A class of which less than this share of the float model's right answers is left is lost, where chance does not explain it.
LOST_SHARE = Fraction(1, 2)
#: Up to so many pairs the tail is summed as integers; beyond, in logarithms.
_EXACT_PAIRS = 2000


@dataclass(frozen=True)
class PairedLoss:
    """Examples that only float got right, and that only the candidate did."""

    losses: int
    gains: int

    @property
    def chance(self) -> float:
        """Chance of as many losses among these pairs, were a loss as likely as a gain."""
        return sign_test(self.losses, self.gains)

    @property
    def least_chance(self) -> float:
        """The smallest chance that so many pairs could have: all of them losses."""
        return sign_test(self.losses + self.gains, 0)


@lru_cache(maxsize=4096)  # of many classes, many have the same few pairs
def sign_test(losses: int, gains: int) -> float:
    """Chance that of ``losses + gains`` tosses of a coin at least ``losses`` fall on the one side; 1 without any."""
    pairs = losses + gains
    if losses <= 0:
        return 1.0
    if pairs <= _EXACT_PAIRS:
        return float(Fraction(sum(math.comb(pairs, k) for k in range(losses, pairs + 1)), 2**pairs))
    logs = [_log_choose(pairs, k) - pairs * math.log(2) for k in range(losses, pairs + 1)]
    highest = max(logs)
    return min(1.0, math.exp(highest) * math.fsum(math.exp(log - highest) for log in logs))


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def is_beyond_chance(loss: PairedLoss, level: Fraction = FAMILY_LEVEL) -> bool:
    """Whether chance does not explain one loss, looked at alone."""
    return loss.chance <= level


def beyond_chance(losses: Sequence[PairedLoss], level: Fraction = FAMILY_LEVEL) -> tuple[bool, ...]:
    """Which of several losses chance does not explain; the level holds for all of them together."""
    least, divisor, family = [loss.least_chance for loss in losses], 1, float(level)
    while sum(chance <= family / divisor for chance in least) > divisor:
        divisor += 1
    return tuple(loss.chance <= family / divisor for loss in losses)
