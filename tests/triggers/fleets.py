"""Fleets without a network: what devices count of a world that drifts or does not."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

#: Edges of a histogram of a standardized number, as a manifest's reference has them: 20 bins.
EDGES = np.linspace(-3, 3, 19)
NUM_BINS = len(EDGES) + 1


def normal_shares(shift: float = 0.0) -> NDArray[np.float64]:
    """Shares of the bins of a standard normal, shifted by so many standard deviations."""
    from math import erf, sqrt

    cumulative = np.array([0.0, *(0.5 * (1 + erf((edge - shift) / sqrt(2))) for edge in EDGES), 1.0])
    return np.diff(cumulative)


def device_counts(
    random: np.random.Generator,
    shares: NDArray[np.float64],
    num_devices: int,
    num_hours: int,
    per_hour: int,
    spread: float,
) -> NDArray[np.int64]:
    """Counts ``[hours, devices, bins]``; every device has a world of its own around the fleet's.

    Args:
        random: Where chance comes from.
        shares: Of the fleet's world.
        num_devices: Devices.
        num_hours: Hours.
        per_hour: Examples of a device in an hour.
        spread: How far the devices' worlds are apart: 0 is not at all; it is the inverse of Dirichlet's concentration.
    """
    worlds = np.tile(shares, (num_devices, 1)) if spread == 0 else random.dirichlet(shares / spread, num_devices)
    return np.stack([random.multinomial(per_hour, world / world.sum(), num_hours) for world in worlds], axis=1)


def rolling_days(counts: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """The last 24 hours, at every full hour from the first whole day on."""
    total = np.cumsum(counts, axis=0)
    for hour in range(23, len(counts)):
        yield total[hour] - (total[hour - 24] if hour >= 24 else 0)
