"""Rotation beside other writers, of lost keys, and twice at once: nothing is bricked, and no key is forgotten.

The exhaustive tier rotates against two writers each, on a directory and on a server that speaks S3: EDGEPROOF_ROTATIONS times (20 by
default; 60 take a quarter of an hour), and a fifth as often on the server, which is slower.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

import pytest
from securesystemslib.signer import Signer
from tuf.api.metadata import MetaFile, Snapshot, Timestamp

from releases.errors import ReleaseError
from releases.repository import Repository
from releases.stores.location import open_store
from releases.stores.protocol import role_file
from releases.stores.store import DirectoryStore
from releases.trust.initialization import initialize
from releases.trust.keys import KeyRing
from releases.trust.metadata import BUILT_ON, REFRESHES_PER_SNAPSHOT, TIMESTAMP_FILE, UntrustedError
from releases.trust.private_keys import PASSPHRASE_VARIABLE, ReleaseKeyError
from releases.trust.rotation import rotate
from releases.trust.signing import sign, utc_now
from releases.verification import verify
from tests.releases.samples import make_repository, open_repository, sample
from tests.releases.stores.test_bucket_protocol import MemoryBucket, undisturbed

pytestmark = pytest.mark.usefixtures("no_sync")

CHILD = Path(__file__).parents[1] / "release_in_child.py"
ROOT = Path(__file__).parents[3]
#: What a child imports; see test_crashes.
SOURCES = {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "edge")])}


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """Releases 1 and 2, `dev` at 2, `stable` at 1."""
    repository = make_repository(tmp_path)
    for text in "ab":
        repository.publish(sample(text), "dev", "test")
    repository.point("1", "stable", 100, "test")
    return repository


def _offers(repository: Repository) -> dict[str, int]:
    return {state.channel: state.pointer.release.sequence for state in repository.listing().pointers}


def _copy_of_keys(source: Path, target: Path, *names: str) -> KeyRing:
    """What lies on another machine: keys.json, root.json and some of the private keys."""
    shutil.copytree(source, target)
    for file in target.glob("*.pem"):
        if not file.name.startswith(names):
            file.unlink()
    return KeyRing.open(target)


class _CountingStore(DirectoryStore):
    num_locks = 0

    @contextmanager
    def lock(self) -> Iterator[None]:
        self.num_locks += 1
        with super().lock():
            yield


@pytest.mark.parametrize("name", ["online", "targets", "stable", "root"])
def test_no_other_writer_comes_between_the_steps(name: str, repository: Repository, tmp_path: Path) -> None:
    store = _CountingStore(tmp_path / "repository")
    rotate(Repository.of(store, KeyRing.open(tmp_path / "keys")), name)
    assert store.num_locks == 1
    assert verify(repository.store, repository.anchor).problems == ()


@pytest.mark.parametrize(
    ("name", "act", "stable_at"),
    [
        pytest.param("online", lambda r: r.refresh(), 1, id="refresh-while-online-is-replaced"),
        pytest.param("online", lambda r: r.point("2", "stable", 100, "t"), 2, id="promotion-while-online-is-replaced"),
        pytest.param("targets", lambda r: r.add_channels(["beta"]), 1, id="new-channel-while-targets-is-replaced"),
    ],
)
@pytest.mark.parametrize("root", [2, 3])
def test_where_nobody_can_be_kept_out_what_the_old_key_signed_meanwhile_is_signed_anew(
    name: str, act: Callable[[Repository], object], stable_at: int, root: int, repository: Repository, tmp_path: Path
) -> None:
    bucket = MemoryBucket(_files_of(tmp_path / "repository"))
    keys = _copy_of_keys(tmp_path / "keys", tmp_path / "elsewhere", "online", "stable", "targets")
    meanwhile = Repository.of(MemoryBucket(bucket.files), keys)

    def overtake(verb: str, path: str) -> None:
        if path == role_file("root", root):
            bucket.before = undisturbed
            act(meanwhile)

    bucket.before = overtake
    rotating = Repository.of(bucket, KeyRing.open(tmp_path / "keys"))
    rotate(rotating, name)
    assert bucket.before is undisturbed
    assert verify(bucket, rotating.anchor).problems == ()
    assert _offers(rotating)["stable"] == stable_at
    rotating.refresh()


def _files_of(directory: Path) -> dict[str, bytes]:
    files = (path for path in directory.rglob("*") if path.is_file() and not path.name.startswith("."))
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in files}


def test_a_writer_that_began_before_the_rotation_starts_over_and_names_the_key(
    repository: Repository, tmp_path: Path
) -> None:
    """It signed with the old key and is about to stamp, when the key is replaced: devices never see its stamp."""
    bucket = MemoryBucket(_files_of(tmp_path / "repository"))
    late = Repository.of(bucket, _copy_of_keys(tmp_path / "keys", tmp_path / "elsewhere", "online", "stable"))
    rotating = Repository.of(MemoryBucket(bucket.files), KeyRing.open(tmp_path / "keys"))

    def overtake(verb: str, path: str) -> None:
        if path.endswith("snapshot.json"):
            bucket.before = undisturbed
            rotate(rotating, "online")

    bucket.before = overtake
    with pytest.raises(ReleaseKeyError, match="and no key in"):
        late.point("2", "stable", 100, "late")
    assert verify(bucket, rotating.anchor).problems == ()
    assert _offers(rotating)["stable"] == 1


def test_a_stamp_that_comes_after_the_rotation_is_repaired_by_one_command(
    repository: Repository, tmp_path: Path
) -> None:
    """The last moment at which a writer can be overtaken: between its look at the root and its write."""
    bucket = MemoryBucket(_files_of(tmp_path / "repository"))
    late = Repository.of(bucket, _copy_of_keys(tmp_path / "keys", tmp_path / "elsewhere", "online"))
    rotating = Repository.of(MemoryBucket(bucket.files), KeyRing.open(tmp_path / "keys"))

    def overtake(verb: str, path: str) -> None:
        if path == TIMESTAMP_FILE:
            bucket.before = undisturbed
            rotate(rotating, "online")

    bucket.before = overtake
    with pytest.raises(ReleaseKeyError, match="Run `edgeproof release refresh` with the new keys"):
        late.refresh()
    assert verify(bucket, rotating.anchor).problems
    rotating.refresh()
    assert verify(bucket, rotating.anchor).problems == ()


def _stamp(repository: Repository, signer: Signer, version: int) -> None:
    """Puts a timestamp there that `signer` signed."""
    store = repository.store
    data = store.read(role_file("snapshot", version))
    meta = MetaFile(version, len(data), {"sha256": sha256(data).hexdigest()})
    stamp = Timestamp(version=version * REFRESHES_PER_SNAPSHOT + 500, snapshot_meta=meta)
    with store.lock():
        store.replace(TIMESTAMP_FILE, sign("timestamp", stamp, utc_now(), signer))


def _bricked(repository: Repository, tmp_path: Path) -> Signer:
    """What a refresh between the steps of a rotation left before rotation kept writers out; returns the old key."""
    old = _copy_of_keys(tmp_path / "keys", tmp_path / "elsewhere", "online").signer("online")
    rotate(repository, "online")
    _stamp(repository, old, repository.load().snapshot.version)
    return old


@pytest.mark.parametrize(
    ("command", "channel_at"),
    [
        pytest.param(lambda r: r.refresh(), 1, id="refresh"),
        pytest.param(lambda r: r.publish(sample("c"), "dev", "test"), 1, id="publish"),
        pytest.param(lambda r: r.point("2", "stable", 100, "test"), 2, id="promote"),
        pytest.param(lambda r: rotate(r, "online"), 1, id="rotate"),
    ],
)
def test_a_repository_that_an_old_key_signed_last_is_repaired_by_the_next_command(
    command: Callable[[Repository], object], channel_at: int, repository: Repository, tmp_path: Path
) -> None:
    _bricked(repository, tmp_path)
    assert verify(repository.store, repository.anchor).problems
    assert _offers(repository) == {"dev": 2, "stable": 1}
    command(open_repository(tmp_path))
    assert verify(repository.store, repository.anchor).problems == ()
    assert _offers(repository)["stable"] == channel_at


def test_the_thief_of_an_old_key_moves_nothing(repository: Repository, tmp_path: Path) -> None:
    """He may write to the store, and signs a snapshot of his own with the old channel, and a stamp that names an old one."""
    before = repository.load().snapshot
    old = _bricked(repository, tmp_path)
    repository.point("2", "stable", 100, "test")
    present = repository.load().snapshot
    forged = Snapshot(version=present.version + 1, meta={**present.meta, "stable.json": before.meta["stable.json"]})
    forged.unrecognized_fields[BUILT_ON] = before.version
    with repository.store.lock():
        repository.store.create(role_file("snapshot", forged.version), sign("snapshot", forged, utc_now(), old))
    for named in (forged.version, present.version - 1):
        _stamp(repository, old, named)
        assert _offers(repository) == {"dev": 2, "stable": 2}
        repository.refresh()
        assert verify(repository.store, repository.anchor).problems == ()
        assert _offers(repository) == {"dev": 2, "stable": 2}


def test_what_no_root_ever_trusted_is_refused_as_before(repository: Repository, tmp_path: Path) -> None:
    stranger = KeyRing.create(tmp_path / "stranger")
    stranger.add("online")
    rotate(repository, "online")
    _stamp(repository, stranger.signer("online"), repository.load().snapshot.version)
    with pytest.raises(UntrustedError, match="not what the trusted keys signed"):
        repository.refresh()


@pytest.mark.parametrize("name", ["online", "targets", "stable"])
def test_a_lost_key_is_replaced(name: str, repository: Repository, tmp_path: Path) -> None:
    next((tmp_path / "keys").glob(f"{name}-*.pem")).unlink()
    rotate(open_repository(tmp_path), name)
    repository = open_repository(tmp_path)
    repository.point("2", "stable", 100, "test")
    repository.add_channels(["beta"])
    assert verify(repository.store, repository.anchor, utc_now() + timedelta(hours=1)).problems == ()


def test_a_lost_root_key_is_named(repository: Repository, tmp_path: Path) -> None:
    next((tmp_path / "keys").glob("root-*.pem")).unlink()
    with pytest.raises(ReleaseKeyError, match="the key 'root' is not at"):
        rotate(open_repository(tmp_path), "root")


def test_a_forgotten_passphrase_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{PASSPHRASE_VARIABLE}_STABLE", "nobody knows")
    repository = make_repository(tmp_path)
    monkeypatch.delenv(f"{PASSPHRASE_VARIABLE}_STABLE")
    rotate(open_repository(tmp_path), "stable")
    open_repository(tmp_path).publish(sample("a"), "stable", "test")
    assert verify(repository.store, repository.anchor).problems == ()


def test_a_new_key_that_was_lost_before_it_counted_is_made_anew(repository: Repository, tmp_path: Path) -> None:
    ring = KeyRing.open(tmp_path / "keys")
    lost = ring.prepare("online").public_key.keyid
    next((tmp_path / "keys").glob(f"online-{lost[:8]}.pem")).unlink()
    rotate(open_repository(tmp_path), "online")
    open_repository(tmp_path).refresh()
    assert verify(repository.store, repository.anchor).problems == ()


def test_between_the_last_root_and_keys_json_other_commands_go_on(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rotation that was killed at its end: the repository trusts the new key only, which is pending here."""

    def killed(ring: KeyRing, name: str) -> str:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(KeyRing, "adopt", killed)
        with pytest.raises(KeyboardInterrupt):
            rotate(repository, "online")
    open_repository(tmp_path).publish(sample("c"), "dev", "test")
    rotate(open_repository(tmp_path), "online")
    assert verify(repository.store, repository.anchor).problems == ()


