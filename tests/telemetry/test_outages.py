"""The database restarts, crashes or is away while devices report: nothing that was answered is lost, nothing is stored twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timezone

import pytest
import urllib3

from telemetry.database import open_database
from telemetry.tokens import Kind, TokenBook
from tests.telemetry.conftest import running_server
from tests.telemetry.samples import batch, event_json
from tests.telemetry.servers import PostgresqlServer

NUM_DEVICES = 8


class Devices:
    """Devices that send window after window, each until it is answered with 200, as an outbox does."""

    def __init__(self, url: str, tokens: dict[str, str]) -> None:
        self._url = url
        self._is_stopping = threading.Event()
        self.acknowledged: dict[str, int] = dict.fromkeys(tokens, 0)
        self.num_unavailable = 0
        self.retry_after: set[str | None] = set()
        self._threads = [threading.Thread(target=self._run, args=pair) for pair in tokens.items()]
        for thread in self._threads:
            thread.start()

    def _run(self, device_id: str, token: str) -> None:
        pool = urllib3.PoolManager(retries=False, timeout=20)
        while not self._is_stopping.is_set():
            body = batch(event_json(device_id, windows_ago=self.acknowledged[device_id]))
            try:
                answer = pool.request("POST", self._url, body=body, headers={"Authorization": f"Bearer {token}"})
            except urllib3.exceptions.HTTPError:  # the service stops or has stopped
                self._is_stopping.wait(0.05)
                continue
            if answer.status == 200:
                self.acknowledged[device_id] += 1
            else:
                assert answer.status == 503, answer.data
                self.num_unavailable += 1
                self.retry_after.add(answer.headers.get("Retry-After"))
                self._is_stopping.wait(0.05)

    def wait_for(self, num_more: int) -> None:
        """Until every device was answered so often again."""
        wanted = {device: number + num_more for device, number in self.acknowledged.items()}
        deadline = time.monotonic() + 60
        while any(self.acknowledged[device] < number for device, number in wanted.items()):
            assert time.monotonic() < deadline, self.acknowledged
            time.sleep(0.01)

    def stop(self) -> None:
        self._is_stopping.set()
        for thread in self._threads:
            thread.join(30)


class ServeCommand:
    """``edgeproof telemetry serve`` in a process of its own."""

    def __init__(self, address: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pipeline.cli", "telemetry", "serve", "--port", "0", "--database", address],
            stderr=subprocess.PIPE, text=True, env={n: v for n, v in os.environ.items() if not n.startswith("PYTEST")},
        )  # fmt: skip
        assert self.process.stderr is not None
        line = self.process.stderr.readline()
        assert " on http://" in line, line + self.process.stderr.read()
        self.url = line.split(" on ")[1].split()[0]

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=30)
        return self.process.returncode


@pytest.fixture
def server() -> Iterator[PostgresqlServer]:
    """A server that a test may stop."""
    with running_server() as running:
        yield running


def make_tokens(address: str) -> dict[str, str]:
    database = open_database(address)
    database.migrate()
    now = datetime.now(timezone.utc)
    tokens = {f"pi-{n}": TokenBook(database).issue(Kind.DEVICE, f"pi-{n}", now) for n in range(NUM_DEVICES)}
    database.close()
    return tokens


def stored_windows(address: str) -> dict[str, int]:
    database = open_database(address)
    with database.transaction() as transaction:
        rows = transaction.query("select device_id, count(*) from event group by device_id")
    database.close()
    return dict(rows)


@pytest.mark.e2e
@pytest.mark.parametrize("mode", ["fast", "immediate"], ids=["restart", "crash"])
def test_a_database_that_restarts_under_load_loses_and_doubles_nothing(server: PostgresqlServer, mode: str) -> None:
    address = server.create_database("fleet")
    tokens = make_tokens(address)
    service = ServeCommand(address)
    devices = Devices(f"{service.url}v1/events", tokens)
    devices.wait_for(5)
    server.stop(mode)
    deadline = time.monotonic() + 30
    while devices.num_unavailable < NUM_DEVICES:  # the outage is seen by devices
        assert time.monotonic() < deadline
        time.sleep(0.01)
    server.start()
    devices.wait_for(5)
    devices.stop()
    assert service.stop() == 0
    assert devices.retry_after == {"30"}
    assert_nothing_lost(devices, stored_windows(address))


@pytest.mark.e2e
def test_a_service_that_is_stopped_under_load_loses_nothing(server: PostgresqlServer) -> None:
    address = server.create_database("fleet")
    service = ServeCommand(address)
    tokens = make_tokens(address)
    devices = Devices(f"{service.url}v1/events", tokens)
    devices.wait_for(5)
    assert service.stop() == 0
    devices.stop()
    assert_nothing_lost(devices, stored_windows(address))


@pytest.mark.e2e
def test_a_long_outage_is_503_at_once_and_outboxes_deliver_afterwards(server: PostgresqlServer) -> None:
    address = server.create_database("fleet")
    tokens = make_tokens(address)
    service = ServeCommand(address)
    server.stop()
    pool = urllib3.PoolManager(retries=False, timeout=20)
    token = tokens["pi-0"]
    headers = {"Authorization": f"Bearer {token}"}
    started = time.monotonic()
    outbox = [batch(event_json("pi-0", windows_ago=ago)) for ago in range(12)]  # an hour of windows
    answers = [pool.request("POST", f"{service.url}v1/events", body=body, headers=headers) for body in outbox]
    assert {(answer.status, answer.headers["Retry-After"]) for answer in answers} == {(503, "30")}
    assert "127.0.0.1" not in answers[0].data.decode()
    assert time.monotonic() - started < 12  # and not a wait of seconds for each
    assert pool.request("GET", f"{service.url}healthz").status == 503
    server.start()
    deadline = time.monotonic() + 30
    while outbox:
        if pool.request("POST", f"{service.url}v1/events", body=outbox[0], headers=headers).status == 200:
            outbox.pop(0)
        assert time.monotonic() < deadline
    assert service.stop() == 0
    assert stored_windows(address) == {"pi-0": 12}


def assert_nothing_lost(devices: Devices, stored: dict[str, int]) -> None:
    """What was answered is there; at most the one window that was on its way when the device stopped is more."""
    for device, number in devices.acknowledged.items():
        assert number <= stored[device] <= number + 1, (device, json.dumps(devices.acknowledged), stored)
