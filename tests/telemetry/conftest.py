"""Databases of both kinds, and devices that report to them."""

from __future__ import annotations

import contextlib
import itertools
import tempfile
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
import urllib3
import uvicorn

from telemetry.database import Database, open_database
from telemetry.service.app import make_app
from telemetry.service.server import bind, config_of
from telemetry.service.settings import Settings
from telemetry.tokens import Kind, TokenBook
from tests.telemetry.servers import PostgresqlServer, find_binaries

_numbers = itertools.count()
NO_POSTGRESQL = "PostgreSQL is not installed (.ci/services): nothing was tried on a real server"


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresqlServer]:
    """A running server that tests may not stop."""
    with running_server() as server:
        yield server


@contextlib.contextmanager
def running_server() -> Iterator[PostgresqlServer]:
    """A server in a directory of its own: those of pytest are closed to the user that PostgreSQL runs as."""
    binaries = find_binaries()
    if binaries is None:
        pytest.skip(NO_POSTGRESQL)
    with tempfile.TemporaryDirectory(prefix="edgeproof-postgresql-") as directory:
        server = PostgresqlServer.make(Path(directory), binaries)
        server.start()
        try:
            yield server
        finally:
            with contextlib.suppress(AssertionError):  # a test may have stopped it
                server.stop("immediate")


@pytest.fixture(params=["sqlite", "postgresql"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of an empty database of each kind."""
    if request.param == "sqlite":
        return str(tmp_path / "telemetry.db")
    server: PostgresqlServer = request.getfixturevalue("postgresql")
    return server.create_database(f"test{next(_numbers)}")


@pytest.fixture
def database(address: str) -> Iterator[Database]:
    """An empty database of each kind, with the schema."""
    opened = open_database(address)
    opened.migrate()
    yield opened
    opened.close()


class Service:
    """The service in a thread of this process, on a port of its own."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self.database = database
        self.book = TokenBook(database)
        self.pool = urllib3.PoolManager(retries=False, timeout=30)
        self._listening = bind("127.0.0.1", 0)
        self._server = uvicorn.Server(config_of(make_app(database, settings)))
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._listening]}, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(30)
        self._listening.close()

    def token(self, subject: str = "pi-1", kind: Kind = Kind.DEVICE, **arguments: timedelta) -> str:
        return self.book.issue(kind, subject, datetime.now(timezone.utc), **arguments)

    def request(
        self, method: str, path: str, body: bytes | None = None, token: str | None = None, **headers: str
    ) -> urllib3.BaseHTTPResponse:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        if token is not None:
            given["Authorization"] = f"Bearer {token}"
        return self.pool.request(method, self.url + path, body=body, headers=given)

    def post(
        self, body: bytes, token: str | None, path: str = "/v1/events", **headers: str
    ) -> urllib3.BaseHTTPResponse:
        return self.request("POST", path, body, token, **headers)


@pytest.fixture
def settings() -> Settings:
    """Tests send faster than devices."""
    return Settings(requests_per_minute=6e6, burst=100_000)


@pytest.fixture
def service(database: Database, settings: Settings) -> Iterator[Service]:
    """The service over a database of each kind."""
    running = Service(database, settings)
    yield running
    running.stop()


@pytest.fixture
def sqlite_service(tmp_path: Path, settings: Settings) -> Iterator[Service]:
    """The service where the kind of database does not matter."""
    running = Service(open_database(str(tmp_path / "telemetry.db")), settings)
    yield running
    running.stop()
