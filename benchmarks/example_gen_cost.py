"""What the ingest of an image folder costs, beside a plain loop that packs the same files and beside itself as it was.

    python -m benchmarks.example_gen_cost                       # 10,000 PNG files of 28 x 28 pixels, made here
    python -m benchmarks.example_gen_cost --images 70000
    python -m benchmarks.example_gen_cost --folder mnist/train  # <class>/<file>

Rows, each in a process of its own, alternating, medians of ``--repeats``:

- pack loop: opens every file, makes a tf.Example with TensorFlow and writes gzip TFRecords; no check, no hash, no split;
- as it was: one process that opens every picture twice through TFX's file system (scan and verify) and writes with TensorFlow;
- 1 worker, all cores: ``Executor.Do`` as it is; the records of both are compared, bit for bit.

``second look`` is the fingerprint of the folder when its hashes are remembered, ``first look`` when they are not.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROWS = ("pack loop", "as it was", "1 worker", "all cores", "first look", "second look")


def make_folder(folder: Path, number: int) -> None:
    """Noisy prototypes of ten classes, as PNG."""
    import numpy as np
    from PIL import Image

    random = np.random.default_rng(1)
    prototypes = np.kron(random.integers(0, 2, (10, 7, 7)), np.ones((4, 4), np.int64)) * 200
    for label in range(10):
        (folder / str(label)).mkdir(parents=True)
    for index in range(number):
        pixels = np.clip(prototypes[index % 10] + random.normal(0, 60, (28, 28)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / str(index % 10) / f"{index:06d}.png")


def pack(folder: Path, out: Path) -> None:
    """The loop that anybody would write."""
    import tensorflow as tf

    paths = sorted(folder.glob("*/*"))
    options = tf.io.TFRecordOptions(compression_type="GZIP", compression_level=1)
    with tf.io.TFRecordWriter(str(out / "data.gz"), options) as writer:
        for path in paths:
            feature = {
                "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[path.read_bytes()])),
                "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[int(path.parent.name)])),
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())


def as_it_was(folder: Path, out: Path) -> None:
    """One process, every picture opened twice through TFX's file system, records made by TensorFlow."""
    import io

    import tensorflow as tf
    from PIL import Image
    from tfx.dsl.io import fileio

    scanned = []
    for path in sorted(map(str, folder.glob("*/*"))):
        with fileio.open(path, "rb") as file:
            encoded = file.read()
        with Image.open(io.BytesIO(encoded), formats=("PNG", "JPEG")) as image:
            image.verify()
        with Image.open(io.BytesIO(encoded), formats=("PNG", "JPEG")) as image:
            image.load()
            key = hashlib.sha256(f"{image.mode} {image.width}x{image.height} ".encode() + image.tobytes()).hexdigest()
        scanned.append((hashlib.sha256(path.encode()).digest(), path, key, hashlib.sha256(encoded).hexdigest()))
    json.dumps([each[1:] for each in scanned])
    options = tf.io.TFRecordOptions(compression_type="GZIP", compression_level=1)
    with tf.io.TFRecordWriter(str(out / "data.gz"), options) as writer:
        for _, path, key, sha256 in sorted(scanned):
            with fileio.open(path, "rb") as file:
                encoded = file.read()
            assert hashlib.sha256(encoded).hexdigest() == sha256
            numbers = {"label": int(Path(path).parent.name), "height": 28, "width": 28, "channels": 1}
            texts = {"image": encoded, "path": path.encode(), "group": key.encode()}
            feature = {n: tf.train.Feature(int64_list=tf.train.Int64List(value=[v])) for n, v in numbers.items()}
            feature |= {n: tf.train.Feature(bytes_list=tf.train.BytesList(value=[v])) for n, v in texts.items()}
            example = tf.train.Example(features=tf.train.Features(feature=feature))
            writer.write(example.SerializeToString(deterministic=True))


