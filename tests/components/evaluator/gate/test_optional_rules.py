"""Rules that a config turns on: slices, classes, confidence, the current release, sizes, speed, kernels."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from edgeproof_edge.errors import InputError

from components.evaluator.counting.counts import Counts
from components.evaluator.counting.deviations import compare_numbers, slice_deviations
from components.evaluator.counting.metric import Metric
from components.evaluator.counting.slices import MISSING, PairedCounts, SliceBy, SliceKey, SliceSpec
from components.evaluator.counting.tally import ChampionCounts, Tally
from components.evaluator.gate.file_rules import latency_kept, size_kept
from components.evaluator.gate.judgement import Verdict, judge
from components.evaluator.gate.thresholds import GateRules
from components.evaluator.scoring.kernels import KernelAgreement
from components.evaluator.scoring.latency import Latency
from tests.components.evaluator.samples import NO_CHAMPION, STABLE, evidence_of, tally_of

SITE = SliceSpec(SliceBy.FEATURE, "site")
AGE = SliceSpec(SliceBy.FEATURE, "age", (18.0,))
NIGHT, DAY = SliceKey("site", "night"), SliceKey("site", "day")


def table(num_examples: int, right_float: int, right_candidate: int) -> PairedCounts:
    both = min(right_float, right_candidate)
    rest = num_examples - max(right_float, right_candidate)
    return PairedCounts(both, right_float - both, right_candidate - both, rest)


def whole(num_examples: int = 1000, right_float: int = 900, right_candidate: int = 890) -> Counts:
    """Two balanced classes."""
    part = table(num_examples, right_float, right_candidate)
    half = (num_examples // 2, num_examples - num_examples // 2)
    return Counts(
        num_examples=num_examples,
        num_correct_float=right_float,
        num_correct_candidate=right_candidate,
        num_both_correct=part.num_both_correct,
        num_only_float_correct=part.num_only_float_correct,
        num_only_candidate_correct=part.num_only_candidate_correct,
        num_neither_correct=part.num_neither_correct,
        predicted_float=half,
        predicted_candidate=half,
        examples_by_label=half,
        correct_float_by_label=(right_float // 2, right_float - right_float // 2),
        correct_candidate_by_label=(right_candidate // 2, right_candidate - right_candidate // 2),
    )


def judged(tally: Tally, slices: tuple[SliceSpec, ...] = (), has_champion: bool = False, **rules: object) -> Verdict:
    champion = STABLE if has_champion else NO_CHAMPION
    case = {"slices": slices, "class_names": ("cat", "dog"), "champion": champion}
    return judge(evidence_of(tally, GateRules.of(rules), **case))


def broken(verdict: Verdict) -> set[str]:
    return {rule.name for rule in verdict.broken_rules}


def reason(verdict: Verdict, name: str) -> str:
    return next(rule.reason for rule in verdict.results if rule.name == name)


@pytest.mark.parametrize(
    ("night", "passes"),
    [
        pytest.param(table(200, 100, 90), True, id="exactly-90-percent"),
        pytest.param(table(200, 100, 89), False, id="one-less"),
        pytest.param(table(99, 90, 1), True, id="too-small-to-judge"),
        pytest.param(table(200, 0, 0), False, id="float-got-nothing-right"),
    ],
)
def test_every_large_slice_keeps_the_ratio(night: PairedCounts, passes: bool) -> None:
    rest = table(1000 - night.num_examples, 900 - night.num_correct_float, 890 - night.num_correct_candidate)
    tally = tally_of(whole(), slices={NIGHT: night, DAY: rest})
    verdict = judged(tally, (SITE,), slice_min_ratio=Fraction(9, 10))
    assert broken(verdict) == (set() if passes else {"slices_kept"})


def test_the_worst_slice_is_named() -> None:
    tally = tally_of(whole(), slices={NIGHT: table(200, 190, 90), DAY: table(800, 710, 800)})
    verdict = judged(tally, (SITE,), slice_min_ratio=Fraction(9, 10))
    assert "slice site = night keeps 47.36 % (90 / 190 right of 200)" in verdict.sentence


def test_an_empty_slice_that_was_asked_for_refuses() -> None:
    tally = tally_of(whole(), slices={SliceKey("age", "[18, inf)"): table(1000, 900, 890)})
    verdict = judged(tally, (AGE,), slice_min_ratio=Fraction(9, 10))
    assert broken(verdict) == {"slices_kept"}
    assert "slice age = [-inf, 18) holds no example" in verdict.sentence


def test_no_slice_large_enough_refuses() -> None:
    tally = tally_of(whole(), slices={SliceKey("site", str(n)): table(10, 9, 9) for n in range(100)})
    verdict = judged(tally, (SITE,), slice_min_ratio=Fraction(9, 10))
    assert "no slice holds 100 examples" in reason(verdict, "slices_kept")


def test_slices_by_label_are_slices() -> None:
    cat, dog = SliceKey("label", "cat"), SliceKey("label", "dog")
    by_label = (SliceSpec(SliceBy.LABEL),)
    tally = tally_of(whole(), slices={cat: table(500, 450, 445), dog: table(500, 450, 445)})
    assert judged(tally, by_label, slice_min_ratio=Fraction(9, 10)).accepted
    worse = tally_of(whole(), slices={cat: table(500, 450, 450), dog: table(500, 450, 400)})
    verdict = judged(worse, by_label, slice_min_ratio=Fraction(9, 10))
    assert "slice label = dog keeps 88.88 %" in reason(verdict, "slices_kept")


def test_more_broken_slices_than_are_named_are_counted() -> None:
    slices = {SliceKey("site", str(n)): table(100, 90, 10 if n < 5 else 89) for n in range(10)}
    verdict = judged(tally_of(whole(), slices=slices), (SITE,), slice_min_ratio=Fraction(9, 10))
    assert "; and 2 more; required" in reason(verdict, "slices_kept")
    small = {SliceKey("age", f"{n}"): table(50, 45, 44) for n in range(20)}
    edges = SliceSpec(SliceBy.FEATURE, "size", tuple(float(edge) for edge in range(4)))
    verdict = judged(tally_of(whole(), slices=small), (AGE, edges), slice_min_ratio=Fraction(9, 10))
    assert "; and 4 more; no slice holds 100 examples" in reason(verdict, "slices_kept")


def test_a_feature_that_no_example_has_refuses_even_without_a_rule() -> None:
    tally = tally_of(whole(), slices={SliceKey("site", MISSING): table(1000, 900, 890)})
    assert broken(judged(tally, (SITE,))) == {"slices_found"}


def test_slices_that_do_not_add_up_refuse() -> None:
    tally = tally_of(whole(), slices={NIGHT: table(999, 900, 890)})
    verdict = judged(tally, (SITE,))
    assert "consistent_counts" in broken(verdict)
    assert "the slices by site hold 999 examples and the split 1000" in verdict.sentence


@pytest.mark.parametrize(
    ("of_candidate", "passes"), [((360, 450), True), ((359, 451), False)], ids=["exactly-80-percent", "one-less"]
)
def test_every_class_keeps_the_ratio(of_candidate: tuple[int, int], passes: bool) -> None:
    counts = replace(whole(1000, 900, 810), correct_candidate_by_label=of_candidate)
    rules = {"min_ratio": Fraction(9, 10), "class_min_ratio": Fraction(8, 10)}
    verdict = judged(tally_of(counts), **rules)
    assert broken(verdict) == (set() if passes else {"classes_kept"})


def test_a_class_without_examples_refuses_where_classes_are_judged() -> None:
    counts = replace(
        whole(), examples_by_label=(1000, 0), correct_float_by_label=(900, 0), correct_candidate_by_label=(890, 0)
    )
    verdict = judged(tally_of(counts), class_min_ratio=Fraction(8, 10))
    assert "class dog holds no example" in reason(verdict, "classes_kept")


@pytest.mark.parametrize(("right", "passes"), [(980, False), (995, True)], ids=["within-noise", "clearly"])
def test_the_bound_must_keep_the_rule_too(right: int, passes: bool) -> None:
    tally = tally_of(whole(1200, 1000, right))
    assert judged(tally).accepted
    verdict = judged(tally, min_ratio=Fraction(975, 1000), confidence=Fraction(95, 100))
    assert broken(verdict) == (set() if passes else {"confidence_bound"})
    assert "Bonett-Price 2006" in next(r.source for r in verdict.results if r.name == "confidence_bound")


@pytest.mark.parametrize(
    ("champion", "has_champion", "passes"),
    [
        pytest.param(None, False, True, id="nothing-released-yet"),
        pytest.param(ChampionCounts(1000, 890, 10, 10), True, True, id="as-good"),
        pytest.param(ChampionCounts(1000, 891, 11, 10), True, False, id="one-worse"),
        pytest.param(None, True, False, id="not-scored"),
        pytest.param(ChampionCounts(problem="it has other classes."), True, False, id="not-comparable"),
        pytest.param(ChampionCounts(1000, 0, 0, 890), True, False, id="it-got-nothing-right"),
        pytest.param(ChampionCounts(999, 889, 0, 0), True, False, id="on-other-examples"),
    ],
)
def test_no_worse_than_the_current_release(champion: ChampionCounts | None, has_champion: bool, passes: bool) -> None:
    tally = tally_of(whole(), champion=champion)
    verdict = judged(tally, has_champion=has_champion, champion_min_ratio=Fraction(1))
    assert verdict.accepted is passes


@pytest.mark.parametrize(
    ("size", "reference", "passes"),
    [(50, 100, True), (51, 100, False), (50, None, False), (None, 100, False), (50, 0, False)],
    ids=["exactly-half", "one-more", "no-float-file", "no-candidate", "empty-float-file"],
)
def test_size_is_compared_exactly(size: int | None, reference: int | None, passes: bool) -> None:
    assert size_kept(size, reference, Fraction(1, 2)).passed is passes


@pytest.mark.parametrize(
    ("candidate", "reference", "passes"),
    [(1.0, 2.0, True), (1.1, 2.0, False), (1.0, 0.0, False), (float("nan"), 2.0, False)],
)
def test_latency_is_compared_with_the_float_file(candidate: float, reference: float, passes: bool) -> None:
    mine, other = Latency("int8", candidate, candidate, 50), Latency("float.tflite", reference, reference, 50)
    assert latency_kept(mine, other, Fraction(1, 2)).passed is passes
    assert not latency_kept(mine, None, Fraction(1, 2)).passed


@pytest.mark.parametrize(
    ("kernels", "passes"),
    [
        pytest.param(KernelAgreement(1000, 990, 900, 890, 889), True, id="exactly"),
        pytest.param(KernelAgreement(1000, 989, 900, 890, 889), False, id="one-less"),
        pytest.param(None, False, id="off"),
        pytest.param(KernelAgreement(), False, id="empty-sample"),
        pytest.param(KernelAgreement(problem="no such operator."), False, id="cannot-run"),
    ],
)
def test_kernels_agree(kernels: KernelAgreement | None, passes: bool) -> None:
    verdict = judged(tally_of(whole(), kernels=kernels), min_kernel_agreement=Fraction(99, 100))
    assert verdict.accepted is passes


@pytest.mark.parametrize(
    "rules",
    [
        {"metric": Metric.MAE, "slice_min_ratio": Fraction(1, 2)},
        {"metric": Metric.RMSE, "champion_min_ratio": Fraction(1)},
        {"metric": Metric.AUC, "confidence": Fraction(95, 100)},
        {"confidence": Fraction(1)},
        {"confidence": Fraction(1, 3)},
        {"max_error_factor": Fraction(1, 2)},
        {"max_size_ratio": Fraction(0)},
        {"top_k": 0},
        {"metric": "accuracy"},
    ],
)
def test_rules_that_make_no_sense_are_an_error(rules: dict[str, object]) -> None:
    with pytest.raises(InputError):
        GateRules.of(rules)


def test_all_rules_survive_json() -> None:
    given = {
        "min_ratio": "0.98",
        "metric": "topk",
        "top_k": 3,
        "confidence": "0.95",
        "slice_min_ratio": "0.9",
        "class_min_ratio": "0.8",
        "champion_min_ratio": "1",
        "max_size_ratio": "0.5",
        "max_latency_ratio": "2",
        "min_kernel_agreement": "0.99",
    }
    rules = GateRules.of(given)
    assert GateRules.from_json(rules.to_json()) == rules
    assert rules.answers_ranked == 3


def tally_of_errors(night_factor: float, num_nights: int = 200) -> Tally:
    """1,000 examples: a float model that errs by 1 everywhere, and a candidate that errs more at night."""
    random = np.random.default_rng(2)
    labels, signs = np.rint(random.normal(0, 50, 1000)), random.choice([-1.0, 1.0], 1000)
    is_night = np.arange(1000) < num_nights
    outputs = (labels + signs)[:, None], (labels + signs * np.where(is_night, night_factor, 1.0))[:, None]
    clipped = np.zeros(1000, np.bool_)
    parts = slice_deviations(labels, *outputs, clipped, is_night.astype(np.int64), 2)
    keys = (SliceKey("domain", "day"), SliceKey("domain", "night"))
    return Tally(compare_numbers(labels, *outputs, clipped), slices=dict(zip(keys, parts, strict=True)))


@pytest.mark.parametrize("metric", [Metric.MAE, Metric.RMSE])
@pytest.mark.parametrize(
    ("night_factor", "num_nights", "passes"),
    [
        pytest.param(1.125, 200, True, id="exactly-the-factor"),
        pytest.param(1.25, 200, False, id="more"),
        pytest.param(1.25, 90, True, id="too-few-to-judge"),
    ],
)
def test_every_large_slice_keeps_the_error_factor(
    metric: Metric, night_factor: float, num_nights: int, passes: bool
) -> None:
    rules = GateRules(metric=metric, max_error_factor=Fraction(2), slice_max_error_factor=Fraction("1.125"))
    tally, slices = tally_of_errors(night_factor, num_nights), (SliceSpec(SliceBy.FEATURE, "domain"),)
    verdict = judge(evidence_of(tally, rules, slices=slices))
    assert broken(verdict) == (set() if passes else {"slice_errors_kept"})
    if not passes:
        assert "slice domain = night has 1.2500 times the float model's" in reason(verdict, "slice_errors_kept")
        assert "(1.25 / 1 on 200); required at most 1.1250 times" in reason(verdict, "slice_errors_kept")


def test_an_error_factor_per_slice_is_for_errors() -> None:
    with pytest.raises(InputError, match="metric top1 has no slice_max_error_factor; remove it"):
        GateRules.of({"slice_max_error_factor": "1.1"})
