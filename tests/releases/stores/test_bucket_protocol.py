"""The protocol of a store without a lock, in memory: stopped anywhere, or overtaken at the worst moment, nothing is lost."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from releases.history import audit
from releases.repository import Repository
from releases.stores.protocol import AlreadyStored, CompareAndSwap, Locked, NotStored
from releases.trust.initialization import initialize
from releases.trust.keys import KeyRing
from releases.trust.metadata import TIMESTAMP_FILE
from releases.trust.rotation import rotate
from releases.verification import verify
from tests.releases.samples import sample


class Stopped(BaseException):
    """The process is gone."""


def undisturbed(verb: str, path: str) -> None:
    """Lets a write of `verb` to `path` happen."""
    assert verb
    assert path


class MemoryBucket:
    """A bucket in memory: create-if-absent, no lock. `before` runs before each write; it may stop or overtake the writer."""

    location = "memory"
    protocol = CompareAndSwap(linger_s=0)

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.before: Callable[[str, str], None] = undisturbed
        self.num_writes = 0

    def read(self, path: str) -> bytes:
        if path not in self.files:
            raise NotStored(path)
        return self.files[path]

    def create(self, path: str, data: bytes) -> None:
        self._write("create", path)
        if self.files.setdefault(path, data) != data:
            raise AlreadyStored(path)

    def replace(self, path: str, data: bytes) -> None:
        self._write("replace", path)
        self.files[path] = data

    def remove(self, path: str) -> None:
        self._write("remove", path)
        self.files.pop(path, None)

    def list(self, path: str) -> tuple[str, ...]:
        depth = path.count("/") + 1
        return tuple(sorted({name.split("/")[depth] for name in self.files if name.startswith(f"{path}/")}))

    def check(self) -> None:
        """Memory refuses a second create."""

    @contextmanager
    def lock(self) -> Iterator[None]:
        yield

    def _write(self, verb: str, path: str) -> None:
        self.num_writes += 1
        self.before(verb, path)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys")


@pytest.fixture(scope="module")
def prepared(keys: Path) -> dict[str, bytes]:
    """Releases 1 and 2, `dev` at 2, `stable` at 1."""
    bucket = MemoryBucket({})
    repository = initialize(bucket, KeyRing.create(keys))
    for text in "ab":
        repository.publish(sample(text), "dev", "test")
    repository.point("1", "stable", 100, "test")
    return bucket.files


def opened(files: dict[str, bytes], keys: Path) -> Repository:
    return Repository.of(MemoryBucket(files), KeyRing.open(keys))


def seen_by_a_device(repository: Repository) -> dict[str, int]:
    """What a device's client accepts: channel -> number of the release."""
    found = verify(repository.store, repository.anchor)
    assert found.problems == ()
    listing = Repository(_Committed(repository.store), repository.anchor).listing()  # type: ignore[arg-type]
    return {state.channel: state.pointer.release.sequence for state in listing.pointers}


class _Committed:
    """The store as a device reads it: what the timestamp names counts."""

    protocol = Locked()

    def __init__(self, store: object) -> None:
        self._store = store

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)


@pytest.mark.parametrize(
    ("act", "before", "after"),
    [
        pytest.param(lambda r: r.publish(sample("c"), "dev", "t"), {"dev": 2}, {"dev": 3}, id="publish"),
        pytest.param(lambda r: r.point("2", "stable", 100, "t"), {"stable": 1}, {"stable": 2}, id="promote"),
        pytest.param(lambda r: r.roll_back("dev", "t", to="1"), {"dev": 2}, {"dev": 1}, id="rollback"),
        pytest.param(lambda r: r.refresh(), {"dev": 2}, {"dev": 2}, id="refresh"),
    ],
)
def test_stopped_at_every_write_a_device_sees_the_old_state_or_the_new_one(
    act: Callable[[Repository], object],
    before: dict[str, int],
    after: dict[str, int],
    prepared: dict[str, bytes],
    keys: Path,
) -> None:
    (channel,) = before
    for stop in range(1, 100):
        repository = opened(dict(prepared), keys)
        bucket = repository.store
        assert isinstance(bucket, MemoryBucket)

        def stopping(verb: str, path: str, bucket: MemoryBucket = bucket, stop: int = stop) -> None:
            if bucket.num_writes == stop:
                raise Stopped

        bucket.before = stopping
        try:
            act(repository)
        except Stopped:
            rerun = opened(bucket.files, keys)
            assert seen_by_a_device(rerun)[channel] in (before[channel], after[channel])
            act(rerun)
            assert seen_by_a_device(rerun)[channel] == after[channel]
            continue
        break
    assert stop > 1


@pytest.mark.parametrize("file", ["archive.json", "dev.json", "snapshot.json", "timestamp.json"])
def test_a_publisher_that_is_overtaken_at_the_worst_moment_loses_nothing(
    file: str, prepared: dict[str, bytes], keys: Path
) -> None:
    repository = opened(dict(prepared), keys)
    bucket = repository.store
    assert isinstance(bucket, MemoryBucket)
    other = opened(bucket.files, keys)

    def overtake(verb: str, path: str) -> None:
        if path.endswith(file):
            bucket.before = undisturbed
            other.publish(sample("overtaking"), "dev", "other")

    bucket.before = overtake
    repository.publish(sample("overtaken"), "dev", "test")
    assert [release.sequence for release in repository.listing().releases] == [1, 2, 3, 4]
    assert repository.load().is_stamped
    assert seen_by_a_device(repository)["dev"] == 4
    assert {event.by for event in audit(repository.store, repository.anchor)} >= {"test", "other"}


def test_a_promotion_and_a_publication_at_once_both_count(prepared: dict[str, bytes], keys: Path) -> None:
    repository = opened(dict(prepared), keys)
    bucket = repository.store
    assert isinstance(bucket, MemoryBucket)
    other = opened(bucket.files, keys)

    def overtake(verb: str, path: str) -> None:
        if path.endswith("snapshot.json"):
            bucket.before = undisturbed
            other.point("2", "stable", 100, "other")

    bucket.before = overtake
    repository.publish(sample("c"), "dev", "test")
    assert seen_by_a_device(repository) == {"dev": 3, "stable": 2}


def test_keys_rotate_in_a_bucket(prepared: dict[str, bytes], keys: Path, tmp_path: Path) -> None:
    own = tmp_path / "keys"
    shutil.copytree(keys, own)
    repository = opened(dict(prepared), own)
    for name in ("stable", "online", "targets", "root"):
        rotate(repository, name)
        assert seen_by_a_device(repository) == {"dev": 2, "stable": 1}
    assert TIMESTAMP_FILE in repository.store.files  # type: ignore[attr-defined]
