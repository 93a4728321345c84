"""The outbox: windows are counted truly, kept through power cuts, bounded, and brought to a server each once."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from edgeproof_edge.errors import InputError
from edgeproof_edge.interpreter import TFLiteModel
from edgeproof_edge.outbox import IncidentKind, Outbox, Receiver, TelemetryEvent, WindowRecorder, send
from edgeproof_edge.outbox.window import Surroundings
from edgeproof_edge.runtime import EdgeModel

from tests.edge.bundles import MODELS, golden_draft, rows_for, unpacked

SCHEMA = json.loads((Path(__file__).parents[3] / "schemas/telemetry_event.schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
TOKEN = "pi-0042.1.secret"
NUM_WINDOWS = 60


class Clock:
    def __init__(self) -> None:
        self.time = 1_795_000_017.5

    def __call__(self) -> float:
        return self.time


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpacked(tmp_path_factory.mktemp("bundles"), golden_draft())


def _rows(num_rows: int) -> np.ndarray:
    return rows_for(TFLiteModel.load(MODELS / "int8.tflite"), num_rows, seed=9)["x"]


def _recorded(bundle: Path, clock: Clock, **options: Any) -> tuple[WindowRecorder, EdgeModel, list[TelemetryEvent]]:
    events: list[TelemetryEvent] = []
    recorder = WindowRecorder("pi-0042", events.append, clock=clock, **options)
    model = EdgeModel.open(bundle)
    recorder.follow(model)
    return recorder, model, events


def test_a_window_counts_what_the_model_did_and_follows_the_schema(bundle: Path) -> None:
    clock = Clock()
    charge = iter([80.0, 80.0, 77.5, 77.5, 70.0])
    recorder, model, events = _recorded(
        bundle, clock, device_model="Raspberry Pi 4", surroundings=lambda: Surroundings(next(charge), 51.5)
    )
    rows = _rows(7)
    for row in rows[:3]:
        model.predict(row[None])
    model.predict(rows[3:])
    recorder.failed()
    recorder.tell(IncidentKind.RELEASE_REFUSED, "x" * 600, "000002-abcdefabcdef")
    clock.time += 300
    recorder.tick()
    (event,) = events
    VALIDATOR.validate(json.loads(event.to_json()))
    scores = model.predict(rows)["scores"]
    assert (event.num_inferences, event.num_errors) == (7, 1)
    assert sum(event.latency_ms.counts) == 7
    assert list(event.classes) == list(np.bincount(scores.argmax(axis=1), minlength=4))
    assert event.confidence is not None
    assert sum(event.confidence.counts) == 7
    assert {(h.name, h.statistic): sum(h.counts) for h in event.inputs} == {("x", "mean"): 7, ("x", "deviation"): 7}
    assert (event.quantization, event.delegate, event.delegated_fraction) == ("int8", "xnnpack", 1.0)
    assert (event.battery_drain_percent, event.temperature_celsius) == (2.5, 51.5)
    assert len(event.incidents[0].detail) == 500


def test_windows_end_with_the_clock_and_no_key_is_used_twice(bundle: Path) -> None:
    clock = Clock()
    recorder, model, events = _recorded(bundle, clock)
    model.predict(_rows(1))
    clock.time = 1_795_000_200.0  # a multiple of 300
    model.predict(_rows(1))
    recorder.close()  # in the same second
    model.predict(_rows(1))
    recorder.close()
    starts = [event.window_start[-9:] for event in events]
    assert len(set(starts)) == 3
    assert [event.num_inferences for event in events] == [1, 1, 1]
    assert len({event.key for event in events}) == 3


def test_nothing_is_reported_where_nothing_happened(bundle: Path) -> None:
    clock = Clock()
    recorder, _, events = _recorded(bundle, clock)
    clock.time += 3000
    recorder.tick()
    recorder.close()
    assert events == []


def _event(bundle: Path, number: int = 0) -> TelemetryEvent:
    clock = Clock()
    recorder, model, events = _recorded(bundle, clock)
    model.predict(_rows(1))
    recorder.close()
    return _numbered(events[0], number)


def _numbered(event: TelemetryEvent, number: int) -> TelemetryEvent:
    return replace(event, window_start=f"2026-{number // 280 // 28 + 1:02d}-{number // 280 % 28 + 1:02d}T"
                   f"{number % 280 // 12:02d}:{number % 12 * 5:02d}:00Z")  # fmt: skip


def test_a_key_is_kept_once_also_when_it_was_sent(tmp_path: Path, bundle: Path) -> None:
    event = _event(bundle)
    with Outbox(tmp_path / "outbox.db") as outbox:
        assert outbox.add(event)
        assert not outbox.add(replace(event, num_errors=5))
        outbox.acknowledge([window.number for window in outbox.waiting(10)])
        assert not outbox.add(event)
        assert len(outbox) == 0
    with Outbox(tmp_path / "outbox.db") as outbox:
        assert not outbox.add(event)


def test_the_oldest_windows_go_where_the_outbox_is_full(tmp_path: Path, bundle: Path) -> None:
    event = _event(bundle)
    with Outbox(tmp_path / "outbox.db", max_windows=5) as outbox:
        for number in range(12):
            outbox.add(_numbered(event, number))
        assert len(outbox) == 5
        kept = [json.loads(window.event)["window_start"] for window in outbox.waiting(10)]
        assert kept == [_numbered(event, number).window_start for number in range(7, 12)]
        assert (outbox.take_num_dropped(), outbox.take_num_dropped()) == (7, 0)


WRITER = """
import json, sys
from pathlib import Path
from edgeproof_edge.outbox import Outbox
from edgeproof_edge.outbox.event import Latency, TelemetryEvent
content = json.loads(sys.argv[2])
content |= {"latency_ms": Latency(**content["latency_ms"]), "confidence": None, "inputs": (), "classes": ()}
outbox = Outbox(Path(sys.argv[1]))
for number in range(10_000):
    content["window_start"] = f"{number:020d}"
    outbox.add(TelemetryEvent(**content))
    print(number, flush=True)