def ingest(folder: Path, out: Path, num_workers: int | None) -> None:
    """The node's work."""
    from tfx.proto import example_gen_pb2
    from tfx.types import standard_artifacts
    from tfx.utils import proto_utils

    from components import light_workers
    from components.image_example_gen.executor import Executor
    from components.image_example_gen.splits import Shares

    if num_workers is not None:
        light_workers.usable_cores = lambda: num_workers
    artifact = standard_artifacts.Examples()
    artifact.uri = str(out)
    config = example_gen_pb2.Input(splits=[example_gen_pb2.Input.Split(name="all", pattern="*/*")])
    properties = {
        "input_base": str(folder),
        "input_config": proto_utils.proto_to_json(config),
        "class_names": "[]",
        "group_by": "",
        "shares": Shares().to_json(),
        "image_limits": "{}",
        "ignore": "[]",
    }
    context = Executor.Context(
        beam_pipeline_args=["--runner=FnApiRunner", "--sdk_container_image=local"], tmp_dir=str(out), unique_id="1"
    )
    Executor(context).Do({}, {"examples": [artifact]}, properties)


def look(folder: Path, memory: Path) -> None:
    """The fingerprint of the folder."""
    from components.data.content_hashes import content_fingerprint

    content_fingerprint(folder, [str(path.relative_to(folder)) for path in sorted(folder.glob("*/*"))], memory)


def work_of(row: str, folder: Path, out: Path) -> Callable[[], None]:
    """What a row measures; imports come before the clock starts."""
    memory = out.parent / "hashes.json"
    if row == "first look":
        memory.unlink(missing_ok=True)
    if row in ("pack loop", "as it was"):
        import tensorflow  # noqa: F401

        return lambda: (pack if row == "pack loop" else as_it_was)(folder, out)
    if row.endswith("look"):
        import components.data.content_hashes

        return lambda: look(folder, memory)
    import components.image_example_gen.executor  # noqa: F401

    return lambda: ingest(folder, out, 1 if row == "1 worker" else None)


def measure(row: str, folder: Path, out: Path) -> dict[str, float]:
    """Wall and CPU seconds, with those of worker processes, and the peak of this process in MB."""
    from components.compat import quiet_libraries

    quiet_libraries()
    work = work_of(row, folder, out)
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    work()
    wall = time.perf_counter() - started
    cpu = 0.0
    for who, before in ((resource.RUSAGE_SELF, own), (resource.RUSAGE_CHILDREN, children)):
        now = resource.getrusage(who)
        cpu += now.ru_utime + now.ru_stime - before.ru_utime - before.ru_stime
    return {"wall_s": wall, "cpu_s": cpu, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def digest_of_records(out: Path) -> str:
    """Over the records, not over gzip's bytes."""
    from components.data.records import read_records

    digest = hashlib.sha256()
    for path in sorted(out.glob("Split-*/*")):
        with path.open("rb") as file:
            for record in read_records(file, str(path), is_gzip=True):
                digest.update(hashlib.sha256(record).digest())
    return digest.hexdigest()


def in_a_process(row: str, folder: Path, out: Path) -> dict[str, Any]:
    """One measurement in a fresh process."""
    out.mkdir(parents=True)
    command = [
        sys.executable,
        "-m",
        "benchmarks.example_gen_cost",
        "--row",
        row,
        "--folder",
        str(folder),
        "--out",
        str(out),
    ]
    answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1]
    result: dict[str, Any] = json.loads(answer)
    if row in ("1 worker", "all cores"):
        result["records"] = digest_of_records(out)
    return result


def compare(folder: Path, repeats: int, scratch: Path) -> None:
    """Runs all rows in turn and prints the table."""
    results: dict[str, list[dict[str, Any]]] = {row: [] for row in ROWS}
    for repeat in range(repeats):
        for row in ROWS:
            results[row].append(in_a_process(row, folder, scratch / f"{repeat}-{row.replace(' ', '-')}"))
    digests = {result["records"] for row in ("1 worker", "all cores") for result in results[row]}
    number = sum(1 for _ in folder.glob("*/*"))
    print(
        f"{number:,} files, {len(os.sched_getaffinity(0))} cores, medians of {repeats}; records equal: {len(digests) == 1}"
    )
    before = statistics.median(result["wall_s"] for result in results["as it was"])
    for row in ROWS:
        wall, cpu, peak = (statistics.median(r[key] for r in results[row]) for key in ("wall_s", "cpu_s", "peak_mb"))
        print(f"{row:12} {wall:7.2f} s wall {cpu:7.2f} s CPU {peak:6.0f} MB   {wall / before:5.2f} x as it was")


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--row", choices=ROWS)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.row:
        print(json.dumps(measure(options.row, options.folder, options.out)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder
        if folder is None:
            folder = Path(scratch) / "images"
            make_folder(folder, options.images)
        compare(folder, options.repeats, Path(scratch))


if __name__ == "__main__":
    main()