def _rotate(directory: Path, name: str) -> None:
    rotate(open_repository(directory), name)


def _at_once(*tasks: tuple[Callable[..., None], tuple[object, ...]]) -> list[int | None]:
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=task, args=arguments) for task, arguments in tasks]
    for child in children:
        child.start()
    for child in children:
        child.join()
    return [child.exitcode for child in children]


@pytest.mark.parametrize("names", [("online", "stable"), ("online", "online"), ("targets", "online")])
def test_two_rotations_at_once_forget_no_key(names: tuple[str, str], repository: Repository, tmp_path: Path) -> None:
    assert _at_once(*((_rotate, (tmp_path, name)) for name in names)) == [0, 0]
    ring = KeyRing.open(tmp_path / "keys")
    for name in ("root", "targets", "online", "stable"):
        assert ring.signer(name).public_key == ring.public(name)
    open_repository(tmp_path).point("2", "stable", 100, "test")
    assert verify(repository.store, repository.anchor).problems == ()


def _rotates_beside_writers(location: str, directory: Path, environment: Mapping[str, str]) -> None:
    repository = initialize(open_store(location), KeyRing.create(directory / "keys"))
    writers = []
    for number in range(2):
        _copy_of_keys(directory / "keys", directory / f"writer-{number}", "online")
        command = [sys.executable, str(CHILD), "refresh", location, str(directory / f"writer-{number}")]
        writers.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment}))
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "at work\n"
    rotate(repository, "online")
    assert verify(repository.store, repository.anchor).problems == ()
    for writer in writers:
        assert writer.communicate()[0] == "locked out\n"
        assert writer.returncode == 0
    assert verify(repository.store, repository.anchor).problems == ()
    repository.refresh()


NUM_ROTATIONS = int(os.environ.get("EDGEPROOF_ROTATIONS", "20"))


@pytest.mark.exhaustive
def test_rotations_beside_two_writers_on_a_directory(tmp_path: Path) -> None:
    for number in range(NUM_ROTATIONS):
        _rotates_beside_writers(str(tmp_path / f"{number}/repository"), tmp_path / str(number), SOURCES)


@pytest.mark.exhaustive
def test_rotations_beside_two_writers_on_a_bucket(s3_endpoint: str, s3_login: dict[str, str], tmp_path: Path) -> None:
    import fsspec

    fsspec.filesystem("s3", endpoint_url=s3_endpoint).mkdir("rotations")
    for number in range(max(1, NUM_ROTATIONS // 5)):
        _rotates_beside_writers(f"s3://rotations/{number}", tmp_path / str(number), {**SOURCES, **s3_login})


def test_a_key_that_does_not_exist_cannot_be_replaced(repository: Repository) -> None:
    with pytest.raises(ReleaseError, match="no key 'canary'"):
        rotate(repository, "canary")
