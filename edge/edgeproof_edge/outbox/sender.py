"""Brings windows to the server, each once, in order, and gives up for now at the first sign that it should.

Rules, in order: 1. The token goes over https only, but for the machine itself. 2. A window leaves the outbox when the
server has said that it has it, now or before: what was sent twice is stored once there, by its key. 3. A batch that is too
large is halved; a window that the server calls malformed is dropped alone, and told, so that it cannot block the others.
4. Away, busy or refused means later, with the wait that the server asks for told to the caller, never slept here.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from urllib.parse import urlsplit

import urllib3

from edgeproof_edge import __version__
from edgeproof_edge.errors import InputError
from edgeproof_edge.outbox.store import Outbox, Waiting

MAX_BATCH = 100
TIMEOUT_SECONDS = 20.0
#: A server may ask for this much at most.
MAX_WAIT_SECONDS = 3600.0

_OK, _TOO_LARGE, _MALFORMED = 200, 413, (400, 422)
_LATER = (408, 425, 429, 500, 502, 503, 504)
_LOCAL = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Receiver:
    """Where windows go: address of the server, and the device's token."""

    url: str
    token: str

    def __post_init__(self) -> None:
        """Refuses to send a token where anyone can read it; raises InputError."""
        parts = urlsplit(self.url)
        if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOCAL):
            raise InputError(f"telemetry url {self.url!r} must start with https://, for the device's token goes there.")


@dataclass(frozen=True)
class Sent:
    """How far sending came.

    Attributes:
        num_sent: Windows that the server has now.
        num_dropped: Windows that it will never take.
        drop_reason: What the server said of the last of these; None where there are none.
        num_waiting: Windows that are still here.
        problem: Why it stopped; None where nothing waits.
        wait_seconds: How long the server asks to be left alone; 0 where it does not.
    """

    num_sent: int
    num_dropped: int
    num_waiting: int
    problem: str | None = None
    wait_seconds: float = 0.0
    drop_reason: str | None = None


@dataclass(frozen=True)
class _Reply:
    status: int
    text: str
    wait_seconds: float


def send(outbox: Outbox, receiver: Receiver, limit: int = MAX_BATCH) -> Sent:
    """Sends what waits, batch by batch, until nothing does or the server is not to be had."""
    num_sent = num_dropped = 0
    reason: str | None = None
    size = limit
    with urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(TIMEOUT_SECONDS)) as pool:
        while batch := outbox.waiting(size):
            reply = _post(pool, receiver, batch)
            if reply.status == _OK:
                outbox.acknowledge([window.number for window in batch])
                num_sent += len(batch)
                size = min(limit, size * 2)
            elif len(batch) > 1 and (reply.status == _TOO_LARGE or reply.status in _MALFORMED):
                size = len(batch) // 2
            elif reply.status == _TOO_LARGE or reply.status in _MALFORMED:
                outbox.acknowledge([batch[0].number])
                num_dropped += 1
                reason = _detail(reply.text)
            else:
                problem = _problem(receiver, reply)
                return Sent(num_sent, num_dropped, len(outbox), problem, reply.wait_seconds, reason)
    return Sent(num_sent, num_dropped, len(outbox), drop_reason=reason)


def _post(pool: urllib3.PoolManager, receiver: Receiver, batch: list[Waiting]) -> _Reply:
    body = '{"events":[' + ",".join(window.event for window in batch) + "]}"
    try:
        response = pool.request(
            "POST",
            f"{receiver.url.rstrip('/')}/v1/events",
            body=body.encode(),
            headers={
                "Authorization": f"Bearer {receiver.token}",
                "Content-Type": "application/json",
                "User-Agent": f"edgeproof-edge/{__version__}",
            },
            redirect=False,  # a token is not carried to another host
        )
    except urllib3.exceptions.HTTPError as error:
        from edgeproof_edge.updating.errors import connection_cause

        return _Reply(0, connection_cause(error), 0.0)
    return _Reply(
        response.status, response.data[:300].decode(errors="replace"), _wait(response.headers.get("Retry-After"))
    )


def _problem(receiver: Receiver, reply: _Reply) -> str:
    if reply.status == 0:
        return f"{receiver.url} cannot be reached: {reply.text}"
    if reply.status in (401, 403):
        return (
            f"{receiver.url} refuses this device's token (HTTP {reply.status}): {_detail(reply.text)}. Enroll it again"
        )
    if reply.status in _LATER:
        return f"{receiver.url} is busy or broken (HTTP {reply.status})"
    return f"{receiver.url} does not take events (HTTP {reply.status}); check the address"


def _detail(text: str) -> str:
    try:
        content = json.loads(text)
    except ValueError:
        return text.strip() or "it gives no reason"
    return str(content.get("detail", content) if isinstance(content, dict) else content)


def _wait(header: str | None) -> float:
    try:
        return min(MAX_WAIT_SECONDS, max(0.0, float(header or 0.0)))
    except ValueError:
        return 0.0
