"""What a rule of the gate is and returns, how it writes numbers, and where the rules come from.

A rule is one object: its name, the threshold that sets it, when it applies, how it judges, and who is to blame when it is
broken. All of them stand in one list (``judgement.RULES``); config, command line, report, page and advice follow from it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from components.evaluator.gate.evidence import Evidence

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
SOURCE_EXACT = "both models on the same examples, compared as fractions"
SOURCE_PAIRS = "exact sign test on paired counts (McNemar), 1 % over all classes together (Tarone 1990)"
SOURCE_PARTS = "an average over an output hides its smaller part: fused heads that detect nothing pass on their boxes"
SOURCE_CONFIG = "a rule that the config turns on"
SOURCE_DEVICE = "measured on the device that the config names"

#: "Clearly above chance": standard deviations above knowing nothing (one-sided p = 0.0013).
CHANCE_SIGMAS = 3


class RuleName(str, Enum):
    """Names of the rules, as the report has them."""

    CANDIDATE_USABLE = "candidate_usable"
    CANDIDATE_UNCHANGED = "candidate_unchanged"
    SIZE_RATIO = "size_ratio"
    LATENCY_RATIO = "latency_ratio"
    SCORED = "scored"
    CONSISTENT_COUNTS = "consistent_counts"
    EVERY_EXAMPLE_SCORED = "every_example_scored"
    MINIMUM_EXAMPLES = "minimum_examples"
    FINITE_OUTPUTS = "finite_outputs"
    LABELS_IN_RANGE = "labels_in_range"
    FLOAT_ACCURACY = "float_accuracy"
    NOT_COLLAPSED = "not_collapsed"
    ACCURACY_KEPT = "accuracy_kept"
    FIGURE_KEPT = "figure_kept"
    ERROR_KEPT = "error_kept"
    NO_CLASS_LOST = "no_class_lost"
    WORST_PART_KEPT = "worst_part_kept"
    CONFIDENCE_BOUND = "confidence_bound"
    SLICES_FOUND = "slices_found"
    SLICES_KEPT = "slices_kept"
    SLICE_ERRORS_KEPT = "slice_errors_kept"
    CLASSES_KEPT = "classes_kept"
    NO_WORSE_THAN_RELEASE = "no_worse_than_release"
    KERNELS_AGREE = "kernels_agree"
    DEVICE_MEASURED = "device_measured"
    DEVICE_ANSWERS = "device_answers"
    DEVICE_LATENCY = "device_latency"
    DEVICE_LATENCY_RATIO = "device_latency_ratio"


class Blame(str, Enum):
    """What is at fault when a rule is broken, and so what advice belongs to it; the first that applies is given."""

    FLOAT_MODEL = "float model"
    LABELS = "labels"
    QUANTIZATION = "quantization"
    """The model lost as a whole."""
    PART = "part"
    """A slice or a class lost by quantization."""
    RELEASE = "release"
    """The model released now is better."""
    NUM_EXAMPLES = "number of examples"
    SIZE = "size"
    DEVICE = "device"
    """The device is too slow, answers otherwise, or could not be measured."""
    NOBODY = "nobody"


@dataclass(frozen=True, kw_only=True)
class RuleResult:
    """What one rule came to: ``threshold`` and ``observed`` for people to read, ``reason`` to say what to do."""

    name: RuleName
    threshold: str
    observed: str
    passed: bool
    reason: str
    source: str


def _always(_: Evidence) -> bool:
    return True


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One rule of the gate.

    Attributes:
        name: Its name; of several that stand in for each other with different metrics, the first.
        judge: What it comes to.
        setting: Threshold of :class:`GateRules` that turns it on; empty where it always judges.
        applies: Whether it has anything to judge, beside ``setting``.
        blame: What is at fault when it is broken.
        needs_counts: Whether it judges what was counted; where nothing could be scored such rules are silent.
    """

    name: RuleName
    judge: Callable[[Evidence], RuleResult]
    setting: str = ""
    applies: Callable[[Evidence], bool] = _always
    blame: Blame = Blame.NOBODY
    needs_counts: bool = True

    def is_on(self, evidence: Evidence) -> bool:
        """Whether the rule judges this case."""
        if self.needs_counts and not evidence.is_scored:
            return False
        if self.setting and getattr(evidence.rules, self.setting) is None:
            return False
        return self.applies(evidence)


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
