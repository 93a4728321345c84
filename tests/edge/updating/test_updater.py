"""A device against a real repository on a real web server: every attack is refused by name, and the current model stays."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from edgeproof_edge.errors import EdgeproofError, SurroundingsError
from edgeproof_edge.manifest import Manifest
from edgeproof_edge.updating import updater as updates
from edgeproof_edge.updating.channel import share
from edgeproof_edge.updating.updater import Subscription, Updater
from tuf.api.metadata import Metadata, Timestamp

from releases.commit import Change
from releases.repository import Repository
from releases.stores.store import DirectoryStore
from releases.trust.keys import KeyRing
from releases.trust.rotation import rotate
from releases.trust.signing import sign, utc_now
from tests.edge.world import NEW, OLD, World
from tests.releases.samples import make_repository, sample

pytestmark = pytest.mark.usefixtures("no_sync")


def test_a_device_follows_its_channel_and_a_second_check_costs_two_requests(world: World) -> None:
    assert world.version() == OLD
    assert world.device().update().is_new
    assert world.version() == NEW
    world.replies.requests.clear()
    world.replies.num_bytes = 0
    assert not world.device().update().is_new
    assert len(world.replies.requests) == 2
    assert world.replies.num_bytes < 1000


def test_a_rollback_is_followed_like_a_promotion(world: World) -> None:
    world.device().update()
    world.repository.roll_back("stable", "test")
    assert world.device().update().is_new
    assert world.version() == OLD


def _one_bit(world: World) -> None:
    data = bytearray(world.file(world.bundle))
    data[700] ^= 1
    world.replies.lie(f"/{world.bundle}", bytes(data))


def _truncated(world: World) -> None:
    world.replies.lie(f"/{world.bundle}", world.file(world.bundle)[:2000])


def _cut(world: World) -> None:
    data = world.file(world.bundle)
    world.replies.lie(f"/{world.bundle}", data, sent=2000)


def _endless(world: World) -> None:
    world.replies.lie(f"/{world.bundle}", world.file(world.bundle) + bytes(5_000_000))


def _endless_timestamp(world: World) -> None:
    world.replies.lie("/metadata/timestamp.json", b" " * 5_000_000)


def _replayed(world: World) -> None:
    world.device().check()  # the device has seen the new timestamp, and is offered the old one
    world.replies.lie("/metadata/timestamp.json", world.old_files["timestamp"])


def _wrong_key(world: World) -> None:
    other = make_repository(world.directory / "other")
    for _ in range(20):
        other.refresh()
    world.replies.lie("/metadata/timestamp.json", other.store.read("metadata/timestamp.json"))


def _old_snapshot(world: World) -> None:
    number, _ = world.snapshot()
    world.replies.lie(f"/metadata/{number}.snapshot.json", world.file(f"metadata/{number - 1}.snapshot.json"))


def _old_channel(world: World) -> None:
    _, roles = world.snapshot()
    old = world.file(f"metadata/{roles['stable'] - 1}.stable.json")
    world.replies.lie(f"/metadata/{roles['stable']}.stable.json", old)


def _frozen(world: World) -> None:
    online = KeyRing.open(world.directory / "keys").signer("online")
    timestamp = Metadata[Timestamp].from_bytes(world.file("metadata/timestamp.json")).signed
    world.replies.lie("/metadata/timestamp.json", sign("timestamp", timestamp, utc_now() - timedelta(days=8), online))


def _stolen_online_key(world: World) -> None:
    """The thief has every key but stable's and those that are kept offline, and moves `stable`."""
    copy = world.directory / "thief"
    shutil.copytree(world.directory / "repository", copy)
    online = KeyRing.open(world.directory / "keys").signer("online")
    thief = Repository(DirectoryStore(copy), world.repository.anchor)
    thief.committer.commit_change(
        lambda state: Change({"stable": state.role("stable")}, None),
        signers=dict.fromkeys(("stable", "snapshot", "timestamp"), online),
    )
    for file in (copy / "metadata").iterdir():
        world.replies.lie(f"/metadata/{file.name}", file.read_bytes())


def _unreachable(world: World) -> None:
    world.url = "http://127.0.0.1:9"


