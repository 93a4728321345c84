"""The compose file, read by Docker Compose's own library, and its services' commands run in order beside a real PostgreSQL.

What is not tried: Docker's networks, restarts and dependencies; containers here share the network of the host.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest

from tests.edge.bundles import golden_draft
from tests.images.engine import ROOT, Engine
from tests.releases.samples import make_repository, serving
from tests.telemetry.conftest import running_server
from tests.telemetry.servers import PostgresqlServer, free_port

pytestmark = pytest.mark.images

TELEMETRY = "localhost/edgeproof-test/telemetry"
COMPOSE = ROOT / "edge/docker/compose.yaml"
PASSWORD = "correct horse"
USER = 10001
#: The agent sends for the first time a minute after its start.
SEND_SECONDS = 120.0
Services = dict[str, Any]


@pytest.fixture(scope="session")
def telemetry(engine: Engine, gateway: str) -> str:
    """The name of the telemetry service's image, built from this checkout."""
    engine.build(ROOT / "edge/docker/telemetry.Dockerfile", ROOT, TELEMETRY, BASE=engine.base("bookworm"))
    return TELEMETRY


def resolved(directory: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """The compose file as Docker Compose resolves it, from a directory with an .env of its own."""
    if shutil.which("go") is None:
        pytest.skip("NOTHING READ THE COMPOSE FILE HERE: Docker Compose's library needs Go")
    shutil.copy(COMPOSE, directory)
    command = ["go", "run", ".", str(directory / "compose.yaml")]
    return subprocess.run(
        command, cwd=ROOT / "tests/images/compose", env={**os.environ, **environment}, capture_output=True, text=True
    )


def test_compose_names_what_must_be_set(tmp_path: Path) -> None:
    told = resolved(tmp_path)
    assert told.returncode == 1
    assert "set it in .env, as .env.example shows" in told.stderr


def test_the_example_of_the_environment_names_every_variable(tmp_path: Path) -> None:
    example = (ROOT / "edge/docker/.env.example").read_text()
    (tmp_path / ".env").write_text(example.replace("POSTGRES_PASSWORD=\n", "POSTGRES_PASSWORD=secret\n"))
    told = resolved(tmp_path)
    assert told.returncode == 0, told.stderr
    services = json.loads(told.stdout)["services"]
    assert sorted(services) == ["enroll", "gateway", "migrate", "postgres", "telemetry"]
    for name in ("gateway", "telemetry"):
        assert (services[name]["read_only"], services[name]["cap_drop"]) == (True, ["ALL"])
    assert services["telemetry"]["ports"][0]["host_ip"] == "127.0.0.1"


@pytest.fixture
def database() -> Iterator[PostgresqlServer]:
    """A server with the user and the database that the compose file makes."""
    with running_server() as server:
        with psycopg.connect(server.address, autocommit=True) as connection:
            connection.execute(f"create role edgeproof login password '{PASSWORD}'".encode())
            connection.execute(b"create database fleet owner edgeproof")
        yield server


def test_the_services_work_together(
    engine: Engine, gateway: str, telemetry: str, database: PostgresqlServer, tmp_path: Path
) -> None:
    ports = {"8377": str(free_port()), "8080": str(free_port())}
    repository = make_repository(tmp_path)
    repository.publish(golden_draft(), "dev", "test")
    (tmp_path / "root.json").write_bytes(repository.anchor)
    volume = tmp_path / "device"
    volume.mkdir()
    os.chown(volume, USER, USER)
    for path in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        path.chmod(0o755)
    with serving(tmp_path / "repository") as url:
        told = resolved(
            tmp_path, POSTGRES_PASSWORD=PASSWORD, RELEASES_URL=url, RELEASES_MODEL="digits", RELEASES_CHANNEL="dev",
            EDGEPROOF_EDGE_IMAGE=gateway, EDGEPROOF_TELEMETRY_IMAGE=telemetry,
        )  # fmt: skip
        services = json.loads(told.stdout)["services"]
        runner = Runner(engine, services, ports, database.port, volume)
        try:
            runner.run("migrate")
            runner.start("telemetry")
            wait_for_http(f"http://127.0.0.1:{ports['8377']}/healthz", runner)
            issued = runner.exec("telemetry", "edgeproof", "telemetry", "token", "issue", "device", "gateway-1")
            runner.run("enroll", "--window-seconds=1", token=issued)
            runner.start("gateway")
            wait_for_http(f"http://127.0.0.1:{ports['8080']}/healthz", runner)
            ask(f"http://127.0.0.1:{ports['8080']}/v1/predict")
            assert windows_of(database, "gateway-1") >= 1
        finally:
            runner.stop()


class Runner:
    """Runs services of the compose file as their own lines say, on the host's network and with other ports."""

    def __init__(
        self, engine: Engine, services: Services, ports: dict[str, str], database_port: int, volume: Path
    ) -> None:
        self._engine, self._services, self._ports = engine, services, ports
        self._database_port, self._volume = database_port, volume
        self._started: list[str] = []

    def run(self, name: str, *more: str, token: str = "") -> None:
        """Runs a service to its end."""
        self._engine.podman("run", "--rm", "--interactive", *self._arguments(name), *more, given=token)

    def start(self, name: str) -> None:
        """Starts a service."""
        self._engine.podman("rm", "--force", self._name(name), check=False)
        self._engine.podman("run", "--detach", "--name", self._name(name), *self._arguments(name))
        self._started.append(name)

    def exec(self, name: str, *command: str) -> str:
        """Runs a command beside a service; returns what it prints."""
        return self._engine.podman("exec", self._name(name), *command).stdout

    def stop(self) -> None:
        """Stops all, as their grace allows."""
        for name in reversed(self._started):
            started = time.monotonic()
            self._engine.podman("stop", "--time", "60", self._name(name))
            assert time.monotonic() - started < 25
            self._engine.podman("rm", "--force", self._name(name))

    def logs(self) -> str:
        """What all have printed."""
        return "\n".join(self._engine.podman("logs", self._name(name)).stderr for name in self._started)

    def _arguments(self, name: str) -> list[str]:
        service = self._services[name]
        arguments = ["--network=host", "--add-host=postgres:127.0.0.1", "--read-only", "--read-only-tmpfs=false"]
        arguments += [f"--cap-drop={capability}" for capability in service["cap_drop"]]
        arguments += [f"--security-opt={option.removesuffix(':true')}" for option in service["security_opt"]]
        environment = {**service.get("environment", {}), "PGPORT": str(self._database_port)}
        for variable, value in environment.items():
            arguments += ["--env", f"{variable}={value}"]
        for mount in service.get("volumes", []):
            source = self._volume if mount["type"] == "volume" else mount["source"]
            arguments += ["--volume", f"{source}:{mount['target']}{':ro' if mount.get('read_only') else ''}"]
        return [*arguments, service["image"], *(self._with_ports(word) for word in service["command"])]

    def _with_ports(self, word: str) -> str:
        for usual, free in self._ports.items():
            word = word.replace(usual, free)
        return word

    @staticmethod
    def _name(service: str) -> str:
        return f"edgeproof-test-{service}"


def wait_for_http(url: str, runner: Runner) -> None:
    deadline = time.monotonic() + 90
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            assert time.monotonic() < deadline, runner.logs()
            time.sleep(0.2)


def ask(url: str) -> None:
    body = json.dumps({"inputs": {"x": np.zeros((3, 8)).tolist()}}).encode()
    with urllib.request.urlopen(
        urllib.request.Request(url, body, {"Content-Type": "application/json"}), timeout=10
    ) as reply:
        assert len(json.load(reply)["answers"]) == 3


def windows_of(database: PostgresqlServer, device: str) -> int:
    """How many windows of the device the database has, as soon as it has one."""
    deadline = time.monotonic() + SEND_SECONDS
    query = b"select count(*) from edgeproof.edge_metrics where device_id = %s"
    while True:
        with psycopg.connect(database.database_address("fleet")) as connection:
            row = connection.execute(query, (device,)).fetchone()
        if (row and row[0]) or time.monotonic() > deadline:
            return int(row[0]) if row else 0
        time.sleep(0.5)
