"""What is sent to a device, in one file: the code that judges, the model, its float twin and the rows."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import edgeproof_edge
import numpy as np
from edgeproof_edge.measuring import FLOAT_FILE, MODEL_FILE, REQUEST_FILE, ROWS_FILE, Request
from edgeproof_edge.tensors import TensorSpec
from numpy.typing import NDArray

from components.data.row_sources import spread_positions

#: The modules that the worker imports, by path; a test runs it with these alone.
_MODULES = (
    "__init__.py",
    "answers.py",
    "codes.py",
    "errors.py",
    "interpreter.py",
    "litert.py",
    "progress.py",
    "rows.py",
    "tensors.py",
    "flatbuffer/*.py",
    "measuring/__init__.py",
    "measuring/hardware.py",
    "measuring/worker.py",
)
_MAIN = "from edgeproof_edge.measuring.worker import main\n\nmain()\n"
#: Rows of so many bytes are sent at most, however many were asked for; but at least :data:`LEAST_ROWS`.
MAX_ROWS_BYTES = 32 << 20
LEAST_ROWS = 4

Array = NDArray[Any]
Rows = Mapping[str, Array]


def payload(model: bytes, twin: bytes | None, rows: Rows, request: Request) -> bytes:
    """A zip file that Python runs."""
    files = {MODEL_FILE: model, REQUEST_FILE: request.to_json().encode(), ROWS_FILE: packed(rows)}
    if twin is not None:
        files[FLOAT_FILE] = twin
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("__main__.py", _MAIN)
        for name, content in files.items():
            archive.writestr(name, content)
        package = Path(next(iter(edgeproof_edge.__path__)))
        for pattern in _MODULES:
            for path in sorted(package.glob(pattern)):
                archive.write(path, f"edgeproof_edge/{path.relative_to(package).as_posix()}")
    return buffer.getvalue()


def as_sent(rows: Rows, inputs: Sequence[TensorSpec]) -> dict[str, Array]:
    """Rows in the types in which a device gives them: float32 where numbers are real, the input's own otherwise."""
    return {
        spec.name: rows[spec.name].astype(
            np.float32 if spec.is_quantized or np.dtype(spec.dtype).kind == "f" else spec.dtype, copy=False
        )
        for spec in inputs
    }


def affordable(rows: Rows, wanted: int, batch: int, *, in_order: bool) -> dict[str, Array]:
    """As many rows as are wanted and can be sent, in whole batches: spread over all, or the first where they are a stream."""
    num_rows = len(next(iter(rows.values())))
    bytes_per_row = max(1, sum(array[:1].nbytes for array in rows.values()))
    number = min(num_rows, wanted, max(LEAST_ROWS, MAX_ROWS_BYTES // bytes_per_row))
    number = max(number // batch, 1) * batch
    if in_order or number >= num_rows:
        return {name: array[:number] for name, array in rows.items()}
    chosen = spread_positions(num_rows, number)
    return {name: array[chosen] for name, array in rows.items()}


def packed(rows: Rows) -> bytes:
    """Rows as an .npz file, in bytes where they are whole numbers of 0 to 255, as pixels are."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{name: _smallest(array) for name, array in rows.items()})
    return buffer.getvalue()


def _smallest(array: Array) -> Array:
    with np.errstate(invalid="ignore"):
        small = array.astype(np.uint8)
    return small if np.array_equal(small, array) else array
