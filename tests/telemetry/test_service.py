"""Devices over HTTP: who may write what, what is refused and how, and that 200 means stored."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import json
import socket
import threading
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import urlsplit

import pytest

from telemetry.service.server import MAX_HEAD_BYTES, bind
from telemetry.service.settings import Settings
from telemetry.tokens import Kind
from tests.telemetry.conftest import Service
from tests.telemetry.samples import batch, event_json, histogram

HOSTILE = "'; drop table event; -- \"' or 1=1 \\ %s ?"


def stored(service: Service) -> int:
    with service.database.transaction() as transaction:
        return int(transaction.query("select count(*) from event")[0][0])


def test_a_batch_is_stored_and_the_same_again_is_known(service: Service) -> None:
    token = service.token()
    body = batch(event_json(), event_json(windows_ago=1))
    answers = [json.loads(service.post(body, token).data) for _ in range(2)]
    assert answers == [{"num_accepted": 2, "num_known": 0}, {"num_accepted": 0, "num_known": 2}]
    assert stored(service) == 2


def test_hostile_text_is_stored_as_text(service: Service) -> None:
    answer = service.post(batch(event_json(delegate=HOSTILE, runtime=HOSTILE)), service.token())
    assert answer.status == 200
    with service.database.transaction() as transaction:
        assert transaction.query("select delegate, runtime from event") == [(HOSTILE, HOSTILE)]


def test_a_device_cannot_write_as_another(sqlite_service: Service) -> None:
    answer = sqlite_service.post(batch(event_json("pi-1"), event_json("pi-2")), sqlite_service.token("pi-1"))
    assert answer.status == 403
    assert stored(sqlite_service) == 0


def _foreign(service: Service) -> str | None:
    token = service.token()
    return token[:-1] + ("a" if token[-1] != "a" else "b")


def _expired(service: Service) -> str | None:
    return service.token(lifetime=timedelta(seconds=-1))


def _revoked(service: Service) -> str | None:
    token = service.token()
    service.book.revoke("pi-1", datetime.now(timezone.utc))
    return token


def _of_a_viewer(service: Service) -> str | None:
    return service.token(kind=Kind.VIEWER)


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda _: None, id="no-token"),
        pytest.param(lambda _: "", id="empty"),
        pytest.param(lambda _: "ept_" + "a" * 16 + "_" + "a" * 32, id="never-issued"),
        pytest.param(_foreign, id="foreign"),
        pytest.param(_expired, id="expired"),
        pytest.param(_revoked, id="revoked"),
        pytest.param(_of_a_viewer, id="of-a-viewer"),
    ],
)
def test_without_a_valid_token_nothing_is_read(service: Service, make: Any) -> None:
    answer = service.post(b"no json at all", make(service))
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_a_body_without_a_token_is_not_even_waited_for(sqlite_service: Service) -> None:
    address = urlsplit(sqlite_service.url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=10)
    connection.putrequest("POST", "/v1/events")
    connection.putheader("Content-Length", "1000000")
    connection.endheaders()  # and no byte of the body
    assert connection.getresponse().status == 401
    connection.close()


def _answer_to_head(service: Service, num_bytes: int) -> bytes:
    """What a stranger reads who sends a header of this size, without an end to it."""
    address = urlsplit(service.url)
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=10) as connection:
        connection.sendall(b"POST /v1/events HTTP/1.1\r\nContent-Length: 0\r\nX-Long: ")
        with contextlib.suppress(ConnectionError):  # a server that has closed does not read the rest
            for _ in range(num_bytes // 1024):
                connection.sendall(b"x" * 1024)
            if num_bytes < MAX_HEAD_BYTES:
                connection.sendall(b"\r\n\r\n")
            return connection.recv(1024)
        return b""


def test_a_head_without_an_end_is_not_collected(sqlite_service: Service) -> None:
    assert _answer_to_head(sqlite_service, MAX_HEAD_BYTES // 2).startswith(b"HTTP/1.1 401")
    assert _answer_to_head(sqlite_service, 100 * MAX_HEAD_BYTES)[:12] in (b"HTTP/1.1 400", b"")


def test_a_rotated_token_works_beside_the_new_one_for_a_while(service: Service) -> None:
    now = datetime.now(timezone.utc)
    old = service.token()
    new = service.book.rotate(Kind.DEVICE, "pi-1", now, grace=timedelta(hours=1))
    assert [service.post(batch(event_json()), token).status for token in (old, new)] == [200, 200]
    later = now + timedelta(hours=2)
    assert service.book.find(old, later) is None
    assert service.book.find(new, later) is not None


def test_secrets_are_stored_hashed(service: Service) -> None:
    token = service.token()
    with service.database.transaction() as transaction:
        rows = repr(transaction.query("select * from token"))
    assert token.split("_")[2] not in rows


@pytest.mark.parametrize("is_compressed", [False, True], ids=["plain", "a-gzip-bomb"])
def test_a_body_that_is_too_large_is_413(sqlite_service: Service, is_compressed: bool) -> None:
    content = b" " * (Settings().max_body_bytes + 1)
    if is_compressed:
        answer = sqlite_service.post(gzip.compress(content), sqlite_service.token(), Content_Encoding="gzip")
    else:
        answer = sqlite_service.post(content, sqlite_service.token())
    assert answer.status == 413


def test_a_compressed_batch_is_read(sqlite_service: Service) -> None:
    answer = sqlite_service.post(gzip.compress(batch(event_json())), sqlite_service.token(), Content_Encoding="gzip")
    assert json.loads(answer.data) == {"num_accepted": 1, "num_known": 0}


@pytest.mark.parametrize(
    ("content", "encoding", "status"),
    [
        pytest.param(b"not gzip", "gzip", 400, id="no-gzip"),
        pytest.param(gzip.compress(b"{}")[:-4], "gzip", 400, id="half-a-gzip"),
        pytest.param(b"{}", "br", 415, id="another-encoding"),
    ],
)
def test_an_encoding_that_does_not_hold_is_said(
    sqlite_service: Service, content: bytes, encoding: str, status: int
) -> None:
    assert sqlite_service.post(content, sqlite_service.token(), Content_Encoding=encoding).status == status


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"num_inferences": -1}, "num_inferences", id="a-negative-count"),
        pytest.param({"num_inferences": "5"}, "num_inferences", id="a-number-as-text"),
        pytest.param({"surprise": 1}, "surprise", id="an-unknown-key"),
        pytest.param({"delegate": "a\0b"}, "delegate", id="a-nul"),
        pytest.param({"window_start": "2026-13-01T00:00:00Z"}, "window_start", id="no-such-month"),
        pytest.param({"window_start": "2020-01-01T00:00:00Z"}, "device's clock", id="years-ago"),
        pytest.param({"window_start": "2199-01-01T00:00:00Z"}, "device's clock", id="the-future"),
        pytest.param({"confidence": histogram() | {"edges": [1.0, 0.5]}}, "ascend", id="edges-that-descend"),
        pytest.param({"confidence": histogram("y") | {"counts": [1, 2]}}, "one more", id="counts-that-do-not-fit"),
        pytest.param({"inputs": [histogram(), histogram()]}, "same name", id="a-histogram-twice"),
        pytest.param({"latency_ms": {"sum": 1.0, "max": 1.0, "counts": [0]}}, "counts", id="too-few-latency-counts"),
    ],
)
def test_an_event_that_cannot_be_stored_is_422_and_named(
    sqlite_service: Service, changes: dict[str, Any], message: str
) -> None:
    answer = sqlite_service.post(batch(event_json(**changes)), sqlite_service.token())
    assert answer.status == 422
    assert message in json.loads(answer.data)["detail"]


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"events": []}', b'{"events": [' + b"[" * 100_000, b"\xff\xfe", b'{"events": NaN}']
)
def test_what_is_no_batch_is_422(sqlite_service: Service, body: bytes) -> None:
    assert sqlite_service.post(body, sqlite_service.token()).status == 422


class TestRate:
    @pytest.fixture
    def settings(self) -> Settings:
        return Settings(requests_per_minute=60, burst=3)

    def test_a_device_that_sends_too_often_is_told_when_to_come_back(self, sqlite_service: Service) -> None:
        token = sqlite_service.token()
        answers = [sqlite_service.post(batch(event_json()), token) for _ in range(8)]
        refused = [answer for answer in answers if answer.status == 429]
        assert answers[0].status == 200
        assert refused
        assert int(refused[0].headers["Retry-After"]) >= 1
        assert sqlite_service.post(batch(event_json("pi-2")), sqlite_service.token("pi-2")).status == 200


def test_many_devices_at_once_are_all_answered_and_stored_once(service: Service) -> None:
    tokens = {f"pi-{number}": service.token(f"pi-{number}") for number in range(20)}
    accepted: list[int] = []

    def send(device_id: str, token: str) -> None:
        for windows_ago in (0, 1, 0, 2):  # one is a retry
            answer = service.post(batch(event_json(device_id, windows_ago)), token)
            accepted.append(json.loads(answer.data)["num_accepted"])

    threads = [threading.Thread(target=send, args=pair) for pair in tokens.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(accepted) == 80
    assert sum(accepted) == stored(service) == 60


def test_health_and_figures(service: Service) -> None:
    assert json.loads(service.request("GET", "/healthz").data) == {"ok": True}
    assert service.request("GET", "/metrics").status == 401
    service.post(batch(event_json()), service.token())
    viewer = service.token("jo", Kind.VIEWER)
    text = service.request("GET", "/metrics", token=viewer).data.decode()
    assert "edgeproof_events_accepted_total 1" in text
    assert 'edgeproof_requests_total{path="/v1/events",status="200"} 1' in text
    assert 'edgeproof_request_seconds_bucket{le="+Inf"}' in text


def test_answers_are_not_held_back_until_the_last_is_acknowledged() -> None:
    listening = bind("127.0.0.1", 0)
    with listening, socket.create_connection(listening.getsockname()):
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
