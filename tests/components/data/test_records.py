"""A TFRecord file that was cut or changed anywhere is refused, by every reader."""

from __future__ import annotations

import gzip
import io
import struct
from pathlib import Path

import google_crc32c
import pytest

from components.data.records import check_file_list, read_records, require_whole, write_file_list
from components.errors import DataError

RECORDS = [b"", b"first", b"second" * 7, bytes(range(64))]


def framed(payload: bytes) -> bytes:
    """A record as the TFRecord format has it (tensorflow/core/lib/io/record_writer.h)."""

    def masked(data: bytes) -> bytes:
        crc = google_crc32c.value(data)
        return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)

    length = struct.pack("<Q", len(payload))
    return length + masked(length) + payload + masked(payload)


PLAIN = b"".join(map(framed, RECORDS))
GZIP = gzip.compress(PLAIN, mtime=0)
TWO_MEMBERS = gzip.compress(PLAIN[:30], mtime=0) + gzip.compress(PLAIN[30:], mtime=0)
BORDERS = {sum(len(framed(record)) for record in RECORDS[:number]) for number in range(1, len(RECORDS))}


def read(content: bytes, *, is_gzip: bool) -> list[bytes]:
    return list(read_records(io.BytesIO(content), "data.tfrecord", is_gzip=is_gzip))


@pytest.mark.parametrize(
    ("content", "is_gzip"), [(PLAIN, False), (GZIP, True), (TWO_MEMBERS, True)], ids=["plain", "gzip", "two-members"]
)
def test_a_whole_file_gives_its_records(content: bytes, is_gzip: bool) -> None:
    assert read(content, is_gzip=is_gzip) == RECORDS


def test_records_longer_than_a_chunk_come_out_whole() -> None:
    long = bytes(3_000_000)
    assert read(framed(long) + framed(b"end"), is_gzip=False) == [long, b"end"]
    assert read(gzip.compress(framed(long) + framed(b"end"), 1), is_gzip=True) == [long, b"end"]


@pytest.mark.parametrize("content", [GZIP, TWO_MEMBERS], ids=["one-member", "two-members"])
def test_a_gzip_file_is_refused_at_every_cut(content: bytes) -> None:
    for length in range(len(content)):
        with pytest.raises(DataError, match=r"data\.tfrecord is damaged"):
            read(content[:length], is_gzip=True)


def test_a_plain_file_is_refused_at_every_cut_that_leaves_a_mark() -> None:
    for length in set(range(len(PLAIN))) - BORDERS:
        with pytest.raises(DataError, match=r"data\.tfrecord is damaged: it "):
            read(PLAIN[:length], is_gzip=False)
    for length in BORDERS:
        assert len(read(PLAIN[:length], is_gzip=False)) < len(RECORDS)


@pytest.mark.parametrize(("content", "is_gzip"), [(PLAIN, False), (GZIP, True)], ids=["plain", "gzip"])
def test_a_changed_byte_never_changes_what_is_read(content: bytes, is_gzip: bool) -> None:
    num_refused = 0
    for position in range(len(content)):
        changed = bytearray(content)
        changed[position] ^= 0x10
        try:
            assert read(bytes(changed), is_gzip=is_gzip) == RECORDS  # a bit that means nothing, as gzip's time stamp
        except DataError:
            num_refused += 1
    assert num_refused >= len(content) - 10


def test_bytes_behind_the_gzip_stream_are_refused() -> None:
    with pytest.raises(DataError, match="gzip stream is broken"):
        read(GZIP + b"more", is_gzip=True)


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    for name in ("a.gz", "b.gz"):
        (tmp_path / "Split-train").mkdir(exist_ok=True)
        (tmp_path / "Split-train" / name).write_bytes(GZIP)
    write_file_list(str(tmp_path), {"Split-train/a.gz": 4, "Split-train/b.gz": 4})
    return tmp_path


def files(artifact: Path) -> list[str]:
    return sorted(map(str, (artifact / "Split-train").iterdir()))


def test_whole_files_are_counted(artifact: Path) -> None:
    check_file_list(str(artifact / "Split-train"), files(artifact))
    assert require_whole(files(artifact)) == 8


def test_a_whole_file_with_fewer_records_than_were_written_is_named(artifact: Path) -> None:
    (artifact / "Split-train" / "b.gz").write_bytes(gzip.compress(PLAIN[: min(BORDERS)]))
    with pytest.raises(DataError, match=r"b\.gz is damaged: it holds 1 records, and 4 were written"):
        require_whole(files(artifact))


@pytest.mark.parametrize("is_gone", [True, False], ids=["gone", "come"])
def test_a_file_that_is_gone_or_has_come_is_named(artifact: Path, is_gone: bool) -> None:
    split = artifact / "Split-train"
    if is_gone:
        (split / "b.gz").unlink()
    else:
        (split / "c.gz").write_bytes(GZIP)
    with pytest.raises(DataError, match=r"b\.gz is missing" if is_gone else r"c\.gz was not written"):
        check_file_list(str(split), files(artifact))


def test_an_artifact_of_another_writer_has_no_list(tmp_path: Path) -> None:
    (tmp_path / "Split-train").mkdir()
    (tmp_path / "Split-train" / "a.gz").write_bytes(GZIP)
    check_file_list(str(tmp_path / "Split-train"), files(tmp_path))
    assert require_whole(files(tmp_path)) == 4
