"""What stands out in a fleet: devices slower than their like, delegates that fell back in silence, versions slower than the one before.

Pure functions of figures. Rules, in order: 1. Like is compared with like: a device with devices of its model and delegate, a version
with the one before it on the same device model. 2. Too few devices or answers is no finding. 3. A finding carries its numbers.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from telemetry.fleet import DeviceFigures
from telemetry.latency import add, quantile_ms

#: Devices that a comparison needs; medians of fewer are anecdotes.
MIN_DEVICES = 5
#: Answers of a device or a version that a quantile needs.
MIN_INFERENCES = 200
#: Of the deviation from the median in robust standard deviations (Iglewicz and Hoaglin, 1993).
OUTLIER_SCORE = 3.5
#: And in practice: the histogram's buckets are half octaves (factor 1.41).
OUTLIER_FACTOR = 1.5
REGRESSION_FACTOR = 1.25
#: Spread below which all devices of a group are alike, on the scale of logarithms: 5 %.
_MIN_SPREAD = 0.05


@dataclass(frozen=True)
class Outlier:
    """A device that is slower than its like."""

    device: DeviceFigures
    median_ms: float
    group_median_ms: float
    num_devices: int
    score: float


@dataclass(frozen=True)
class Fallback:
    """A device whose delegate computes less than where the model was judged."""

    device: DeviceFigures


@dataclass(frozen=True)
class Regression:
    """A version that is slower than the one before it, on one device model."""

    device_model: str
    before_version: str
    after_version: str
    quantile: float
    before_ms: float
    after_ms: float
    num_devices_before: int
    num_devices_after: int

    @property
    def factor(self) -> float:
        """How many times slower."""
        return self.after_ms / self.before_ms


def outliers(devices: Iterable[DeviceFigures]) -> tuple[Outlier, ...]:
    """Devices slower than their like, the slowest first."""
    slow: list[Outlier] = []
    for group in _by(devices, lambda device: (device.model_version, device.device_model, device.delegate)).values():
        medians = {
            d: m for d in group if d.num_inferences >= MIN_INFERENCES and (m := quantile_ms(d.latency_counts, 0.5))
        }
        if len(medians) < MIN_DEVICES:
            continue
        middle = median(map(math.log, medians.values()))
        spread = 1.4826 * median(abs(math.log(m) - middle) for m in medians.values())
        for device, median_ms in medians.items():
            score = (math.log(median_ms) - middle) / max(spread, _MIN_SPREAD)
            if score > OUTLIER_SCORE and median_ms > OUTLIER_FACTOR * math.exp(middle):
                slow.append(Outlier(device, median_ms, math.exp(middle), len(medians), score))
    return tuple(sorted(slow, key=lambda outlier: -outlier.score))


def fallbacks(devices: Iterable[DeviceFigures]) -> tuple[Fallback, ...]:
    """Devices that fell back to slower kernels without an error."""
    return tuple(Fallback(device) for device in devices if device.has_fallen_back)


def regressions(devices: Iterable[DeviceFigures]) -> tuple[Regression, ...]:
    """Versions that are slower than the one before them, by device model; the worst first."""
    slower: list[Regression] = []
    for device_model, group in _by(devices, lambda device: (device.device_model,)).items():
        versions = _by(group, lambda device: (device.model_version,))
        judged = sorted(key for key, members in versions.items() if _is_enough(members))
        for before, after in pairwise(judged):
            slower += _slower(device_model[0], versions[before], versions[after])
    return tuple(sorted(slower, key=lambda regression: -regression.factor))


def _slower(device_model: str, before: Sequence[DeviceFigures], after: Sequence[DeviceFigures]) -> list[Regression]:
    """The quantile that grew most, if any grew too far."""
    regressions: list[Regression] = []
    for share in (0.5, 0.95):
        first, second = (quantile_ms(add(d.latency_counts for d in members), share) for members in (before, after))
        if first and second and second > REGRESSION_FACTOR * first:
            versions = (before[0].model_version, after[0].model_version)
            regressions.append(Regression(device_model, *versions, share, first, second, len(before), len(after)))
    return sorted(regressions, key=lambda regression: -regression.factor)[:1]


def _is_enough(devices: Sequence[DeviceFigures]) -> bool:
    return len(devices) >= MIN_DEVICES and sum(device.num_inferences for device in devices) >= MIN_INFERENCES


def _by(
    devices: Iterable[DeviceFigures], key: Callable[[DeviceFigures], tuple[str, ...]]
) -> Mapping[tuple[str, ...], list[DeviceFigures]]:
    groups: defaultdict[tuple[str, ...], list[DeviceFigures]] = defaultdict(list)
    for device in devices:
        groups[key(device)].append(device)
    return groups
