"""What rules look at: facts, gathered once per check, and nothing that has to be asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from telemetry.feedback import Accuracy
from telemetry.findings import Regression

#: A histogram of a model: what it is of ("inputs", "predictions", "confidence", "values"), the tensor's name, the statistic.
HistogramKey = tuple[str, str, str]


@dataclass(frozen=True)
class ReleaseFacts:
    """The release that a channel offers.

    Attributes:
        version: As its manifest has it.
        created: When it was published.
        reference: Histograms of its holdout.
        edges: Of those that have edges.
        holdout_accuracy: Share of right answers there; None where labels are real values.
        minimum_ratio: The share of the float model's figure that the gate required.
        span: Of the data that it was trained on; None where it was not kept.
    """

    version: str
    created: datetime
    reference: Mapping[HistogramKey, tuple[int, ...]]
    edges: Mapping[HistogramKey, tuple[float, ...]]
    holdout_accuracy: float | None
    minimum_ratio: float | None
    span: int | None = None


@dataclass(frozen=True)
class SpanFacts:
    """The newest span of data.

    Attributes:
        number: Its number.
        fingerprint: Hash of its files' names and bytes, so that the same data under another number is the same.
        num_files: Files in it.
        newest_file: When the last of them was written.
        is_whole: Whether whoever writes spans has said that this one is finished.
    """

    number: int
    fingerprint: str
    num_files: int
    newest_file: datetime
    is_whole: bool


@dataclass(frozen=True)
class Request:
    """A person asks for a run."""

    by: str
    reason: str


@dataclass(frozen=True)
class Evidence:
    """Everything that is known at a time.

    Attributes:
        now: In UTC.
        model_name: Of the model.
        release: None before the first.
        devices: Counts per histogram and device, of the release that is offered, over the drift window.
        window_end: Up to which ``devices`` counts: full hours, so that checks within an hour see the same.
        accuracies: On labelled feedback, by slice.
        regressions: Slower versions.
        span: None where no rule asks for it, or there is none.
        known_spans: Fingerprints that the ledger has settled.
        last_run: When the last run was started.
        watched_since: When the ledger of this model began.
        request: A person's wish.
    """

    now: datetime
    model_name: str
    release: ReleaseFacts | None = None
    devices: Mapping[HistogramKey, Mapping[str, tuple[int, ...]]] = field(default_factory=dict)
    window_end: datetime | None = None
    accuracies: tuple[Accuracy, ...] = ()
    regressions: tuple[Regression, ...] = ()
    span: SpanFacts | None = None
    known_spans: frozenset[str] = frozenset()
    last_run: datetime | None = None
    watched_since: datetime | None = None
    request: Request | None = None
