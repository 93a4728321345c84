"""The repository: one release per content, channels that point, keys that are asked before anything is written."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from edgeproof_edge.errors import EdgeproofError, SurroundingsError
from edgeproof_edge.updating.channel import Pointer

from releases.commit import KEPT_ARCHIVES, ClockError
from releases.errors import ReleaseError
from releases.history import audit
from releases.repository import Repository
from releases.stores.location import check_publishing
from releases.stores.store import DirectoryStore
from releases.trust.initialization import initialize
from releases.trust.keys import KeyRing
from releases.trust.metadata import MissingRepositoryError, UntrustedError
from releases.trust.private_keys import ReleaseKeyError
from releases.trust.rotation import rotate
from releases.verification import verify
from tests.releases.samples import Clock, make_repository, open_repository, sample

pytestmark = pytest.mark.usefixtures("no_sync")

NOW = datetime(2026, 11, 21, 9, 0, tzinfo=timezone.utc)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """Releases 1 to 3, `dev` at 3."""
    repository = make_repository(tmp_path)
    for text in "abc":
        repository.publish(sample(text), "dev", "test")
    return repository


def _state(directory: Path) -> dict[str, bytes]:
    return {
        str(path): path.read_bytes()
        for path in sorted((directory / "repository").rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


def _pointer(repository: Repository, channel: str) -> Pointer:
    return next(state.pointer for state in repository.listing().pointers if state.channel == channel)


def test_numbers_are_dense_and_the_same_content_is_the_same_release(repository: Repository) -> None:
    assert [release.sequence for release in repository.listing().releases] == [1, 2, 3]
    again = repository.publish(sample("a"), "dev", "test")
    assert again.sequence == 1
    assert _pointer(repository, "dev").release.sequence == 3  # a late retry takes nothing back
    assert len(repository.listing().releases) == 3


def test_a_retry_after_a_rollback_does_not_undo_it(repository: Repository) -> None:
    repository.roll_back("dev", "test")
    repository.publish(sample("c"), "dev", "test")
    assert _pointer(repository, "dev").release.sequence == 2


def test_two_models_share_a_repository_and_number_on_their_own(repository: Repository) -> None:
    assert repository.publish(sample("a", "voices"), "dev", "test").sequence == 1
    with pytest.raises(ReleaseError, match="several models"):
        repository.point("1", "stable", 100, "test")
    repository.point("1", "stable", 100, "test", model="voices")
    assert _pointer(repository, "stable").release.version.startswith("000001")


def test_a_rollout_keeps_the_others_where_they_were_and_rollback_goes_there(repository: Repository) -> None:
    repository.point("1", "stable", 100, "test")
    repository.point("2", "stable", 10, "test")
    pointer = _pointer(repository, "stable")
    assert (pointer.rollout, pointer.release.sequence, pointer.epoch) == (10, 2, 2)
    assert pointer.otherwise is not None
    assert pointer.otherwise.sequence == 1
    repository.point("2", "stable", 50, "test")
    assert _pointer(repository, "stable").epoch == 2  # growing keeps the first devices
    repository.point("2", "stable", 100, "test")
    assert _pointer(repository, "stable").previous == (repository.find("1").version,)
    repository.roll_back("stable", "test")
    assert _pointer(repository, "stable").release.sequence == 1
    assert _pointer(repository, "stable").epoch == 3


def test_a_rollback_that_is_run_twice_goes_back_once_and_further_by_name(repository: Repository) -> None:
    repository.roll_back("dev", "test")
    assert repository.roll_back("dev", "test").pointer.release.sequence == 2
    assert _pointer(repository, "dev").undone == repository.find("3").version
    repository.roll_back("dev", "test", to="1")
    assert _pointer(repository, "dev").release.sequence == 1
    repository.point("2", "dev", 100, "test")
    assert repository.roll_back("dev", "test").pointer.release.sequence == 1


def test_a_channel_with_one_release_has_no_way_back(repository: Repository) -> None:
    repository.point("1", "stable", 100, "test")
    with pytest.raises(ReleaseError, match="no earlier release"):
        repository.roll_back("stable", "test")


def test_pointing_where_a_channel_points_changes_nothing(repository: Repository, tmp_path: Path) -> None:
    before = _state(tmp_path)
    repository.point("dev", "dev", 100, "somebody")
    assert _state(tmp_path) == before


@pytest.mark.parametrize(
    ("act", "error", "message"),
    [
        pytest.param(
            lambda r: r.point("9", "stable", 100, "t"), ReleaseError, "there is no release '9'", id="no-release"
        ),
        pytest.param(lambda r: r.point("1", "beta", 100, "t"), ReleaseError, "no channel 'beta'", id="no-channel"),
        pytest.param(
            lambda r: r.point("stable", "dev", 100, "t"), ReleaseError, "offers nothing yet", id="empty-channel"
        ),
        pytest.param(lambda r: r.point("1", "dev", 101, "t"), ReleaseError, "0 to 100", id="rollout-above-100"),
        pytest.param(lambda r: r.roll_back("stable", "t"), ReleaseError, "nothing yet", id="rollback-of-nothing"),
        pytest.param(
            lambda r: r.retire("dev", "bad", "t"), ReleaseError, "is offered by dev", id="retire-what-is-offered"
        ),
        pytest.param(lambda r: r.prune(0), ReleaseError, "at least 1", id="prune-everything"),
        pytest.param(
            lambda r: r.publish(sample("x"), "beta", "t"), ReleaseError, "no channel 'beta'", id="publish-nowhere"
        ),
        pytest.param(lambda r: r.add_channels(["snapshot"]), ReleaseError, "cannot be the name", id="reserved-channel"),
        pytest.param(lambda r: rotate(r, "canary"), ReleaseError, "no key 'canary'", id="rotate-no-key"),
    ],
)
def test_a_mistake_is_named_and_changes_nothing(
    repository: Repository,
    tmp_path: Path,
    act: Callable[[Repository], object],
    error: type[EdgeproofError],
    message: str,
) -> None:
    before = _state(tmp_path)
    with pytest.raises(error, match=message):
        act(repository)
    assert _state(tmp_path) == before


def test_a_retired_release_is_offered_and_published_no_more(repository: Repository) -> None:
    repository.retire("1", "wrong labels", "anna")
    with pytest.raises(ReleaseError, match="retired by anna: wrong labels"):
        repository.point("1", "stable", 100, "test")
    with pytest.raises(ReleaseError, match="retired: wrong labels"):
        repository.publish(sample("a"), "dev", "test")


def test_pruning_keeps_the_newest_and_what_channels_offer(repository: Repository, tmp_path: Path) -> None:
    repository.point("1", "stable", 100, "test")
    pruned = repository.prune(1)
    assert [release.sequence for release in pruned.releases] == [2]
    assert [release.sequence for release in repository.listing().releases] == [1, 3]
    assert len(list((tmp_path / "repository/targets/models/digits").iterdir())) == 2
    with pytest.raises(ReleaseError, match="was pruned"):
        repository.roll_back("stable", "test", to="2")
    assert repository.publish(sample("b"), None, "test").sequence == 4  # a number is never given twice
    assert verify(repository.store, repository.anchor).problems == ()


def test_metadata_of_the_archive_does_not_pile_up(repository: Repository, tmp_path: Path) -> None:
    for number in range(KEPT_ARCHIVES + 5):
        repository.publish(sample(f"n{number}"), None, "test")
    assert len(list((tmp_path / "repository/metadata").glob("*.archive.json"))) <= KEPT_ARCHIVES + 1


def _leave_wrong_keys(tmp_path: Path) -> None:
    other = make_repository(tmp_path / "other")
    assert other.ring.names
    for file in (tmp_path / "keys").iterdir():
        file.unlink()
    for file in (tmp_path / "other/keys").iterdir():
        file.rename(tmp_path / "keys" / file.name)


def _swap_private_keys(tmp_path: Path) -> None:
    online, stable = (next((tmp_path / "keys").glob(f"{name}-*.pem")) for name in ("online", "stable"))
    online.write_bytes(stable.read_bytes())


def _show_private_key(tmp_path: Path) -> None:
    next((tmp_path / "keys").glob("online-*.pem")).chmod(0o644)


def _lose_private_key(tmp_path: Path) -> None:
    next((tmp_path / "keys").glob("online-*.pem")).unlink()


def _lose_repository(tmp_path: Path) -> None:
    (tmp_path / "repository").rename(tmp_path / "gone")


def _change_channel(tmp_path: Path) -> None:
    file = tmp_path / "repository/metadata/4.dev.json"
    file.write_bytes(file.read_bytes().replace(b'"rollout":100', b'"rollout":  0'))


def _exchange_timestamp(tmp_path: Path) -> None:
    other = make_repository(tmp_path / "other")
    (tmp_path / "repository/metadata/timestamp.json").write_bytes(other.store.read("metadata/timestamp.json"))


@pytest.mark.parametrize(
    ("harm", "error", "message"),
    [
        pytest.param(
            _leave_wrong_keys, UntrustedError, "belong to another repository", id="keys-of-another-repository"
        ),
        pytest.param(_swap_private_keys, ReleaseKeyError, "another private key", id="wrong-key-file"),
        pytest.param(_show_private_key, ReleaseKeyError, "chmod 600", id="key-that-others-can-read"),
        pytest.param(_lose_private_key, ReleaseKeyError, "is not at", id="missing-key-file"),
        pytest.param(_lose_repository, MissingRepositoryError, "no release repository", id="missing-repository"),
        pytest.param(_change_channel, UntrustedError, "not what the trusted keys signed", id="changed-channel"),
        pytest.param(_exchange_timestamp, UntrustedError, "not what the trusted keys", id="timestamp-of-another"),
    ],
)
def test_what_was_tampered_with_is_never_signed(
    repository: Repository, tmp_path: Path, harm: Callable[[Path], None], error: type[EdgeproofError], message: str
) -> None:
    harm(tmp_path)
    before = _state(tmp_path) if (tmp_path / "repository").exists() else {}
    with pytest.raises(error, match=message):
        open_repository(tmp_path).publish(sample("x"), "dev", "test")
    assert (_state(tmp_path) if (tmp_path / "repository/metadata").exists() else {}) == before


def test_a_changed_bundle_is_not_promoted_and_verify_finds_it(repository: Repository, tmp_path: Path) -> None:
    file = tmp_path / "repository" / repository.find("1").file
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(ReleaseError, match="was changed after publishing"):
        repository.point("1", "stable", 100, "test")
    (problem,) = verify(repository.store, repository.anchor).problems
    assert "000001" in problem


def test_verify_names_what_is_missing_expired_or_unsigned(repository: Repository, tmp_path: Path) -> None:
    (tmp_path / "repository" / repository.find("2").file).unlink()
    found = verify(repository.store, repository.anchor, now=datetime.now(timezone.utc) + timedelta(days=5))
    assert "is missing" in found.problems[0]
    assert found.num_bundles == 2
    assert any("timestamp expires" in warning for warning in found.warnings)
    _change_channel(tmp_path)
    assert any("dev.json" in problem for problem in verify(repository.store, repository.anchor).problems)


def test_disk_full_changes_nothing_and_a_rerun_completes(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    before = _state(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(SurroundingsError, match="No space left"):
            repository.publish(sample("x"), "dev", "test")
    assert _state(tmp_path) == before
    assert repository.publish(sample("x"), "dev", "test").sequence == 4


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_directory_is_named(repository: Repository, tmp_path: Path) -> None:
    (tmp_path / "repository").chmod(0o555)
    try:
        with pytest.raises(SurroundingsError, match="write access"):
            repository.publish(sample("x"), "dev", "test")
        assert len(repository.listing().releases) == 3
    finally:
        (tmp_path / "repository").chmod(0o755)


def test_a_read_only_file_system_is_named_and_can_still_be_read(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    reader = open_repository(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("tempfile.mkdtemp", refuse)
        with pytest.raises(SurroundingsError, match=r"Read-only file system.*write access"):
            reader.publish(sample("x"), "dev", "test")
        assert len(reader.listing().releases) == 3


@pytest.mark.parametrize(
    ("days", "message"),
    [
        pytest.param(-30, "was signed at", id="clock-a-month-behind"),
        pytest.param(4000, "expired", id="clock-years-ahead"),
    ],
)
def test_a_clock_that_cannot_be_right_signs_nothing(tmp_path: Path, days: int, message: str) -> None:
    clock = Clock(NOW)
    store, ring = DirectoryStore(tmp_path / "repository"), KeyRing.create(tmp_path / "keys")
    repository = initialize(store, ring, clock=clock)
    before = _state(tmp_path)
    clock.time = NOW + timedelta(days=days)
    with pytest.raises(ClockError, match=message):
        repository.publish(sample("x"), "dev", "test")
    assert _state(tmp_path) == before


def test_refresh_renews_what_ages_and_says_what_it_cannot(tmp_path: Path) -> None:
    clock = Clock(NOW)
    store, ring = DirectoryStore(tmp_path / "repository"), KeyRing.create(tmp_path / "keys")
    repository = initialize(store, ring, clock=clock)
    clock.time = NOW + timedelta(days=3)
    refreshed = repository.refresh()
    assert refreshed.signed == ("timestamp",)
    assert refreshed.fresh_until == clock.time + timedelta(days=7)
    clock.time = NOW + timedelta(days=20)
    assert repository.refresh().signed == ("timestamp", "snapshot")
    clock.time = NOW + timedelta(days=200)
    refreshed = repository.refresh()
    assert set(refreshed.signed) == {"root", "timestamp", "snapshot", "targets", "archive", "dev", "canary", "stable"}
    assert refreshed.warnings == ()
    assert verify(store, repository.anchor, now=clock.time).warnings == ()


def test_the_nightly_job_needs_the_online_key_only(repository: Repository, tmp_path: Path) -> None:
    for name in ("root", "targets", "stable"):
        next((tmp_path / "keys").glob(f"{name}-*.pem")).unlink()
    job = open_repository(tmp_path)
    job.refresh()
    job.publish(sample("x"), "dev", "job")
    job.point("dev", "canary", 100, "job")
    with pytest.raises(ReleaseKeyError, match="'stable'"):
        job.point("dev", "stable", 100, "job")
    in_200_days = Clock((datetime.now(timezone.utc) + timedelta(days=200)).replace(microsecond=0))
    refreshed = Repository(job.store, job.anchor, job.ring, in_200_days).refresh()
    assert {"timestamp", "snapshot", "archive", "dev", "canary"} == set(refreshed.signed)
    assert [warning.split()[0] for warning in refreshed.warnings] == ["root", "targets", "stable"]


@pytest.mark.parametrize(("name", "missing"), [("online", "root"), ("online", "targets"), ("stable", "targets")])
def test_a_rotation_that_lacks_a_key_stops_before_it_starts(
    repository: Repository, tmp_path: Path, name: str, missing: str
) -> None:
    next((tmp_path / "keys").glob(f"{missing}-*.pem")).unlink()
    before, keys = _state(tmp_path), (tmp_path / "keys/keys.json").read_bytes()
    with pytest.raises(ReleaseKeyError, match=f"'{missing}' is not at"):
        rotate(open_repository(tmp_path), name)
    assert _state(tmp_path) == before
    assert (tmp_path / "keys/keys.json").read_bytes() == keys


def test_an_encrypted_key_opens_with_its_passphrase_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPROOF_KEY_PASSPHRASE", "correct horse")
    make_repository(tmp_path).publish(sample("a"), "dev", "test")
    assert b"ENCRYPTED" in next((tmp_path / "keys").glob("online-*.pem")).read_bytes()
    monkeypatch.setenv("EDGEPROOF_KEY_PASSPHRASE", "wrong")
    with pytest.raises(ReleaseKeyError, match="passphrase is wrong"):
        open_repository(tmp_path).refresh()
    monkeypatch.delenv("EDGEPROOF_KEY_PASSPHRASE")
    with pytest.raises(ReleaseKeyError, match="EDGEPROOF_KEY_PASSPHRASE"):
        open_repository(tmp_path).refresh()
    asked = KeyRing.open(tmp_path / "keys", ask=lambda name: "correct horse" if name == "online" else "")
    Repository.of(DirectoryStore(tmp_path / "repository"), asked).refresh()


def test_whether_a_run_could_publish_is_known_before_it_starts(repository: Repository, tmp_path: Path) -> None:
    location, keys = str(tmp_path / "repository"), tmp_path / "keys"
    before = _state(tmp_path)
    assert "channel dev of" in check_publishing(location, keys, "dev", makes_missing=False)
    with pytest.raises(ReleaseError, match="no channel 'beta'"):
        check_publishing(location, keys, "beta", makes_missing=False)
    with pytest.raises(ReleaseKeyError, match="there are no keys"):
        check_publishing(location, tmp_path / "nokeys", "dev", makes_missing=True)
    next(keys.glob("stable-*.pem")).unlink()
    with pytest.raises(ReleaseKeyError, match="'stable'"):
        check_publishing(location, keys, "stable", makes_missing=False)
    assert "will be made" in check_publishing(str(tmp_path / "new"), tmp_path / "nokeys", "dev", makes_missing=True)
    with pytest.raises(MissingRepositoryError):
        check_publishing(str(tmp_path / "new"), keys, "dev", makes_missing=False)
    assert _state(tmp_path) == before
    assert not (tmp_path / "new").exists()


def test_keys_are_private_files(repository: Repository, tmp_path: Path) -> None:
    files = list((tmp_path / "keys").glob("*.pem"))
    assert len(files) == 4
    assert (tmp_path / "keys/.gitignore").read_text() == "*.pem\n.lock\n"
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}


def test_channels_are_added_later_and_names_are_checked(repository: Repository, tmp_path: Path) -> None:
    store, ring = repository.store, KeyRing.open(tmp_path / "keys")
    initialize(store, ring, ["beta", "gold"], own_keys=["gold"])
    assert repository.listing().channels == ("dev", "canary", "stable", "beta", "gold")
    open_repository(tmp_path).point("1", "gold", 100, "test")
    for name in ("timestamp", "Beta", "a/b", ""):
        with pytest.raises(ReleaseError, match="cannot be the name of a channel"):
            initialize(store, ring, [name])
    assert verify(store, repository.anchor).problems == ()


def test_the_audit_tells_who_pointed_what_where_and_when(repository: Repository, tmp_path: Path) -> None:
    repository.point("1", "stable", 100, "anna")
    repository.point("2", "stable", 10, "ben")
    repository.roll_back("stable", "carl")
    rotate(repository, "online")
    repository.retire("2", "wrong labels", "dora")
    events = audit(repository.store, repository.anchor)
    pointed = [(event.by, event.detail) for event in events if event.action == "point" and event.subject == "stable"]
    one, two = repository.find("1").version, repository.find("2").version
    assert pointed == [
        ("anna", f"stable pointed to digits {one}"),
        ("ben", f"stable pointed to digits {two} for 10 % of the devices, before {one}"),
        ("carl", f"stable rolled back to digits {one}, before {two}"),
    ]
    assert any("retired: wrong labels" in event.detail for event in events)
    assert any("keys of snapshot" in event.detail for event in events)
    keyids = {event.keyids for event in events if event.by in ("anna", "ben", "carl")}
    assert keyids == {(repository.ring.public("stable").keyid,)}


def test_what_a_killed_writer_left_is_not_in_the_audit(repository: Repository, tmp_path: Path) -> None:
    timestamp = tmp_path / "repository/metadata/timestamp.json"
    before = timestamp.read_bytes()
    repository.point("1", "stable", 100, "ghost")
    timestamp.write_bytes(before)  # killed before the commit point
    repository.point("2", "stable", 100, "anna")
    assert "ghost" not in {event.by for event in audit(repository.store, repository.anchor)}
    assert _pointer(repository, "stable").release.sequence == 2


def test_a_rewritten_past_is_noticed(repository: Repository, tmp_path: Path) -> None:
    file = tmp_path / "repository/metadata/2.dev.json"
    file.write_bytes(file.read_bytes().replace(b'"by":"test"', b'"by":"anna"'))
    with pytest.raises(UntrustedError, match="was changed after it was committed"):
        audit(repository.store, repository.anchor)
