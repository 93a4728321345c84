"""Float judged against itself is accepted, and a permuted, constant, NaN or shifted candidate is refused: always, by every metric."""

from __future__ import annotations

import numpy as np
import pytest

from components.evaluator.counting.tally import Tally
from components.evaluator.gate.judgement import Verdict, judge
from components.evaluator.gate.thresholds import GateRules
from components.evaluator.measurements.measurement import MeasurementOptions
from components.evaluator.measurements.table import measurement_of
from tests.components.evaluator.samples import evidence_of
from tests.incidents.situations import SITUATIONS, SPOILT, Floats, Situation

CASES = [
    pytest.param(make(), rules, id=f"{name}-{rules.get('metric', 'top1')}")
    for name, make in SITUATIONS.items()
    for rules in make().metrics
]


def verdict_on(situation: Situation, candidate: Floats, rules: dict[str, object]) -> Verdict:
    """Judges batch by batch, as the pipeline does."""
    given = GateRules.of(rules)
    measurement = measurement_of(given.metric, MeasurementOptions(top_k=given.answers_ranked))
    total = Tally()
    for start in range(0, len(situation.labels), 256):
        rows = slice(start, start + 256)
        compared = measurement.compare(situation.labels[rows], situation.outputs[rows], candidate[rows])
        total += Tally(compared.statistics(np.zeros(len(situation.labels[rows]), np.bool_)))
    return judge(evidence_of(total, given))


@pytest.mark.parametrize(("situation", "rules"), CASES)
def test_a_float_model_keeps_what_it_has(situation: Situation, rules: dict[str, object]) -> None:
    verdict = verdict_on(situation, situation.outputs, rules)
    assert verdict.accepted, verdict.sentence


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
@pytest.mark.parametrize(("situation", "rules"), CASES)
def test_a_spoilt_candidate_is_refused(situation: Situation, rules: dict[str, object], spoil: object) -> None:
    assert not verdict_on(situation, spoil(situation), rules).accepted  # type: ignore[operator]
