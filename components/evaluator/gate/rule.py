"""What every rule of the gate returns, how it writes numbers, and where the rules come from."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

#: Sources of the rules, as a report names them.
SOURCE_CLOSED = "closed by default: an absent number is a no"
SOURCE_BYTES = "the bytes released are the bytes judged are the bytes converted"
SOURCE_ARITHMETIC = "arithmetic: the totals follow from the paired table"
SOURCE_WHOLE = "MLPerf Tiny, where a subset made int8 look better than float and the full set did not"
SOURCE_LUCK = "paired simulation at float accuracy 94 %: 16.9 % at n=200, 7.2 % at 500, 0.1 % at 2000"
SOURCE_FINITE = "IEEE 754: NaN compares with nothing, so its argmax is an accident"
SOURCE_LABELS = "a class index names an output of the model"
SOURCE_CHANCE = "binomial distribution, 3 standard deviations (one-sided p = 0.0013)"
SOURCE_COLLAPSE = "TensorFlow's issue tracker: int8 models that answer one class for every input"
SOURCE_FLOOR = "the floor set in the config"
SOURCE_RATIO = "ratio of right answers on the same examples, compared as fractions"
SOURCE_CONFIG = "a rule that the config turns on"


@dataclass(frozen=True)
class RuleResult:
    """What one rule found: ``threshold`` and ``observed`` for people to read, ``reason`` to say what to do."""

    name: str
    threshold: str
    observed: str
    passed: bool
    reason: str
    source: str


def percent(share: Fraction) -> str:
    """A threshold as percent, exactly as written: at least two decimals, as many as it has (up to six)."""
    hundredfold = share * 100
    for digits in range(2, 7):
        if (hundredfold * 10**digits).denominator == 1:
            break
    return f"{decimal(hundredfold, digits)} %"


def percent_down(share: Fraction) -> str:
    """An observed share as percent, rounded down, so that 96.9999 % never reads as 97.00 %."""
    return f"{decimal(share * 100, 2)} %"


def decimal(value: Fraction, digits: int) -> str:
    """A number of 0 or more with that many decimals, rounded down."""
    whole, rest = divmod(int(value * 10**digits // 1), 10**digits)
    return f"{whole}.{rest:0{digits}d}"


def decimal_up(value: Fraction, digits: int) -> str:
    """A number of 0 or more, rounded up, so that a factor of 1.0300001 never reads as 1.03."""
    return decimal(Fraction(-(-value * 10**digits // 1), 10**digits), digits)
