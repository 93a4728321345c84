"""What the cache sees of a device: the same one is the same, and one that cannot be reached is never what it was."""

from __future__ import annotations

import pytest

from components.evaluator.gate.thresholds import GateRules

pytestmark = pytest.mark.tfx


def state_of(**device: object) -> str:
    from pipeline.running.world import _READERS, WorldState

    rules = GateRules.model_validate({"device": device})
    return _READERS[WorldState.DEVICE]({"rules": rules.to_json()})


def test_the_same_device_gives_the_verdict_from_the_cache() -> None:
    assert state_of(local=True) == state_of(local=True, max_p50_ms=3)
    assert "ai-edge-litert" in state_of(local=True)


def test_a_device_that_cannot_be_reached_takes_nothing_from_the_cache() -> None:
    assert state_of(ssh="ssh://127.0.0.1:1") != state_of(ssh="ssh://127.0.0.1:1")
