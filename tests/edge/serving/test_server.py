"""The device's HTTP server: answers, refusals, health and metrics, and the agent behind it."""

from __future__ import annotations

import io
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import urllib3
from edgeproof_edge.agent.enrollment import Enrollment
from edgeproof_edge.agent.loop import MIN_JUDGED_CALLS, Agent
from edgeproof_edge.agent.updating import UpdateReport, update_in_child
from edgeproof_edge.interpreter import TFLiteModel
from edgeproof_edge.outbox import IncidentKind, Outbox
from edgeproof_edge.serving.server import MAX_BODY_BYTES, Handler, make_server
from edgeproof_edge.updating.boot_guard import guard_of
from edgeproof_edge.updating.updater import Subscription, Updater

from releases.repository import Repository
from tests.edge.bundles import MODELS, golden_draft, rows_for
from tests.releases.samples import make_repository, noted_no_delay, serving

pytestmark = pytest.mark.usefixtures("no_sync")
POOL = urllib3.PoolManager(retries=False)


class Clock:
    time = 0.0

    def __call__(self) -> float:
        return self.time


@dataclass
class Device:
    """A device that serves, its repository, and its clock."""

    agent: Agent
    url: str
    repository: Repository
    clock: Clock
    home: Path

    def get(self, path: str) -> tuple[int, str]:
        reply = POOL.request("GET", self.url + path)
        return reply.status, reply.data.decode()

    def post(self, body: bytes, kind: str, query: str = "") -> tuple[int, Any]:
        reply = POOL.request("POST", f"{self.url}/v1/predict{query}", body=body, headers={"Content-Type": kind})
        return reply.status, json.loads(reply.data)

    def incidents(self) -> list[tuple[str, str | None]]:
        self.agent.recorder.close()
        with Outbox(self.home / "outbox.db") as outbox:
            events = [json.loads(window.event) for window in outbox.waiting(100)]
        return [(incident["kind"], incident["model_version"]) for event in events for incident in event["incidents"]]


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    repository = make_repository(tmp_path)
    repository.publish(golden_draft(), "dev", "test")
    home, clock = tmp_path / "home", Clock()
    with serving(tmp_path / "repository") as url:
        enrollment = Enrollment(url, "digits", "dev", "pi-0042")

        def update(path: Path) -> UpdateReport:
            subscription = Subscription(url, "digits", "dev", "pi-0042")
            try:
                done = Updater(path, subscription, repository.anchor).update()
            except Exception as error:
                return UpdateReport(None, False, type(error).__name__, str(error))
            version = None if done.installed is None else done.installed.version
            return UpdateReport(version, done.is_new, None, done.held_back, done.damage)

        agent = Agent(home, enrollment, update, clock, trial_seconds=300.0)
        with _listening(agent) as address:
            yield Device(agent, address, repository, clock, home)
        agent.close()


@contextmanager
def _listening(agent: Agent) -> Iterator[str]:
    server = make_server(agent, "127.0.0.1", 0)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def running(device: Device) -> Device:
    device.agent.ask_now()
    device.agent.tick()
    return device


def _rows(num_rows: int = 3) -> np.ndarray:
    return rows_for(TFLiteModel.load(MODELS / "int8.tflite"), num_rows, seed=2)["x"]


