"""How long a device waits for its answer at a steady rate, and what one service process takes in over HTTP.

Run: ``python benchmarks/telemetry_requests.py`` (a PostgreSQL server of its own with fsync on, the service in a process of its own,
devices in two more). A request holds one window.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).parent.parent))

from telemetry.database import open_database
from telemetry.tokens import Kind, TokenBook
from tests.telemetry.samples import batch, event_json
from tests.telemetry.servers import SETTINGS, PostgresqlServer, find_binaries

NUM_DEVICES = 300
NUM_SENDERS = 2
THREADS_PER_SENDER = 8


def requests_of(tokens: Sequence[tuple[str, str]], count: int, windows: int) -> list[bytes]:
    """Requests as they go over the wire, made before time runs: what a device's JSON costs is not the service's."""
    made = []
    for number in range(count):
        device, token = tokens[number % len(tokens)]
        ago = number // len(tokens) * windows
        body = batch(*(event_json(device, windows_ago=ago + part) for part in range(windows)))
        head = f"POST /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: {len(body)}\r\n\r\n"
        made.append(head.encode() + body)
    return made


def status_of_answer(connection: socket.socket) -> int:
    """Reads one answer."""
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += connection.recv(65536)
    head, _, body = answer.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length:")[2].split()[0])
    while len(body) < length:
        body += connection.recv(65536)
    return int(head.split()[1])


def send(
    port: int,
    tokens: list[tuple[str, str]],
    per_second: float,
    seconds: float,
    windows: int,
    ready: object,
    results: object,
) -> None:
    """Sends at a steady rate, whatever the answers take; puts every request's milliseconds and status."""
    requests = requests_of(tokens, int(per_second * seconds), windows)
    taken: list[tuple[float, int]] = []
    numbers = iter(range(len(requests)))
    lock = threading.Lock()
    ready.wait()  # type: ignore[attr-defined]
    started = time.perf_counter()

    def run() -> None:
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while True:
                with lock:
                    number = next(numbers, None)
                if number is None:
                    return
                due = started + number / per_second
                time.sleep(max(0.0, due - time.perf_counter()))
                connection.sendall(requests[number])
                status = status_of_answer(connection)
                taken.append(((time.perf_counter() - due) * 1000, status))  # from when it was due: no wait is hidden

    threads = [threading.Thread(target=run) for _ in range(THREADS_PER_SENDER)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    results.put((taken, time.perf_counter() - started))  # type: ignore[attr-defined]


def main() -> None:
    """Prints the quantiles of a run."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rate", type=float, default=300.0, help="requests per second")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--windows", type=int, default=1, help="per request")
    options = parser.parse_args()
    binaries = find_binaries()
    if binaries is None:
        sys.exit("PostgreSQL is not installed: .ci/services installs it")
    with tempfile.TemporaryDirectory(prefix="edgeproof-benchmark-") as directory:
        server = PostgresqlServer.make(Path(directory), binaries, SETTINGS)
        server.start()
        try:
            run(server.create_database("fleet"), options.rate, options.seconds, options.windows)
        finally:
            server.stop()


def run(address: str, rate: float, seconds: float, windows: int) -> None:
    """One run against a database."""
    database = open_database(address)
    database.migrate()
    now = datetime.now(timezone.utc)
    tokens = [(f"pi-{n}", TokenBook(database).issue(Kind.DEVICE, f"pi-{n}", now)) for n in range(NUM_DEVICES)]
    command = [sys.executable, "-m", "pipeline.cli", "telemetry", "serve", "--port", "0", "--database", address]
    service = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert service.stderr is not None
    url = service.stderr.readline().split(" on ")[1].split()[0]
    results: multiprocessing.Queue = multiprocessing.Queue()
    ready = multiprocessing.Barrier(NUM_SENDERS)
    senders = [
        multiprocessing.Process(
            target=send,
            args=(urlsplit(url).port, tokens[n::NUM_SENDERS], rate / NUM_SENDERS, seconds, windows, ready, results),
        )
        for n in range(NUM_SENDERS)
    ]
    for sender in senders:
        sender.start()
    reports = [results.get() for _ in senders]
    taken = [entry for entries, _ in reports for entry in entries]
    elapsed = max(seconds_taken for _, seconds_taken in reports)
    service.terminate()
    _, _, usage = os.wait4(service.pid, 0)
    service.returncode = 0
    service.stderr.close()
    cpu_ms = (usage.ru_utime + usage.ru_stime) * 1000 / len(taken)
    milliseconds = statistics.quantiles([ms for ms, _ in taken], n=100)
    print(
        f"{len(taken) / elapsed:.0f} requests/s of {windows} windows: p50 {milliseconds[49]:.1f} ms, p95 {milliseconds[94]:.1f} ms, "
        f"p99 {milliseconds[98]:.1f} ms; {cpu_ms:.2f} ms of the service's CPU each (its start included); "
        f"statuses {sorted({status for _, status in taken})}"
    )


if __name__ == "__main__":
    main()
