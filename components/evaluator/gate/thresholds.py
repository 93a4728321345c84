"""The thresholds of the gate: what a team may set, in exact arithmetic, and what cannot be meant.

A rule that is None is off. Everything crosses TFX as one line of JSON in the exec property ``rules``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from decimal import Decimal
from fractions import Fraction
from typing import Any

from edgeproof_edge.errors import InputError

from components.evaluator.counting.metric import Metric

#: Share of the float model's accuracy a candidate must keep: the promise of this product. MLPerf asks 99 % of FP32 on
#: servers and 98 % on phones; a team that needs more raises it.
DEFAULT_MINIMUM_RATIO = Fraction(97, 100)
#: Fewest examples that a verdict may rest on.
DEFAULT_MINIMUM_EXAMPLES = 500
#: Errors may grow by as much as right answers may shrink: 3 %.
DEFAULT_MAXIMUM_ERROR_FACTOR = Fraction(103, 100)
#: Fewest examples of a slice or a class that is judged by itself: below, one example moves a ratio by more than a point.
DEFAULT_SLICE_MINIMUM_EXAMPLES = 100
#: Labels ranked in a top-k answer; the benchmark that made top-k usual (ImageNet) takes 5.
DEFAULT_TOP_K = 5
#: Ratios above this are a percentage typed as a ratio.
LARGEST_MINIMUM_RATIO = Fraction(2)


def exact_fraction(value: str | int | Decimal | Fraction, name: str = "value") -> Fraction:
    """A threshold in exact arithmetic: ``"0.97"`` becomes 97/100.

    Raises:
        InputError: ``value`` is no decimal number, or a binary float, which is not what was written.
    """
    if isinstance(value, (float, bool)):
        raise InputError(
            f"{name} is the binary float {value!r}, which is not exactly what was written; give it as text, such as "
            "'0.97'."
        )
    try:
        return Fraction(value)
    except (ValueError, TypeError, ZeroDivisionError, OverflowError) as error:
        raise InputError(f"{name} is {value!r}; it takes a decimal number such as 0.97.") from error


@dataclass(frozen=True)
class GateRules:
    """Thresholds of the gate; ratios, shares and factors are exact fractions.

    Attributes:
        minimum_ratio: Share of the float model's figure that the candidate must reach, above 0 and at most 2.
        minimum_float_accuracy: Floor for the float model's figure, 0..1; None means clearly above chance.
        minimum_examples: Fewest examples to judge on, at least 1.
        metric: The figure that is compared.
        top_k: For ``topk``: how many of the best scores may hold the label.
        maximum_error_factor: For ``mae`` and ``rmse``: candidate's error over the float model's, at least 1.
        confidence: One-sided level, such as 0.95, at which the bound of the ratio must keep the rule; None is off.
        slice_minimum_ratio: Ratio that every slice must keep; None is off.
        slice_maximum_error_factor: For ``mae`` and ``rmse``: factor that every slice must keep, at least 1; None is off.
        slice_minimum_examples: Smaller slices are not judged by themselves.
        class_minimum_ratio: Ratio that every class must keep; None is off.
        class_minimum_examples: Smaller classes are not judged by themselves.
        champion_minimum_ratio: Share of the current release's right answers to reach on the same examples; None is off.
        maximum_size_ratio: Bytes of the candidate over bytes of the float .tflite file; None is off.
        maximum_latency_ratio: Median milliseconds over those of the float .tflite file, on this host; None is off.
        minimum_kernel_agreement: Share of equal answers of two kernel families on the sample; None is off.
    """

    minimum_ratio: Fraction = DEFAULT_MINIMUM_RATIO
    minimum_float_accuracy: Fraction | None = None
    minimum_examples: int = DEFAULT_MINIMUM_EXAMPLES
    metric: Metric = Metric.TOP1
    top_k: int = DEFAULT_TOP_K
    maximum_error_factor: Fraction = DEFAULT_MAXIMUM_ERROR_FACTOR
    confidence: Fraction | None = None
    slice_minimum_ratio: Fraction | None = None
    slice_minimum_examples: int = DEFAULT_SLICE_MINIMUM_EXAMPLES
    class_minimum_ratio: Fraction | None = None
    class_minimum_examples: int = DEFAULT_SLICE_MINIMUM_EXAMPLES
    champion_minimum_ratio: Fraction | None = None
    maximum_size_ratio: Fraction | None = None
    maximum_latency_ratio: Fraction | None = None
    minimum_kernel_agreement: Fraction | None = None
    slice_maximum_error_factor: Fraction | None = None

    def __post_init__(self) -> None:
        self._check_ranges()
        self._check_together()

    def _check_ranges(self) -> None:
        if not isinstance(self.metric, Metric):
            raise InputError(f"the metric is {self.metric!r}; choose one of {', '.join(m.value for m in Metric)}.")
        if not _lies(self.minimum_ratio, 0, LARGEST_MINIMUM_RATIO, above=True):
            raise InputError(
                f"the minimum ratio is {self.minimum_ratio}; it is a share such as 0.97, above 0 and at most 2."
            )
        for name, (low, high, above, takes) in _RANGES.items():
            value = getattr(self, name)
            if value is not None and not _lies(value, low, high, above):
                raise InputError(f"the {name.replace('_', ' ')} is {value}; it is {takes}.")
        for name in _WHOLE_NUMBERS:
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                what = "minimum number of examples" if name == "minimum_examples" else name.replace("_", " ")
                raise InputError(f"the {what} is {value}; it is a whole number, 1 or more.")

    def _check_together(self) -> None:
        """Rules that have no meaning for a metric are refused, not skipped: a rule that never fires reads like a pass."""
        right_answers_only = {
            "a rule per slice": self.slice_minimum_ratio,
            "a rule per class": self.class_minimum_ratio,
            "a comparison with the current release": self.champion_minimum_ratio,
            "a minimum kernel agreement": self.minimum_kernel_agreement,
        }
        for what, value in right_answers_only.items():
            if value is not None and self.metric.is_regression:
                raise InputError(f"{what} counts right answers, and the metric {self.metric.value} has none.")
        if self.slice_maximum_error_factor is not None and not self.metric.is_regression:
            raise InputError(f"an error factor per slice is for mae and rmse, and the metric is {self.metric.value}.")
        if self.confidence is not None and not Fraction(1, 2) <= self.confidence < 1:
            raise InputError(
                f"the confidence is {self.confidence}; it is a one-sided level such as 0.95, from 0.5 to below 1."
            )
        if self.confidence is not None and self.metric.is_binary:
            raise InputError(
                f"there is no confidence bound for the metric {self.metric.value}; "
                "it is there for top1, topk, mae and rmse. Remove gate.confidence."
            )

    @property
    def answers_ranked(self) -> int:
        """How many of the best scores may hold the label for an answer to be right."""
        return self.top_k if self.metric is Metric.TOPK else 1

    @classmethod
    def from_text(
        cls,
        minimum_ratio: str | Decimal = "0.97",
        minimum_float_accuracy: str | Decimal | None = None,
        minimum_examples: int = DEFAULT_MINIMUM_EXAMPLES,
        **others: str | Decimal | int | None,
    ) -> GateRules:
        """Makes rules from decimal text, as a config or a command line gives it.

        Raises:
            InputError: A number is none, or out of its range.
        """
        given: dict[str, Any] = {
            "minimum_ratio": minimum_ratio,
            "minimum_float_accuracy": minimum_float_accuracy,
            "minimum_examples": minimum_examples,
            **others,
        }
        unknown = sorted(set(given) - {f.name for f in fields(cls)})
        if unknown:
            raise InputError(f"the gate has no rules {unknown}.")
        return cls(**{name: _read(name, value) for name, value in given.items()})

    def to_json(self) -> str:
        """The rules as one line of JSON, fractions as text."""
        return json.dumps({f.name: _plain(getattr(self, f.name)) for f in fields(self)}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> GateRules:
        """Reads what :meth:`to_json` wrote; fractions are text, as in ``"97/100"`` or ``"0.97"``.

        Raises:
            InputError: A field is unknown, or a value is not what the rule takes.
        """
        try:
            return cls.from_text(**json.loads(text))
        except (TypeError, ValueError) as error:
            raise InputError(f"these are not gate rules: {text!r} ({error})") from error


#: Lowest, highest (None: no end), whether the lowest is excluded, and what to say.
_RANGES: dict[str, tuple[int, int | None, bool, str]] = {
    "minimum_float_accuracy": (0, 1, False, "a share between 0 and 1, such as 0.9"),
    "maximum_error_factor": (1, None, False, "a factor such as 1.03, 1 or more"),
    "slice_maximum_error_factor": (1, None, False, "a factor such as 1.1, 1 or more"),
    "confidence": (0, 1, True, "a one-sided level such as 0.95, from 0.5 to below 1"),
    "slice_minimum_ratio": (0, 2, True, "a share such as 0.9, above 0 and at most 2"),
    "class_minimum_ratio": (0, 2, True, "a share such as 0.9, above 0 and at most 2"),
    "champion_minimum_ratio": (0, 2, True, "a share such as 1, above 0 and at most 2"),
    "maximum_size_ratio": (0, None, True, "a share such as 0.5, above 0"),
    "maximum_latency_ratio": (0, None, True, "a share such as 1, above 0"),
    "minimum_kernel_agreement": (0, 1, True, "a share such as 0.98, above 0 and at most 1"),
}
_WHOLE_NUMBERS = ("minimum_examples", "slice_minimum_examples", "class_minimum_examples", "top_k")


def _lies(value: object, low: int, high: Fraction | int | None, above: bool) -> bool:
    if not isinstance(value, Fraction):
        return False
    return (value > low if above else value >= low) and (high is None or value <= high)


def _read(name: str, value: Any) -> Any:
    if name in _WHOLE_NUMBERS:
        return value
    if name == "metric":
        return Metric(value) if value in {m.value for m in Metric} else value
    return None if value is None else exact_fraction(value, f"the {name.replace('_', ' ')}")


def _plain(value: Any) -> Any:
    if isinstance(value, Metric):
        return value.value
    return str(value) if isinstance(value, Fraction) else value
