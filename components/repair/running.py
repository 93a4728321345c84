"""Runs a .tflite file on many rows with as many interpreters as there are cores; the outputs are the same with any number.

Rules: 1. Every interpreter gets whole steps, cut where one alone would cut them. 2. How rows go in is found out once, on all
rows. 3. A stream has one interpreter: its rows depend on those before.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from edgeproof_edge.interpreter import TFLiteModel
from edgeproof_edge.rows import Feeding
from numpy.typing import NDArray

from components.light_workers import usable_cores

Array = NDArray[Any]

#: Rows below which loading another interpreter costs more than it saves.
MIN_ROWS_PER_WORKER = 32


def predict(model: bytes, rows: Mapping[str, Array], num_workers: int | None = None) -> dict[str, Array]:
    """Outputs ``[n, ...]`` by name for inputs ``[n, ...]`` by name.

    Args:
        model: The bytes of the file.
        rows: The inputs, in real-world units.
        num_workers: Interpreters at most; None for one per usable core.

    Raises:
        EdgeproofError: As ``TFLiteModel.load`` and ``TFLiteModel.predict`` raise.
    """
    first = TFLiteModel.load(model)
    num_rows = len(next(iter(rows.values())))
    wanted = min(num_workers or usable_cores(), num_rows // MIN_ROWS_PER_WORKER)
    if wanted < 2 or first.find_feeding(rows) in (None, Feeding.STREAM):
        return first.predict(rows)
    step = first.rows_per_step
    size = -(-num_rows // (wanted * step)) * step
    parts = [{name: array[start : start + size] for name, array in rows.items()} for start in range(0, num_rows, size)]
    models = [first, *(first.twin() for _ in parts[1:])]
    with ThreadPoolExecutor(len(parts)) as pool:
        outputs = list(pool.map(TFLiteModel.predict, models, parts))
    return {name: np.concatenate([part[name] for part in outputs]) for name in outputs[0]}
