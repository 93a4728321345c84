"""Events as rows: what goes into the tables ``event``, ``histogram_shape`` and ``incident``.

The edges of a histogram are the same in every window of a release, so an event carries counts and the number of a shape.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256

from telemetry.event import Event, Histogram, Incident, Statistic

EVENT_COLUMNS = (
    "device_id",
    "model_name",
    "model_version",
    "window_start",
    "window_seconds",
    "quantization",
    "runtime",
    "delegate",
    "delegated_fraction",
    "expected_delegated_fraction",
    "device_model",
    "num_inferences",
    "num_errors",
    "latency_sum_ms",
    "latency_max_ms",
    "latency_counts",
    "classes",
    "histogram_ids",
    "histogram_counts",
    "battery_drain_percent",
    "temperature_celsius",
)
KEY_COLUMNS = EVENT_COLUMNS[:4]


#: Device, model, version, start of the window: what makes two events the same.
EventKey = tuple[str, str, str, str]


@dataclass(frozen=True)
class Shape:
    """What a histogram was counted over."""

    histogram_id: int
    name: str
    statistic: str
    edges: tuple[float, ...]


@dataclass(frozen=True)
class EventRows:
    """Events to store, sorted by key so that writers never wait for each other in a circle."""

    events: tuple[Event, ...]

    @classmethod
    def of(cls, events: Iterable[Event]) -> EventRows:
        """Sorts the events and drops those whose key comes twice: the first counts."""
        first: dict[EventKey, Event] = {}
        for event in events:
            first.setdefault(key_of(event), event)
        return cls(tuple(first[key] for key in sorted(first)))

    @property
    def shapes(self) -> dict[int, Shape]:
        """The shapes of all histograms, by number."""
        shapes = (shape_of(histogram) for event in self.events for histogram in event.histograms)
        return {shape.histogram_id: shape for shape in shapes}

    @property
    def incidents(self) -> list[tuple[Event, Incident]]:
        """Incidents with the events that told them."""
        return [(event, incident) for event in self.events for incident in event.incidents]


def key_of(event: Event) -> EventKey:
    """The key of an event."""
    return (event.device_id, event.model_name, event.model_version, event.window_start)


def shape_of(histogram: Histogram) -> Shape:
    """The shape of a histogram; its number is a hash, so that processes agree without asking each other."""
    return _shape(histogram.name, histogram.statistic, histogram.edges)


@lru_cache(maxsize=4096)
def _shape(name: str, statistic: Statistic, edges: tuple[float, ...]) -> Shape:
    text = json.dumps([name, statistic.value, edges])
    number = int.from_bytes(sha256(text.encode()).digest()[:8], "big", signed=True)
    return Shape(number, name, statistic.value, edges)


def histogram_ids(event: Event) -> list[int]:
    """Numbers of the shapes of an event's histograms."""
    return [_shape(histogram.name, histogram.statistic, histogram.edges).histogram_id for histogram in event.histograms]


def histogram_counts(event: Event) -> list[int]:
    """Counts of an event's histograms, one after the other in the order of their numbers' list."""
    return [count for histogram in event.histograms for count in histogram.counts]


def split_counts(shapes: Sequence[Shape], counts: Sequence[int]) -> dict[int, Sequence[int]]:
    """The counts per shape, the other way round of :func:`histogram_counts`."""
    parts: dict[int, Sequence[int]] = {}
    start = 0
    for shape in shapes:
        end = start + len(shape.edges) + 1
        parts[shape.histogram_id] = counts[start:end]
        start = end
    return parts


def day_of(event: Event) -> str:
    """The day of an event's window, as in 2026-01-31."""
    return event.window_start[:10]
