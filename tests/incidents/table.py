"""Shows what stock int8 does to every incident: ``python -m tests.incidents.table [--dir DIR] [NAME ...]``.

Builds the incidents (all, or those named), converts each with TensorFlow's converter to float32 and to int8, calibrated
with the first 200 rows of the pool, and prints per output both scores on the holdout: accuracy for classes, mean
absolute error for real values. ``--dir`` keeps the SavedModels and an .npz of the pool beside each, as
``edgeproof convert --saved-model DIR/NAME --calibration DIR/NAME.npz`` takes them.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from components.compat import quiet_libraries
from tests.incidents import stock
from tests.incidents.classifiers import CLASSIFIERS
from tests.incidents.data import Incident
from tests.incidents.other_shapes import OTHER_SHAPES

GENERATORS = {**CLASSIFIERS, **OTHER_SHAPES}


def write_pool(incident: Incident, file: Path) -> Path:
    """Writes a pool as ``edgeproof convert --calibration`` reads it: one array per input, and labels ``y``."""
    labels = {} if incident.pool_y is None else {"y": incident.pool_y}
    np.savez(file, **incident.pool_x, **labels)
    return file


def lines(incident: Incident, seconds: float) -> list[str]:
    """The table's lines for one incident, one per output."""
    float_model, int8_model = stock.convert_float(incident), stock.convert_int8(incident)
    by_float, by_int8 = stock.scores(float_model, incident), stock.scores(int8_model, incident)
    assert by_float is not None
    found = []
    for output, truth in incident.holdout_y.items():
        before, after = by_float[output], None if by_int8 is None else by_int8[output]
        what = "accuracy" if stock.is_class(truth) else "mean error"
        shown = "refused" if after is None else f"{after:7.4f} {after / before:7.3f}"
        size = f"{len(float_model):8d} {len(int8_model):7d} {len(int8_model) / len(float_model):5.2f}"
        found.append(
            f"{incident.name:22s} {output:8s} {what:10s} {before:8.4f} {shown:16s} {size} {seconds:6.1f}  {incident.cause}"
        )
    return found


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description="What stock int8 does to every incident.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(GENERATORS)}")
    parser.add_argument("--dir", type=Path, help="where SavedModels and pools stay")
    arguments = parser.parse_args()
    quiet_libraries()
    print(
        f"{'incident':22s} {'output':8s} {'metric':10s} {'float':>8s} {'int8':>7s} {'ratio':>8s} "
        f"{'bytes':>8s} {'int8':>7s} {'ratio':>5s} {'build':>5s}s  cause"
    )
    with tempfile.TemporaryDirectory(prefix="incidents-") as scratch:
        directory = arguments.dir or Path(scratch)
        directory.mkdir(parents=True, exist_ok=True)
        for name in arguments.names or GENERATORS:
            started = time.perf_counter()
            incident = GENERATORS[name](directory)
            write_pool(incident, directory / f"{name}.npz")
            print(*lines(incident, time.perf_counter() - started), sep="\n", flush=True)


if __name__ == "__main__":
    main()