"""


def test_a_window_that_was_added_is_there_after_a_kill(tmp_path: Path, bundle: Path) -> None:
    path = tmp_path / "outbox.db"
    for _ in range(3):
        path.unlink(missing_ok=True)
        child = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), _event(bundle).to_json()], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        last = -1
        for line in child.stdout:
            last = int(line)
            if last == 10:
                os.kill(child.pid, signal.SIGKILL)
        child.communicate()
        with Outbox(path) as outbox:
            assert len(outbox) >= last + 1


@pytest.mark.parametrize("damage", [b"", b"\0" * 4096, b"not a database, by far" * 400])
def test_a_damaged_file_is_put_aside_and_begun_anew(tmp_path: Path, bundle: Path, damage: bytes) -> None:
    path = tmp_path / "outbox.db"
    with Outbox(path) as outbox:
        outbox.add(_event(bundle))
    for file in tmp_path.glob("outbox.db-*"):
        file.unlink()
    path.write_bytes(damage)
    with Outbox(path) as outbox:
        assert outbox.add(_event(bundle))
        assert len(outbox) == 1


class Server:
    """An ingest service that can be away, busy, particular or forgetful of its answers."""

    def __init__(self) -> None:
        self.stored: dict[tuple[str, ...], dict[str, Any]] = {}
        self.num_requests = 0
        self.status = 200
        self.headers: dict[str, str] = {}
        self.max_events = 500
        self.refused_starts: set[str] = set()
        self.loses_answers = 0


@contextmanager
def _serving(server: Server) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            server.num_requests += 1
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status = server.status
            if self.headers["Authorization"] != f"Bearer {TOKEN}":
                status = 401
            elif status == 200 and len(body["events"]) > server.max_events:
                status = 413
            elif status == 200 and any(event["window_start"] in server.refused_starts for event in body["events"]):
                status = 422
            if status == 200:
                VALIDATOR.validate(body["events"][0])
                for event in body["events"]:
                    key = tuple(event[k] for k in ("device_id", "model_name", "model_version", "window_start"))
                    server.stored.setdefault(key, event)
                if server.loses_answers:
                    server.loses_answers -= 1
                    self.close_connection = True
                    return
            reply = b'{"detail": "says the server"}' if status != 200 else b'{"num_accepted": 1, "num_known": 0}'
            self.send_response(status)
            self.send_header("Content-Length", str(len(reply)))
            for name, value in server.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(reply)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{http.server_address[1]}"
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


@pytest.fixture
def outbox(tmp_path: Path, bundle: Path) -> Iterator[Outbox]:
    with Outbox(tmp_path / "outbox.db") as outbox:
        event = _event(bundle)
        for number in range(NUM_WINDOWS):
            outbox.add(_numbered(event, number))
        yield outbox


def test_windows_of_days_offline_arrive_each_once(outbox: Outbox) -> None:
    offline = send(outbox, Receiver("http://127.0.0.1:9", TOKEN))
    assert (offline.num_sent, offline.num_waiting) == (0, NUM_WINDOWS)
    assert offline.problem is not None
    assert "the port refuses connections" in offline.problem
    server = Server()
    server.loses_answers = 1
    with _serving(server) as url:
        lost = send(outbox, Receiver(url, TOKEN))
        assert (lost.num_sent, lost.num_waiting) == (0, NUM_WINDOWS)
        sent = send(outbox, Receiver(url, TOKEN))
    assert (sent.num_sent, sent.num_waiting, sent.problem) == (NUM_WINDOWS, 0, None)
    assert len(server.stored) == NUM_WINDOWS


def test_a_batch_that_is_too_large_is_halved(outbox: Outbox) -> None:
    server = Server()
    server.max_events = 7
    with _serving(server) as url:
        assert send(outbox, Receiver(url, TOKEN)).num_sent == NUM_WINDOWS


def test_a_window_that_the_server_never_takes_does_not_block_the_others(outbox: Outbox) -> None:
    server = Server()
    server.refused_starts = {json.loads(outbox.waiting(40)[37].event)["window_start"]}
    with _serving(server) as url:
        sent = send(outbox, Receiver(url, TOKEN))
    assert (sent.num_sent, sent.num_dropped, sent.num_waiting) == (NUM_WINDOWS - 1, 1, 0)
    assert len(server.stored) == NUM_WINDOWS - 1


@pytest.mark.parametrize(
    ("status", "problem"),
    [
        (401, "refuses this device's token"),
        (503, "busy or broken"),
        (404, "does not take events"),
        (302, "does not take"),
    ],
)
def test_a_server_that_refuses_keeps_nothing_from_the_outbox(outbox: Outbox, status: int, problem: str) -> None:
    server = Server()
    server.status = status
    server.headers = {"Retry-After": "120", "Location": "http://127.0.0.1:9/"}
    with _serving(server) as url:
        sent = send(outbox, Receiver(url, TOKEN))
    assert (sent.num_sent, sent.num_waiting, sent.wait_seconds) == (0, NUM_WINDOWS, 120.0)
    assert sent.problem is not None
    assert problem in sent.problem
    assert server.num_requests == 1


def test_a_token_is_not_sent_in_the_clear() -> None:
    with pytest.raises(InputError, match="https://"):
        Receiver("http://telemetry.example.com", TOKEN)


def test_the_file_is_wal_and_synced(tmp_path: Path, bundle: Path) -> None:
    with Outbox(tmp_path / "outbox.db") as outbox:
        outbox.add(_event(bundle))
        with sqlite3.connect(tmp_path / "outbox.db") as reader:
            assert reader.execute("pragma journal_mode").fetchone() == ("wal",)
        reader.close()
        assert outbox._connection.execute("pragma synchronous").fetchone() == (2,)
