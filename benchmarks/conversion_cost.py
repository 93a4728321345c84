"""What ``auto`` costs next to one stock int8 conversion: wall time and peak memory, in one run.

    python -m benchmarks.conversion_cost [--pairs N] [NAME ...]
    python -m benchmarks.conversion_cost [--pairs N] --saved-model DIR --calibration POOL.npz
    python -m benchmarks.conversion_cost [--pairs N] --photos 300   # an untrained MobileNetV2, so many images of 224 x 224

Each conversion is a fresh process: stock_int8.py, which is all a user would write, against ``edgeproof convert --recipe
auto``. Pairs are interleaved and their order alternates, so that a noisy machine hits both. Without a SavedModel the
incidents of tests/incidents are made first (all of them, or those named).
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import tests.incidents.data  # noqa: F401  # before TensorFlow, whose import puts a package "tests" of IPython on the path
from benchmarks.process_cost import Cost, measure
from components.compat import quiet_libraries

#: What ``auto`` may cost, as a multiple of one stock conversion.
MAX_TIME_RATIO, MAX_MEMORY_RATIO = 2.0, 1.2
MEBIBYTE = 2**20


@dataclass(frozen=True)
class Subject:
    """A model to convert, and the .npz of its calibration pool with one array per input (and labels ``y``).

    ``stock_rows`` of the pool calibrate the stock conversion.
    """

    name: str
    saved_model: Path
    pool: Path
    stock_rows: int = 200


@dataclass(frozen=True)
class Pair:
    """One stock conversion and one by ``auto``, run next to each other."""

    stock: Cost
    auto: Cost

    @property
    def time_ratio(self) -> float:
        """Wall time of ``auto`` over that of stock."""
        return self.auto.seconds / self.stock.seconds

    @property
    def cpu_ratio(self) -> float:
        """Processor time of ``auto`` over that of stock."""
        return self.auto.cpu_seconds / self.stock.cpu_seconds

    @property
    def memory_ratio(self) -> float:
        """Peak memory of ``auto``, all processes together, over that of stock."""
        return self.auto.peak_bytes / self.stock.peak_bytes

    @property
    def largest_process_ratio(self) -> float:
        """Peak memory of the largest process of ``auto`` over that of stock."""
        return self.auto.largest_process_bytes / self.stock.largest_process_bytes


def make_incidents(names: list[str], directory: Path) -> list[Subject]:
    """Trains and exports incidents in a process of their own, whose memory is gone before the clock starts."""
    from tests.incidents.classifiers import CLASSIFIERS
    from tests.incidents.other_shapes import OTHER_SHAPES

    names = names or [*CLASSIFIERS, *OTHER_SHAPES]
    measure([sys.executable, "-m", "tests.incidents.table", "--dir", str(directory), *names])
    return [Subject(name, directory / name, directory / f"{name}.npz") for name in names]


def make_photos(num_rows: int, stock_rows: int, directory: Path) -> Subject:
    """An untrained MobileNetV2 and its pool, made in this process."""
    import numpy as np

    from benchmarks.evaluator_cost import PHOTOS, images_and_labels, save_float_model

    images, labels = images_and_labels(PHOTOS, None, num_rows)
    save_float_model(PHOTOS, images, labels, directory / "photos")
    np.savez(directory / "photos.npz", image=images.astype(np.float32), y=labels)
    return Subject(f"MobileNetV2, {num_rows}", directory / "photos", directory / "photos.npz", stock_rows)


def run_pair(subject: Subject, out: Path, auto_first: bool) -> Pair:
    """Converts a model twice, each time in a fresh process."""
    from components.saved_models.saved_model import read_signature

    key = read_signature(subject.saved_model).key
    stock = [sys.executable, "-m", "benchmarks.stock_int8", str(subject.saved_model), key, str(subject.pool)]
    auto = [sys.executable, "-m", "pipeline.cli", "convert", "--recipe", "auto", "--min-samples", "1", "--saved-model"]
    commands = {
        "stock": [*stock, str(out / "stock.tflite"), str(subject.stock_rows)],
        "auto": [*auto, str(subject.saved_model), "--calibration", str(subject.pool), "--out", str(out)],
    }
    order = ("auto", "stock") if auto_first else ("stock", "auto")
    costs = {name: measure(commands[name]) for name in order}
    return Pair(costs["stock"], costs["auto"])


def table(subjects: list[Subject], num_pairs: int, out: Path) -> Iterator[str]:
    """Lines as they are measured, and the medians at the end."""
    header = ("stock s", "auto s", "ratio", "CPU ratio", "stock MiB", "auto MiB", "ratio", "largest process")
    yield f"{'model':22s} " + " ".join(f"{title:>9s}" for title in header)
    pairs = []
    for turn in range(num_pairs):
        for subject in subjects:
            pair = run_pair(subject, out, auto_first=turn % 2 == 1)
            pairs.append(pair)
            yield f"{subject.name:22s} {_line(pair)}"
    for what, ratios, limit in (
        ("wall time", [pair.time_ratio for pair in pairs], MAX_TIME_RATIO),
        ("processor time", [pair.cpu_ratio for pair in pairs], MAX_TIME_RATIO),
        ("peak memory of all processes", [pair.memory_ratio for pair in pairs], MAX_MEMORY_RATIO),
        ("peak memory of the largest", [pair.largest_process_ratio for pair in pairs], MAX_MEMORY_RATIO),
    ):
        yield (
            f"{what}: median {statistics.median(ratios):.2f}x of stock, {min(ratios):.2f} to {max(ratios):.2f} "
            f"in {len(ratios)} pairs; at most {limit} is wanted"
        )


def _line(pair: Pair) -> str:
    return (
        f"{pair.stock.seconds:9.2f} {pair.auto.seconds:9.2f} {pair.time_ratio:9.2f} {pair.cpu_ratio:9.2f} "
        f"{pair.stock.peak_bytes / MEBIBYTE:9.0f} {pair.auto.peak_bytes / MEBIBYTE:9.0f} {pair.memory_ratio:9.2f} "
        f"{pair.auto.largest_process_bytes / MEBIBYTE:9.0f}"
    )


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description="What auto costs next to one stock int8 conversion.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="incidents of tests/incidents; all without a name")
    parser.add_argument("--pairs", type=int, default=3, help="pairs of each model (default 3)")
    parser.add_argument("--saved-model", type=Path, help="a model of yours instead of the incidents")
    parser.add_argument("--calibration", type=Path, help="its pool: .npz with one array per input name")
    parser.add_argument(
        "--photos", type=int, help="a MobileNetV2 and a pool of so many images instead of the incidents"
    )
    parser.add_argument(
        "--stock-rows", type=int, default=200, help="rows that calibrate the stock conversion (default 200)"
    )
    arguments = parser.parse_args()
    if (arguments.saved_model is None) != (arguments.calibration is None):
        parser.error("--saved-model and --calibration go together")
    quiet_libraries()
    os.environ["PYTHONPATH"] = str(Path(__file__).parent.parent)  # for the processes started: the same sources as here
    with tempfile.TemporaryDirectory(prefix="conversion-cost-") as scratch:
        if arguments.photos:
            subjects = [make_photos(arguments.photos, arguments.stock_rows, Path(scratch))]
        elif arguments.saved_model is None:
            subjects = make_incidents(arguments.names, Path(scratch))
        else:
            model = arguments.saved_model
            subjects = [Subject(model.name, model, arguments.calibration, arguments.stock_rows)]
        for line in table(subjects, arguments.pairs, Path(scratch)):
            print(line, flush=True)


if __name__ == "__main__":
    main()
