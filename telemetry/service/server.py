"""Runs the service with uvicorn: stops accepting on SIGTERM, finishes what was accepted, then ends."""

from __future__ import annotations

import signal
import socket

import uvicorn
from fastapi import FastAPI

#: Requests that are being written when the service is told to stop get this long.
GRACE_SECONDS = 20


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


def serve(app: FastAPI, listening: socket.socket) -> None:
    """Serves until SIGTERM or SIGINT, and returns when everything that was accepted is answered."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _nothing)  # uvicorn has its own while it runs, and then raises the signal again
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
        timeout_keep_alive=30,
        limit_concurrency=1000,
        h11_max_incomplete_event_size=64 * 1024,
    )
    uvicorn.Server(config).run(sockets=[listening])


def _nothing(number: int, frame: object) -> None:
    """An end that was asked for is no error."""
