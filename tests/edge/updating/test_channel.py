"""A channel's pointer: its round trip, and who gets what in a staged rollout."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from edgeproof_edge.updating.channel import ChannelError, Pointer, ReleaseReference, share

NEW = ReleaseReference("000002-abcdefabcdef", 2, "b" * 64, 2048)
OLD = ReleaseReference("000001-abcdefabcdef", 1, "a" * 64, 1024)
POINTER = Pointer(NEW, 10, 3, OLD, 2, ("000001-abcdefabcdef",), None, "anna", "2026-11-21T09:00:00Z")


@pytest.mark.parametrize(
    "pointer", [POINTER, dataclasses.replace(POINTER, otherwise=None, previous=(), undone="000003-abcdefabcdef")]
)
def test_round_trip_through_json(pointer: Pointer) -> None:
    assert Pointer.from_custom(json.loads(json.dumps(pointer.to_custom()))) == pointer


def test_keys_of_later_versions_are_left_alone() -> None:
    assert Pointer.from_custom({**POINTER.to_custom(), "hardware": "any"}) == POINTER


def _release(**fields: Any) -> dict[str, Any]:
    return {"release": {**POINTER.to_custom()["release"], **fields}}


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"release": None}, id="no-release"),
        pytest.param({"rollout": "10"}, id="rollout-as-text"),
        pytest.param({"previous": [1]}, id="previous-as-numbers"),
        pytest.param({"rollout": 101}, id="rollout-beyond-100"),
        pytest.param(_release(version="../../../outside/000002-abcdefabcdef"), id="version-is-a-path"),
        pytest.param(_release(version="000002-abcdefabcdef\n"), id="version-with-a-newline"),
        pytest.param(_release(version="/etc"), id="version-is-an-absolute-path"),
        pytest.param(_release(sha256="../" * 21 + "a"), id="hash-is-a-path"),
        pytest.param(_release(sha256="B" * 64), id="hash-in-capitals"),
        pytest.param(_release(size_bytes=-1), id="negative-size"),
    ],
)
def test_a_damaged_pointer_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ChannelError):
        Pointer.from_custom({**POINTER.to_custom(), **change})


def test_a_share_is_even_and_grows_with_the_rollout() -> None:
    devices = [f"device-{number}" for number in range(2000)]
    assert 150 < sum(share(device, 3) < 10 for device in devices) < 250
    assert {POINTER.offered_to(device) for device in devices} == {NEW, OLD}
    ten = {device for device in devices if POINTER.offered_to(device) == NEW}
    fifty = {device for device in devices if dataclasses.replace(POINTER, rollout=50).offered_to(device) == NEW}
    assert ten < fifty
    assert {
        device for device in devices if dataclasses.replace(POINTER, rollout=100).offered_to(device) == OLD
    } == set()


def test_another_release_starts_with_other_devices() -> None:
    devices = [f"device-{number}" for number in range(500)]
    assert [share(device, 1) < 10 for device in devices] != [share(device, 2) < 10 for device in devices]
