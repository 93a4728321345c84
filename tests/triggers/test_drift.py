"""Drift is found where it matters, and chance is not taken for it."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.triggers.fleets import NUM_BINS, device_counts, normal_shares, rolling_days
from triggers.drift import DriftLimits, chance_psi, design_effect, join_rare, measure, psi

LIMITS = DriftLimits()
HOLDOUT = 4096


def by_device(counts: NDArray[np.int64]) -> dict[str, list[int]]:
    return {f"pi-{number}": row for number, row in enumerate(counts.tolist())}


def holdout(random: np.random.Generator) -> tuple[int, ...]:
    return tuple(int(count) for count in random.multinomial(HOLDOUT, normal_shares()))


def false_alarms(num_weeks: int, spread: float, per_hour: int, seed: int) -> int:
    """Weeks without drift in which three looks in a row, an hour apart, saw drift."""
    num_alarms = 0
    for week in range(num_weeks):
        random = np.random.default_rng([seed, week])
        reference = holdout(random)
        counts = device_counts(random, normal_shares(), 30, 7 * 24, per_hour, spread)
        looks = [measure("image mean", by_device(day), reference, LIMITS).is_drift for day in rolling_days(counts)]
        num_alarms += any(all(looks[start : start + 3]) for start in range(len(looks) - 2))
    return num_alarms


@pytest.mark.parametrize(
    "spread", [pytest.param(0.0, id="devices-alike"), pytest.param(0.02, id="devices-that-differ")]
)
def test_weeks_without_drift_raise_no_alarm(spread: float) -> None:
    assert false_alarms(4, spread, per_hour=2, seed=7) == 0


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("spread", "per_hour"),
    [pytest.param(0.0, 50, id="devices-alike"), pytest.param(0.02, 1, id="few-examples-of-devices-that-differ")],
)
def test_a_thousand_weeks_without_drift_raise_no_alarm(spread: float, per_hour: int) -> None:
    assert false_alarms(1_000, spread, per_hour, seed=11) == 0


@pytest.mark.parametrize("per_hour", [1, 20])
def test_half_a_standard_deviation_is_found_within_a_day_and_three_looks(per_hour: int) -> None:
    for week in range(50):
        random = np.random.default_rng([3, week])
        before = device_counts(random, normal_shares(), 30, 24, per_hour, 0.0)
        after = device_counts(random, normal_shares(0.5), 30, 26, per_hour, 0.0)
        reference = holdout(random)
        looks = [
            measure("m", by_device(day), reference, LIMITS).is_drift
            for day in rolling_days(np.concatenate([before, after]))
        ]
        assert not looks[0]
        assert all(looks[-3:])  # 24, 25 and 26 hours after the shift


def test_without_the_design_effect_devices_that_differ_would_be_taken_for_drift() -> None:
    random = np.random.default_rng(5)
    counts = device_counts(random, normal_shares(), 20, 24, 50, spread=0.5).sum(axis=0)
    figure = measure("m", by_device(counts), holdout(random), LIMITS)
    assert figure.design_effect > 20
    assert figure.threshold > 3 * LIMITS.effect
    assert not figure.is_drift


def test_the_design_effect_of_independent_examples_is_one() -> None:
    random = np.random.default_rng(1)
    counts = random.multinomial(200, normal_shares(), 200).astype(float)
    assert design_effect(counts[:, 2:-2]) == pytest.approx(1.0, abs=0.15)
    assert design_effect(np.repeat(np.eye(10) * 50, 3, axis=0)) == pytest.approx(
        50 * 30 / 29, rel=0.01
    )  # a device, a bin


@pytest.mark.parametrize(
    ("num_devices", "per_device"), [pytest.param(19, 100, id="devices"), pytest.param(40, 12, id="examples")]
)
def test_too_few_say_nothing(num_devices: int, per_device: int) -> None:
    counts = np.random.default_rng(1).multinomial(per_device, normal_shares(2.0), num_devices)
    figure = measure("m", by_device(counts), holdout(np.random.default_rng(2)), LIMITS)
    assert figure.psi is None
    assert not figure.is_drift


def test_a_device_that_lies_is_not_a_fleet() -> None:
    random = np.random.default_rng(9)
    counts = random.multinomial(100, normal_shares(), 40)
    counts[0] = 0
    counts[0, -1] = 1_000_000
    assert not measure("m", by_device(counts), holdout(random), LIMITS).is_drift


def test_chance_is_as_the_formula_says() -> None:
    random = np.random.default_rng(2)
    shares = np.full(NUM_BINS, 1 / NUM_BINS)
    for num_examples in (500, 5_000):
        seen = [
            psi(*(random.multinomial(n, shares).astype(float) for n in (num_examples, HOLDOUT))) for _ in range(2_000)
        ]
        expected = chance_psi(num_examples, HOLDOUT, NUM_BINS, 0.05)
        assert np.quantile(seen, 0.95) == pytest.approx(expected, rel=0.15)


def test_rare_bins_are_joined_with_their_neighbours() -> None:
    assert join_rare(np.array([1.0, 1.0, 500.0, 498.0, 0.0, 0.0])) == [0, 3]
    assert join_rare(np.array([10.0, 10.0, 10.0])) == [0, 1, 2]
    assert join_rare(np.array([5.0])) == [0]


def test_a_reference_of_one_bin_has_no_drift() -> None:
    counts = {f"pi-{n}": (0, 50) for n in range(30)}
    assert not measure("m", counts, (0, 4096), LIMITS).is_drift
