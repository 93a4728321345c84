"""How long a device waits for its answer at a steady rate, and what one service process takes in over HTTP.

Run: ``python benchmarks/telemetry_requests.py`` (a PostgreSQL server of its own with fsync on, the service in a process of its own,
devices in two more). A request holds one window.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from datetime import datetime, timezone
from pathlib import Path

import urllib3

sys.path.insert(0, str(Path(__file__).parent.parent))

from telemetry.database import open_database
from telemetry.tokens import Kind, TokenBook
from tests.telemetry.samples import batch, event_json
from tests.telemetry.servers import SETTINGS, PostgresqlServer, find_binaries

NUM_DEVICES = 300
NUM_SENDERS = 2
THREADS_PER_SENDER = 8


def send(
    url: str, tokens: list[tuple[str, str]], per_second: float, seconds: float, windows: int, results: object
) -> None:
    """Sends at a steady rate, whatever the answers take; puts every request's milliseconds and status."""
    taken: list[tuple[float, int]] = []
    started = time.perf_counter()
    numbers = iter(range(int(per_second * seconds)))
    lock = threading.Lock()

    def run() -> None:
        pool = urllib3.PoolManager(retries=False, timeout=30)
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            device, token = tokens[number % len(tokens)]
            ago = number // len(tokens) * windows
            body = batch(*(event_json(device, windows_ago=ago + part) for part in range(windows)))
            due = started + number / per_second
            time.sleep(max(0.0, due - time.perf_counter()))
            answer = pool.request("POST", f"{url}v1/events", body=body, headers={"Authorization": f"Bearer {token}"})
            taken.append(((time.perf_counter() - due) * 1000, answer.status))  # from when it was due: no wait is hidden

    threads = [threading.Thread(target=run) for _ in range(THREADS_PER_SENDER)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    results.put(taken)  # type: ignore[attr-defined]


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
    senders = [
        multiprocessing.Process(
            target=send, args=(url, tokens[n::NUM_SENDERS], rate / NUM_SENDERS, seconds, windows, results)
        )
        for n in range(NUM_SENDERS)
    ]
    started = time.perf_counter()
    for sender in senders:
        sender.start()
    taken = [entry for _ in senders for entry in results.get()]
    elapsed = time.perf_counter() - started
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
