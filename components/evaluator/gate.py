"""Decides whether the candidate may ship: pure rules over integer counts, closed by default.

Every rule returns a :class:`RuleResult` with its threshold, what was observed, a sentence and a source. Rules, in
order:

1. The counts are complete and do not contradict each other.
2. Exactly the examples that the split holds were scored.
3. There are enough of them to tell a good model from a bad one.
4. No output is NaN or infinite, and no label lies outside the classes.
5. The float model is worth comparing with: clearly above chance, or above an explicit floor. (Two models at chance have
   ratio 1.)
6. The candidate is not collapsed onto one class.
7. The candidate keeps the minimum share of the float model's right answers, in exact arithmetic.

An absent number is a "no", never an exception. The verdict holds when every rule does.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from edgeproof_edge.errors import InputError

from components.evaluator.counts import Counts
from components.evaluator.intervals import chance_of_passing

#: Share of the float model's accuracy a candidate must keep: the promise of this product. MLPerf asks 99 % of FP32 on
#: servers and 98 % on phones; a team that needs more raises it.
DEFAULT_MINIMUM_RATIO = Fraction(97, 100)
#: Fewest examples that a verdict may rest on.
DEFAULT_MINIMUM_EXAMPLES = 500
#: "Clearly above chance": standard deviations above always answering the commonest label (one-sided p = 0.0013).
CHANCE_SIGMAS = 3
#: A candidate with more than this share of its predictions in one class is looked at by the collapse rule.
COLLAPSED_SHARE = Fraction(95, 100)
#: The collapse rule compares only with a float model that gives at least this share of its predictions to the other
#: classes.
LIVELY_FLOAT_SHARE = Fraction(1, 100)
#: How far below the rule the "would it pass by luck" model lies: 95 % for a rule of 97 %.
LUCK_MARGIN = Fraction(2, 100)
#: Ratios above this are a percentage typed as a ratio.
LARGEST_MINIMUM_RATIO = Fraction(2)

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
    """Thresholds of the gate. Ratios and shares are exact fractions; crosses TFX as JSON in the exec property
    ``rules``.

    Attributes:
        minimum_ratio: Share of the float model's right answers that the candidate must reach, above 0 and at most 2.
        minimum_float_accuracy: Floor for the float model, 0..1; None means clearly above chance.
        minimum_examples: Fewest examples to judge on, at least 1.
    """

    minimum_ratio: Fraction = DEFAULT_MINIMUM_RATIO
    minimum_float_accuracy: Fraction | None = None
    minimum_examples: int = DEFAULT_MINIMUM_EXAMPLES

    def __post_init__(self) -> None:
        if not isinstance(self.minimum_ratio, Fraction) or not 0 < self.minimum_ratio <= LARGEST_MINIMUM_RATIO:
            raise InputError(
                f"the minimum ratio is {self.minimum_ratio}; it is a share such as 0.97, above 0 and at most 2."
            )
        floor = self.minimum_float_accuracy
        if floor is not None and (not isinstance(floor, Fraction) or not 0 <= floor <= 1):
            raise InputError(f"the minimum float accuracy is {floor}; it is a share between 0 and 1, such as 0.9.")
        if type(self.minimum_examples) is not int or self.minimum_examples < 1:
            raise InputError(
                f"the minimum number of examples is {self.minimum_examples}; it is a whole number, 1 or more."
            )

    @classmethod
    def from_text(
        cls,
        minimum_ratio: str | Decimal = "0.97",
        minimum_float_accuracy: str | Decimal | None = None,
        minimum_examples: int = DEFAULT_MINIMUM_EXAMPLES,
    ) -> GateRules:
        """Makes rules from decimal text, as a config or a command line gives it.

        Raises:
            InputError: A number is none, or out of its range.
        """
        floor = (
            None
            if minimum_float_accuracy is None
            else exact_fraction(minimum_float_accuracy, "the minimum float accuracy")
        )
        return cls(exact_fraction(minimum_ratio, "the minimum ratio"), floor, minimum_examples)

    def to_json(self) -> str:
        """The rules as one line of JSON, fractions as text."""
        floor = self.minimum_float_accuracy
        record = {
            "minimum_ratio": str(self.minimum_ratio),
            "minimum_float_accuracy": None if floor is None else str(floor),
            "minimum_examples": self.minimum_examples,
        }
        return json.dumps(record, sort_keys=True)

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


@dataclass(frozen=True)
class RuleResult:
    """What one rule found: ``threshold`` and ``observed`` for people to read, ``reason`` to say what to do."""

    name: str
    threshold: str
    observed: str
    passed: bool
    reason: str
    source: str


@dataclass(frozen=True)
class Verdict:
    """The decision with its evidence: accepted only when every rule passed."""

    accepted: bool
    results: tuple[RuleResult, ...]
    sentence: str

    @property
    def broken_rules(self) -> tuple[RuleResult, ...]:
        """The rules that did not pass, in order."""
        return tuple(result for result in self.results if not result.passed)


def judge(
    counts: Counts | None,
    expected_num_examples: int | None,
    rules: GateRules,
    candidate_name: str = "candidate",
    findings: Sequence[RuleResult] = (),
) -> Verdict:
    """Applies every rule.

    Args:
        counts: What scoring counted; None when nothing could be scored.
        expected_num_examples: Examples that the split holds, from another source than the scoring; None refuses.
        rules: The thresholds.
        candidate_name: How to call the candidate in the sentence, such as ``int8``.
        findings: Results of rules about something else than counts (the bytes, the file); they weigh the same.
    """
    if counts is None:
        missing = RuleResult("scored", "counts of both models", "none", False, "nothing was scored.", SOURCE_CLOSED)
        results = tuple(findings) if any(not finding.passed for finding in findings) else (*findings, missing)
    else:
        results = (*findings, *_apply(counts, expected_num_examples, rules))
    accepted = bool(results) and all(result.passed for result in results)
    return Verdict(accepted, results, verdict_sentence(accepted, counts, rules, results, candidate_name))


def _apply(counts: Counts, expected_num_examples: int | None, rules: GateRules) -> tuple[RuleResult, ...]:
    return (
        counts_agree(counts),
        every_example_scored(counts, expected_num_examples),
        enough_examples(counts, rules),
        outputs_finite(counts),
        labels_in_range(counts),
        float_model_good_enough(counts, rules),
        not_collapsed(counts),
        accuracy_kept(counts, rules),
    )


def candidate_usable(problem: str | None) -> RuleResult:
    """The candidate's file could be read, loaded and run; ``problem`` says why not."""
    reason = problem or "the candidate loads and runs."
    observed = "usable" if problem is None else "not usable"
    return RuleResult("candidate_usable", "loads and runs", observed, problem is None, reason, SOURCE_CLOSED)


