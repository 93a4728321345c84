"""Asks the database, the release repository and the data for what the active rules look at."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from fractions import Fraction
from hashlib import sha256
from pathlib import Path
from typing import Any

from edgeproof_edge.bundle import Bundle, open_bundle
from edgeproof_edge.manifest import Manifest

from releases.errors import ReleaseError
from releases.repository import Repository
from releases.stores.location import open_store
from releases.trust.metadata import MissingRepositoryError
from releases.verification import trusted_root
from telemetry.database.database import Database
from telemetry.feedback import FeedbackBook
from telemetry.findings import regressions
from telemetry.fleet import Fleet
from triggers.evidence import Evidence, HistogramKey, ReleaseFacts, Request
from triggers.ledger import Ledger, TriggeredRun
from triggers.settings import TriggerSettings
from triggers.spans import newest_span

#: How far back latencies are compared: every event of that time is read.
LATENCY_HOURS = 6.0
_PREDICTIONS: HistogramKey = ("predictions", "", "")
_PROVENANCE_FILE = "provenance.intoto.json"
_CREATED_FORMAT = "%Y-%m-%dT%H:%M:%SZ"
#: A release is made by another machine than the one that watches.
CLOCKS_APART = timedelta(hours=1)


def gather(
    settings: TriggerSettings, database: Database, ledger: Ledger, now: datetime, request: Request | None = None
) -> Evidence:
    """Everything that the active rules look at.

    Raises:
        DatabaseError: The database is away.
        ReleaseError: The repository cannot be read.
    """
    rules = {rule.name: rule.settings for rule in settings.active_rules()}
    release = read_release(settings)
    window_end = now.replace(minute=0, second=0, microsecond=0)
    latency_since = now - timedelta(hours=min(settings.window_hours, LATENCY_HOURS))
    since = window_end - timedelta(hours=settings.window_hours)
    devices: Mapping[HistogramKey, Mapping[str, tuple[int, ...]]] = {}
    if release is not None and any(name.endswith("_drift") for name in rules):
        devices = read_devices(database, settings, release, since, window_end)
    spans = rules.get("new_span")
    runs = ledger.runs()
    return Evidence(
        now=now,
        model_name=settings.model,
        release=release,
        devices=devices,
        window_end=window_end,
        accuracies=FeedbackBook(database).accuracy(settings.model, release.version) if release else (),
        regressions=regressions(Fleet(database, settings.model).devices(latency_since))
        if "latency_regression" in rules
        else (),
        span=newest_span(spans.path, spans.pattern, spans.marker) if spans else None,
        known_spans=ledger.known_spans(),
        last_run=max((run.started_at for run in runs), default=None),
        watched_since=ledger.watched_since(),
        request=request,
    )


def read_release(settings: TriggerSettings) -> ReleaseFacts | None:
    """The release that the channel offers; None before the first.

    Raises:
        ReleaseError: The repository is there and cannot be read.
    """
    repository = _repository(settings)
    if repository is None or not any(
        state.channel == settings.channel and state.model == settings.model for state in repository.listing().pointers
    ):
        return None
    entry = repository.find(settings.channel, settings.model)
    return _facts(open_bundle(repository.read_bundle(entry)))


def _repository(settings: TriggerSettings) -> Repository | None:
    """The repository of releases; None before it is made."""
    store = open_store(settings.releases)
    try:
        return Repository(store, trusted_root(store, settings.keys or Path("/nonexistent")))
    except MissingRepositoryError:
        return None


def newest_release(settings: TriggerSettings) -> str | None:
    """Version of the newest release of the model, whatever channels offer."""
    repository = _repository(settings)
    try:
        releases = repository.listing().releases if repository is not None else ()
    except ReleaseError:
        return None
    return max((release.version for release in releases if release.model == settings.model), default=None)


def release_of(settings: TriggerSettings, run: TriggeredRun) -> str | None:
    """Version of the release that a run made, by the trigger's key in its provenance; None where it made none.

    Raises:
        ReleaseError: The repository cannot be read.
    """
    repository = _repository(settings)
    if repository is None:
        return None
    since = (run.started_at - CLOCKS_APART).strftime(_CREATED_FORMAT)
    for entry in repository.listing().releases:
        if entry.model == run.model_name and entry.created >= since:
            provenance = open_bundle(repository.read_bundle(entry)).files.get(_PROVENANCE_FILE)
            if provenance is not None and _trigger_key(provenance) == run.key:
                return entry.version
    return None


def _trigger_key(provenance: bytes) -> str | None:
    parameters = json.loads(provenance)["predicate"]["buildDefinition"]["internalParameters"]
    key = parameters.get("triggerKey")
    return None if key is None else str(key)


def _facts(bundle: Bundle) -> ReleaseFacts:
    manifest: Manifest = bundle.manifest
    reference: dict[HistogramKey, tuple[int, ...]] = {}
    edges: dict[HistogramKey, tuple[float, ...]] = {}
    if manifest.reference is not None:
        for part, histograms in (
            ("inputs", manifest.reference.inputs),
            ("confidence", (manifest.reference.confidence,)),
            ("values", (manifest.reference.values,)),
        ):
            for histogram in histograms:
                if histogram is not None:
                    key = (part, histogram.name, histogram.statistic)
                    reference[key], edges[key] = histogram.counts, histogram.edges
        if manifest.reference.predictions:
            reference[_PREDICTIONS] = manifest.reference.predictions
    verdict = manifest.verdict
    right = verdict.num_correct_candidate
    return ReleaseFacts(
        version=manifest.version,
        created=datetime.strptime(manifest.created, _CREATED_FORMAT).replace(tzinfo=timezone.utc),
        reference=reference,
        edges=edges,
        holdout_accuracy=None if right is None else right / verdict.num_examples,
        minimum_ratio=None if verdict.minimum_ratio is None else float(Fraction(verdict.minimum_ratio)),
        span=_span(bundle.files.get(_PROVENANCE_FILE)),
    )


def _span(provenance: bytes | None) -> int | None:
    if provenance is None:
        return None
    for material in json.loads(provenance)["predicate"]["buildDefinition"]["resolvedDependencies"]:
        span = material.get("annotations", {}).get("span")
        if material["name"] == "examples" and span is not None:
            return int(span)
    return None


def read_devices(
    database: Database, settings: TriggerSettings, release: ReleaseFacts, since: datetime, until: datetime
) -> dict[HistogramKey, dict[str, tuple[int, ...]]]:
    """Counts per histogram and device with this release, of a sample of devices that the window names.

    A histogram whose edges are not the reference's counts for nothing.
    """
    time_value = database.time_value
    with database.transaction() as transaction:
        window = (settings.model, release.version, time_value(since), time_value(until))
        condition = "model_name = ? and model_version = ? and window_start >= ? and window_start < ?"
        reporting = [
            row[0] for row in transaction.query(f"select distinct device_id from event where {condition}", window)
        ]
        sample = sorted(reporting, key=lambda device: sha256(f"{until.isoformat()} {device}".encode()).digest())
        places = ", ".join("?" * len(sample[: settings.max_devices]))
        rows = sample and transaction.query(
            f"select device_id, classes, histogram_ids, histogram_counts from event where {condition} and device_id in ({places})",
            (*window, *sample[: settings.max_devices]),
        )
        shapes = {
            number: (name, statistic, tuple(database.as_list(edges)))
            for number, name, statistic, edges in transaction.query("select * from histogram_shape")
        }
    sums: defaultdict[HistogramKey, dict[str, list[int]]] = defaultdict(dict)
    wanted = {(key[1], key[2], edges): key for key, edges in release.edges.items()}
    for device, classes, numbers, counts in rows or ():
        if len(database.as_list(classes)) == len(release.reference.get(_PREDICTIONS, ())):
            _add(sums[_PREDICTIONS], device, database.as_list(classes))
        start, flat = 0, database.as_list(counts)
        for name, statistic, edges in (shapes[number] for number in database.as_list(numbers)):
            part = flat[start : start + len(edges) + 1]
            start += len(part)
            key = wanted.get((name, statistic, edges))
            if key is not None:
                _add(sums[key], device, part)
    return {key: {device: tuple(total) for device, total in devices.items()} for key, devices in sums.items()}


def _add(sums: dict[str, list[int]], device: str, counts: Sequence[Any]) -> None:
    total = sums.get(device)
    sums[device] = list(counts) if total is None else [a + b for a, b in zip(total, counts, strict=True)]
