"""A stand-alone Flink on this machine, with Beam's job server in front of it: what a cluster has, in processes.

A TaskManager and its pool of Python workers belong together, as a pod and its sidecar do: both TaskManagers ask for a pool
at the same name, and each has a file of hosts of its own that leads to its pool. Two of them behind one pool would ask for
workers of the same name, and the job would fail.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

POOL_HOST = "worker-pool"
_OPENED = ("java.lang", "java.nio", "java.util", "java.lang.reflect", "java.net", "java.util.concurrent", "java.time")
_OPENS = [f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in _OPENED]
_MEMORY = {
    "taskmanager.cpu.cores": "1.0",
    "taskmanager.memory.task.heap.size": "256m",
    "taskmanager.memory.task.off-heap.size": "64m",
    "taskmanager.memory.framework.heap.size": "128m",
    "taskmanager.memory.framework.off-heap.size": "128m",
    "taskmanager.memory.managed.size": "256m",
    "taskmanager.memory.network.min": "768m",  # StatisticsGen's graph has many shuffles
    "taskmanager.memory.network.max": "768m",
    "taskmanager.memory.jvm-metaspace.size": "256m",
    "taskmanager.memory.jvm-overhead.min": "192m",
    "taskmanager.memory.jvm-overhead.max": "192m",
}
_START_SECONDS = 180.0


@dataclass(frozen=True)
class FlinkCluster:
    """A cluster that is up.

    Attributes:
        job_endpoint: ``host:port`` of Beam's job server.
        artifact_endpoint: Where it takes the files of a job.
        pool_port: Of the workers' pool, as a TaskManager sees it under ``POOL_HOST``.
        rest_port: Of Flink's REST interface.
        pools: The processes that start Python workers, one for each TaskManager.
    """

    job_endpoint: str
    artifact_endpoint: str
    pool_port: int
    rest_port: int
    pools: tuple[subprocess.Popen[bytes], ...]

    @property
    def beam_args(self) -> list[str]:
        """What a config says to run on it."""
        return [
            "--runner=PortableRunner",
            f"--job_endpoint={self.job_endpoint}",
            f"--artifact_endpoint={self.artifact_endpoint}",
            "--environment_type=EXTERNAL",
            f"--environment_config={POOL_HOST}:{self.pool_port}",
            f"--parallelism={len(self.pools)}",
        ]

    def jobs(self) -> list[dict[str, Any]]:
        """Flink's own list of jobs."""
        jobs: list[dict[str, Any]] = self.ask("jobs/overview")["jobs"]
        return jobs

    def ask(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://localhost:{self.rest_port}/{path}", timeout=10) as answer:
            return json.load(answer)

    def workers(self) -> list[int]:
        """Process numbers of the Python workers that run now."""
        return [int(pid) for pool in self.pools for pid in _children(pool.pid)]


@contextmanager
def flink_cluster(home: Path, directory: Path, num_task_managers: int) -> Iterator[FlinkCluster]:
    """Starts everything and waits until it answers; ends every process.

    Args:
        home: Folder with ``engine`` and ``class-path``, as ``constraints/test-flink`` makes it.
        directory: For configuration and logs.
        num_task_managers: Each with one slot and a pool of its own.
    """
    rest_port, rpc_port, job_port, artifact_port, expansion_port, pool_port = _free_ports(6)
    configuration = directory / "configuration"
    configuration.mkdir(parents=True)
    settings = {
        "jobmanager.rpc.address": "localhost",
        "jobmanager.rpc.port": rpc_port,
        "rest.address": "localhost",
        "rest.port": rest_port,
        "rest.bind-address": "localhost",
        "jobmanager.bind-host": "localhost",
        "jobmanager.memory.process.size": "1024m",
        "taskmanager.bind-host": "localhost",
        "taskmanager.host": "localhost",
        "taskmanager.numberOfTaskSlots": 1,
        "restart-strategy": "none",
        "io.tmp.dirs": directory / "tmp",
    }
    lines = [f"{key}: {value}" for key, value in settings.items()]
    (configuration / "flink-conf.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (configuration / "log4j.properties").write_text("rootLogger.level = WARN\n", encoding="utf-8")
    engine = f"{home / 'engine' / 'pyflink' / 'lib'}/*"
    entry = "org.apache.flink.runtime"
    with ExitStack() as stack:
        start = _Starter(stack, directory)
        start(
            "jobmanager",
            ["java", *_OPENS, "-Xmx512m", "-cp", engine, f"{entry}.entrypoint.StandaloneSessionClusterEntrypoint"],
            ["-c", str(configuration)],
        )
        pools = []
        for number in range(num_task_managers):
            (own_port,) = _free_ports(1)
            pools.append(
                start(
                    "pool",
                    [sys.executable, "-m", "apache_beam.runners.worker.worker_pool_main"],
                    [f"--service_port={own_port}"],
                )
            )
            address = f"127.0.1.{number + 1}"
            stack.enter_context(_forwarded((address, pool_port), ("localhost", own_port)))
            hosts = directory / f"hosts-{number}"
            own_names = "".join(f"127.0.0.1 {name}\n" for name in {"localhost", socket.gethostname(), socket.getfqdn()})
            hosts.write_text(f"{own_names}{address} {POOL_HOST}\n", encoding="ascii")
            java = [
                "java",
                *_OPENS,
                "-Xmx384m",
                "-XX:MaxDirectMemorySize=1200m",
                f"-Djdk.net.hosts.file={hosts}",
                "-cp",
                engine,
            ]
            memory = [argument for key, value in _MEMORY.items() for argument in ("-D", f"{key}={value}")]
            start(
                "taskmanager", [*java, f"{entry}.taskexecutor.TaskManagerRunner"], ["-c", str(configuration), *memory]
            )
        class_path = (home / "class-path").read_text(encoding="utf-8").strip()
        start(
            "jobserver",
            ["java", *_OPENS, "-cp", class_path, "org.apache.beam.runners.flink.FlinkJobServerDriver"],
            [
                "--job-host=localhost",
                f"--job-port={job_port}",
                f"--artifact-port={artifact_port}",
                f"--expansion-port={expansion_port}",
                f"--flink-master=localhost:{rest_port}",
            ],
        )
        cluster = FlinkCluster(
            f"localhost:{job_port}", f"localhost:{artifact_port}", pool_port, rest_port, tuple(pools)
        )
        start.wait(lambda: len(cluster.ask("taskmanagers")["taskmanagers"]) == num_task_managers, "the TaskManagers")
        start.wait(lambda: _answers(job_port), "Beam's job server")
        yield cluster


class _Starter:
    """Starts processes with logs, and ends them with the stack."""

    def __init__(self, stack: ExitStack, directory: Path) -> None:
        self._stack = stack
        self._directory = directory
        self._processes: list[subprocess.Popen[bytes]] = []

    def __call__(self, name: str, command: Sequence[str], arguments: Sequence[str]) -> subprocess.Popen[bytes]:
        log = self._stack.enter_context((self._directory / f"{name}-{len(self._processes)}.log").open("wb"))
        # The pool starts bare `python`.
        path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
        environment = {**os.environ, "PATH": path, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
        process = subprocess.Popen([*command, *arguments], stdout=log, stderr=subprocess.STDOUT, env=environment)
        self._stack.callback(_end, process)
        self._processes.append(process)
        return process

    def wait(self, is_up: Callable[[], bool], what: str) -> None:
        """Until it answers; a process that ended before that is an error at once."""
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            ended = next((p for p in self._processes if p.poll() is not None), None)
            assert ended is None, f"{ended.args!r} ended with {ended.returncode}; logs in {self._directory}"
            with contextlib.suppress(OSError):
                if is_up():
                    return
            threading.Event().wait(0.2)
        raise AssertionError(f"{what} did not come up; logs in {self._directory}")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _children(pid: int) -> list[str]:
    try:
        return [
            child
            for task in Path(f"/proc/{pid}/task").iterdir()
            for child in (task / "children").read_text(encoding="ascii").split()
        ]
    except OSError:
        return []


def _free_ports(number: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for free in sockets:
            free.bind(("localhost", 0))
        return [free.getsockname()[1] for free in sockets]


def _answers(port: int) -> bool:
    socket.create_connection(("localhost", port), timeout=1).close()
    return True


@contextmanager
def _forwarded(here: tuple[str, int], there: tuple[str, int]) -> Iterator[None]:
    """Passes connections on."""
    with socket.create_server(here) as server:
        threads: list[threading.Thread] = []

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client, _ = server.accept()
                    threads.append(threading.Thread(target=_pass_on, args=(client, there), daemon=True))
                    threads[-1].start()

        threads.append(threading.Thread(target=serve, daemon=True))
        threads[0].start()
        yield
        server.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(timeout=20)


def _pass_on(client: socket.socket, there: tuple[str, int]) -> None:
    with client, socket.create_connection(there) as upstream:
        back = threading.Thread(target=_pump, args=(upstream, client), daemon=True)
        back.start()
        _pump(client, upstream)
        back.join()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
    for end in (source, sink):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