def candidate_unchanged(sha256: str, recorded_sha256: str) -> RuleResult:
    """The bytes are the ones that the converter recorded; nothing recorded refuses."""
    name, threshold, observed = "candidate_unchanged", f"SHA-256 {recorded_sha256 or 'unknown'}", f"SHA-256 {sha256}"
    if not recorded_sha256:
        reason = (
            "the converter recorded no SHA-256 of the candidate, so nobody knows whose bytes these are. Convert again."
        )
    elif sha256 != recorded_sha256:
        reason = (
            f"the candidate's bytes have SHA-256 {sha256[:12]}..., and {recorded_sha256[:12]}... was recorded: the "
            "file was changed "
            "after it was made. Convert again; nothing but the converter may write there."
        )
    else:
        return RuleResult(
            name, threshold, observed, True, "the bytes are the ones that the converter made.", SOURCE_BYTES
        )
    return RuleResult(name, threshold, observed, False, reason, SOURCE_BYTES)


def counts_agree(counts: Counts) -> RuleResult:
    """Rule 1: the paired table, the totals and the per-class counts say the same."""
    found = counts.inconsistencies()
    reason = (
        f"the counts contradict each other: {'; '.join(found)}. Run the evaluation again."
        if found
        else "the counts add up."
    )
    return RuleResult(
        "consistent_counts", "no contradiction", f"{len(found)} contradiction(s)", not found, reason, SOURCE_ARITHMETIC
    )


def every_example_scored(counts: Counts, expected_num_examples: int | None) -> RuleResult:
    """Rule 2: the number scored is the number the split holds."""
    scored, name = counts.num_examples, "every_example_scored"
    if expected_num_examples is None:
        reason = (
            "nobody says how many examples the split holds, so a part of it could have been left out. "
            "Run StatisticsGen on it."
        )
        return RuleResult(
            name, "the split's own count", f"{scored}, to be compared with nothing", False, reason, SOURCE_WHOLE
        )
    passed = scored == expected_num_examples
    reason = f"{scored} examples were scored and the split holds {expected_num_examples}"
    reason += (
        "."
        if passed
        else "; a verdict on a part of the holdout is none. Rebuild the examples and their statistics together."
    )
    return RuleResult(name, str(expected_num_examples), str(scored), passed, reason, SOURCE_WHOLE)


