"""Reads TFRecord files so that a damaged one is never taken for whole.

TensorFlow's and Beam's readers take a gzip file that was cut at an unlucky byte for a shorter one. Rules, in order:
1. A gzip stream must end with its trailer (RFC 1952: CRC-32 and length), and nothing may follow it. 2. Every record must be
whole, and its two checksums (masked CRC-32C, as TFRecord writes them) must fit. 3. Where the writer left a list of its files
(:func:`write_file_list`), each must be there and hold as many records. A plain file of somebody else that was cut exactly
between two records has no mark of it: only rule 3 would tell, so gzip is the better choice for files that travel.
"""

from __future__ import annotations

import json
import os
import struct
import uuid
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

import google_crc32c

from components import files
from components.errors import DataError

#: The list of an Examples artifact's files, beside its splits: path below the artifact -> number of records.
FILE_LIST = "record_files.json"
_CHUNK_BYTES = 1 << 20
_HEADER = struct.Struct("<QI")  # length, its checksum
_CHECKSUM = struct.Struct("<I")
#: zlib's code for "a gzip header and trailer around it".
_GZIP_WINDOW = 16 + zlib.MAX_WBITS
_CRC_MASK = 0xA282EAD8


class _GzipReader:
    """A gzip file of one member or several, decompressed; every trailer is checked, also the last one."""

    def __init__(self, file: IO[bytes], name: str) -> None:
        self._file = file
        self._name = name
        self._stream = zlib.decompressobj(_GZIP_WINDOW)
        self._waiting = b""

    def read_chunk(self) -> bytes:
        """The next bytes; empty at the end of a whole file."""
        while True:
            if self._stream.eof:
                self._waiting = self._stream.unused_data or self._file.read(_CHUNK_BYTES)
                if not self._waiting:
                    return b""
                self._stream = zlib.decompressobj(_GZIP_WINDOW)
            else:
                self._waiting = self._stream.unconsumed_tail or self._file.read(_CHUNK_BYTES)
                if not self._waiting:
                    raise _damaged(self._name, "it ends in the middle of its gzip stream")
            try:
                chunk = self._stream.decompress(self._waiting, _CHUNK_BYTES)
            except zlib.error as error:
                raise _damaged(self._name, f"its gzip stream is broken ({error})") from None
            if chunk:
                return chunk


class _PlainReader:
    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def read_chunk(self) -> bytes:
        return self._file.read(_CHUNK_BYTES)


class _Stream:
    """Bytes in the pieces that a record has."""

    def __init__(self, reader: _GzipReader | _PlainReader, name: str) -> None:
        self._reader = reader
        self._name = name
        self._buffer = b""
        self._position = 0

    def is_at_end(self) -> bool:
        return not self._fill(1)

    def take(self, size: int, record: int) -> bytes:
        if not self._fill(size):
            raise _damaged(self._name, f"it ends in the middle of record {record:,}")
        start, self._position = self._position, self._position + size
        return self._buffer[start : self._position]

    def _fill(self, size: int) -> bool:
        """Whether ``size`` bytes are there."""
        available = len(self._buffer) - self._position
        if available >= size:
            return True
        pieces = [self._buffer[self._position :]]
        while available < size and (chunk := self._reader.read_chunk()):
            pieces.append(chunk)
            available += len(chunk)
        self._buffer, self._position = b"".join(pieces), 0
        return available >= size


def read_records(file: IO[bytes], name: str, *, is_gzip: bool) -> Iterator[bytes]:
    """Every record of one TFRecord file; what came before damage has been yielded when the error is raised.

    Args:
        file: The file's bytes as they are stored.
        name: How the message calls the file.
        is_gzip: Whether the file is gzip-compressed.

    Raises:
        DataError: The file is empty, cut or damaged.
    """
    stream = _Stream(_GzipReader(file, name) if is_gzip else _PlainReader(file), name)
    if not is_gzip and stream.is_at_end():
        raise _damaged(name, "it is empty (0 bytes)")
    number = 0
    while not stream.is_at_end():
        number += 1
        header = stream.take(_HEADER.size, number)
        length, checksum = _HEADER.unpack(header)
        if _masked_crc(header[:8]) != checksum:
            raise _damaged(name, f"the length of record {number:,} does not fit its checksum")
        payload = stream.take(length, number)
        if _CHECKSUM.unpack(stream.take(_CHECKSUM.size, number))[0] != _masked_crc(payload):
            raise _damaged(name, f"record {number:,} does not fit its checksum")
        yield payload


