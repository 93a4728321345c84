"""A MySQL server of a test's own, from Debian's MariaDB."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.telemetry.servers import free_port

#: The account that Debian's package makes; root may not run the server.
SERVER_USER = "mysql"
ACCOUNT = "create user mlmd@'127.0.0.1';\ngrant all on *.* to mlmd@'127.0.0.1';\n"
SECONDS_TO_START = 60


@contextlib.contextmanager
def running_server() -> Iterator[int]:
    """A server with the login ``mlmd``, which needs no password; yields its port."""
    server = shutil.which("mariadbd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if server is None:
        pytest.skip("MariaDB is not installed (.ci/services): nothing was tried on a real MySQL server")
    with tempfile.TemporaryDirectory(prefix="edgeproof-mysql-") as name:
        directory, user = Path(name), [f"--user={SERVER_USER}"] if os.geteuid() == 0 else []
        if user:
            shutil.chown(directory, SERVER_USER, SERVER_USER)
        data, accounts, port = directory / "data", directory / "accounts.sql", free_port()
        accounts.write_text(ACCOUNT, encoding="utf-8")
        subprocess.run(["mariadb-install-db", *user, f"--datadir={data}"], check=True, capture_output=True)
        places = [f"--datadir={data}", f"--socket={directory / 'socket'}", f"--init-file={accounts}"]
        command = [
            server,
            "--no-defaults",
            *user,
            *places,
            f"--port={port}",
            "--bind-address=127.0.0.1",
            "--skip-name-resolve",
        ]
        with (directory / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
            try:
                ask = ["mariadb-admin", "--no-defaults", "-h127.0.0.1", f"-P{port}", "-umlmd"]
                subprocess.run([*ask, f"--wait={SECONDS_TO_START}", "ping"], check=True, capture_output=True)
                yield port
            finally:
                process.kill()


def create_database(port: int, name: str) -> str:
    """Makes an empty database; returns its address."""
    client = ["mariadb", "--no-defaults", "-h127.0.0.1", f"-P{port}", "-umlmd"]
    subprocess.run([*client, "-e", f"create database {name}"], check=True, capture_output=True)
    return f"mysql://mlmd@127.0.0.1:{port}/{name}"