def enough_examples(counts: Counts, rules: GateRules) -> RuleResult:
    """Rule 3: enough examples, and how often luck would pass a model two points below the rule."""
    scored, passed = counts.num_examples, counts.num_examples >= rules.minimum_examples
    lucky_ratio = max(rules.minimum_ratio - LUCK_MARGIN, Fraction(0))
    accuracy = counts.num_correct_float / scored if 0 < counts.num_correct_float <= scored else 0.5
    chance = chance_of_passing(scored, float(lucky_ratio), float(rules.minimum_ratio), accuracy)
    reason = (
        f"a model that truly keeps {percent(lucky_ratio)} would pass on {scored} examples "
        f"with a chance of {100 * chance:.1f} %."
    )
    if not passed:
        reason = (
            f"{scored} examples are too few, {rules.minimum_examples} are needed: {reason} "
            "Add examples to the split, or lower gate.min_examples."
        )
    return RuleResult("minimum_examples", str(rules.minimum_examples), str(scored), passed, reason, SOURCE_LUCK)


def outputs_finite(counts: Counts) -> RuleResult:
    """Rule 4a: no NaN, no infinity, in either model."""
    of_float, of_candidate = counts.num_nonfinite_float, counts.num_nonfinite_candidate
    passed = of_float == 0 and of_candidate == 0
    observed = f"{of_float} float, {of_candidate} candidate"
    reason = (
        "every output is a finite number."
        if passed
        else f"rows with NaN or infinite outputs: {observed}. "
        "Look for a division by zero, an overflow, or inputs that hold NaN."
    )
    return RuleResult("finite_outputs", "0 rows", observed, passed, reason, SOURCE_FINITE)


def labels_in_range(counts: Counts) -> RuleResult:
    """Rule 4b: every label names a class of the model."""
    num_bad, last = counts.num_label_out_of_range, counts.num_classes - 1
    reason = (
        "every label names a class."
        if num_bad == 0
        else f"{num_bad} label(s) lie outside 0..{last}. "
        "Labels are class indices from 0; check the label column and the class names."
    )
    return RuleResult("labels_in_range", "0 labels", str(num_bad), num_bad == 0, reason, SOURCE_LABELS)


def float_model_good_enough(counts: Counts, rules: GateRules) -> RuleResult:
    """Rule 5: an explicit floor, or right more often than the commonest label plus 3 standard deviations."""
    scored, right = counts.num_examples, counts.num_correct_float
    observed = f"{right} / {scored} right"
    if rules.minimum_float_accuracy is not None:
        return _above_floor(rules.minimum_float_accuracy, right, scored, observed)
    commonest = max(counts.examples_by_label, default=0)
    threshold = (
        f"more than {commonest} / {scored} right (always the commonest label), by {CHANCE_SIGMAS} standard deviations"
    )
    # right > n*p + 3*sqrt(n*p*(1-p)) with p = commonest / n, squared so that it stays in integers
    above = right - commonest
    passed = above > 0 and above**2 * scored > CHANCE_SIGMAS**2 * commonest * (scored - commonest)
    if passed and right > 0:
        return RuleResult(
            "float_accuracy", threshold, observed, True, "the float model is clearly above chance.", SOURCE_CHANCE
        )
    reason = (
        f"the float model ({observed}) is not clearly better than always answering the commonest label ({commonest} / "
        f"{scored}), "
        "so keeping its accuracy proves nothing. Train a better model, or set gate.min_float_accuracy."
    )
    return RuleResult("float_accuracy", threshold, observed, False, reason, SOURCE_CHANCE)


def _above_floor(floor: Fraction, right: int, scored: int, observed: str) -> RuleResult:
    passed = right > 0 and scored > 0 and Fraction(right, scored) >= floor
    wanted = percent(floor)
    reason = (
        f"the float model reaches its floor of {wanted}."
        if passed
        else f"the float model ({observed}) misses its floor of {wanted}. "
        "Train a better model, or lower gate.min_float_accuracy."
    )
    return RuleResult("float_accuracy", wanted, observed, passed, reason, SOURCE_FLOOR)


