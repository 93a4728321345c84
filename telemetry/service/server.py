"""Runs the service with uvicorn: stops accepting on SIGTERM, finishes what was accepted, then ends."""

from __future__ import annotations

import signal
import socket

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

#: Requests that are being written when the service is told to stop get this long.
GRACE_SECONDS = 20
#: A request's first line and headers; a stranger can send them before anything is asked of him.
MAX_HEAD_BYTES = 64 * 1024


def bind(host: str, port: int) -> socket.socket:
    """Takes the port before anything else is done; port 0 takes any.

    Raises:
        OSError: Somebody else has it.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # Connections inherit it; asyncio sets it only where a socket names its protocol. Without, an answer's body waits 40 ms for an ACK.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listening.bind((host, port))
    listening.listen(1024)
    return listening


class _BoundedHead(HttpToolsProtocol):
    """A connection whose requests have a head of bounded size: httptools would collect one for as long as it comes."""

    _num_head_bytes: int | None = 0  # None while a body comes

    def data_received(self, data: bytes) -> None:
        if self._num_head_bytes is not None:
            self._num_head_bytes += len(data)
        super().data_received(data)
        is_too_large = self._num_head_bytes is not None and self._num_head_bytes > MAX_HEAD_BYTES
        if is_too_large and not self.transport.is_closing():
            self.send_400_response(f"The head of a request is larger than {MAX_HEAD_BYTES} bytes.")

    def on_headers_complete(self) -> None:
        self._num_head_bytes = None
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._num_head_bytes = 0
        super().on_message_complete()


def config_of(app: FastAPI) -> uvicorn.Config:
    """How the service is served."""
    return uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
        timeout_keep_alive=30,
        limit_concurrency=1000,
        loop="uvloop",
        http=_BoundedHead,
        proxy_headers=False,  # nothing asks where a request comes from
    )


def serve(app: FastAPI, listening: socket.socket) -> None:
    """Serves until SIGTERM or SIGINT, and returns when everything that was accepted is answered."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _nothing)  # uvicorn has its own while it runs, and then raises the signal again
    uvicorn.Server(config_of(app)).run(sockets=[listening])


def _nothing(number: int, frame: object) -> None:
    """An end that was asked for is no error."""