class RecordWriter:
    """Writes one gzip TFRecord file, which appears under its name only when it is whole.

    Records that gzip cannot shrink, such as PNG and JPEG, lose nothing by the fastest level, which is used.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.num_written = 0
        self._partial = f"{path}.{uuid.uuid4().hex}.partial"
        self._file = files.open_file(self._partial, "wb")
        self._compressor = zlib.compressobj(1, zlib.DEFLATED, _GZIP_WINDOW)

    def write(self, record: bytes) -> None:
        """Appends one record."""
        header = struct.pack("<Q", len(record))
        framed = header + _CHECKSUM.pack(_masked_crc(header)) + record + _CHECKSUM.pack(_masked_crc(record))
        self._file.write(self._compressor.compress(framed))
        self.num_written += 1

    def __enter__(self) -> RecordWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if kind is None:
            self._file.write(self._compressor.flush())
        self._file.close()
        if kind is None:
            files.rename(self._partial, self.path)
        else:
            files.remove(self._partial)


def require_whole(paths: Sequence[str]) -> int:
    """Reads gzip TFRecord files of an Examples artifact to their ends.

    Args:
        paths: The files; a list of files that the writer left beside their splits is held against them.

    Returns:
        The number of records in all of them.

    Raises:
        DataError: A file is cut or damaged, or holds other than the records that were written; the message names it.
    """
    total = 0
    listed: dict[str, Mapping[str, int]] = {}
    for path in paths:
        artifact, name = _place(path)
        with files.open_file(path) as file:
            number = sum(1 for _ in read_records(file, path, is_gzip=True))
        if artifact not in listed:
            listed[artifact] = read_file_list(artifact)
        expected = listed[artifact].get(name)
        if expected not in (None, number):
            raise _damaged(path, f"it holds {number:,} records, and {expected:,} were written")
        total += number
    return total


def write_file_list(artifact_uri: str, num_records: Mapping[str, int]) -> None:
    """Notes the files of an Examples artifact.

    Args:
        artifact_uri: The artifact's folder.
        num_records: Path below the folder -> records that were written.
    """
    with files.open_file(os.path.join(artifact_uri, FILE_LIST), "wb") as file:
        file.write(json.dumps({"num_records": dict(num_records)}, sort_keys=True).encode())


def read_file_list(artifact_uri: str) -> Mapping[str, int]:
    """What :func:`write_file_list` noted; empty where another writer made the artifact."""
    path = os.path.join(artifact_uri, FILE_LIST)
    if not files.exists(path):
        return {}
    with files.open_file(path) as file:
        num_records: Mapping[str, int] = json.loads(file.read())["num_records"]
    return num_records


def check_file_list(split_uri: str, paths: Sequence[str]) -> None:
    """Refuses a split from which a file is gone, or into which one has come.

    Raises:
        DataError: The files are not those that were written.
    """
    artifact, split = os.path.split(split_uri.rstrip("/"))
    written = {name for name in read_file_list(artifact) if name.startswith(f"{split}/")}
    present = {f"{split}/{Path(path).name}" for path in paths}
    if written and written != present:
        name = min(written ^ present)
        state = "is missing" if name in written else "was not written by the step that made the others"
        raise DataError(
            f"{os.path.join(artifact, name)} {state}. Run with the artifact's folder removed to make it anew."
        )


def _place(path: str) -> tuple[str, str]:
    """The artifact's folder, and the path below it, of ``<artifact>/<split>/<file>``."""
    split, name = os.path.split(path)
    artifact, split_name = os.path.split(split)
    return artifact, f"{split_name}/{name}"


def _masked_crc(data: bytes) -> int:
    crc: int = google_crc32c.value(data)
    return (((crc >> 15) | (crc << 17)) + _CRC_MASK) & 0xFFFFFFFF


def _damaged(name: str, reason: str) -> DataError:
    return DataError(f"{name} is damaged: {reason}. Write the file again, or delete it.")
