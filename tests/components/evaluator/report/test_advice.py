"""Every kind of refusal ends with a cause and with something that was not tried yet."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from components.evaluator.counting.counts import Counts
from components.evaluator.counting.deviations import compare_numbers
from components.evaluator.counting.metric import Metric
from components.evaluator.counting.slices import PairedCounts, SliceBy, SliceKey, SliceSpec
from components.evaluator.counting.tally import ChampionCounts, Tally
from components.evaluator.gate.evidence import CandidateFacts
from components.evaluator.gate.judgement import judge
from components.evaluator.gate.thresholds import GateRules
from components.evaluator.report.advice import Advice, Circumstances, Invocation, advise
from components.evaluator.report.diagnosis import Diagnosis
from tests.components.evaluator.gate.test_optional_rules import table, tally_of_errors, whole
from tests.components.evaluator.samples import FACTS, NO_CHAMPION, SHA256, STABLE, evidence_of, tally_of

SITE, AGE = SliceSpec(SliceBy.FEATURE, "site"), SliceSpec(SliceBy.FEATURE, "age", (18.0,))
NIGHT, DAY = SliceKey("site", "night"), SliceKey("site", "day")
LOST = whole(1000, 900, 600)
#: 60 right answers of the float model are lost, and 40 others gained.
SHIFTED = replace(
    whole(1000, 900, 880),
    num_both_correct=840,
    num_only_float_correct=60,
    num_only_candidate_correct=40,
    num_neither_correct=60,
)
AUTO = Diagnosis("auto", tried="auto made 9 models.", recipes_tried=frozenset({"int8"}), met_goal=False)
LAX = replace(AUTO, met_goal=True, relative_error=0.015)
BLAMED = "the holdout is unlike the calibration examples"
OUTLIERS = replace(AUTO, cause="outliers at conv_3 (0.01 against 0.05)", finding="outliers")


def advice_for(
    tally: Tally | Counts,
    diagnosis: Diagnosis = AUTO,
    slices: tuple[SliceSpec, ...] = (),
    in_pipeline: bool = True,
    facts: CandidateFacts = FACTS,
    **rules: object,
) -> Advice:
    tally = tally if isinstance(tally, Tally) else tally_of(tally)
    case = {
        "slices": slices,
        "class_names": ("cat", "dog"),
        "champion": NO_CHAMPION if tally.champion is None else STABLE,
        "checks_recorded_sha256": in_pipeline,
        "recorded_sha256": SHA256,
    }
    evidence = evidence_of(tally, GateRules.of(rules), facts, **case)
    verdict = judge(evidence)
    assert not verdict.accepted
    return advise(Circumstances(verdict, evidence, diagnosis))


def clipped(part: PairedCounts, num_clipped: int) -> PairedCounts:
    return replace(part, num_clipped=num_clipped)


def slices_of(night: PairedCounts) -> dict[SliceKey, PairedCounts]:
    rest = table(1000 - night.num_examples, 900 - night.num_correct_float, 880 - night.num_correct_candidate)
    return {NIGHT: night, DAY: rest}


@pytest.mark.parametrize(
    ("diagnosis", "cause", "next_step"),
    [
        pytest.param(Diagnosis("int8"), None, "edgeproof run CONFIG --set convert.recipe=auto", id="plain-int8"),
        pytest.param(Diagnosis(), None, "edgeproof run CONFIG --set convert.recipe=auto", id="no-report"),
        pytest.param(
            OUTLIERS,
            "outliers at conv_3",
            "edgeproof run CONFIG --set train.qat=on (needs model.module); or "
            "edgeproof run CONFIG --set 'convert.fallbacks=[int16x8,float16]' (slower on devices)",
            id="auto-tried-int8-only",
        ),
        pytest.param(
            replace(OUTLIERS, recipes_tried=frozenset({"int8", "int8-qat", "int16x8"})),
            "outliers at conv_3",
            "edgeproof run CONFIG --set 'convert.fallbacks=[float16]' (slower on devices)",
            id="qat-and-a-fallback-failed-too",
        ),
        pytest.param(
            replace(OUTLIERS, recipes_tried=frozenset({"int8", "int8-qat", "int16x8", "float16"})),
            "outliers at conv_3",
            "another architecture, or edgeproof run CONFIG --set convert.recipe=float16",
            id="nothing-left",
        ),
        pytest.param(
            replace(AUTO, met_goal=True),
            "the holdout is unlike the calibration",
            "as varied as the holdout",
            id="goal-met",
        ),
        pytest.param(
            replace(AUTO, cause="calibration domain at input", finding="calibration domain"),
            "calibration domain at input",
            "of every domain that the holdout has to the calibration split",
            id="the-pool-does-not-cover-itself",
        ),
    ],
)
def test_a_model_that_quantization_ruined(diagnosis: Diagnosis, cause: str | None, next_step: str) -> None:
    advice = advice_for(LOST, diagnosis)
    assert (cause or "") in (advice.cause or "")
    assert (advice.cause is None) is (cause is None)
    assert next_step in (advice.next_step or "")
    assert advice.tried == diagnosis.tried


def test_clipped_examples_name_the_slice_that_calibration_missed() -> None:
    slices = {NIGHT: clipped(table(200, 180, 20), 190), DAY: clipped(table(800, 720, 580), 10)}
    advice = advice_for(tally_of(replace(LOST, num_clipped=200), slices=slices), OUTLIERS, (SITE,))
    assert advice.cause is not None
    assert advice.cause.startswith("calibration domain: 200 of 1000 examples have values beyond the range")
    assert advice.cause.endswith("; of site night, 190 of 200")
    assert "add examples like these to the calibration split" in (advice.next_step or "")


@pytest.mark.parametrize(
    ("diagnosis", "spec", "next_step"),
    [
        pytest.param(AUTO, SITE, "--set 'convert.calibration.stratify_by=[site]'", id="not-stratified"),
        pytest.param(
            replace(AUTO, strata=("3, site night",), num_range=500, num_distinct=800),
            SITE,
            "--set convert.calibration.num_samples=800",
            id="stratified-already",
        ),
        pytest.param(
            replace(AUTO, strata=("3, site night",)),
            SITE,
            "add examples of site night to the calibration",
            id="all-used",
        ),
    ],
)
def test_a_slice_that_falls_behind(diagnosis: Diagnosis, spec: SliceSpec, next_step: str) -> None:
    tally = tally_of(SHIFTED, slices=slices_of(table(200, 180, 120)))
    advice = advice_for(tally, diagnosis, (spec,), slice_min_ratio=Fraction(9, 10))
    assert advice.cause == "site night: 60 of the 60 right answers that only the float model gives"
    assert next_step in (advice.next_step or "")


def test_a_bucket_is_no_stratum() -> None:
    old = SliceKey("age", "[18, inf)")
    young = SliceKey("age", "[-inf, 18)")
    tally = tally_of(whole(1000, 900, 880), slices={old: table(200, 180, 120), young: table(800, 720, 760)})
    advice = advice_for(tally, AUTO, (AGE,), slice_min_ratio=Fraction(9, 10))
    assert "add examples of age [18, inf) to the calibration" in (advice.next_step or "")


def test_too_few_examples_ask_for_more_and_not_for_another_recipe() -> None:
    advice = advice_for(whole(120, 108, 108))
    assert advice.cause == "the holdout is too small: 120 examples"
    assert advice.next_step == (
        "add 380 examples to split eval (a larger share: data.shares.eval), then edgeproof run CONFIG"
    )


def test_a_weak_float_model_is_not_quantizations_fault() -> None:
    advice = advice_for(whole(1000, 510, 300))
    assert "training, not quantization" in (advice.cause or "")
    assert advice.next_step == (
        "train longer (raise train.epochs), on more data, or look at the training log: an accuracy far above the holdout's "
        "means overfitting; then edgeproof run CONFIG"
    )
    typed = Invocation("c.yaml", ("train.epochs=6", "train.seed=1")).fill_in(advice.next_step)
    assert typed.endswith("; then edgeproof run c.yaml --set train.seed=1")


def test_a_weak_model_of_a_real_value_overfits_by_its_error() -> None:
    labels = np.arange(1000.0)
    outputs = -labels[:, None]
    tally = Tally(compare_numbers(labels, outputs, outputs, np.zeros(1000, np.bool_)))
    advice = advice_for(tally, LAX, metric=Metric.MAE)
    assert "training, not quantization" in (advice.cause or "")
    assert "an error far below the holdout's means overfitting" in (advice.next_step or "")


@pytest.mark.parametrize(
    ("champion", "cause", "next_step"),
    [
        pytest.param(
            ChampionCounts(1000, 950, 80, 10),
            "training, not quantization: float 900, int8 880, release 000012-ab on channel stable 950 right",
            "edgeproof runs compare 000012-ab -1 --config CONFIG",
            id="the-float-model-is-worse-too",
        ),
        pytest.param(
            ChampionCounts(1000, 890, 20, 10), "quantization lost what", "--set train.qat=on", id="only-int8-is-worse"
        ),
        pytest.param(
            ChampionCounts(problem="it has other classes."),
            "do not fit",
            "edgeproof run CONFIG without gate.champion_min_ratio",
            id="not-comparable",
        ),
    ],
)
def test_worse_than_the_release(champion: ChampionCounts, cause: str, next_step: str) -> None:
    tally = tally_of(whole(1000, 900, 880), champion=champion)
    advice = advice_for(tally, AUTO, champion_min_ratio=Fraction(1))
    assert cause in (advice.cause or "")
    assert next_step in (advice.next_step or "")


@pytest.mark.parametrize(
    ("diagnosis", "command"),
    [
        pytest.param(Diagnosis("int8"), "--out EDGE --recipe auto", id="plain-int8"),
        pytest.param(AUTO, "--out EDGE --fallback int16x8 --fallback float16", id="auto"),
    ],
)
def test_without_a_pipeline_the_command_is_another(diagnosis: Diagnosis, command: str) -> None:
    advice = advice_for(LOST, diagnosis, in_pipeline=False)
    assert (advice.next_step or "").startswith("edgeproof convert --saved-model DIR --calibration POOL.npz")
    assert command in (advice.next_step or "")


def test_a_broken_file_is_told_by_its_rule_alone() -> None:
    assert advice_for(whole(), facts=replace(FACTS, problem="it is truncated.")) == Advice()


@pytest.mark.parametrize(
    ("invocation", "text", "typed"),
    [
        pytest.param(
            Invocation("a b.yaml", ("convert.recipe=int8", "train.epochs=3")),
            "edgeproof run CONFIG --set convert.recipe=auto",
            "edgeproof run 'a b.yaml' --set train.epochs=3 --set convert.recipe=auto",
            id="what-it-changes-is-not-given-twice",
        ),
        pytest.param(
            Invocation("c.yaml", ("gate.champion_min_ratio=1",)),
            "edgeproof run CONFIG without gate.champion_min_ratio",
            "edgeproof run c.yaml without gate.champion_min_ratio",
            id="what-it-takes-away-is-not-given",
        ),
        pytest.param(
            Invocation("c.yaml"),
            "edgeproof runs compare -2 -1 --config CONFIG (what changed)",
            "edgeproof runs compare -2 -1 --config c.yaml (what changed)",
            id="another-verb",
        ),
        pytest.param(
            Invocation("/installed/config.yaml", (), "edgeproof demo"),
            "edgeproof run CONFIG --set train.qat=on",
            "edgeproof demo --set train.qat=on",
            id="demo",
        ),
    ],
)
def test_the_command_can_be_typed_as_it_stands(invocation: Invocation, text: str, typed: str) -> None:
    assert invocation.fill_in(text) == typed


@pytest.mark.parametrize("factor", [Fraction(1), Fraction(2)], ids=["the-whole", "a-slice-only"])
def test_a_real_value_is_not_sent_to_training_that_counts_right_answers(factor: Fraction) -> None:
    rules = {"metric": Metric.MAE, "max_error_factor": factor, "slice_max_error_factor": Fraction(1)}
    found = advice_for(tally_of_errors(night_factor=1.5), OUTLIERS, (SliceSpec(SliceBy.FEATURE, "domain"),), **rules)
    assert found.cause == "outliers at conv_3 (0.01 against 0.05)"
    assert found.next_step == "edgeproof run CONFIG --set 'convert.fallbacks=[int16x8,float16]' (slower on devices)"


@pytest.mark.parametrize("metric", [Metric.MAE, Metric.RMSE])
@pytest.mark.parametrize(
    ("night_factor", "diagnosis", "in_pipeline", "cause", "next_step"),
    [
        pytest.param(
            1.0625,
            LAX,
            True,
            "the goal of the search is laxer",
            "CONFIG --set convert.goal.max_relative_error=0.0075",
            id="twice-the-allowed-growth",
        ),
        pytest.param(
            1.0625,
            LAX,
            False,
            "the goal of the search is laxer",
            "--out EDGE --recipe int16x8",
            id="without-a-pipeline",
        ),
        pytest.param(1.09375, LAX, True, BLAMED, "as varied as the holdout", id="more"),
        pytest.param(
            1.0625, replace(LAX, relative_error=None), True, BLAMED, "as varied as the holdout", id="no-such-goal"
        ),
    ],
)
def test_an_error_just_over_the_factor_asks_for_a_stricter_goal(
    metric: Metric, night_factor: float, diagnosis: Diagnosis, in_pipeline: bool, cause: str, next_step: str
) -> None:
    rules = {"metric": metric, "max_error_factor": Fraction("1.03125")}
    found = advice_for(tally_of_errors(night_factor, num_nights=1000), diagnosis, in_pipeline=in_pipeline, **rules)
    assert (found.cause or "").startswith(cause)
    assert next_step in (found.next_step or "")
    assert found.tried == diagnosis.tried


def test_a_slice_that_grew_does_not_blame_the_goal() -> None:
    rules = {"metric": Metric.MAE, "max_error_factor": Fraction(2), "slice_max_error_factor": Fraction(1)}
    found = advice_for(tally_of_errors(night_factor=1.5), LAX, (SliceSpec(SliceBy.FEATURE, "domain"),), **rules)
    assert (found.cause or "").startswith(BLAMED)
