"""The network of an update: every request ends by one deadline, and a broken download goes on where it stopped.

Rules, in order: 1. One deadline spans the whole update, name look-up and TLS included: a server that sends a byte per
second, a header without end or a `Retry-After` of hours must not hold the device's lock. A timer shuts the sockets when
it has passed, because no timeout of one read adds up to that. 2. A server's wish to wait is told to the caller, never
slept through here. 3. A bundle is fetched into a file that stays when the connection breaks; it goes on by a Range
request, and only the signed hash says that it is whole. 4. Never more bytes than were signed.
"""

from __future__ import annotations

import socket
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import tuf
import urllib3
from tuf.api.exceptions import DownloadHTTPError, DownloadLengthMismatchError
from tuf.ngclient.fetcher import FetcherInterface
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from edgeproof_edge import __version__
from edgeproof_edge.updating.errors import DeadlineError, TamperedError

#: Longest silence of a server, in seconds.
SILENCE_SECONDS = 30.0

_PIECE = 2**16
_PARTIAL, _OK, _RANGE_REFUSED = 206, 200, 416
_USER_AGENT = f"edgeproof-edge/{__version__} python-tuf/{tuf.__version__}"
#: A connection that fails is tried again at once or nearly so; the agent waits longer. Redirects to another host are
#: followed: what counts is signed.
_RETRIES = urllib3.Retry(
    total=5, connect=2, read=2, other=0, redirect=5, backoff_factor=0.2, respect_retry_after_header=False
)


class Fetcher(FetcherInterface):
    """Fetches by HTTP until a deadline; use as a context manager, once."""

    def __init__(self, deadline_seconds: float) -> None:
        self._seconds = deadline_seconds
        self._ends = time.monotonic() + deadline_seconds
        self._sockets: weakref.WeakSet[Any] = weakref.WeakSet()
        self._responses: list[urllib3.response.BaseHTTPResponse] = []
        self._managers: dict[str | None, urllib3.PoolManager] = {}
        self._proxies = getproxies()
        self._timer = threading.Timer(deadline_seconds, self._shut)
        self._timer.daemon = True

    def __enter__(self) -> Fetcher:
        self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        for response in self._responses:
            response.close()
        for manager in self._managers.values():
            manager.clear()

    def resume(self, url: str, part: Path, size_bytes: int) -> None:
        """Fetches a file of `size_bytes` bytes into `part`, and goes on where an earlier try stopped.

        Raises:
            DownloadError: As `fetch`; what came is kept in `part`.
            DownloadLengthMismatchError: The server sends more bytes.
            TamperedError: It says that there are fewer.
            OSError: The disk is full or not writable.
        """
        have = part.stat().st_size if part.exists() else 0
        if have == size_bytes:
            return
        response, start = self._open_from(url, have if have < size_bytes else 0)
        with part.open("r+b" if start else "wb") as stream:
            stream.seek(start)
            for piece in self._pieces(response, decode=False):
                if stream.tell() + len(piece) > size_bytes:
                    part.unlink()
                    raise DownloadLengthMismatchError(f"{url} has more than {size_bytes} bytes")
                stream.write(piece)
            have = stream.tell()
        if have < size_bytes:
            part.unlink()  # the server closed in order: there is no more to come
            raise TamperedError(f"{url} has {have} bytes; {size_bytes} were signed. The device stays as it is.")

    def _open_from(self, url: str, start: int) -> tuple[urllib3.response.BaseHTTPResponse, int]:
        """An answer that begins at `start`, or at 0 where the server has it so."""
        if start:
            response = self._request(url, {"Accept-Encoding": "identity", "Range": f"bytes={start}-"})
            says = response.headers.get("Content-Range", "")
            if response.status == _PARTIAL and says.startswith(f"bytes {start}-"):
                return response, start
            if response.status == _OK:
                return response, 0
            response.close()
        response = self._request(url, {"Accept-Encoding": "identity"})
        _check_status(response)
        return response, 0

    def _fetch(self, url: str) -> Iterator[bytes]:
        response = self._request(url, {})
        _check_status(response)
        return self._pieces(response, decode=True)

    def _request(self, url: str, headers: dict[str, str]) -> urllib3.response.BaseHTTPResponse:
        with self._told_of_deadline():
            response = self._manager(url).request(
                "GET",
                url,
                headers={"User-Agent": _USER_AGENT, **headers},
                preload_content=False,
                retries=_RETRIES,
                timeout=urllib3.Timeout(min(SILENCE_SECONDS, max(0.001, self._ends - time.monotonic()))),
            )
            self._responses.append(response)  # closed at the end, even where the deadline passed as it came
        return response

    def _pieces(self, response: urllib3.response.BaseHTTPResponse, decode: bool) -> Iterator[bytes]:
        """What a response brings, as it comes: what a slow server sent before the deadline is not lost."""
        with self._told_of_deadline():
            while piece := response.read1(_PIECE, decode_content=decode):
                yield piece
        response.release_conn()

    @contextmanager
    def _told_of_deadline(self) -> Iterator[None]:
        """An error behind the deadline is the deadline's."""
        try:
            self._check_deadline()
            yield
            self._check_deadline()
        except (urllib3.exceptions.HTTPError, OSError) as error:
            self._check_deadline(error)
            raise

    def _check_deadline(self, error: Exception | None = None) -> None:
        if time.monotonic() >= self._ends:
            raise DeadlineError(
                f"the update did not end within {self._seconds:g} s: the server or the line is too slow. What was fetched "
                "of a bundle is kept. The device stays as it is."
            ) from error

    def _shut(self) -> None:
        for connection in list(self._sockets):
            with suppress(OSError):
                socket.socket.shutdown(
                    connection, socket.SHUT_RDWR
                )  # an SSLSocket's own would drop its state under the reader

    def _manager(self, url: str) -> urllib3.PoolManager:
        parts = urlsplit(url)
        proxy = self._proxies.get(parts.scheme) or self._proxies.get("all")
        if proxy and parts.hostname and proxy_bypass(parts.hostname):
            proxy = None
        if proxy not in self._managers:
            manager = urllib3.ProxyManager(proxy) if proxy else urllib3.PoolManager()
            manager.pool_classes_by_scheme = self._pool_classes()
            self._managers[proxy] = manager
        return self._managers[proxy]

    def _pool_classes(self) -> dict[str, Any]:
        """Pools whose connections can be shut when the deadline has passed."""
        fetcher = self

        class Watched:
            sock: Any

            def connect(self) -> None:
                fetcher._check_deadline()
                super().connect()  # type: ignore[misc]
                fetcher._sockets.add(self.sock)

        pools: dict[str, Any] = {"http": HTTPConnectionPool, "https": HTTPSConnectionPool}
        return {
            scheme: type(
                "WatchedPool", (pool,), {"ConnectionCls": type("Connection", (Watched, pool.ConnectionCls), {})}
            )
            for scheme, pool in pools.items()
        }


def _check_status(response: urllib3.response.BaseHTTPResponse) -> None:
    if response.status < 400:
        return
    response.close()
    wait = response.headers.get("Retry-After")
    asks = f", and asks to wait {wait}" if wait else ""
    raise DownloadHTTPError(f"HTTP status {response.status}{asks}", response.status)