def _npy(array: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


def test_a_device_without_a_model_says_so(device: Device) -> None:
    status, text = device.get("/healthz")
    assert (status, json.loads(text)["problem"]) == (503, "there is no model on this device yet")
    assert device.get("/")[0] == 200
    assert device.get("/v1/model")[0] == 503
    assert "edgeproof_up 0" in device.get("/metrics")[1]
    assert device.post(b"1", "application/json")[0] == 503


@pytest.mark.parametrize("kind", ["application/json", "application/x-npy"])
def test_arrays_are_answered_as_the_gate_would(running: Device, kind: str) -> None:
    rows = _rows()
    body = json.dumps({"inputs": {"x": rows.tolist()}}).encode() if kind == "application/json" else _npy(rows)
    status, content = running.post(body, kind, "?top=2&outputs=1")
    assert status == 200
    expected = TFLiteModel.load(MODELS / "int8.tflite").predict({"x": rows})["scores"]
    np.testing.assert_array_equal(np.float32(content["outputs"]["scores"]), expected)
    assert [answer["index"] for answer in content["answers"]] == list(expected.argmax(axis=1))
    assert [len(answer["top"]) for answer in content["answers"]] == [2, 2, 2]
    assert content["version"].startswith("000001-")


@pytest.mark.parametrize(
    ("body", "kind", "query"),
    [
        pytest.param(b"", "application/json", "", id="empty"),
        pytest.param(b"{", "application/json", "", id="no-json"),
        pytest.param(b"[" * 50_000, "application/json", "", id="nested-without-end"),
        pytest.param(b'{"inputs": {"y": [[1]]}}', "application/json", "", id="another-input"),
        pytest.param(b'{"inputs": {"x": [["a"]]}}', "application/json", "", id="texts"),
        pytest.param(b'{"inputs": {"x": [[1, 2], [3]]}}', "application/json", "", id="ragged"),
        pytest.param(b'{"inputs": {"x": []}}', "application/json", "", id="no-rows"),
        pytest.param(b'{"inputs": {"x": 5}}', "application/json", "", id="a-number"),
        pytest.param(b"\x93NUMPY\x01\x00", "application/x-npy", "", id="npy-cut-off"),
        pytest.param(b"GIF89a", "image/gif", "", id="a-picture-for-a-model-of-numbers"),
        pytest.param(b'{"inputs": {"x": [[1,2,3,4,5,6,7,8]]}}', "application/json", "?top=0", id="no-top"),
    ],
)
def test_a_wrong_request_is_the_callers_fault_and_not_the_releases(
    running: Device, body: bytes, kind: str, query: str
) -> None:
    status, content = running.post(body, kind, query)
    assert status == 400
    assert content["error"]
    assert running.agent.num_failures == 0
    assert running.get("/healthz")[0] == 200


def test_a_body_has_a_bound_and_a_length(running: Device) -> None:
    for announced, status in ((str(MAX_BODY_BYTES + 1), b" 413 "), ("many", b" 411 "), ("-5", b" 411 ")):
        host, port = running.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(f"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: {announced}\r\n\r\n".encode())
            assert status in connection.recv(1000).splitlines()[0]
    assert running.get("/nowhere")[0] == 404


def test_a_body_does_not_wait_for_the_acknowledgement_of_its_headers(
    running: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = noted_no_delay(monkeypatch, Handler)
    assert running.get("/healthz")[0] == 200
    assert all(options)
    assert options


def test_health_model_metrics_and_page_tell_of_the_release(running: Device) -> None:
    running.post(_npy(_rows(1)), "application/x-npy")
    status, text = running.get("/healthz")
    assert (status, json.loads(text)["version"][:6], json.loads(text)["num_calls"]) == (200, "000001", 1)
    model = json.loads(running.get("/v1/model")[1])
    assert (model["model"], model["delegation"]["fraction"], len(model["labels"])) == ("digits", 1.0, 4)
    metrics = running.get("/metrics")[1]
    assert 'edgeproof_requests_total{model="digits",version="000001-' in metrics
    assert metrics.endswith("\n")
    assert "This model takes no pictures" in running.get("/")[1]


def test_health_ends_with_the_model_and_with_the_loop(running: Device) -> None:
    (running.home / "heartbeat").unlink()
    assert "the loop has not started" in running.get("/healthz")[1]
    running.agent.tick()
    assert running.get("/healthz")[0] == 200
    assert running.agent.live is not None
    (running.agent.live.model.directory / "model.tflite").unlink()
    assert running.get("/healthz")[0] == 503


def test_a_sign_of_life_of_the_process_before_does_not_count(running: Device) -> None:
    assert (running.home / "heartbeat").exists()
    with closing(Agent(running.home, running.agent.enrollment)):
        assert not (running.home / "heartbeat").exists()


def test_the_loop_is_alive_while_an_update_lasts(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow_update(home: Path, is_stopped: Callable[[], bool]) -> UpdateReport:
        (home / "heartbeat").unlink(missing_ok=True)
        assert not is_stopped()
        assert (home / "heartbeat").exists()
        return UpdateReport(None, False)

    monkeypatch.setattr("edgeproof_edge.agent.loop.update_in_child", slow_update)
    with closing(Agent(device.home, device.agent.enrollment)) as agent:
        agent.ask_now()
        agent.stop()


def test_an_update_is_taken_up_while_the_device_serves(running: Device) -> None:
    running.repository.publish(golden_draft(text="b"), "dev", "test")
    assert running.agent.ask_now().is_new
    assert json.loads(running.get("/healthz")[1])["version"].startswith("000002-")


def test_a_release_whose_first_answers_fail_is_taken_back_and_reported(
    running: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    running.clock.time += 400
    running.agent.tick()  # the first release is trusted now
    running.repository.publish(golden_draft(text="b"), "dev", "test")
    running.agent.ask_now()
    live = running.agent.live
    assert live is not None
    bad = live.model.version

    def broken(inputs: object) -> dict[str, Any]:
        raise RuntimeError("an invoke failed")

    monkeypatch.setattr(live.model, "predict", broken)
    for _ in range(MIN_JUDGED_CALLS):
        status, content = running.post(_npy(_rows(1)), "application/x-npy")
        assert (status, content["error"]) == (500, "the model failed: an invoke failed")
    running.agent.tick()
    assert json.loads(running.get("/healthz")[1])["version"].startswith("000001-")
    assert running.post(_npy(_rows(1)), "application/x-npy")[0] == 200
    report = running.agent.ask_now()
    assert not report.is_new
    assert report.message is not None
    assert "20 of its first 20 calls failed" in report.message
    assert (IncidentKind.ROLLED_BACK.value, bad) in running.incidents()


def test_a_release_that_ran_well_is_trusted(running: Device) -> None:
    assert guard_of(running.home).state().trial is not None
    running.clock.time += 301
    running.agent.tick()
    assert guard_of(running.home).state().trial is None


def test_a_problem_is_told_once_and_not_once_per_try(running: Device) -> None:
    def fails(path: Path) -> UpdateReport:
        return UpdateReport(None, False, "WrongKeyError", "signed by other keys")

    running.agent._update = fails
    for _ in range(5):
        running.agent.ask_now()
    assert running.incidents() == [("release_refused", None)]


def test_a_model_that_is_gone_at_start_gives_way_to_the_one_before(running: Device, tmp_path: Path) -> None:
    running.repository.publish(golden_draft(text="b"), "dev", "test")
    running.agent.ask_now()
    (running.home / "current/model.tflite").write_bytes(b"")
    fresh = Agent(running.home, running.agent.enrollment, running.agent._update, running.clock)
    fresh.load()
    assert fresh.live is not None
    assert fresh.live.model.version.startswith("000001-")
    report = fresh.ask_now()
    assert report.damage is not None
    assert fresh.live.model.version.startswith("000002-")
    fresh.close()


def test_an_update_that_hangs_does_not_keep_a_device_from_stopping(tmp_path: Path) -> None:
    enrollment = Enrollment("http://127.0.0.1:9", "digits", "dev", "pi-0042")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        enrollment = replace(enrollment, url=f"http://127.0.0.1:{silent.getsockname()[1]}")
        enrollment.write(tmp_path, make_repository(tmp_path / "other").anchor, None)
        started = time.monotonic()
        report = update_in_child(tmp_path, lambda: time.monotonic() > started + 1.0)
    assert report.message == "the update hung, or this device is stopping"
