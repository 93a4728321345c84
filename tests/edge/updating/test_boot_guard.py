"""The boot guard: a release that does not start, or fails its first minutes, gives way to the one before, for good."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from edgeproof_edge.updating import updater as updates
from edgeproof_edge.updating.boot_guard import BootGuard, guard_of

from releases.trust.rotation import rotate
from tests.edge.world import NEW, OLD, World
from tests.releases.samples import sample

pytestmark = pytest.mark.usefixtures("no_sync")


def _updated(world: World) -> BootGuard:
    assert world.device().update().is_new
    assert world.version() == NEW
    return guard_of(world.home)


def test_a_release_that_failed_to_start_twice_is_rolled_back_marked_bad_and_not_fetched_again(world: World) -> None:
    guard = _updated(world)
    assert guard.starting() is None
    assert guard.starting() is None
    rolled_back = guard.starting()
    assert rolled_back is not None
    assert (rolled_back.bad.version[:6], rolled_back.to.version[:6]) == (NEW, OLD)
    assert world.version() == OLD
    update = world.device().update()
    assert not update.is_new
    assert update.held_back is not None
    assert "it failed to start 2 times" in update.held_back
    assert world.version() == OLD


def test_the_next_release_is_fetched_and_a_forgiven_one_too(world: World) -> None:
    guard = _updated(world)
    rolled_back = guard.roll_back("it failed its first minutes")
    assert rolled_back is not None
    world.repository.publish(sample("c"), "dev", "test")
    world.repository.point("3", "stable", 100, "test")
    assert world.device().update().is_new
    world.repository.point("2", "stable", 100, "test")
    assert world.device().update().held_back is not None
    guard.forgive(rolled_back.bad.name)
    assert world.device().update().is_new
    assert world.version() == NEW


def test_a_release_that_ran_well_is_trusted_and_starts_as_often_as_it_likes(world: World) -> None:
    guard = _updated(world)
    guard.starting()
    current = world.device().current()
    assert current is not None
    guard.confirm(current.name)
    assert [guard.starting() for _ in range(5)] == [None] * 5
    assert world.version() == NEW


def test_a_release_on_trial_is_never_what_another_goes_back_to(world: World) -> None:
    guard = _updated(world)
    world.repository.publish(sample("c"), "dev", "test")
    world.repository.point("3", "stable", 100, "test")
    world.device().update()
    rolled_back = guard.roll_back("it answers nonsense")
    assert rolled_back is not None
    assert rolled_back.to.version[:6] == OLD


def test_a_first_release_that_does_not_start_stays_because_there_is_no_other(world: World) -> None:
    device = world.device("fresh")
    device.update()
    guard = guard_of(world.directory / "fresh")
    assert [guard.starting() for _ in range(5)] == [None] * 5
    assert world.version("fresh") == NEW


@pytest.mark.parametrize("content", [b"", b"\0" * 200, b"{", b"[]", b'{"trial": 3}', b"[" * 100_000])
def test_a_damaged_memory_is_an_empty_one(world: World, content: bytes) -> None:
    guard = _updated(world)
    (world.home / "state.json").write_bytes(content)
    assert guard.starting() is None
    assert not world.device().update().is_new
    guard.mark_bad("000009-aaaaaaaaaaaa-bbbbbbbbbbbb", "no good")
    assert guard.is_bad("000009-aaaaaaaaaaaa-bbbbbbbbbbbb") == "no good"


def test_a_way_back_that_was_killed_is_finished_at_the_next_start(world: World) -> None:
    guard = _updated(world)
    current = world.device().current()
    assert current is not None
    guard.mark_bad(current.name, "it failed its first minutes")  # and the power went before the switch
    rolled_back = guard.starting()
    assert rolled_back is not None
    assert world.version() == OLD


def test_a_clock_that_went_back_is_named(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.device().update()
    days_ago = datetime.now(timezone.utc) - timedelta(days=2)
    guard = guard_of(world.home)
    guard.succeeded_at(int((datetime.now(timezone.utc) + timedelta(hours=2)).timestamp()))
    monkeypatch.setattr(updates, "_utc_now", lambda: days_ago)
    with pytest.raises(updates.ClockError):
        world.device().check()


def test_a_device_that_was_off_through_three_root_rotations_comes_back(world: World) -> None:
    for name in ("root", "root", "online", "root", "targets"):
        rotate(world.repository, name)
    world.repository.publish(sample("c"), "dev", "test")
    world.repository.point("3", "stable", 100, "test")
    assert world.device().update().is_new
    assert world.device("fresh").update().is_new
    assert world.version() == world.version("fresh") == "000003"