def not_collapsed(counts: Counts) -> RuleResult:
    """Rule 6: the candidate does not answer one class where the float model tells classes apart.

    On an unbalanced split a candidate that never finds the rare class can keep 97 % of the accuracy; so the comparison
    is of the predictions outside the candidate's favorite class, which must be at least half of the float model's.
    """
    name, threshold = (
        "not_collapsed",
        f"{percent(COLLAPSED_SHARE)} in one class, less than half of float's answers elsewhere",
    )
    total, float_total = sum(counts.predicted_candidate), sum(counts.predicted_float)
    if total <= 0 or float_total <= 0 or len(counts.predicted_candidate) != len(counts.predicted_float):
        return RuleResult(
            name, threshold, "no predictions", False, "there are no predictions to look at.", SOURCE_COLLAPSE
        )
    most = max(counts.predicted_candidate)
    favorite = counts.predicted_candidate.index(most)
    elsewhere, float_elsewhere = total - most, float_total - counts.predicted_float[favorite]
    one_sided = Fraction(most, total) > COLLAPSED_SHARE
    float_lively = Fraction(float_elsewhere, float_total) >= LIVELY_FLOAT_SHARE
    collapsed = one_sided and float_lively and 2 * elsewhere < float_elsewhere
    observed = (
        f"class {favorite}: {most} of {total} candidate, {counts.predicted_float[favorite]} of {float_total} float"
    )
    reason = (
        f"the candidate answers class {favorite} for {most} of {total} examples where the float model does so for "
        f"{counts.predicted_float[favorite]}: its output has collapsed. Usual causes: inputs scaled differently in "
        "calibration, "
        "outliers that stretch the ranges, a quantized last layer."
        if collapsed
        else "the candidate's answers are spread as the float model's are."
    )
    return RuleResult(name, threshold, observed, not collapsed, reason, SOURCE_COLLAPSE)


def accuracy_kept(counts: Counts, rules: GateRules) -> RuleResult:
    """Rule 7: candidate right / float right, as fractions, at least the minimum."""
    right, reference, name = counts.num_correct_candidate, counts.num_correct_float, "accuracy_kept"
    required = percent(rules.minimum_ratio)
    observed = f"{right} / {reference}"
    if reference <= 0 or right < 0:
        reason = f"the float model got {reference} of {counts.num_examples} right; nothing can be kept of that."
        return RuleResult(name, required, observed, False, reason, SOURCE_RATIO)
    kept = Fraction(right, reference)
    passed = kept >= rules.minimum_ratio
    reason = f"the candidate keeps {percent_down(kept)} of the float model's right answers; required {required}."
    return RuleResult(name, required, observed, passed, reason, SOURCE_RATIO)


def verdict_sentence(
    accepted: bool, counts: Counts | None, rules: GateRules, results: Sequence[RuleResult], candidate_name: str
) -> str:
    """One line: the decision, both parts of the ratio, the requirement, and the first other rule that broke."""
    word = "ACCEPTED" if accepted else "REFUSED"
    broken = [result for result in results if not result.passed]
    if counts is None or counts.num_correct_float <= 0 or any(result.name == "consistent_counts" for result in broken):
        return f"{word}  {candidate_name}: {broken[0].reason if broken else 'nothing was judged.'}"
    kept = Fraction(counts.num_correct_candidate, counts.num_correct_float)
    sentence = (
        f"{word}  {candidate_name} keeps {percent_down(kept)} of float accuracy ({counts.num_correct_candidate} / "
        f"{counts.num_correct_float} right of {counts.num_examples}); required {percent(rules.minimum_ratio)}"
    )
    if broken and all(result.name != "accuracy_kept" for result in broken):
        sentence += f", but {broken[0].reason}"
    return sentence


def percent(share: Fraction) -> str:
    """A threshold as percent, exactly as written: at least two decimals, as many as it has (up to six)."""
    hundredfold = share * 100
    for digits in range(2, 7):
        if (hundredfold * 10**digits).denominator == 1:
            break
    return f"{_decimal(hundredfold, digits)} %"


def percent_down(share: Fraction) -> str:
    """An observed share as percent, rounded down, so that 96.9999 % never reads as 97.00 %."""
    return f"{_decimal(share * 100, 2)} %"


def _decimal(value: Fraction, digits: int) -> str:
    whole, rest = divmod(int(value * 10**digits // 1), 10**digits)
    return f"{whole}.{rest:0{digits}d}"
