"""The list of rules: every threshold of the gate reaches a verdict, and every rule has an advice or needs none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from components.evaluator.counting.metric import LabelKind, Metric
from components.evaluator.counting.slices import SliceBy, SliceKey, SliceSpec
from components.evaluator.counting.tally import ChampionCounts, Tally
from components.evaluator.gate.judgement import RULES, judge
from components.evaluator.gate.rule import Blame, RuleName
from components.evaluator.gate.thresholds import GateRules
from components.evaluator.measurements.measurement import MeasurementOptions
from components.evaluator.measurements.table import measurement_of
from components.evaluator.report.advice import ADVICE
from components.evaluator.scoring.kernels import KernelAgreement
from components.evaluator.scoring.latency import Latency
from tests.components.evaluator.gate.test_device_rules import measured
from tests.components.evaluator.gate.test_optional_rules import table, tally_of_errors, whole
from tests.components.evaluator.samples import FACTS, STABLE, evidence_of, tally_of

NIGHT, DAY = SliceKey("domain", "night"), SliceKey("domain", "day")
#: For every threshold a value that everything keeps, and one that the case below breaks.
STRICT_AND_LAX: Mapping[str, tuple[Any, Any]] = {
    "metric": ("top1", "auc"),
    "top_k": (2, 1),
    "min_ratio": ("0.5", "0.999"),
    "max_error_factor": ("2", "1.0001"),
    "min_float_accuracy": ("0.1", "0.95"),
    "min_examples": (10, 5000),
    "confidence": ("0.5", "0.999999"),
    "slice_min_ratio": ("0.5", "0.999"),
    "slice_max_error_factor": ("2", "1.0001"),
    "slice_min_examples": (100, 5000),
    "class_min_ratio": ("0.5", "1.5"),
    "class_min_examples": (100, 5000),
    "champion_min_ratio": ("0.5", "1"),
    "max_size_ratio": ("1", "0.1"),
    "max_latency_ratio": ("1", "0.1"),
    "min_kernel_agreement": ("0.5", "1"),
    "device": ({"local": True, "max_p50_ms": "1"}, {"local": True, "max_p50_ms": "0.5"}),
}
#: What has to be set beside a threshold for it to judge anything.
BESIDE = {
    "top_k": {"metric": "topk"},
    "slice_min_examples": {"slice_min_ratio": "0.5"},
    "class_min_examples": {"class_min_ratio": "0.5"},
}


def tally_for(name: str, rules: GateRules) -> Tally:
    """Two classes and two slices; real values where the threshold is for them; four classes for top-k."""
    if not GateRules.takes(name, LabelKind.CLASS):
        return tally_of_errors(1.5)
    if name == "top_k":
        labels = np.arange(1000) % 4
        scores = np.eye(4)[labels]
        second = scores + 2 * np.eye(4)[(labels + 1) % 4]
        options = MeasurementOptions(top_k=rules.top_k)
        compared = measurement_of(Metric.TOPK, options).compare(labels, scores, second)
        return Tally(compared.statistics(np.zeros(1000, np.bool_)))
    slices = {NIGHT: table(300, 270, 260), DAY: table(700, 630, 630)}
    kernels = KernelAgreement(1000, 990, 900, 890, 889)
    return tally_of(whole(), slices=slices, kernels=kernels, champion=ChampionCounts(1000, 895, 15, 10))


def broken_by(name: str, value: Any) -> set[str]:
    metric = {} if GateRules.takes(name, LabelKind.CLASS) else {"metric": "mae", "max_error_factor": "2"}
    rules = GateRules.of({**metric, **BESIDE.get(name, {}), name: value})
    times = {"latency": Latency("int8", 1.0, 1.0, 50), "float_latency": Latency("float.tflite", 2.0, 2.0, 50)}
    facts = replace(FACTS, float_size_bytes=2 * (FACTS.size_bytes or 0), device=measured(), **times)
    slices = () if name == "top_k" else (SliceSpec(SliceBy.FEATURE, "domain"),)
    evidence = evidence_of(tally_for(name, rules), rules, facts, slices=slices, champion=STABLE)
    return {result.name.value for result in judge(evidence).broken_rules}


@pytest.mark.parametrize("name", list(GateRules.model_fields))
def test_every_threshold_reaches_a_verdict(name: str) -> None:
    lax, strict = STRICT_AND_LAX[name]
    assert broken_by(name, lax) == set()
    assert broken_by(name, strict) != set()


def test_a_rule_that_a_threshold_turns_on_is_silent_without_it() -> None:
    optional = {rule.name for rule in RULES if rule.setting and GateRules.model_fields[rule.setting].default is None}
    silent = {result.name for result in judge(evidence_of(tally_for("metric", GateRules()))).results}
    assert not optional & silent
    settings = {rule.setting for rule in RULES if rule.setting}
    assert settings <= set(GateRules.model_fields)


def test_every_rule_has_a_name_of_its_own_and_an_advice_where_something_is_to_blame() -> None:
    names = [rule.name for rule in RULES]
    assert len(set(names)) == len(names)
    assert {rule.blame for rule in RULES} - {Blame.NOBODY} == set(ADVICE)
    assert set(RuleName) - set(names) == {RuleName.FIGURE_KEPT, RuleName.ERROR_KEPT}


def test_a_ratio_has_one_bound_for_config_and_core() -> None:
    from pipeline.config.gate import GateConfig

    for name in GateRules.model_fields:
        of_config, of_core = GateConfig.model_fields[name], GateRules.model_fields[name]
        assert (of_config.default, of_config.metadata) == (of_core.default, of_core.metadata), name
    assert GateConfig.model_validate({"min_ratio": 1}).rules.min_ratio == Fraction(1)
