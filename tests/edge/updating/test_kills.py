"""An update is killed: before each of its file operations, at random, and with what was not synced lost as in a power cut."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from edgeproof_edge.updating.boot_guard import guard_of
from edgeproof_edge.updating.device_home import DeviceHome, damage_of

from releases.repository import Repository
from tests.releases.samples import make_repository, sample, serving

pytestmark = [pytest.mark.exhaustive, pytest.mark.usefixtures("no_sync")]

NUM_RELEASES = 4
NUM_RANDOM_KILLS = 200
#: What may lie in a device's directory between two updates.
EXPECTED = {"current", "versions", "metadata", "state.json", ".update-lock", ".state-lock"}


class Devices:
    """Updates in child processes."""

    def __init__(self, process: subprocess.Popen[str], url: str, synced: Path) -> None:
        self.process = process
        self._url = url
        self.synced = synced

    def start(self, home: Path, step: int = -1) -> None:
        self.synced.unlink(missing_ok=True)
        assert self.process.stdin is not None
        self.process.stdin.write(f"{home} {self._url} {step} {self.synced}\n")
        self.process.stdin.flush()

    def end(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def update(self, home: Path, step: int = -1) -> str:
        self.start(home, step)
        return self.end()


class World:
    """A repository with four releases, and one device."""

    def __init__(self, directory: Path, repository: Repository, devices: Devices) -> None:
        self.repository = repository
        self.devices = devices
        self.home = directory / "home"
        self.offered = 0

    def offer_another(self) -> None:
        self.offered = random.choice([number for number in range(1, NUM_RELEASES + 1) if number != self.offered])
        self.repository.point(str(self.offered), "stable", 100, "test")

    def running(self) -> int:
        """The release that would start now; it is sound."""
        startable = DeviceHome(self.home).startable()
        assert damage_of(startable.installed) is None
        return int(startable.installed.version[:6])

    def check_after_kill(self, before: int) -> None:
        assert self.running() in (before, self.offered)
        assert self.devices.update(self.home) == "done"
        assert self.running() == self.offered
        assert DeviceHome(self.home).damage() is None
        assert {path.name for path in self.home.iterdir()} == EXPECTED
        assert guard_of(self.home).state().bad == {}


@contextmanager
def _devices(directory: Path, url: str, root: bytes) -> Iterator[Devices]:
    (directory / "root.json").write_bytes(root)
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).parents[1] / "device_in_child.py"), str(directory / "root.json")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    devices = Devices(process, url, directory / "synced")
    assert devices.end() == "ready"
    try:
        yield devices
    finally:
        process.communicate()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    random.seed(1)
    repository = make_repository(tmp_path)
    for number in range(1, NUM_RELEASES + 1):
        repository.publish(sample(f"release {number}"), "dev", "test")
    with serving(tmp_path / "repository") as url, _devices(tmp_path, url, repository.anchor) as devices:
        world = World(tmp_path, repository, devices)
        world.offer_another()
        assert devices.update(world.home) == "done"
        yield world


@pytest.mark.parametrize("loss", ["nothing", "zeroed", "cut", "emptied"])
def test_a_kill_or_power_cut_before_any_file_operation_leaves_a_sound_model(world: World, loss: str) -> None:
    step, killed = 0, True
    while killed:
        before = world.offered
        world.offer_another()
        started = time.time()
        killed = world.devices.update(world.home, step) == "killed"
        if killed:
            _lose(world, loss, started)
        world.check_after_kill(before)
        step += 1
    assert step > 80


def test_a_kill_at_any_moment_leaves_a_sound_model(world: World) -> None:
    num_killed = 0
    while num_killed < NUM_RANDOM_KILLS:
        before = world.offered
        world.offer_another()
        world.devices.start(world.home)
        time.sleep(random.uniform(0.0, 0.12))
        num_killed += _kill_child_of(world.devices.process.pid)
        world.devices.end()
        world.check_after_kill(before)


def _kill_child_of(parent: int) -> bool:
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    for child in children:
        os.kill(int(child), signal.SIGKILL)
    return bool(children)


def _lose(world: World, loss: str, started: float) -> None:
    """Takes from files written since `started` what no sync has made last."""
    if loss == "nothing":
        return
    synced = world.devices.synced.read_text().split() if world.devices.synced.exists() else []
    for path in world.home.rglob("*"):
        if not path.is_file() or path.is_symlink():
            continue
        status = path.stat()
        if status.st_mtime < started - 0.02 or str(status.st_ino) in synced:
            continue
        kept = {"zeroed": bytes(status.st_size), "cut": path.read_bytes()[: status.st_size // 2], "emptied": b""}[loss]
        path.write_bytes(kept)
