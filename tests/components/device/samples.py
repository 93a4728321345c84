"""Models and rows for devices, and what is left of a measurement."""

from __future__ import annotations

import shutil
from pathlib import Path

from edgeproof_edge.interpreter import TFLiteModel

from components.device.measurement import Subject
from tests.edge.bundles import MODELS, rows_for

UNREACHABLE_BY_SSH = "Connection refused" if shutil.which("ssh") else "ssh is not installed here"


def subject_of(file: str = "int8.tflite", num_rows: int = 24, twin: str | None = "float32.tflite") -> Subject:
    content = (MODELS / file).read_bytes()
    rows = rows_for(TFLiteModel.load(content), num_rows)
    return Subject(content, (MODELS / twin).read_bytes() if twin else None, rows, threshold=0.5)


def leftovers(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())
