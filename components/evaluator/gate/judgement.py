"""Decides whether the candidate may ship: pure rules over what was counted, closed by default.

Every rule returns a :class:`RuleResult` with its threshold, what was observed, a sentence and a source. Rules, in
order:

1. The counts are complete and do not contradict each other.
2. Exactly the examples that the split holds were scored.
3. There are enough of them to tell a good model from a bad one.
4. No output is NaN or infinite, and no label lies outside the classes.
5. The float model is worth comparing with: clearly above chance, or above an explicit floor. (Two models at chance have
   ratio 1.)
6. The candidate is not collapsed onto one class.
7. The candidate keeps the minimum share of the float model's figure, in exact arithmetic; right answers unless the config
   chooses another (``figure_rules.py``).
8. What the config turns on: a confidence bound, every slice, every class, no worse than the current release, agreement of
   kernels (``slice_rules.py``, ``release_rules.py``).

An absent number is a "no", never an exception. The verdict holds when every rule does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from components.evaluator.counting.counts import Counts
from components.evaluator.counting.deviations import Deviations
from components.evaluator.counting.slices import SliceBy, SliceSpec
from components.evaluator.counting.tally import Tally
from components.evaluator.gate.figure import Figure, figure_of
from components.evaluator.gate.figure_rules import (
    bound_kept,
    error_kept,
    figure_kept,
    float_figure_good_enough,
    growth,
    numbers_finite,
    numbers_not_collapsed,
)
from components.evaluator.gate.intervals import chance_of_passing
from components.evaluator.gate.release_rules import (
    CURRENT_RELEASE,
    NOTHING_BLESSED,
    kernels_agree,
    no_worse_than_champion,
)
from components.evaluator.gate.rule import (
    SOURCE_ARITHMETIC,
    SOURCE_BYTES,
    SOURCE_CHANCE,
    SOURCE_CLOSED,
    SOURCE_COLLAPSE,
    SOURCE_FINITE,
    SOURCE_FLOOR,
    SOURCE_LABELS,
    SOURCE_LUCK,
    SOURCE_RATIO,
    SOURCE_WHOLE,
    RuleResult,
    decimal,
    percent,
    percent_down,
)
from components.evaluator.gate.slice_rules import classes_kept, slice_errors_kept, slices_found, slices_kept
from components.evaluator.gate.thresholds import GateRules

#: "Clearly above chance": standard deviations above always answering the commonest label (one-sided p = 0.0013).
CHANCE_SIGMAS = 3
#: A candidate with more than this share of its predictions in one class is looked at by the collapse rule.
COLLAPSED_SHARE = Fraction(95, 100)
#: The collapse rule compares only with a float model that gives at least this share of its predictions to the other
#: classes.
LIVELY_FLOAT_SHARE = Fraction(1, 100)
#: How far below the rule the "would it pass by luck" model lies: 95 % for a rule of 97 %.
LUCK_MARGIN = Fraction(2, 100)
#: The rules that the verdict's sentence states in full.
RATIO_RULES = ("accuracy_kept", "figure_kept", "error_kept")


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


@dataclass(frozen=True)
class Setting:
    """What the rules need to know beside what was counted.

    Attributes:
        expected_num_examples: Examples that the split holds, from another source than the scoring; None refuses.
        candidate_name: How to call the candidate in the sentence, such as ``int8``.
        slices: How the holdout was cut.
        class_names: By label; empty where the data does not name them.
        has_champion: Whether a model is released now.
        champion_title: What it is called, such as ``release 000012-4b8aa8afd22f on channel stable``.
        no_champion: Why there is none, as a sentence.
    """

    expected_num_examples: int | None
    candidate_name: str = "candidate"
    slices: tuple[SliceSpec, ...] = ()
    class_names: tuple[str, ...] = ()
    has_champion: bool = False
    champion_title: str = CURRENT_RELEASE
    no_champion: str = NOTHING_BLESSED


def judge(tally: Tally | None, rules: GateRules, setting: Setting, findings: Sequence[RuleResult] = ()) -> Verdict:
    """Applies every rule.

    Args:
        tally: What scoring counted; None when nothing could be scored.
        rules: The thresholds.
        setting: What else the rules need to know.
        findings: Results of rules about something else than counts (the bytes, the file); they weigh the same.
    """
    if tally is None:
        missing = RuleResult("scored", "counts of both models", "none", False, "nothing was scored.", SOURCE_CLOSED)
        results = tuple(findings) if any(not finding.passed for finding in findings) else (*findings, missing)
    else:
        results = (*findings, *_common_rules(tally, rules, setting), *_optional_rules(tally, rules, setting))
    accepted = bool(results) and all(result.passed for result in results)
    return Verdict(accepted, results, verdict_sentence(accepted, tally, rules, results, setting.candidate_name))


def _common_rules(tally: Tally, rules: GateRules, setting: Setting) -> tuple[RuleResult, ...]:
    counts = tally.counts
    figure = figure_of(tally, rules)
    complete = (
        counts_agree(tally),
        every_example_scored(tally.num_examples, setting.expected_num_examples),
        enough_examples(tally, rules),
    )
    if rules.metric.is_regression:
        errors = tally.errors or Deviations()
        good = float_figure_good_enough(figure, tally, rules)
        return (*complete, numbers_finite(errors), good, numbers_not_collapsed(errors), error_kept(figure, rules))
    sound = (outputs_finite(counts), labels_in_range(counts))
    if rules.metric.is_binary:
        good = float_figure_good_enough(figure, tally, rules)
        return (*complete, *sound, good, not_collapsed(counts), figure_kept(figure, rules))
    good = float_model_good_enough(counts, rules)
    return (*complete, *sound, good, not_collapsed(counts), accuracy_kept(counts, rules))


def _optional_rules(tally: Tally, rules: GateRules, setting: Setting) -> list[RuleResult]:
    results = []
    if rules.confidence is not None:
        results.append(bound_kept(tally, rules))
    if any(spec.by is SliceBy.FEATURE for spec in setting.slices):
        results.append(slices_found(tally, setting.slices))
    if rules.slice_minimum_ratio is not None:
        minimum = (rules.slice_minimum_ratio, rules.slice_minimum_examples)
        results.append(slices_kept(tally, setting.slices, *minimum))
    if rules.slice_maximum_error_factor is not None:
        maximum = (rules.slice_maximum_error_factor, rules.slice_minimum_examples)
        results.append(slice_errors_kept(tally, setting.slices, rules.metric, *maximum))
    if rules.class_minimum_ratio is not None:
        minimum = (rules.class_minimum_ratio, rules.class_minimum_examples)
        results.append(classes_kept(tally.counts, setting.class_names, *minimum))
    if rules.champion_minimum_ratio is not None:
        champion = (setting.has_champion, setting.champion_title, setting.no_champion)
        results.append(no_worse_than_champion(tally, rules.champion_minimum_ratio, *champion))
    if rules.minimum_kernel_agreement is not None:
        results.append(kernels_agree(tally.kernels, rules.minimum_kernel_agreement))
    return results


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


def counts_agree(tally: Tally) -> RuleResult:
    """Rule 1: the paired table, the totals, the classes and the slices say the same."""
    found = tally.inconsistencies()
    reason = (
        f"the counts contradict each other: {'; '.join(found)}. Run the evaluation again."
        if found
        else "the counts add up."
    )
    return RuleResult(
        "consistent_counts", "no contradiction", f"{len(found)} contradiction(s)", not found, reason, SOURCE_ARITHMETIC
    )


def every_example_scored(scored: int, expected_num_examples: int | None) -> RuleResult:
    """Rule 2: the number scored is the number the split holds."""
    name = "every_example_scored"
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


def enough_examples(tally: Tally, rules: GateRules) -> RuleResult:
    """Rule 3: enough examples, and how often luck would pass a model two points below the rule."""
    scored = tally.num_examples
    passed, reason = scored >= rules.minimum_examples, f"{scored} examples were scored."
    if rules.metric.counts_right_answers:
        reason = _luck(tally.counts, rules)
    if not passed:
        reason = (
            f"{scored} examples are too few, {rules.minimum_examples} are needed: {reason} "
            "Add examples to the split, or lower gate.min_examples."
        )
    return RuleResult("minimum_examples", str(rules.minimum_examples), str(scored), passed, reason, SOURCE_LUCK)


def _luck(counts: Counts, rules: GateRules) -> str:
    scored = counts.num_examples
    lucky_ratio = max(rules.minimum_ratio - LUCK_MARGIN, Fraction(0))
    accuracy = counts.num_correct_float / scored if 0 < counts.num_correct_float <= scored else 0.5
    chance = chance_of_passing(scored, float(lucky_ratio), float(rules.minimum_ratio), accuracy)
    return (
        f"a model that truly keeps {percent(lucky_ratio)} would pass on {scored} examples "
        f"with a chance of {100 * chance:.1f} %."
    )


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
    commonest = sum(sorted(counts.examples_by_label)[-rules.answers_ranked :])
    always = "label" if rules.answers_ranked == 1 else f"{rules.answers_ranked} labels"
    threshold = f"more than {commonest} / {scored} right (always the commonest {always}), by {CHANCE_SIGMAS} standard deviations"
    # right > n*p + 3*sqrt(n*p*(1-p)) with p = commonest / n, squared so that it stays in integers
    above = right - commonest
    passed = above > 0 and above**2 * scored > CHANCE_SIGMAS**2 * commonest * (scored - commonest)
    if passed and right > 0:
        return RuleResult(
            "float_accuracy", threshold, observed, True, "the float model is clearly above chance.", SOURCE_CHANCE
        )
    reason = (
        f"the float model ({observed}) is not clearly better than always answering the commonest {always} ({commonest} / "
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
    accepted: bool, tally: Tally | None, rules: GateRules, results: Sequence[RuleResult], candidate_name: str
) -> str:
    """One line: the decision, both parts of the ratio, the requirement, and the first other rule that broke."""
    word = "ACCEPTED" if accepted else "REFUSED"
    broken = [result for result in results if not result.passed]
    figure = None if tally is None else figure_of(tally, rules)
    if tally is None or figure is None or figure.ratio is None or any(r.name == "consistent_counts" for r in broken):
        return f"{word}  {candidate_name}: {broken[0].reason if broken else 'nothing was judged.'}"
    sentence = f"{word}  {candidate_name} {_compared(figure, tally, rules)}"
    if broken and all(result.name not in RATIO_RULES for result in broken):
        sentence += f", but {broken[0].reason}"
    return sentence


def _compared(figure: Figure, tally: Tally, rules: GateRules) -> str:
    assert figure.ratio is not None
    if rules.metric.is_regression:
        return (
            f"has {growth(figure)} times the float model's {figure.name} ({figure.text(figure.of_candidate)} / "
            f"{figure.text(figure.of_float)} on {tally.num_examples}); allowed {decimal(rules.maximum_error_factor, 4)}"
        )
    parts = (
        f"{tally.counts.num_correct_candidate} / {tally.counts.num_correct_float} right of {tally.num_examples}"
        if rules.metric.counts_right_answers
        else f"{figure.text(figure.of_candidate)} / {figure.text(figure.of_float)} on {tally.num_examples}"
    )
    return (
        f"keeps {percent_down(figure.ratio)} of float {figure.name} ({parts}); required {percent(rules.minimum_ratio)}"
    )
