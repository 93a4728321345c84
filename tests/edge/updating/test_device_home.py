"""The device's directory: whatever was cut off, lost or damaged, it is noticed, and a sound model runs."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from edgeproof_edge.manifest import Manifest
from edgeproof_edge.updating.device_home import DeviceHome, NoModelError, damage_of
from edgeproof_edge.updating.updater import SelfTestError, UnreachableError

from tests.edge.world import NEW, OLD, World
from tests.releases.samples import sample

pytestmark = pytest.mark.usefixtures("no_sync")


class Killed(BaseException):
    """The power went."""


def _cut_off(path: Path, **how: object) -> None:
    """A removal that is killed behind its first file."""
    for file in (file for file in Path(path).rglob("*") if file.is_file()):
        file.unlink()
        raise Killed
    Path(path).rmdir()


def _sound(world: World) -> str:
    installed = world.device().current()
    assert installed is not None
    assert damage_of(installed) is None
    return installed.version[:6]


def _publish(world: World, number: int) -> None:
    world.repository.publish(sample(f"release {number}"), "dev", "test")
    world.repository.point(str(number), "stable", 100, "test")


def test_a_kill_while_an_old_release_is_removed_does_not_leave_it_half(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.device().update()
    _publish(world, 3)
    world.device().update()
    _publish(world, 4)
    monkeypatch.setattr(shutil, "rmtree", _cut_off)
    with pytest.raises(Killed):
        world.device().update()
    monkeypatch.undo()
    assert _sound(world) == "000004"
    assert {damage_of(installed) for installed in DeviceHome(world.home).installed()} == {None}
    world.repository.point("2", "stable", 100, "test")
    world.device().update()
    assert _sound(world) == NEW


def test_a_kill_while_a_release_that_failed_its_self_test_is_removed_leaves_nothing_to_switch_to(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "rmtree", _cut_off)
    with pytest.raises(Killed):
        world.device().update(_refuses)
    monkeypatch.undo()
    assert [installed.version[:6] for installed in DeviceHome(world.home).installed()] == [OLD]
    assert world.device().update(_passes).held_back is not None
    assert _sound(world) == OLD


def test_a_half_deleted_directory_of_the_offered_release_is_not_switched_to(world: World) -> None:
    world.device().update()
    world.repository.roll_back("stable", "test")
    (world.home / "versions" / _name(world, OLD) / "golden.npz").unlink(missing_ok=True)
    (world.home / "versions" / _name(world, OLD) / "labels.txt").unlink()
    assert world.device().update().is_new
    assert _sound(world) == OLD


def _name(world: World, sequence: str) -> str:
    return next(
        entry.directory.name for entry in DeviceHome(world.home).installed() if entry.version.startswith(sequence)
    )


def _truncate(current: Path) -> None:
    (current / "model.tflite").write_bytes((current / "model.tflite").read_bytes()[:100])


def _zero(current: Path) -> None:
    (current / "model.tflite").write_bytes(bytes((current / "model.tflite").stat().st_size))


def _link_elsewhere(current: Path) -> None:
    current.unlink()
    current.symlink_to("/etc")


def _link_upwards(current: Path) -> None:
    current.unlink()
    current.symlink_to(f"versions/../../{current.parent.name}/versions/000001-aaaaaaaaaaaa-bbbbbbbbbbbb")


def _copied(current: Path) -> None:
    files = current.resolve()
    current.unlink()
    shutil.copytree(files, current)


def _file(current: Path) -> None:
    current.unlink()
    current.write_text("versions/1")


DAMAGES = [
    pytest.param(_truncate, id="model-cut-off"),
    pytest.param(_zero, id="model-zeroed"),
    pytest.param(lambda current: (current / "labels.txt").unlink(), id="a-file-missing"),
    pytest.param(lambda current: (current / "manifest.json").write_bytes(b""), id="empty-manifest"),
    pytest.param(lambda current: (current / "manifest.json").write_bytes(bytes(3000)), id="zeroed-manifest"),
    pytest.param(lambda current: shutil.rmtree(current.resolve()), id="release-gone"),
    pytest.param(lambda current: current.unlink(), id="current-gone"),
    pytest.param(_copied, id="current-copied-as-a-directory"),
    pytest.param(_file, id="current-is-a-file"),
    pytest.param(_link_elsewhere, id="current-points-elsewhere"),
    pytest.param(_link_upwards, id="current-points-upwards"),
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_noticed_at_start_and_healed_by_the_next_update(
    world: World, damage: Callable[[Path], object]
) -> None:
    world.device().update()
    damage(world.home / "current")
    started = DeviceHome(world.home).startable()
    assert damage_of(started.installed) is None
    assert started.damage is not None
    update = world.device().update()
    assert update.damage is not None
    assert _sound(world) == NEW
    assert world.device().update().damage is None


def test_without_a_network_a_damaged_model_gives_way_to_the_one_before(world: World) -> None:
    world.device().update()
    _truncate(world.home / "current")
    with pytest.raises(UnreachableError):
        world.device(url="http://127.0.0.1:9").update()
    assert _sound(world) == OLD


def test_a_device_whose_only_model_is_damaged_says_so_at_start(world: World) -> None:
    _truncate(world.home / "current")
    with pytest.raises(NoModelError, match=r"model\.tflite has not the"):
        DeviceHome(world.home).startable()
    with pytest.raises(NoModelError, match="nothing was installed"):
        DeviceHome(world.home / "nowhere").startable()


def test_a_damaged_release_that_is_marked_bad_is_not_fallen_back_to(world: World) -> None:
    device = world.device()
    with pytest.raises(SelfTestError, match=r"000002.* failed its self-test"):
        device.update(_raises)
    assert device.update().held_back == (
        f"release {world.repository.find('stable').version} is marked bad on this device: it failed its self-test: no good"
    )


def _raises(directory: Path, manifest: Manifest) -> bool:
    raise ValueError("no good")


def _refuses(directory: Path, manifest: Manifest) -> bool:
    return False


def _passes(directory: Path, manifest: Manifest) -> bool:
    return True
