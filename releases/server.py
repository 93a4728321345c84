"""Serves a repository over HTTP for development, as any static web server does in production.

Rules: 1. Only files under metadata/ and targets/; no listings, no dot files. 2. timestamp.json is never cached; every
other file has its version or its hash in its name and is cached for good. 3. What is not there yet is not cached, either:
devices ask for the next root. 4. Ranges, so that a download may go on where it broke.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

from edgeproof_edge.errors import SurroundingsError

IMMUTABLE = "public, max-age=31536000, immutable"
NEVER_CACHED = "no-cache"

_SERVED = re.compile(r"/(metadata|targets)(/[A-Za-z0-9][A-Za-z0-9._-]*)+")
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


class RepositoryHandler(BaseHTTPRequestHandler):
    """Answers GET and HEAD for the files of ``directory_served``."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # a body would wait 40 ms for the ACK of its headers
    directory_served: Path

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def log_message(self, format: str, *arguments: object) -> None:
        """Says nothing: a fleet would fill the terminal."""

    def send_body(self, data: bytes) -> None:
        """Sends the bytes of a file."""
        self.wfile.write(data)

    def _answer(self, with_body: bool) -> None:
        data = self._read()
        if data is None:
            self._send_head(HTTPStatus.NOT_FOUND, 0, NEVER_CACHED)
            return
        caching = NEVER_CACHED if self.path.endswith("/timestamp.json") else IMMUTABLE
        wanted = _range_of(self.headers.get("Range", ""), len(data))
        if wanted is None:
            self._send_head(HTTPStatus.OK, len(data), caching)
        elif not wanted:
            self._send_head(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, 0, caching, f"bytes */{len(data)}")
            return
        else:
            described = f"bytes {wanted.start}-{wanted.stop - 1}/{len(data)}"
            data = data[wanted.start : wanted.stop]
            self._send_head(HTTPStatus.PARTIAL_CONTENT, len(data), caching, described)
        if with_body:
            self.send_body(data)

    def _read(self) -> bytes | None:
        path = unquote(urlsplit(self.path).path)
        if not _SERVED.fullmatch(path):
            return None
        try:
            return (self.directory_served / path.lstrip("/")).read_bytes()
        except OSError:
            return None

    def _send_head(self, status: HTTPStatus, length: int, caching: str, content_range: str = "") -> None:
        self.send_response(status)
        self.send_header(
            "Content-Type", "application/json" if self.path.endswith(".json") else "application/octet-stream"
        )
        self.send_header("Content-Length", str(length))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Cache-Control", caching)
        if content_range:
            self.send_header("Content-Range", content_range)
        self.end_headers()


def make_server(root: Path, host: str, port: int) -> ThreadingHTTPServer:
    """Returns a server of the repository in ``root``; ``serve_forever`` runs it.

    Raises:
        SurroundingsError: The port is taken, or may not be used.
    """
    handler = type("Handler", (RepositoryHandler,), {"directory_served": root})
    try:
        server = ThreadingHTTPServer((host, port), handler)
    except OSError as error:
        raise SurroundingsError(f"{host}:{port} cannot be served: {error.strerror}. Give another --port.") from error
    server.daemon_threads = True
    return server


def _range_of(header: str, size: int) -> range | None:
    """The bytes that a Range header asks for; empty where it cannot be met, None for the whole file."""
    match = _RANGE.fullmatch(header)
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        return range(max(0, size - int(last)), size)
    return range(int(first), min(size, int(last) + 1 if last else size))
