"""A device's own outbox against the service: windows that waited for days arrive, each once."""

from __future__ import annotations

from pathlib import Path

import pytest
from edgeproof_edge.interpreter import TFLiteModel
from edgeproof_edge.outbox import IncidentKind, Outbox, Receiver, WindowRecorder, send
from edgeproof_edge.runtime import EdgeModel

from tests.edge.bundles import MODELS, golden_draft, rows_for, unpacked
from tests.telemetry.conftest import Service
from tests.telemetry.test_service import stored

NUM_WINDOWS = 40


@pytest.fixture
def outbox(tmp_path: Path) -> Outbox:
    """Windows that a real model filled, the clock running ahead."""
    now = [1_795_000_000.0]
    outbox = Outbox(tmp_path / "outbox.db")
    recorder = WindowRecorder("pi-1", outbox.add, clock=lambda: now[0])
    model = EdgeModel.open(unpacked(tmp_path / "bundle", golden_draft()))
    recorder.follow(model)
    rows = rows_for(TFLiteModel.load(MODELS / "int8.tflite"), 3)["x"]
    for number in range(NUM_WINDOWS):
        model.predict(rows)
        if number % 10 == 0:
            recorder.tell(IncidentKind.UPDATE_FAILED, "the port refuses connections", model.version)
        now[0] += 300.0
        recorder.tick()
    return outbox


def test_windows_that_waited_arrive_each_once(sqlite_service: Service, outbox: Outbox) -> None:
    receiver = Receiver(sqlite_service.url, sqlite_service.token("pi-1"))
    assert len(outbox) == NUM_WINDOWS
    before = outbox.waiting(NUM_WINDOWS)
    sent = send(outbox, receiver, limit=7)
    assert (sent.num_sent, sent.drop_reason, sent.num_waiting, sent.problem) == (NUM_WINDOWS, None, 0, None)
    assert stored(sqlite_service) == NUM_WINDOWS
    assert len(before) == NUM_WINDOWS
    outbox.close()


def test_the_token_of_another_device_sends_nothing(sqlite_service: Service, outbox: Outbox) -> None:
    sent = send(outbox, Receiver(sqlite_service.url, sqlite_service.token("pi-2")))
    assert (sent.num_sent, sent.num_waiting) == (0, NUM_WINDOWS)
    assert sent.problem is not None
    assert "refuses this device's token" in sent.problem
    assert stored(sqlite_service) == 0
    outbox.close()
