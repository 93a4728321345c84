"""Whether a fleet's histograms differ from a release's reference by more than chance and more than matters.

The figure is the population stability index (PSI) over the fixed edges of the manifest's reference. Under no drift it is distributed as
``(1/n + 1/m) chi2(bins - 1)`` (measured at 200, 1,000 and 5,000 examples: within 10 %), so a fixed threshold of 0.1 gives 33 % false
alarms with 200 examples. Rules, in order: 1. Too few examples or devices is no evidence. 2. No device counts for more than three times
the median device: one that is broken, or lies, is not a fleet. 3. Answers of one device are alike, so the number of examples is cut by
the design effect between devices (Rao and Scott, 1981). 4. Rare bins are joined with their neighbours: chi-squared needs expected
counts. 5. The threshold is what matters (``effect``) or what chance reaches once in a million looks, whichever is higher.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.float64]

#: Standard normal quantiles of the chances that may be asked for: no SciPy beside a service.
_NORMAL_QUANTILES = {0.05: 1.6449, 0.001: 3.0902, 1e-6: 4.7534}
#: A bin holds at least this share of the reference.
MIN_BIN_SHARE = 0.01
#: Times the median device that one device may count for.
DEVICE_CAP = 3.0
#: Added to each bin so that an empty one has a logarithm.
_SMOOTHING = 0.5


@dataclass(frozen=True)
class DriftLimits:
    """What counts as drift.

    Attributes:
        effect: PSI that matters; a shift of half a standard deviation is 0.25, of three tenths 0.09.
        chance: Of a false alarm in one look, from chance alone. A model with four histograms is looked at on 30,000 independent days
            in the thousand weeks that must stay quiet, so once in a thousand would be far too often.
        min_examples: Below which nothing is said.
        min_devices: Likewise.
    """

    effect: float = 0.1
    chance: float = 1e-6
    min_examples: int = 500
    min_devices: int = 20


@dataclass(frozen=True)
class DriftFigure:
    """One histogram against its reference; ``psi`` is None where there was too little to say anything."""

    name: str
    psi: float | None
    threshold: float
    num_examples: int
    num_devices: int
    design_effect: float

    @property
    def is_drift(self) -> bool:
        """Whether it differs by more than chance and more than matters."""
        return self.psi is not None and self.psi > self.threshold

    def numbers(self) -> dict[str, Any]:
        """For the ledger."""
        return {
            "psi": None if self.psi is None else round(self.psi, 4),
            "threshold": round(self.threshold, 4),
            "num_examples": self.num_examples,
            "num_devices": self.num_devices,
            "design_effect": round(self.design_effect, 2),
        }


def measure(
    name: str, devices: Mapping[str, Sequence[int]], reference: Sequence[int], limits: DriftLimits
) -> DriftFigure:
    """Compares what devices counted with the reference.

    Args:
        name: Of the histogram, for people.
        devices: Counts per device, bins as the reference's.
        reference: Counts of the holdout.
        limits: What counts as drift.
    """
    rows = [counts for counts in devices.values() if sum(counts) > 0]
    num_examples = sum(map(sum, rows))
    holdout = np.asarray(reference, float)
    if num_examples < limits.min_examples or len(rows) < limits.min_devices or holdout.sum() == 0:
        return DriftFigure(name, None, limits.effect, num_examples, len(rows), 1.0)
    joined = join_rare(holdout)
    by_device = _capped(np.add.reduceat(np.asarray(rows, float), joined, axis=1))
    base = np.add.reduceat(holdout, joined)
    if len(base) < 2:
        return DriftFigure(name, 0.0, limits.effect, num_examples, len(rows), 1.0)
    effect = design_effect(by_device)
    effective = by_device.sum() / effect
    threshold = max(limits.effect, chance_psi(effective, base.sum(), len(base), limits.chance))
    return DriftFigure(name, psi(by_device.sum(axis=0), base), threshold, num_examples, len(rows), effect)


def psi(current: Counts, reference: Counts) -> float:
    """The population stability index of two histograms over the same bins."""
    p, q = (counts + _SMOOTHING for counts in (current, reference))
    p, q = p / p.sum(), q / q.sum()
    return float(((p - q) * np.log(p / q)).sum())


def chance_psi(num_current: float, num_reference: float, num_bins: int, chance: float) -> float:
    """The PSI that two samples of the same distribution exceed with this chance."""
    return (1 / num_current + 1 / num_reference) * _chi2_quantile(chance, num_bins - 1)


def design_effect(by_device: Counts) -> float:
    """How many times too large the number of examples is, because a device's answers are alike; 1 or more.

    The mean of Rao and Scott's generalized design effects: the variance of each bin's share between devices, over what independent
    examples would have.
    """
    num_devices, num_bins = by_device.shape
    total = by_device.sum()
    shares = by_device.sum(axis=0) / total
    usable = (shares > 0) & (shares < 1)
    if num_devices < 2 or usable.sum() < 2:
        return 1.0
    residuals = by_device - by_device.sum(axis=1, keepdims=True) * shares
    variance = (residuals**2).sum(axis=0) * num_devices / (num_devices - 1) / total**2
    ratios = variance[usable] * total / shares[usable]  # (1 - p) times variance over p (1 - p) / n
    return max(1.0, float(ratios.sum() / (num_bins - 1)))


def join_rare(reference: Counts) -> list[int]:
    """Where joined bins start, so that each holds its share of the reference."""
    starts, held = [0], 0.0
    minimum = MIN_BIN_SHARE * reference.sum()
    for index, count in enumerate(reference):
        if held >= minimum:
            starts.append(index)
            held = 0.0
        held += count
    if held < minimum and len(starts) > 1:
        starts.pop()
    return starts


def _capped(by_device: Counts) -> Counts:
    totals = by_device.sum(axis=1, keepdims=True)
    cap = DEVICE_CAP * np.median(totals)
    return np.asarray(by_device * np.minimum(1.0, cap / totals))


def _chi2_quantile(chance: float, degrees: int) -> float:
    """Wilson and Hilferty's approximation."""
    z = _NORMAL_QUANTILES[chance]
    return float(degrees * (1 - 2 / (9 * degrees) + z * (2 / (9 * degrees)) ** 0.5) ** 3)
