"""Reads .npz files that users give on the command line. Pickled arrays are refused: unpickling runs code."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from edgeproof_edge.errors import InputError
from numpy.typing import NDArray

_HOW = "Write it with numpy.savez(file, x=..., y=...)."


def read_arrays(path: Path, what: str, raises: type[InputError]) -> dict[str, NDArray[Any]]:
    """All arrays of a file, by name.

    Args:
        path: A file as ``numpy.savez`` writes it.
        what: How the message calls it, such as ``calibration file``.
        raises: The error of the caller's room.

    Raises:
        InputError: As ``raises``: missing, no npz, a bare array, or pickled.
    """
    try:
        with path.open("rb") as file:  # ours to close: NumPy leaves a file that is no zip open
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.ndarray):
                return {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        raise raises(f"{what} {path} does not exist. {_HOW}") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise raises(f"{what} {path} cannot be read as .npz of plain arrays: {error}. {_HOW}") from error
    raise raises(f"{what} {path} holds a bare array. {_HOW}")
