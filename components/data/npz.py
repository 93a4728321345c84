"""Reads .npz files that users give on the command line: whole, or in slices from the first row on.

Pickled arrays are refused: unpickling runs code. A slice is read from the stream of its member, compressed or not, so that
a file may be larger than the memory.
"""

from __future__ import annotations

import contextlib
import math
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from edgeproof_edge.errors import InputError
from numpy.typing import NDArray

#: NumPy's reader of .npy files, which has no types.
_FORMAT: Any = np.lib.format
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


@dataclass(frozen=True)
class ArrayHeader:
    """What is known of an array before its values are read; ``is_sliceable`` where its rows lie one after the other."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    is_sliceable: bool = True

    @property
    def num_rows(self) -> int:
        """Its first dimension; 0 where it has none."""
        return self.shape[0] if self.shape else 0

    @property
    def num_bytes(self) -> int:
        """Of its values in memory."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_headers(path: Path, what: str, raises: type[InputError]) -> dict[str, ArrayHeader]:
    """Shapes and types of all arrays of a file, by name, without their values.

    Raises:
        InputError: As ``raises``, for the reasons of :func:`read_arrays`.
    """
    with _explained(path, what, raises), zipfile.ZipFile(path) as archive:
        headers = {}
        for member in archive.namelist():
            with archive.open(member) as stream:
                headers[member.removesuffix(".npy")] = _read_header(stream)
        return headers
    raise AssertionError("unreachable")


def read_array(path: Path, name: str, what: str, raises: type[InputError]) -> NDArray[Any]:
    """One array of a file; raises what :func:`read_arrays` raises."""
    with _explained(path, what, raises), zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as stream:
        return np.asarray(_FORMAT.read_array(stream, allow_pickle=False))
    raise AssertionError("unreachable")


def read_slices(
    path: Path, names: Sequence[str], num_rows: int, what: str, raises: type[InputError]
) -> Iterator[dict[str, NDArray[Any]]]:
    """Rows of several arrays together, ``num_rows`` at a time, from the first on; only the last slice may be shorter.

    Raises:
        InputError: As ``raises``, for the reasons of :func:`read_arrays`.
    """
    with _explained(path, what, raises), contextlib.ExitStack() as stack:
        archive = stack.enter_context(zipfile.ZipFile(path))
        readers = {name: _MemberReader(stack, archive, name) for name in names}
        total = min(reader.header.num_rows for reader in readers.values())
        for start in range(0, total, num_rows):
            size = min(num_rows, total - start)
            yield {name: reader.next_rows(start, size) for name, reader in readers.items()}


class _MemberReader:
    """Reads an array from its first row on; one that lies column by column is read whole."""

    def __init__(self, stack: contextlib.ExitStack, archive: zipfile.ZipFile, name: str) -> None:
        self._stream = stack.enter_context(archive.open(f"{name}.npy"))
        self.header = _read_header(self._stream)
        self._whole: NDArray[Any] | None = None
        if not self.header.is_sliceable:
            with archive.open(f"{name}.npy") as stream:
                self._whole = np.asarray(_FORMAT.read_array(stream, allow_pickle=False))

    def next_rows(self, start: int, count: int) -> NDArray[Any]:
        if self._whole is not None:
            return self._whole[start : start + count]
        shape = (count, *self.header.shape[1:])
        size = math.prod(shape) * self.header.dtype.itemsize
        content = self._stream.read(size)
        if len(content) != size:
            raise EOFError(f"it ends within row {start + len(content) * count // max(1, size)}")
        return np.frombuffer(content, self.header.dtype).reshape(shape)


def _read_header(stream: IO[bytes]) -> ArrayHeader:
    version = _FORMAT.read_magic(stream)
    if version not in ((1, 0), (2, 0)):  # names of fields beyond Latin: a record type, which has no rows of numbers
        raise ValueError(f"an array of format {version[0]}.{version[1]}")
    read = _FORMAT.read_array_header_1_0 if version == (1, 0) else _FORMAT.read_array_header_2_0
    shape, is_fortran, dtype = read(stream)
    if dtype.hasobject:
        raise ValueError("an array of Python objects, which only unpickling could read")
    return ArrayHeader(tuple(shape), dtype, not is_fortran)


@contextlib.contextmanager
def _explained(path: Path, what: str, raises: type[InputError]) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise raises(f"{what} {path} does not exist. {_HOW}") from None
    except zipfile.BadZipFile as error:
        with contextlib.suppress(OSError):
            if _first_bytes(path) == b"\x93NUMPY":
                raise raises(f"{what} {path} holds a bare array. {_HOW}") from error
        raise raises(f"{what} {path} cannot be read as .npz of plain arrays: {error}. {_HOW}") from error
    except (OSError, ValueError, EOFError, KeyError, zlib.error) as error:
        raise raises(f"{what} {path} cannot be read as .npz of plain arrays: {error}. {_HOW}") from error


def _first_bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(6)
