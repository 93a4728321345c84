"""A release with a reference, devices that report on it, and a trigger file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from edgeproof_edge.manifest import Histogram, Reference, VerdictSummary

from releases.bundles.bundle import Description, draft
from releases.bundles.observation import Observation
from releases.repository import Repository
from releases.stores.store import DirectoryStore
from releases.trust.initialization import initialize
from releases.trust.keys import KeyRing
from telemetry.database import Database
from telemetry.database.rows import EventRows
from telemetry.event import Event, format_time
from tests.releases.samples import MODEL
from tests.telemetry.samples import event_json
from tests.triggers.fleets import EDGES, normal_shares

NOW = datetime.now(timezone.utc).replace(minute=20, second=0, microsecond=0)


def reference() -> Reference:
    """What a holdout of a standard normal world looked like."""
    counts = tuple(int(count) for count in np.random.default_rng(0).multinomial(4096, normal_shares()))
    edges = tuple(float(edge) for edge in EDGES)
    return Reference(
        4096,
        (Histogram("image", "mean", edges, counts),),
        (2048, 2048),
        Histogram("scores", "confidence", edges, counts),
    )


def release_draft(text: str = "", trigger_key: str = "") -> Any:
    """A release of the model ``digits`` that differs from others by ``text``."""
    definition = {"internalParameters": {"triggerKey": trigger_key} if trigger_key else {}, "resolvedDependencies": []}
    provenance = json.dumps({"predicate": {"buildDefinition": definition}}).encode()
    verdict = VerdictSummary(10_000, 9_400, 9_300, "97/100")
    observation = Observation(None, reference(), 1.0)
    description = Description(("cat", "dog"), "int8", "tfx116", verdict, {}, observation)
    files = {
        "model.tflite": MODEL,
        "gate_report.json": b"{}",
        "labels.txt": f"cat\ndog\n{text}\n".encode(),
        "provenance.intoto.json": provenance,
    }
    return draft("digits", files, description)


@dataclass
class World:
    """A project folder with a release on ``stable``, a database, and spans of data."""

    directory: Path
    database: Database
    address: str
    version: str = ""
    repository: Repository = field(init=False)

    def __post_init__(self) -> None:
        store = DirectoryStore(self.directory / "published")
        self.repository = initialize(store, KeyRing.create(self.directory / "keys"))
        self.version = self.repository.publish(release_draft(), "stable", "test").version
        (self.directory / "config.yaml").write_text("name: digits\n", encoding="utf-8")

    def trigger_file(
        self, launcher: dict[str, Any] | None = None, guards: dict[str, Any] | None = None, **rules: Any
    ) -> Path:
        """Writes a trigger file with these rules."""
        file = self.directory / "triggers.yaml"
        content = {
            "model": "digits",
            "database": self.address,
            "releases": "published",
            "keys": "keys",
            "launcher": launcher or {"kind": "local", "config": "config.yaml"},
            "guards": guards or {},
            "rules": rules,
        }
        file.write_text(yaml.safe_dump(content), encoding="utf-8")
        return file

    def report(self, shift: float, num_devices: int = 30, until: datetime = NOW, hours: int = 2, seed: int = 0) -> None:
        """Devices report hours up to ``until`` of a world shifted by so many standard deviations."""
        random = np.random.default_rng([seed, int(until.timestamp()) % 2**31])
        top = until.replace(minute=0, second=0, microsecond=0)
        events = []
        for hour in range(1, hours + 1):
            for device in range(num_devices):
                counts = [int(count) for count in random.multinomial(50, normal_shares(shift))]
                events.append(self._event(f"pi-{device}", top - timedelta(hours=hour), counts))
        self.database.write_events(EventRows.of(events))

    def _event(self, device: str, start: datetime, counts: Sequence[int]) -> Event:
        edges = [float(edge) for edge in EDGES]
        shape = {"edges": edges, "counts": list(counts)}
        content = event_json(
            device,
            window_start=format_time(start),
            model_version=self.version,
            inputs=[{"name": "image", "statistic": "mean", **shape}],
            confidence={"name": "scores", "statistic": "confidence", **shape},
            classes=[25, 25],
        )
        return Event.model_validate_json(json.dumps(content))

    def write_span(self, number: int, text: str = "") -> Path:
        """Writes a span with one file, an hour ago."""
        directory = self.directory / "data" / f"span-{number}"
        directory.mkdir(parents=True)
        file = directory / "a.png"
        file.write_text(text or f"span {number}", encoding="utf-8")
        import os

        for path in (file, directory):
            os.utime(path, (NOW.timestamp() - 3600,) * 2)
        return directory
