"""What a device's update check costs at 1, 100 and 1,000 releases: requests and bytes over a real HTTP server.

Run: .venv/bin/python -m benchmarks.update_check [--releases 1 100 1000]
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from http.server import ThreadingHTTPServer
from pathlib import Path

from edgeproof_edge.manifest import FileEntry, Manifest, RuntimeRequirements, TensorEntry, VerdictSummary
from edgeproof_edge.tensors import TensorSpec
from edgeproof_edge.updating.updater import Subscription, Updater

from releases.bundles.bundle import Draft
from releases.server import RepositoryHandler
from releases.stores.store import DirectoryStore
from releases.trust.initialization import initialize
from releases.trust.keys import KeyRing

MODEL_BYTES = 50_000


@dataclass
class Traffic:
    """What went over the wire, headers left out."""

    requests: int = 0
    num_bytes: int = 0


def draft(number: int) -> Draft:
    """A release of random bytes: what is measured does not depend on the model."""
    model = sha256(str(number).encode()).digest() * (MODEL_BYTES // 32)
    spec = TensorEntry(TensorSpec("x", (-1, 4), "float32"))
    manifest = Manifest(
        model_name="benchmark",
        sequence=1,
        version="draft",
        created="1970-01-01T00:00:00Z",
        files=(FileEntry("model.tflite", sha256(model).hexdigest(), len(model)),),
        inputs=(spec,),
        outputs=(spec,),
        labels=(),
        recipe="int8",
        stack="benchmark",
        runtime=RuntimeRequirements(None, ()),
        verdict=VerdictSummary(1, 1, 1, "97/100"),
    )
    return Draft("benchmark", {"model.tflite": model}, manifest)


@contextmanager
def serving(root: Path, traffic: Traffic) -> Iterator[str]:
    """Serves the repository and counts."""

    class Handler(RepositoryHandler):
        directory_served = root

        def do_GET(self) -> None:
            traffic.requests += 1
            super().do_GET()

        def send_body(self, data: bytes) -> None:
            traffic.num_bytes += len(data)
            super().send_body(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def measure(updater: Updater, traffic: Traffic) -> str:
    """One update: requests, bytes, milliseconds."""
    traffic.requests = traffic.num_bytes = 0
    started = time.perf_counter()
    updater.update()
    seconds = time.perf_counter() - started
    return f"{traffic.requests} requests, {traffic.num_bytes:,} B, {1000 * seconds:.0f} ms"


def main() -> None:
    """Prints one row per number of releases."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--releases", type=int, nargs="+", default=[1, 100, 1000])
    wanted = parser.parse_args().releases
    print("| releases | publish | metadata on disk | first update | next version | nothing new |")
    print("| --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        repository = initialize(DirectoryStore(directory / "repository"), KeyRing.create(directory / "keys"))
        traffic, number = Traffic(), 0
        with serving(directory / "repository", traffic) as url:

            def device(home: str) -> Updater:
                return Updater(directory / home, Subscription(url, "benchmark", "dev", "d0"), repository.anchor)

            for releases in sorted(wanted):
                started, before = time.perf_counter(), number
                while number < releases:
                    number += 1
                    repository.publish(draft(number), "dev", "benchmark")
                publish = 1000 * (time.perf_counter() - started) / max(1, number - before)
                first = measure(device(f"first-{releases}"), traffic)
                number += 1
                repository.publish(draft(number), "dev", "benchmark")
                following = measure(device(f"first-{releases}"), traffic)
                nothing = measure(device(f"first-{releases}"), traffic)
                metadata = sum(file.stat().st_size for file in (directory / "repository/metadata").iterdir())
                print(f"| {releases:,} | {publish:.0f} ms | {metadata:,} B | {first} | {following} | {nothing} |")


if __name__ == "__main__":
    main()
