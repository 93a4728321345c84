"""The rules about a device: what was measured there, and that what was not measured never passes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from edgeproof_edge.measuring import Facts, Machine, Times

from components.device.outcome import DeviceMeasurement, DeviceProblem, OutputAgreement
from components.evaluator.gate.judgement import Verdict, judge
from components.evaluator.gate.rule import Blame, RuleName
from components.evaluator.gate.thresholds import GateRules
from components.evaluator.report.advice import Circumstances, advise
from components.evaluator.report.diagnosis import Diagnosis
from tests.components.evaluator.gate.test_optional_rules import whole
from tests.components.evaluator.samples import FACTS, evidence_of, tally_of

MACHINE = Machine("Raspberry Pi 4", "Linux 6.1", "aarch64", 4, "3.11.2", "ai-edge-litert 2.3.0")
ALIKE = OutputAgreement("scores", 100, 100, 0, 0.004, 0.09, 100, 80, 80)


def times(p50_ms: float) -> Times:
    return Times(p50_ms, 1.2 * p50_ms, 2 * p50_ms, p50_ms, 3 * p50_ms, 200)


def measured(
    p50_ms: float = 1.0, float_ms: float | None = 2.0, agreement: tuple[OutputAgreement, ...] = (ALIKE,), **facts: Any
) -> DeviceMeasurement:
    of_float = None if float_ms is None else times(float_ms)
    return DeviceMeasurement(
        "pi (ssh)", Facts(MACHINE, times=times(p50_ms), float_times=of_float, **facts), 100, agreement
    )


def verdict(device: DeviceMeasurement | DeviceProblem | None, **rules: Any) -> Verdict:
    evidence = evidence_of(
        tally_of(whole()),
        GateRules.model_validate({"device": {"ssh": "pi@pi", **rules}}),
        replace(FACTS, device=device),
    )
    return judge(evidence)


def broken(device: DeviceMeasurement | DeviceProblem | None, **rules: Any) -> set[RuleName]:
    return {result.name for result in verdict(device, **rules).broken_rules}


@pytest.mark.parametrize(
    ("device", "rules", "expected"),
    [
        pytest.param(measured(), {"max_p50_ms": 1, "max_p90_ms": 1.2}, set(), id="exactly-the-sla-passes"),
        pytest.param(measured(), {"max_p50_ms": 0.999}, {RuleName.DEVICE_LATENCY}, id="slower-than-the-sla"),
        pytest.param(measured(), {"max_p90_ms": 1.1}, {RuleName.DEVICE_LATENCY}, id="p90-slower-than-the-sla"),
        pytest.param(measured(2.0), {}, set(), id="as-fast-as-float-passes"),
        pytest.param(measured(2.2), {}, {RuleName.DEVICE_LATENCY_RATIO}, id="slower-than-float"),
        pytest.param(measured(0.03, 0.01), {}, set(), id="microseconds-slower-than-float-are-nothing"),
        pytest.param(measured(2.2), {"max_latency_ratio": None}, set(), id="slower-than-float-where-that-is-off"),
        pytest.param(measured(2.2), {"max_latency_ratio": 1.5}, set(), id="a-little-slower-where-that-is-allowed"),
        pytest.param(measured(1.0, None), {}, {RuleName.DEVICE_LATENCY_RATIO}, id="no-float-file-is-a-no"),
        pytest.param(
            measured(agreement=(replace(ALIKE, num_beyond=1),)),
            {},
            {RuleName.DEVICE_ANSWERS},
            id="a-row-beyond-the-tolerance",
        ),
        pytest.param(
            measured(agreement=(replace(ALIKE, num_leading_same=79),)),
            {},
            {RuleName.DEVICE_ANSWERS},
            id="another-answer",
        ),
        pytest.param(
            measured(agreement=(replace(ALIKE, num_comparable=0),)),
            {},
            {RuleName.DEVICE_ANSWERS},
            id="nothing-to-compare",
        ),
        pytest.param(measured(agreement=()), {}, {RuleName.DEVICE_ANSWERS}, id="nothing-compared"),
        pytest.param(
            measured(agreement=(ALIKE, replace(ALIKE, output="boxes", num_beyond=9))),
            {},
            set(),
            id="an-output-that-is-not-judged",
        ),
        pytest.param(
            DeviceMeasurement("pi (ssh)", Facts(MACHINE, refusal="no such operator"), 100),
            {"max_p50_ms": 1},
            {RuleName.DEVICE_MEASURED},
            id="the-runtime-there-refuses-it",
        ),
        pytest.param(
            DeviceProblem("pi (ssh)", "it is off."), {"max_p50_ms": 1}, {RuleName.DEVICE_MEASURED}, id="unreachable"
        ),
        pytest.param(None, {"max_p50_ms": 1}, {RuleName.DEVICE_MEASURED}, id="nobody-measured"),
    ],
)
def test_the_device_is_part_of_the_proof(
    device: DeviceMeasurement | DeviceProblem | None, rules: dict[str, Any], expected: set[RuleName]
) -> None:
    assert broken(device, **rules) == expected
    assert verdict(device, **rules).accepted == (not expected)


def test_an_unreachable_device_refuses_with_the_reason() -> None:
    refused = verdict(DeviceProblem("pi (ssh)", "pi (ssh) cannot be reached: it is off. Switch it on."))
    assert "but pi (ssh) cannot be reached: it is off. Switch it on." in refused.sentence
    assert refused.blamed == {Blame.DEVICE}


@pytest.mark.parametrize(
    ("device", "rules", "words"),
    [
        (DeviceProblem("pi", "off."), {}, "--fresh evaluator"),
        (measured(agreement=()), {}, "install there what judged"),
        (measured(), {"max_p50_ms": 0.1}, "a smaller model"),
        (measured(3.0), {}, "gate.device.delegate"),
    ],
    ids=["unreachable", "other-answers", "too-slow", "slower-than-float"],
)
def test_what_to_do_about_it_follows_from_the_rule(device: Any, rules: dict[str, Any], words: str) -> None:
    given = GateRules.model_validate({"device": {"ssh": "pi@pi", **rules}})
    tally = tally_of(whole())
    evidence = evidence_of(
        tally, given, replace(FACTS, device=device), checks_recorded_sha256=True, recorded_sha256=FACTS.sha256
    )
    advice = advise(Circumstances(judge(evidence), evidence, Diagnosis()))
    assert words in (advice.next_step or "")


@pytest.mark.parametrize(
    ("device", "words"),
    [
        ({}, "none is given"),
        ({"ssh": "pi@pi", "local": True}, "ssh and local is given"),
        ({"ssh": "-oProxyCommand=x"}, "no address of a device"),
        ({"ssh": "pi@pi", "max_p50_ms": 0}, "greater than 0"),
        ({"ssh": "pi@pi", "max_p50": 3}, "max_p50"),
    ],
    ids=["no-place", "two-places", "an-option", "no-time", "misspelt"],
)
def test_a_device_that_cannot_be_meant_is_refused(device: dict[str, Any], words: str) -> None:
    from edgeproof_edge.errors import InputError

    with pytest.raises(InputError, match=words):
        GateRules.of({"device": device})