@pytest.mark.parametrize(
    ("attack", "error"),
    [
        pytest.param(_one_bit, updates.TamperedError, id="one-bit-of-the-bundle"),
        pytest.param(_truncated, updates.TamperedError, id="truncated-bundle"),
        pytest.param(_cut, updates.UnreachableError, id="connection-cut"),
        pytest.param(_endless, updates.EndlessDataError, id="endless-bundle"),
        pytest.param(_endless_timestamp, updates.EndlessDataError, id="endless-timestamp"),
        pytest.param(_replayed, updates.ReplayError, id="old-timestamp-replayed"),
        pytest.param(_wrong_key, updates.WrongKeyError, id="signed-by-another-key"),
        pytest.param(_old_snapshot, updates.TamperedError, id="older-snapshot-mixed-in"),
        pytest.param(_old_channel, updates.TamperedError, id="older-channel-mixed-in"),
        pytest.param(_frozen, updates.ExpiredError, id="frozen-timestamp-expired"),
        pytest.param(_stolen_online_key, updates.WrongKeyError, id="stolen-online-key-moves-stable"),
        pytest.param(_unreachable, updates.UnreachableError, id="no-server"),
    ],
)
def test_an_attack_is_refused_by_name_and_the_current_model_stays(
    world: World, attack: Callable[[World], None], error: type[EdgeproofError], monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = world.url
    attack(world)
    with pytest.raises(error) as refusal:
        world.device().update()
    assert type(refusal.value) is error
    assert world.version() == OLD
    assert (world.directory / "device/current/model.tflite").is_file()
    world.replies.bodies.clear()
    world.url = honest
    if attack is not _stolen_online_key:  # its aftermath has a test of its own
        assert world.device().update().is_new
        assert world.version() == NEW


def test_after_a_theft_rotating_the_online_key_brings_back_devices_that_saw_the_thief(world: World) -> None:
    _stolen_online_key(world)
    with pytest.raises(updates.WrongKeyError):
        world.device().update()
    world.replies.bodies.clear()
    rotate(world.repository, "online")
    assert world.device().update().is_new
    assert world.version() == NEW


def test_a_fresh_device_takes_an_old_timestamp_until_it_expires(world: World) -> None:
    # Inherent: the window is the timestamp's lifetime. Ship current metadata in the device image to close it.
    world.replies.lie("/metadata/timestamp.json", world.old_files["timestamp"])
    world.device("fresh").update()
    assert world.version("fresh") == OLD


@pytest.mark.parametrize("name", ["root", "targets", "online", "stable"])
def test_a_device_with_the_first_root_follows_a_rotated_key(world: World, name: str) -> None:
    rotate(world.repository, name)
    world.repository.publish(sample("c"), "dev", "test")
    world.repository.point("3", "stable", 100, "test")
    assert world.device().update().is_new
    assert world.version() == "000003"


def test_the_old_key_counts_no_more_after_a_rotation(world: World) -> None:
    keys = world.directory / "keys"
    shutil.copytree(keys, world.directory / "old-keys")
    rotate(world.repository, "online")
    old = Repository.of(world.store, KeyRing.open(world.directory / "old-keys"))
    with pytest.raises(EdgeproofError, match="no key in"):
        old.publish(sample("z"), "dev", "thief")


def test_a_power_cut_that_empties_the_cache_is_survived(world: World) -> None:
    world.device().update()
    metadata = world.directory / "device/metadata"
    (metadata / "timestamp.json").write_bytes(b"")
    (metadata / "snapshot.json").write_bytes(b"{")
    for root in (metadata / "root_history").iterdir():
        root.write_bytes(b"")
    world.repository.roll_back("stable", "test")
    assert world.device().update().is_new


def test_a_failed_self_test_leaves_the_old_release_running(world: World) -> None:
    def broken(directory: Path, manifest: Manifest) -> bool:
        assert (directory / "model.tflite").is_file()
        return False

    with pytest.raises(updates.SelfTestError):
        world.device().update(broken)
    assert world.version() == OLD


def test_a_rollout_reaches_its_share_only_grows_and_leaves_the_others_where_they_were(world: World) -> None:
    world.repository.publish(sample("c"), "dev", "test")
    epoch = world.repository.point("3", "stable", 20, "test").pointer.epoch
    early, late = (
        next(f"d{number}" for number in range(1000) if low <= share(f"d{number}", epoch) < high)
        for low, high in ((0, 20), (20, 60))
    )

    def offered(device: str) -> int:
        offer = world.device(device, device_id=device).check()
        assert offer is not None
        return offer.sequence

    assert (offered(early), offered(late)) == (3, 2)
    world.repository.point("3", "stable", 60, "test")
    assert (offered(early), offered(late)) == (3, 3)
    world.repository.roll_back("stable", "test")
    assert (offered(early), offered(late)) == (2, 2)


def test_a_clock_before_the_root_was_signed_is_named(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(updates, "_utc_now", lambda: datetime(1970, 1, 2, tzinfo=timezone.utc))
    with pytest.raises(updates.ClockError, match="1970-01-02"):
        world.device().update()
    assert world.version() == OLD


def test_two_updates_at_once_do_not_mix(world: World) -> None:
    def busy(directory: Path, manifest: Manifest) -> bool:
        with pytest.raises(updates.BusyError):
            world.device().update()
        return True

    assert world.device().update(busy).is_new


def test_a_channel_without_the_model_is_named(world: World) -> None:
    subscription = Subscription(world.url, "digits", "canary", "d0")
    with pytest.raises(updates.NotOfferedError, match="canary"):
        Updater(world.directory / "other", subscription, world.repository.anchor).update()


def test_a_full_disk_is_named_and_changes_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SurroundingsError, match="disk is full"):
        world.device().update()
    monkeypatch.undo()
    assert world.version() == OLD
    assert world.device().update().is_new
