"""Counts what the model does, and closes a window every few minutes.

Rules, in order: 1. Windows end at multiples of their length by the device's clock, so that those of a fleet fall together. A
process that starts, or a model that comes, in between begins a window at that second: what was counted before is one of its
own, and no key is used twice. 2. Inputs and answers are counted
into the bins of the manifest's reference, and forgotten. 3. Counting costs little: an example is looked at only as far as
the reference needs it, and of a large batch the first rows. 4. A window in which nothing happened is not reported.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeproof_edge.answers import answered_classes
from edgeproof_edge.manifest import Histogram as ReferenceHistogram
from edgeproof_edge.manifest import Reference
from edgeproof_edge.observing import bin_counts, input_statistics
from edgeproof_edge.outbox.event import (
    MAX_COUNT,
    MAX_DETAIL,
    MAX_INCIDENTS,
    Histogram,
    Incident,
    IncidentKind,
    Latency,
    TelemetryEvent,
)
from edgeproof_edge.runtime.latency import LatencyHistogram
from edgeproof_edge.runtime.model import EdgeModel

WINDOW_SECONDS = 300
#: Rows of one batch that are looked at for the sketches; all are counted.
MAX_ROWS_SKETCHED = 256
#: The schema's bound: more classes are not counted one by one.
MAX_CLASSES = 4096

Array = NDArray[Any]
Clock = Callable[[], float]


@dataclass(frozen=True)
class Surroundings:
    """What the machine says of itself: charge in percent, temperature in degrees; None where it has no such thing."""

    battery_percent: float | None = None
    temperature_celsius: float | None = None


@dataclass
class _Counts:
    """One open window of one model."""

    start: int
    num_inferences: int = 0
    num_errors: int = 0
    latency: LatencyHistogram = field(default_factory=LatencyHistogram)
    histograms: dict[tuple[str, str], list[int]] = field(default_factory=dict)
    classes: list[int] = field(default_factory=list)
    incidents: list[Incident] = field(default_factory=list)
    battery_at_start: float | None = None
    hottest: float | None = None


class WindowRecorder:
    """Counts for one device; safe among threads."""

    def __init__(
        self,
        device_id: str,
        deliver: Callable[[TelemetryEvent], None],
        window_seconds: int = WINDOW_SECONDS,
        device_model: str | None = None,
        surroundings: Callable[[], Surroundings] = Surroundings,
        clock: Clock = time.time,
    ) -> None:
        """Prepares.

        Args:
            device_id: Name of the device.
            deliver: Gets every closed window; the outbox's `add`.
            window_seconds: Length of a window.
            device_model: What kind of device it is.
            surroundings: Reads battery and temperature.
            clock: Unix time.
        """
        self._device_id = device_id
        self._deliver = deliver
        self._window_seconds = window_seconds
        self._device_model = device_model
        self._surroundings = surroundings
        self._clock = clock
        self._lock = threading.Lock()
        self._model: EdgeModel | None = None
        self._counts = self._begin(int(clock()))  # not at a multiple: a process before may have reported that

    def follow(self, model: EdgeModel) -> None:
        """Counts for another model from now on; what was counted of the one before is a window of its own."""
        with self._lock:
            self._close()
            self._model = model
        if model.delegation.warning is not None:
            self.tell(IncidentKind.DELEGATE_FALLBACK, model.delegation.warning, model.version)
        model.observe(partial(self._observe, model))

    def tell(self, kind: IncidentKind, detail: str, model_version: str | None) -> None:
        """Notes an incident in the open window."""
        at = _text_of(int(self._clock()))
        with self._lock:
            if len(self._counts.incidents) < MAX_INCIDENTS:
                self._counts.incidents.append(Incident(kind, at, model_version, detail[:MAX_DETAIL]))

    def failed(self) -> None:
        """Counts a call that gave no answer."""
        with self._lock:
            self._counts.num_errors += 1

    def tick(self) -> None:
        """Closes the window where its time has passed; call it now and then."""
        now = int(self._clock())
        with self._lock:
            if now // self._window_seconds != self._counts.start // self._window_seconds:
                self._close(now - now % self._window_seconds)

    def close(self) -> None:
        """Closes the open window, at the end of the process."""
        with self._lock:
            self._close()

    def _observe(
        self, model: EdgeModel, inputs: Mapping[str, Array], outputs: Mapping[str, Array], milliseconds: float
    ) -> None:
        self.tick()
        with self._lock:
            if model is not self._model:
                return  # the last calls of a model that was replaced
            num_rows = len(next(iter(outputs.values())))
            self._counts.num_inferences = min(MAX_COUNT, self._counts.num_inferences + num_rows)
            self._counts.latency.add(milliseconds / max(1, num_rows), num_rows)
            if model.manifest.reference is not None:
                self._sketch(model, model.manifest.reference, inputs, outputs)

    def _sketch(
        self, model: EdgeModel, reference: Reference, inputs: Mapping[str, Array], outputs: Mapping[str, Array]
    ) -> None:
        statistics = {name: input_statistics(values[:MAX_ROWS_SKETCHED]) for name, values in inputs.items()}
        for histogram in reference.inputs:
            if histogram.name in statistics:
                self._count(histogram, statistics[histogram.name][histogram.statistic])
        output = model.manifest.judged_output
        if output is None:
            return
        scores = outputs[output].reshape(len(outputs[output]), -1)
        if reference.values is not None:
            self._count(reference.values, scores[:, 0])
            return
        if reference.confidence is not None:
            self._count(reference.confidence, model.confidence(scores[:MAX_ROWS_SKETCHED]))
        if 0 < len(reference.predictions) <= MAX_CLASSES:
            answered = np.bincount(
                answered_classes(scores, model.decision_threshold), minlength=len(reference.predictions)
            )
            classes = self._counts.classes or [0] * len(reference.predictions)
            self._counts.classes = [before + int(new) for before, new in zip(classes, answered, strict=False)]

    def _count(self, reference: ReferenceHistogram, numbers: Array) -> None:
        key = (reference.name, reference.statistic)
        new = bin_counts(np.nan_to_num(numbers), reference.edges)
        before = self._counts.histograms.get(key) or [0] * len(new)
        self._counts.histograms[key] = [old + added for old, added in zip(before, new, strict=True)]

    def _begin(self, start: int) -> _Counts:
        around = self._surroundings()
        return _Counts(start, battery_at_start=around.battery_percent, hottest=around.temperature_celsius)

    def _close(self, next_start: int | None = None) -> None:
        """Delivers the open window where anything happened in it, and begins the next; the lock is held."""
        counts, model = self._counts, self._model
        start = int(self._clock()) if next_start is None else next_start
        self._counts = self._begin(start if start != counts.start else start + 1)
        if model is None:
            self._counts.incidents = counts.incidents  # of before the first model
        elif counts.num_inferences or counts.num_errors or counts.incidents:
            self._deliver(self._event(model, counts))

    def _event(self, model: EdgeModel, counts: _Counts) -> TelemetryEvent:
        around = self._surroundings()
        latencies, total, longest = counts.latency.read()
        reference = model.manifest.reference
        return TelemetryEvent(
            device_id=self._device_id,
            model_name=model.manifest.model_name,
            model_version=model.version,
            window_start=_text_of(counts.start),
            window_seconds=self._window_seconds,
            quantization=model.manifest.recipe,
            runtime=model.runtime,
            delegate=model.delegation.delegate,
            delegated_fraction=model.delegation.fraction,
            expected_delegated_fraction=model.delegation.expected_fraction,
            device_model=self._device_model,
            num_inferences=counts.num_inferences,
            num_errors=counts.num_errors,
            latency_ms=Latency(total, longest, tuple(latencies)),
            confidence=_counted(counts, reference.confidence if reference else None),
            classes=tuple(counts.classes),
            values=_counted(counts, reference.values if reference else None),
            inputs=tuple(
                counted
                for entry in (reference.inputs if reference else ())
                if (counted := _counted(counts, entry)) is not None
            ),
            battery_drain_percent=_drain(counts.battery_at_start, around.battery_percent),
            temperature_celsius=_hottest(counts.hottest, around.temperature_celsius),
            incidents=tuple(counts.incidents),
        )


def _counted(counts: _Counts, reference: ReferenceHistogram | None) -> Histogram | None:
    if reference is None:
        return None
    histogram = counts.histograms.get((reference.name, reference.statistic)) or [0] * (len(reference.edges) + 1)
    return Histogram(reference.name, reference.statistic, reference.edges, tuple(histogram))


def _drain(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else round(before - after, 3)


def _hottest(*readings: float | None) -> float | None:
    known = [reading for reading in readings if reading is not None]
    return max(known) if known else None


def _text_of(unix_seconds: int) -> str:
    return datetime.fromtimestamp(unix_seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
