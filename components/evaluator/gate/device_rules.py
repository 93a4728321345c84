"""Rules about the device that the candidate was measured on: that it could be, that it answers as was judged, how fast it is.

A device that could not be reached is broken like any other rule, with the reason: nothing is known of it, and so nothing is published.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

from components.device.outcome import DeviceMeasurement, DeviceProblem
from components.evaluator.gate.evidence import Evidence
from components.evaluator.gate.rule import (
    SOURCE_CLOSED,
    SOURCE_DEVICE,
    Blame,
    Rule,
    RuleName,
    RuleResult,
    decimal_up,
    percent,
)
from components.evaluator.gate.thresholds import DeviceRules, shown

#: Differences of one call below it are what Python's own calls cost, not what the model does.
LEAST_DIFFERENCE_MS = Fraction(1, 10)


def _device_rules(evidence: Evidence) -> DeviceRules:
    assert evidence.rules.device is not None
    return evidence.rules.device


def _measurement(evidence: Evidence) -> DeviceMeasurement | None:
    """What the device did; None where it did nothing."""
    device = evidence.candidate.device
    return device if isinstance(device, DeviceMeasurement) and device.facts.times is not None else None


def device_measured(evidence: Evidence) -> RuleResult:
    """The device could be reached, and its runtime runs the candidate."""
    device = evidence.candidate.device
    reason = "the candidate was not measured on the device, because it was not scored."
    if isinstance(device, DeviceProblem):
        reason = device.reason
    elif device is not None:
        refusal = device.facts.refusal
        reason = (
            f"{device.device} does not run the candidate: {refusal}"
            if refusal
            else f"{device.device} ran the candidate."
        )
    measured = _measurement(evidence)
    return RuleResult(
        name=RuleName.DEVICE_MEASURED,
        threshold=f"runs on {_device_rules(evidence).place.title}",
        observed="no measurement"
        if measured is None
        else f"{measured.num_rows} examples, {measured.facts.machine.runtime}",
        passed=measured is not None,
        reason=reason,
        source=SOURCE_CLOSED if measured is None else SOURCE_DEVICE,
    )


def device_answers(evidence: Evidence) -> RuleResult:
    """On the device the judged output is what was judged, within the tolerance of golden vectors."""
    measured = _measurement(evidence)
    assert measured is not None
    of_output = [each for each in measured.agreement if evidence.candidate.output in ("", each.output)]
    sentence = "; ".join(each.sentence for each in of_output) or "nothing was compared"
    passed = bool(of_output) and all(each.holds for each in of_output)
    end = "." if passed else ". Another version of its runtime may agree; the kernels there compute something else."
    return RuleResult(
        name=RuleName.DEVICE_ANSWERS,
        threshold="outputs within the golden tolerance, same answers where they lead",
        observed=sentence,
        passed=passed,
        reason=f"on {measured.device}: {sentence}{end}",
        source=SOURCE_DEVICE,
    )


def device_latency(evidence: Evidence) -> RuleResult:
    """Median and nine of ten calls there, in milliseconds."""
    measured, rules = _measurement(evidence), _device_rules(evidence)
    assert measured is not None
    assert measured.facts.times is not None
    times = measured.facts.times
    limits = [
        (name, Fraction(milliseconds), limit)
        for name, milliseconds, limit in (
            ("p50", times.p50_ms, rules.max_p50_ms),
            ("p90", times.p90_ms, rules.max_p90_ms),
        )
        if limit is not None
    ]
    broken = [entry for entry in limits if entry[1] > entry[2]]
    parts = [
        f"{name} is {decimal_up(value, 3)} ms, allowed {shown(limit)} ms" for name, value, limit in broken or limits
    ]
    return RuleResult(
        name=RuleName.DEVICE_LATENCY,
        threshold=", ".join(f"{name} at most {shown(limit)} ms" for name, _, limit in limits),
        observed=", ".join(f"{name} {decimal_up(value, 3)} ms" for name, value, _ in limits),
        passed=not broken,
        reason=f"on {measured.device} {' and '.join(parts)}.",
        source=SOURCE_DEVICE,
    )


def device_latency_ratio(evidence: Evidence) -> RuleResult:
    """Median milliseconds of the candidate there over those of its float twin, measured in turns."""
    measured, maximum = _measurement(evidence), _device_rules(evidence).max_latency_ratio
    assert measured is not None
    assert measured.facts.times is not None
    assert maximum is not None
    times, twin = measured.facts.times, measured.facts.float_times
    if twin is None or twin.p50_ms <= 0:
        why = measured.facts.float_refusal or "there is no float.tflite beside the candidate"
        reason = f"nothing to compare the speed with on {measured.device}: {why}. Convert again, or set max_latency_ratio to off."
        return RuleResult(
            name=RuleName.DEVICE_LATENCY_RATIO,
            threshold=f"at most {percent(maximum)} of the float file",
            observed="no comparison",
            passed=False,
            reason=reason,
            source=SOURCE_CLOSED,
        )
    ratio = Fraction(times.p50_ms) / Fraction(twin.p50_ms)
    is_little = Fraction(times.p50_ms) - maximum * Fraction(twin.p50_ms) < LEAST_DIFFERENCE_MS
    little = f" The difference is below {shown(LEAST_DIFFERENCE_MS)} ms." if is_little and ratio > maximum else ""
    return RuleResult(
        name=RuleName.DEVICE_LATENCY_RATIO,
        threshold=f"at most {percent(maximum)} of the float file",
        observed=f"{times.p50_ms:.3f} ms / {twin.p50_ms:.3f} ms",
        passed=ratio <= maximum or is_little,
        reason=f"on {measured.device} the candidate takes {decimal_up(100 * ratio, 2)} % of the float file's time (p50); allowed "
        f"{percent(maximum)}.{little}",
        source=SOURCE_DEVICE,
    )


def _measured_and(*names: str) -> Callable[[Evidence], bool]:
    """The device did something, and one of the thresholds is set."""

    def applies(evidence: Evidence) -> bool:
        thresholds = [getattr(_device_rules(evidence), name) for name in names]
        return _measurement(evidence) is not None and (not names or any(each is not None for each in thresholds))

    return applies


DEVICE_RULES = (
    Rule(name=RuleName.DEVICE_MEASURED, judge=device_measured, setting="device", blame=Blame.DEVICE),
    Rule(
        name=RuleName.DEVICE_ANSWERS,
        judge=device_answers,
        setting="device",
        applies=_measured_and(),
        blame=Blame.DEVICE,
    ),
    Rule(
        name=RuleName.DEVICE_LATENCY,
        judge=device_latency,
        setting="device",
        applies=_measured_and("max_p50_ms", "max_p90_ms"),
        blame=Blame.DEVICE,
    ),
    Rule(
        name=RuleName.DEVICE_LATENCY_RATIO,
        judge=device_latency_ratio,
        setting="device",
        applies=_measured_and("max_latency_ratio"),
        blame=Blame.DEVICE,
    ),
)
