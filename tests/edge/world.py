"""A repository, its server and a device, for tests of what a device does. No test itself."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from edgeproof_edge.updating.updater import DEADLINE_SECONDS, Subscription, Updater

from releases.repository import Repository
from releases.stores.store import DirectoryStore
from tests.releases.samples import Replies

OLD, NEW = "000001", "000002"


@dataclass
class World:
    """A repository whose stable channel moved from release 1 to 2, its server, and a device that still runs 1."""

    directory: Path
    repository: Repository
    replies: Replies
    url: str
    old_files: dict[str, bytes]

    @property
    def store(self) -> DirectoryStore:
        assert isinstance(self.repository.store, DirectoryStore)
        return self.repository.store

    def device(
        self,
        home: str = "device",
        url: str | None = None,
        device_id: str = "d0",
        deadline_seconds: float = DEADLINE_SECONDS,
    ) -> Updater:
        subscription = Subscription(url or self.url, "digits", "stable", device_id)
        return Updater(self.directory / home, subscription, self.repository.anchor, deadline_seconds)

    @property
    def home(self) -> Path:
        return self.directory / "device"

    def version(self, home: str = "device") -> str | None:
        current = self.device(home).current()
        return current.version[:6] if current else None

    def file(self, path: str) -> bytes:
        return self.store.read(path)

    def snapshot(self) -> tuple[int, dict[str, int]]:
        timestamp = json.loads(self.file("metadata/timestamp.json"))
        number = timestamp["signed"]["meta"]["snapshot.json"]["version"]
        meta = json.loads(self.file(f"metadata/{number}.snapshot.json"))["signed"]["meta"]
        return number, {name.removesuffix(".json"): entry["version"] for name, entry in meta.items()}

    @property
    def bundle(self) -> str:
        return self.repository.find("stable").file
