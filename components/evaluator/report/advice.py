"""The likely cause of a refusal and the command to try next: what a person asks after "how many?".

Rules, in order: 1. Where the float model or the data is at fault, nothing about quantization is suggested. 2. What the counts of the
holdout show goes before what the converter found on calibration examples. 3. What was tried already is not suggested
again. 4. A command stands for the one that was run: ``CONFIG`` is filled in by whoever knows it (:class:`Invocation`).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from components.evaluator.case import Case, Champion
from components.evaluator.counting.metric import LabelKind
from components.evaluator.counting.slices import PairedCounts, SliceBy, SliceKey
from components.evaluator.counting.tally import Tally
from components.evaluator.float_probes import Probe
from components.evaluator.gate.evidence import Evidence
from components.evaluator.gate.judgement import Verdict
from components.evaluator.gate.rule import Blame, RuleName
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
#: A setting that an advice changes: with its new value, or by words that leave the value to the user.
_SETTING = re.compile(r"(?:--set '?|\b(?:raise|without) )([a-z0-9_]+(?:\.[a-z0-9_]+)+)")


@dataclass(frozen=True)
class Advice:
    """Why a model was probably refused, what was tried, and what to do next; None where nobody knows."""

    cause: str | None = None
    tried: str | None = None
    next_step: str | None = None


@dataclass(frozen=True)
class Circumstances:
    """What an advice rests on.

    Attributes:
        verdict: The refusal.
        evidence: What was judged, and what was counted.
        diagnosis: What the converter knows.
        probe: Why the float model is near chance, where that was found out.
    """

    verdict: Verdict
    evidence: Evidence
    diagnosis: Diagnosis
    probe: Probe | None = None

    @property
    def case(self) -> Case:
        return self.evidence.case

    @property
    def rules(self) -> GateRules:
        return self.case.rules

    @property
    def tally(self) -> Tally:
        return self.evidence.counted

    @property
    def in_pipeline(self) -> bool:
        return self.case.is_of_pipeline

    @property
    def broken(self) -> frozenset[RuleName]:
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
        kept = [override for override in self.overrides if override.partition("=")[0] not in changed]
        verb = self.verb.replace(CONFIG, shlex.quote(self.config))
        run = " ".join([verb, *(f"--set {shlex.quote(override)}" for override in kept)])
        return text.replace(RUN, run).replace(f"--config {CONFIG}", f"--config {shlex.quote(self.config)}")


def advise(circumstances: Circumstances) -> Advice:
    """Cause and next step of a refusal: the advice of the first thing that the broken rules blame."""
    blamed = circumstances.verdict.blamed
    return next((advice(circumstances) for blame, advice in ADVICE.items() if blame in blamed), Advice())


def _against_the_float_model(circumstances: Circumstances) -> Advice:
    """What makes the float model good was found by trying; where nothing was, training is the likely cause."""
    if circumstances.probe is not None:
        again = RUN if circumstances.in_pipeline else "edgeproof evaluate"
        return Advice(circumstances.probe.cause, None, f"{circumstances.probe.step}; then {again}")
    return Advice(
        "training, not quantization: the float model itself is not good enough",
        None,
        _better_training(circumstances)
        if circumstances.in_pipeline
        else f"check that {circumstances.case.split} is as the training data was (labels, order of classes, range and order of "
        "channels); then train a better model",
    )


def _against_the_labels(_: Circumstances) -> Advice:
    return Advice("labels, not quantization", None, "check the label column and the class names")


def _against_the_size(circumstances: Circumstances) -> Advice:
    diagnosis = circumstances.diagnosis
    if diagnosis.recipe != SEARCHING_RECIPE:
        return Advice()
    return Advice("what auto repaired made the file larger", diagnosis.tried, _again(circumstances, "recipe", "int8"))


def _against_the_device(circumstances: Circumstances) -> Advice:
    """What to do about a device: measure again where it was not at hand, a smaller model where it is too slow."""
    broken, device = circumstances.broken, circumstances.evidence.candidate.device
    title = device.device if device is not None else "the device"
    again = f"{RUN} --fresh evaluator" if circumstances.in_pipeline else "edgeproof evaluate again"
    if RuleName.DEVICE_MEASURED in broken:
        return Advice(f"the model was not measured on {title}", None, f"see to the device; then {again}")
    if RuleName.DEVICE_ANSWERS in broken:
        cause = f"the runtime of {title} computes otherwise than the one that judged"
        return Advice(cause, None, f"install there what judged; then {again}")
    if RuleName.DEVICE_LATENCY in broken:
        return Advice(
            f"the model is too large for {title}", None, f"a smaller model, or gate.device.threads; then {RUN}"
        )
    return Advice(
        f"int8 saves no time on {title}", None, f"gate.device.delegate, or another runtime there; then {again}"
    )


def _better_training(circumstances: Circumstances) -> str:
    return (
        "train longer (raise train.epochs), on more data, or look at the training log: "
        f"{circumstances.case.measurement.overfitting_hint()} the holdout's means overfitting; then {RUN}"
    )


def _against_quantization(circumstances: Circumstances) -> Advice:
    diagnosis = circumstances.diagnosis
    clipped = _clipped(circumstances)
    if clipped is not None:
        return Advice(clipped, diagnosis.tried, _better_calibration(circumstances, "like these"))
    if diagnosis.recipe != SEARCHING_RECIPE:
        return Advice(diagnosis.cause, None, _again(circumstances, "recipe", SEARCHING_RECIPE))
    if Blame.QUANTIZATION not in circumstances.verdict.blamed:
        part = _worst_part(circumstances)
        if part is not None:
            return _against_a_part(circumstances, *part)
    if diagnosis.met_goal and diagnosis.relative_error and _grew_slightly(circumstances):
        return _against_a_lax_goal(circumstances, diagnosis.relative_error)
    if diagnosis.met_goal:
        cause = "the holdout is unlike the calibration examples, on which the model met its goal"
        return Advice(cause, diagnosis.tried, _better_calibration(circumstances, "as varied as the holdout"))
    if diagnosis.finding == "calibration domain":
        return Advice(
            diagnosis.cause, diagnosis.tried, _better_calibration(circumstances, "of every domain that the holdout has")
        )
    return Advice(diagnosis.cause, diagnosis.tried, _beyond_auto(circumstances))


def _clipped(circumstances: Circumstances) -> str | None:
    """The cause where much of the holdout lies beyond what calibration saw; and the slice that suffers most."""
    tally = circumstances.tally
    clipped = circumstances.evidence.whole.num_clipped
    share = Fraction(clipped, max(tally.num_examples, 1))
    if share <= CLIPPED_EXAMPLES_SHARE:
        return None
    cause = f"calibration domain: {clipped} of {tally.num_examples} examples have values beyond the range that calibration saw"
    large = {
        key: (Fraction(part.num_clipped, part.num_examples), part.num_clipped, part.num_examples)
        for key, part in tally.slices.items()
        if part.num_examples >= circumstances.rules.slice_min_examples and key.name != SliceBy.LABEL.value
    }
    worst = max(large, key=lambda key: (large[key], key), default=None)
    if worst is None or large[worst][0] < CLIPPED_SLICE_FACTOR * share:
        return cause
    return f"{cause}; of {worst.name} {worst.value}, {large[worst][1]} of {large[worst][2]}"


def _worst_part(circumstances: Circumstances) -> tuple[SliceKey, PairedCounts] | None:
    """The slice, or class, that keeps the least of those that are large enough to be judged."""
    of_class = RuleName.SLICES_KEPT not in circumstances.broken
    parts = [
        (part.kept if part.kept is not None else Fraction(-1), key, part)
        for key, part in circumstances.tally.slices.items()
        if part.num_examples >= circumstances.rules.slice_min_examples and (key.name == SliceBy.LABEL.value) is of_class
    ]
    worst = min(parts, key=lambda item: item[:2], default=None)
    return None if worst is None else (worst[1], worst[2])


def _against_a_part(circumstances: Circumstances, key: SliceKey, part: PairedCounts) -> Advice:
    diagnosis = circumstances.diagnosis
    counts = circumstances.evidence.counts
    cause = (
        f"{key.name} {key.value}: {part.num_only_float_correct} of the {counts.num_only_float_correct} right answers that only the "
        "float model gives"
    )
    spec = next((spec for spec in circumstances.case.slices if spec.name == key.name), None)
    is_plain = spec is not None and spec.by is SliceBy.FEATURE and not spec.buckets
    is_drawn = any(f"{key.name} " in stratum for stratum in diagnosis.strata)
    if is_plain and not is_drawn:
        return Advice(cause, diagnosis.tried, _again(circumstances, "calibration.stratify_by", f"[{key.name}]"))
    if 0 < diagnosis.num_range < diagnosis.num_distinct:
        number = str(min(2 * diagnosis.num_range, diagnosis.num_distinct))
        return Advice(cause, diagnosis.tried, _again(circumstances, "calibration.num_samples", number))
    return Advice(cause, diagnosis.tried, _better_calibration(circumstances, f"of {key.name} {key.value}"))


def _grew_slightly(circumstances: Circumstances) -> bool:
    """Whether the error is over the allowed factor, and by so little that the examples need not be to blame."""
    rules = circumstances.rules
    figure = circumstances.case.measurement.figure(circumstances.evidence.whole)
    if RuleName.ERROR_KEPT not in circumstances.broken or figure.ratio is None:
        return False
    largest = 1 + SLIGHT_GROWTH * (rules.max_error_factor - 1)
    return figure.ratio <= largest**figure.power


def _against_a_lax_goal(circumstances: Circumstances, relative_error: float) -> Advice:
    """A search with a stricter goal; `edgeproof convert` has no goal to set, so there the recipe closest to float.

    The new goal is half of what the choice lost: a goal above that loss would choose the same model again. Independent
    errors add up as squares, so half of it leaves about a quarter of the growth.
    """
    cause = "the goal of the search is laxer than the gate: the model met it and is a little over the allowed error"
    if circumstances.in_pipeline:
        return Advice(
            cause, circumstances.diagnosis.tried, _retry("goal.max_relative_error", f"{relative_error / 2:.2g}")
        )
    return Advice(cause, circumstances.diagnosis.tried, f"{_convert()} --recipe {_FALLBACKS[0]} (slower on devices)")


def _beyond_auto(circumstances: Circumstances) -> str:
    """What auto did not try: other recipes, slower on devices; training with quantization in the loop; else float."""
    untried = [name for name in _FALLBACKS if name not in circumstances.diagnosis.recipes_tried]
    has_tuned = "int8-qat" in circumstances.diagnosis.recipes_tried
    if not circumstances.in_pipeline:
        if untried:
            return f"{_convert()} {' '.join(f'--fallback {name}' for name in untried)} (slower on devices)"
        return f"{_convert()} --recipe float16, or train with quantization in the loop (edgeproof convert --qat-saved-model)"
    can_tune = not has_tuned and circumstances.rules.metric.labels is LabelKind.CLASS  # train.qat counts right answers
    steps = [f"{RUN} --set train.qat=on (needs model.module)"] if can_tune else []
    if untried:
        steps.append(f"{RUN} --set 'convert.fallbacks=[{','.join(untried)}]' (slower on devices)")
    return "; or ".join(steps) or f"another architecture, or {_retry('recipe', 'float16')}"


def _against_the_champion(circumstances: Circumstances) -> Advice:
    """Which of both lost against the model released now: training, or quantization."""
    champion, counts = circumstances.tally.champion, circumstances.evidence.counts
    minimum, released = circumstances.rules.champion_min_ratio, circumstances.case.champion
    title = released.title if isinstance(released, Champion) else "the current release"
    if champion is None or champion.problem or minimum is None:
        without = (
            f"{RUN} without gate.champion_min_ratio"
            if circumstances.in_pipeline
            else "edgeproof evaluate without --champion"
        )
        return Advice(f"{title} and this holdout do not fit", None, without)
    numbers = f"float {counts.num_correct_float}, {circumstances.case.candidate_name} {counts.num_correct_candidate}"
    numbers += f", {title} {champion.num_correct_champion} right"
    if counts.num_correct_float < minimum * champion.num_correct_champion:
        since = released.version if isinstance(released, Champion) and released.version else "-2"
        step = (
            f"edgeproof runs compare {since} -1 --config {CONFIG} (what changed)" if circumstances.in_pipeline else None
        )
        return Advice(f"training, not quantization: {numbers}", None, step)
    return Advice(
        f"quantization lost what the float model is ahead: {numbers}",
        circumstances.diagnosis.tried,
        _against_quantization(circumstances).next_step,
    )


def _more_examples(circumstances: Circumstances) -> Advice:
    scored, least = circumstances.tally.num_examples, circumstances.rules.min_examples
    missing = f"{least - scored} " if scored < least else ""
    step = f"add {missing}examples to split {circumstances.case.split} (a larger share: data.shares.eval), then {RUN}"
    if not circumstances.in_pipeline:
        step = f"add {missing}examples to {circumstances.case.split}, then edgeproof evaluate"
    return Advice(f"the holdout is too small: {scored} examples", None, step)


def _better_calibration(circumstances: Circumstances, which: str) -> str:
    if not circumstances.in_pipeline:
        return f"add examples {which} to the calibration file, then {_convert()}"
    return f"add examples {which} to the calibration split (data.patterns.calibration, data.shares), then {RUN}"


def _again(circumstances: Circumstances, key: str, value: str) -> str:
    """The same again with another setting of the section ``convert``."""
    if circumstances.in_pipeline:
        return _retry(key, value)
    return f"{_convert()} --{key.rpartition('.')[2].replace('_', '-')} {value.strip('[]')}"


def _retry(key: str, value: str) -> str:
    setting = f"convert.{key}={value}"
    return f"{RUN} --set {shlex.quote(setting)}"


def _convert() -> str:
    return "edgeproof convert --saved-model DIR --calibration POOL.npz --out EDGE"


#: What to say, by what is to blame; the first that applies is said.
ADVICE: Mapping[Blame, Callable[[Circumstances], Advice]] = {
    Blame.FLOAT_MODEL: _against_the_float_model,
    Blame.LABELS: _against_the_labels,
    Blame.QUANTIZATION: _against_quantization,
    Blame.PART: _against_quantization,
    Blame.RELEASE: _against_the_champion,
    Blame.NUM_EXAMPLES: _more_examples,
    Blame.SIZE: _against_the_size,
    Blame.DEVICE: _against_the_device,
}
