"""A PostgreSQL server of a test's own, started and stopped by the test, from Debian's or anybody's installation."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg

#: Root may not run PostgreSQL.
SERVER_USER = "postgres"
SETTINGS = ("-c", "listen_addresses=127.0.0.1", "-c", "max_connections=50")
#: Tests kill processes, never the machine: what the kernel has been given is safe.
NO_SYNC = ("-c", "fsync=off")


def find_binaries() -> Path | None:
    """The directory of ``initdb`` and ``pg_ctl``, the newest where there are several."""
    homes = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda file: int(file.parent.parent.name))
    on_path = shutil.which("initdb")
    if homes:
        return homes[-1].parent
    return Path(on_path).parent if on_path else None


@dataclass
class PostgresqlServer:
    """A server in a directory."""

    directory: Path
    binaries: Path
    port: int
    settings: Sequence[str] = (*SETTINGS, *NO_SYNC)

    @classmethod
    def make(cls, directory: Path, binaries: Path, settings: Sequence[str] = (*SETTINGS, *NO_SYNC)) -> PostgresqlServer:
        """Makes an empty cluster; it is not started yet."""
        server = cls(directory / "data", binaries, free_port(), settings)
        if os.geteuid() == 0:
            shutil.chown(directory, SERVER_USER, SERVER_USER)
        server._run(
            "initdb", "--auth=trust", "--username=postgres", "--encoding=UTF8", "--no-sync", "-D", str(server.directory)
        )
        return server

    @property
    def address(self) -> str:
        """Of the database ``postgres``."""
        return self.database_address("postgres")

    def database_address(self, name: str) -> str:
        """Of a database."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{name}"

    def start(self) -> None:
        """Starts it and waits until it answers."""
        options = " ".join(
            (*self.settings, "-c", f"port={self.port}", "-c", f"unix_socket_directories={self.directory}")
        )
        self._run("pg_ctl", "start", "-w", "-D", str(self.directory), "-l", str(self.directory / "log"), "-o", options)

    def stop(self, mode: str = "fast") -> None:
        """Stops it; ``immediate`` is a crash."""
        self._run("pg_ctl", "stop", "-w", "-m", mode, "-D", str(self.directory))

    def create_database(self, name: str) -> str:
        """Makes an empty database; returns its address."""
        with psycopg.connect(self.address, autocommit=True) as connection:
            connection.execute(f'create database "{name}"'.encode())
        return self.database_address(name)

    def _run(self, program: str, *arguments: str) -> None:
        command: Sequence[str] = (str(self.binaries / program), *arguments)
        user = SERVER_USER if os.geteuid() == 0 else None
        environment = {**os.environ, "LC_ALL": "C.UTF-8"}
        if user:
            environment["HOME"] = pwd.getpwnam(user).pw_dir
        # Not through pipes: the server would inherit them, and nobody would see them close.
        with (self.directory.parent / f"{program}.out").open("w+") as output:
            done = subprocess.run(
                command, user=user, group=user, extra_groups=[] if user else None, env=environment, cwd="/",
                stdout=output, stderr=output, stdin=subprocess.DEVNULL, check=False,
            )  # fmt: skip
            output.seek(0)
            assert done.returncode == 0, output.read()


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
