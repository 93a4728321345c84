"""The likely cause of a refusal and the command to try next: what a person asks after "how many?".

Rules, in order: 1. Where the float model or the data is at fault, nothing about quantization is suggested. 2. What the counts of the
holdout show goes before what the converter found on calibration examples. 3. What was tried already is not suggested
again. 4. A command stands for the one that was run: ``CONFIG`` is filled in by whoever knows it (:class:`Invocation`).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from components.evaluator.counting.metric import Metric
from components.evaluator.counting.slices import PairedCounts, SliceBy, SliceKey
from components.evaluator.counting.tally import Tally
from components.evaluator.gate.figure import figure_of
from components.evaluator.gate.judgement import Setting, Verdict
from components.evaluator.gate.thresholds import GateRules
from components.evaluator.report.diagnosis import SEARCHING_RECIPE, Diagnosis

#: Share of clipped examples above which calibration is the likely cause of a refusal.
CLIPPED_EXAMPLES_SHARE = Fraction(5, 100)
#: A slice is named where its share of clipped examples is so many times that of the whole, or all of it.
CLIPPED_SLICE_FACTOR = Fraction(3, 2)
#: Up to so many times the allowed growth of an error, a search with a stricter goal is likely to find a model that is accepted.
SLIGHT_GROWTH = 2
#: What stands for the command that was run.
RUN, CONFIG = "edgeproof run CONFIG", "CONFIG"
#: Recipes that auto may fall back on, the closest to float first.
_FALLBACKS = ("int16x8", "float16")
#: Rules that quantization breaks.
_LOST_AS_A_WHOLE = frozenset({"accuracy_kept", "figure_kept", "error_kept", "not_collapsed"})
_LOST_BY_QUANTIZATION = _LOST_AS_A_WHOLE | {"slices_kept", "classes_kept", "slice_errors_kept"}
#: A setting that an advice changes: with its new value, or by words that leave the value to the user.
_SETTING = re.compile(r"(?:--set '?|\b(?:raise|without) )([a-z0-9_]+(?:\.[a-z0-9_]+)+)")


@dataclass(frozen=True)
class Advice:
    """Why a model was probably refused, what was tried, and what to do next; None where nobody knows."""

    cause: str | None = None
    tried: str | None = None
    next_step: str | None = None


@dataclass(frozen=True)
class Evidence:
    """What an advice rests on.

    Attributes:
        verdict: The refusal.
        tally: What was counted.
        rules: The thresholds.
        setting: What else the rules knew.
        split: Name of the holdout.
        diagnosis: What the converter knows.
        in_pipeline: Whether a config made the candidate; otherwise `edgeproof convert` did, or somebody else.
        champion_version: Of the release that was compared with; None for the last blessed model.
    """

    verdict: Verdict
    tally: Tally
    rules: GateRules
    setting: Setting
    split: str
    diagnosis: Diagnosis
    in_pipeline: bool
    champion_version: str | None = None

    @property
    def broken(self) -> frozenset[str]:
        return frozenset(rule.name for rule in self.verdict.broken_rules)


@dataclass(frozen=True)
class Invocation:
    """The command that led here, to be filled into an advice.

    Attributes:
        config: Path of the config.
        overrides: What was given with ``--set``.
        verb: ``run``, or the verb that takes the config's place.
    """

    config: str = CONFIG
    overrides: Sequence[str] = ()
    verb: str = RUN

    def fill_in(self, text: str) -> str:
        """The advice as it can be typed; a setting that it changes is not given twice."""
        changed = set(_SETTING.findall(text))
        kept = [one for one in self.overrides if one.partition("=")[0] not in changed]
        verb = self.verb.replace(CONFIG, shlex.quote(self.config))
        run = " ".join([verb, *(f"--set {shlex.quote(one)}" for one in kept)])
        return text.replace(RUN, run).replace(f"--config {CONFIG}", f"--config {shlex.quote(self.config)}")


def advise(evidence: Evidence) -> Advice:
    """Cause and next step of a refusal."""
    broken = evidence.broken
    if "float_accuracy" in broken:
        return Advice(
            "training, not quantization: the float model itself is not good enough",
            None,
            _better_training(evidence) if evidence.in_pipeline else None,
        )
    if "labels_in_range" in broken:
        return Advice("labels, not quantization", None, "check the label column and the class names")
    if broken & _LOST_BY_QUANTIZATION:
        return _against_quantization(evidence)
    if "no_worse_than_release" in broken:
        return _against_the_champion(evidence)
    if broken & {"minimum_examples", "confidence_bound"}:
        return _more_examples(evidence)
    if "size_ratio" in broken and evidence.diagnosis.recipe == SEARCHING_RECIPE:
        return Advice(
            "what auto repaired made the file larger", evidence.diagnosis.tried, _again(evidence, "recipe", "int8")
        )
    return Advice()


def _better_training(evidence: Evidence) -> str:
    is_error = evidence.rules.metric.is_regression
    sign = "an error far below" if is_error else "an accuracy far above"
    return (
        "train longer (raise train.epochs), on more data, or look at the training log: "
        f"{sign} the holdout's means overfitting; then {RUN}"
    )


def _against_quantization(evidence: Evidence) -> Advice:
    diagnosis = evidence.diagnosis
    clipped = _clipped(evidence)
    if clipped is not None:
        return Advice(clipped, diagnosis.tried, _better_calibration(evidence, "like these"))
    if diagnosis.recipe != SEARCHING_RECIPE:
        return Advice(diagnosis.cause, None, _again(evidence, "recipe", SEARCHING_RECIPE))
    if evidence.broken & {"slices_kept", "classes_kept"} and not evidence.broken & _LOST_AS_A_WHOLE:
        part = _worst_part(evidence)
        if part is not None:
            return _against_a_part(evidence, *part)
    if diagnosis.met_goal and diagnosis.relative_error and _grew_slightly(evidence):
        return _against_a_lax_goal(evidence, diagnosis.relative_error)
    if diagnosis.met_goal:
        cause = "the holdout is unlike the calibration examples, on which the model met its goal"
        return Advice(cause, diagnosis.tried, _better_calibration(evidence, "as varied as the holdout"))
    if diagnosis.finding == "calibration domain":
        return Advice(
            diagnosis.cause, diagnosis.tried, _better_calibration(evidence, "of every domain that the holdout has")
        )
    return Advice(diagnosis.cause, diagnosis.tried, _beyond_auto(evidence))


def _clipped(evidence: Evidence) -> str | None:
    """The cause where much of the holdout lies beyond what calibration saw; and the slice that suffers most."""
    tally = evidence.tally
    clipped = tally.errors.num_clipped if tally.errors else tally.counts.num_clipped
    share = Fraction(clipped, max(tally.num_examples, 1))
    if share <= CLIPPED_EXAMPLES_SHARE:
        return None
    cause = f"calibration domain: {clipped} of {tally.num_examples} examples have values beyond the range that calibration saw"
    large = {
        key: (Fraction(part.num_clipped, part.num_examples), part.num_clipped, part.num_examples)
        for key, part in tally.slices.items()
        if part.num_examples >= evidence.rules.slice_minimum_examples and key.name != SliceBy.LABEL.value
    }
    worst = max(large, key=lambda key: (large[key], key), default=None)
    if worst is None or large[worst][0] < CLIPPED_SLICE_FACTOR * share:
        return cause
    return f"{cause}; of {worst.name} {worst.value}, {large[worst][1]} of {large[worst][2]}"


def _worst_part(evidence: Evidence) -> tuple[SliceKey, PairedCounts] | None:
    """The slice, or class, that keeps the least of those that are large enough to be judged."""
    of_class = "slices_kept" not in evidence.broken
    parts = [
        (part.kept if part.kept is not None else Fraction(-1), key, part)
        for key, part in evidence.tally.slices.items()
        if part.num_examples >= evidence.rules.slice_minimum_examples and (key.name == SliceBy.LABEL.value) is of_class
    ]
    worst = min(parts, key=lambda item: item[:2], default=None)
    return None if worst is None else (worst[1], worst[2])


def _against_a_part(evidence: Evidence, key: SliceKey, part: PairedCounts) -> Advice:
    diagnosis = evidence.diagnosis
    counts = evidence.tally.counts
    cause = (
        f"{key.name} {key.value}: {part.num_only_float_correct} of the {counts.num_only_float_correct} right answers that only the "
        "float model gives"
    )
    spec = next((spec for spec in evidence.setting.slices if spec.name == key.name), None)
    is_plain = spec is not None and spec.by is SliceBy.FEATURE and not spec.buckets
    is_drawn = any(f"{key.name} " in stratum for stratum in diagnosis.strata)
    if is_plain and not is_drawn:
        return Advice(cause, diagnosis.tried, _again(evidence, "calibration.stratify_by", f"[{key.name}]"))
    if 0 < diagnosis.num_range < diagnosis.num_distinct:
        number = str(min(2 * diagnosis.num_range, diagnosis.num_distinct))
        return Advice(cause, diagnosis.tried, _again(evidence, "calibration.num_samples", number))
    return Advice(cause, diagnosis.tried, _better_calibration(evidence, f"of {key.name} {key.value}"))


def _grew_slightly(evidence: Evidence) -> bool:
    """Whether the error is over the allowed factor, and by so little that the examples need not be to blame."""
    rules = evidence.rules
    ratio = figure_of(evidence.tally, rules).ratio
    if "error_kept" not in evidence.broken or ratio is None:
        return False
    largest = 1 + SLIGHT_GROWTH * (rules.maximum_error_factor - 1)
    return ratio <= largest ** (2 if rules.metric is Metric.RMSE else 1)


def _against_a_lax_goal(evidence: Evidence, relative_error: float) -> Advice:
    """A search with a stricter goal; `edgeproof convert` has no goal to set, so there the recipe closest to float.

    The new goal is half of what the choice lost: a goal above that loss would choose the same model again. Independent
    errors add up as squares, so half of it leaves about a quarter of the growth.
    """
    cause = "the goal of the search is laxer than the gate: the model met it and is a little over the allowed error"
    if evidence.in_pipeline:
        return Advice(cause, evidence.diagnosis.tried, _retry("goal.max_relative_error", f"{relative_error / 2:.2g}"))
    return Advice(cause, evidence.diagnosis.tried, f"{_convert()} --recipe {_FALLBACKS[0]} (slower on devices)")


def _beyond_auto(evidence: Evidence) -> str:
    """What auto did not try: other recipes, slower on devices; training with quantization in the loop; else float."""
    untried = [name for name in _FALLBACKS if name not in evidence.diagnosis.recipes_tried]
    has_tuned = "int8-qat" in evidence.diagnosis.recipes_tried
    if not evidence.in_pipeline:
        if untried:
            return f"{_convert()} {' '.join(f'--fallback {name}' for name in untried)} (slower on devices)"
        return f"{_convert()} --recipe float16, or train with quantization in the loop (edgeproof convert --qat-saved-model)"
    can_tune = not has_tuned and not evidence.rules.metric.is_regression  # train.qat counts right answers
    steps = [f"{RUN} --set train.qat=on (needs model.module)"] if can_tune else []
    if untried:
        steps.append(f"{RUN} --set 'convert.fallbacks=[{','.join(untried)}]' (slower on devices)")
    return "; or ".join(steps) or f"another architecture, or {_retry('recipe', 'float16')}"


def _against_the_champion(evidence: Evidence) -> Advice:
    """Which of both lost against the model released now: training, or quantization."""
    champion, counts = evidence.tally.champion, evidence.tally.counts
    minimum, title = evidence.rules.champion_minimum_ratio, evidence.setting.champion_title
    if champion is None or champion.problem or minimum is None:
        without = (
            f"{RUN} without gate.champion_min_ratio"
            if evidence.in_pipeline
            else "edgeproof evaluate without --champion"
        )
        return Advice(f"{title} and this holdout do not fit", None, without)
    found = f"float {counts.num_correct_float}, {evidence.setting.candidate_name} {counts.num_correct_candidate}"
    found += f", {title} {champion.num_correct_champion} right"
    if counts.num_correct_float < minimum * champion.num_correct_champion:
        since = evidence.champion_version or "-2"
        step = f"edgeproof runs compare {since} -1 --config {CONFIG} (what changed)" if evidence.in_pipeline else None
        return Advice(f"training, not quantization: {found}", None, step)
    return Advice(
        f"quantization lost what the float model is ahead: {found}",
        evidence.diagnosis.tried,
        _against_quantization(evidence).next_step,
    )


def _more_examples(evidence: Evidence) -> Advice:
    found, least = evidence.tally.num_examples, evidence.rules.minimum_examples
    missing = f"{least - found} " if found < least else ""
    step = f"add {missing}examples to split {evidence.split} (a larger share: data.shares.eval), then {RUN}"
    if not evidence.in_pipeline:
        step = f"add {missing}examples to {evidence.split}, then edgeproof evaluate"
    return Advice(f"the holdout is too small: {found} examples", None, step)


def _better_calibration(evidence: Evidence, which: str) -> str:
    if not evidence.in_pipeline:
        return f"add examples {which} to the calibration file, then {_convert()}"
    return f"add examples {which} to the calibration split (data.patterns.calibration, data.shares), then {RUN}"


def _again(evidence: Evidence, key: str, value: str) -> str:
    """The same again with another setting of the section ``convert``."""
    if evidence.in_pipeline:
        return _retry(key, value)
    return f"{_convert()} --{key.rpartition('.')[2].replace('_', '-')} {value.strip('[]')}"


def _retry(key: str, value: str) -> str:
    setting = f"convert.{key}={value}"
    return f"{RUN} --set {shlex.quote(setting)}"


def _convert() -> str:
    return "edgeproof convert --saved-model DIR --calibration POOL.npz --out EDGE"
