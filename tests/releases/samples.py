"""Repositories, drafts and a real web server for the tests. No test itself."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from edgeproof_edge.manifest import VerdictSummary

from releases.bundles.bundle import Description, Draft, draft
from releases.repository import Repository
from releases.server import RepositoryHandler
from releases.stores.store import DirectoryStore
from releases.trust.initialization import initialize
from releases.trust.keys import KeyRing

MODEL = (Path(__file__).parents[1] / "edge/models/int8.tflite").read_bytes()
DESCRIPTION = Description(("cat", "dog"), "int8", "tfx116", VerdictSummary(10_000, 9400, 9300, "97/100"), {})
#: As the Pusher writes it, of one library.
PROVENANCE = json.dumps(
    {
        "predicate": {
            "buildDefinition": {
                "internalParameters": {
                    "libraryVersions": {"tensorflow": "2.16.2"},
                    "libraryLicenses": {"tensorflow": "Apache Software License"},
                }
            }
        }
    }
).encode()


def sample(text: str, model: str = "digits") -> Draft:
    """A release that differs from others by `text`."""
    files = {
        "model.tflite": MODEL,
        "gate_report.json": b"{}",
        "labels.txt": f"cat\ndog\n{text}\n".encode(),
        "provenance.intoto.json": PROVENANCE,
    }
    return draft(model, files, DESCRIPTION)


def make_repository(directory: Path) -> Repository:
    """A repository in `directory`/repository with development keys in `directory`/keys."""
    return initialize(DirectoryStore(directory / "repository"), KeyRing.create(directory / "keys"))


def open_repository(directory: Path) -> Repository:
    """Opens what `make_repository` made."""
    return Repository.of(DirectoryStore(directory / "repository"), KeyRing.open(directory / "keys"))


@dataclass
class Clock:
    """A clock that tests set."""

    time: datetime

    def __call__(self) -> datetime:
        return self.time


@dataclass
class Replies:
    """What a lying server sends instead of the file: path -> (body, announced length, bytes sent)."""

    bodies: dict[str, tuple[bytes, int, int]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    num_bytes: int = 0

    def lie(self, path: str, body: bytes, announced: int | None = None, sent: int | None = None) -> None:
        length = len(body) if announced is None else announced
        self.bodies[path] = (body, length, len(body) if sent is None else sent)


def noted_no_delay(monkeypatch: pytest.MonkeyPatch, handler_class: type[BaseHTTPRequestHandler]) -> list[int]:
    """Fills, with each answer of a server, with the option of its connection that sends what is small at once."""
    options: list[int] = []
    end_headers = handler_class.end_headers

    def noted(handler: BaseHTTPRequestHandler) -> None:
        options.append(handler.connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        end_headers(handler)

    monkeypatch.setattr(handler_class, "end_headers", noted)
    return options


@contextmanager
def serving(root: Path, replies: Replies | None = None) -> Iterator[str]:
    """Serves a directory over HTTP; yields its address."""
    told = replies or Replies()

    class Handler(RepositoryHandler):
        directory_served = root

        def do_GET(self) -> None:
            told.requests.append(self.path)
            if self.path not in told.bodies:
                return super().do_GET()
            body, announced, sent = told.bodies[self.path]
            self.send_response(200)
            self.send_header("Content-Length", str(announced))
            self.end_headers()
            with suppress(ConnectionError):  # the device hung up, as it should
                self.wfile.write(body[:sent])
            self.close_connection = True
            return None

        def send_body(self, data: bytes) -> None:
            told.num_bytes += len(data)
            super().send_body(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
