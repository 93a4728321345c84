"""Over adb, with an executable that behaves like it; a phone was not at hand."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from components.device.errors import DeviceError
from components.device.measurement import look, measure
from components.device.place import DevicePlace, Way
from components.device.settings import Options
from tests.components.device import fake_adb
from tests.components.device.samples import leftovers, subject_of

pytestmark = pytest.mark.e2e
pytestmark = pytest.mark.e2e
QUICK = Options(num_runs=5, seconds=60)
PLACE = DevicePlace(Way.ADB, python=sys.executable)


@pytest.fixture
def tmp_of_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    program = tmp_path / "bin" / "adb"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {fake_adb.__file__} "$@"\n')
    program.chmod(0o755)
    path = os.environ["PATH"]
    monkeypatch.setenv("FAKE_ADB_ROOT", str(tmp_path / "root"))
    monkeypatch.setenv("FAKE_ADB_PATH", path)
    monkeypatch.setenv("PATH", f"{program.parent}:{path}")
    directory = tmp_path / "root" / fake_adb.ON_DEVICE[1:]
    directory.mkdir(parents=True)
    return directory


def test_what_a_device_did_is_pulled_and_nothing_stays_there(tmp_of_device: Path) -> None:
    measurement, outputs = measure(PLACE, subject_of(), QUICK)
    assert measurement.facts.times is not None
    assert [len(array) for array in outputs.values()] == [24]
    assert all(each.holds for each in measurement.agreement)
    assert leftovers(tmp_of_device) == []


def test_a_look_leaves_nothing_either(tmp_of_device: Path) -> None:
    assert look(replace(PLACE, address=fake_adb.SERIAL)).runtime.startswith("ai-edge-litert")
    assert leftovers(tmp_of_device) == []


@pytest.mark.parametrize(
    ("state", "change", "words"),
    [
        pytest.param("none", {}, "no devices/emulators found. Plug it in", id="none"),
        pytest.param("two", {}, "more than one device/emulator. Name one", id="two"),
        pytest.param("unauthorized", {}, "Unlock the device", id="unauthorized"),
        pytest.param("offline", {}, "device offline. Plug it in again", id="offline"),
        pytest.param("device", {"address": "R58"}, "device 'R58' not found", id="another-serial"),
        pytest.param("device", {"tmp": "/nope"}, "adb shell: exit code 1|made no directory", id="no-such-directory"),
        pytest.param("device", {"python": "/nope/python3"}, "no Python that can run models", id="no-python"),
    ],
)
def test_what_is_wrong_is_one_sentence(
    tmp_of_device: Path, monkeypatch: pytest.MonkeyPatch, state: str, change: dict[str, str], words: str
) -> None:
    monkeypatch.setenv("FAKE_ADB_STATE", state)
    with pytest.raises(DeviceError, match=words) as caught:
        measure(replace(PLACE, **change), subject_of(), QUICK)
    assert "\n" not in str(caught.value)
    assert leftovers(tmp_of_device) == []


def test_adb_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DeviceError, match="adb is not installed here"):
        look(PLACE)
