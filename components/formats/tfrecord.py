"""TFRecord files of tf.Example; gzip-compressed where the name ends in .gz."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from components import files
from components.data.records import read_records
from components.errors import DataError
from components.formats.data_format import CORRECT, DataFormat, Row

_GZIP_MAGIC = b"\x1f\x8b"
_GZIP_ENDING = ".gz"


class TFRecord(DataFormat):
    """A row is a tf.Example, and a column a feature of it."""

    name = "tfrecord"
    description = "TFRecords of tf.Example"

    def check_file(self, path: Path) -> None:
        """A plain record begins with its length (8 bytes, little-endian)."""
        with path.open("rb") as file:
            beginning = file.read(12)
        is_gzip = beginning.startswith(_GZIP_MAGIC)
        if is_gzip != (path.suffix == _GZIP_ENDING):
            state, ending = ("gzip-compressed", "does not end") if is_gzip else ("not gzip-compressed", "ends")
            raise DataError(f"{path} is {state}, but its name {ending} in .gz, by which one tells. Rename the file.")
        if not beginning:
            raise DataError(f"{path} is empty (0 bytes). Delete it, or write it again.")
        if not is_gzip and (len(beginning) < 12 or struct.unpack("<Q", beginning[:8])[0] > path.stat().st_size):
            raise DataError(f"{path} is not a TFRecord file: its first record would outgrow the file. {CORRECT}")

    def rows(self, path: str, part: int) -> Iterator[Row]:
        from google.protobuf.message import DecodeError

        from components.data.example_proto import decode_example

        with files.open_file(path) as file:
            records = read_records(file, path, is_gzip=path.endswith(_GZIP_ENDING))
            for number, record in enumerate(records, 1):
                try:
                    values = decode_example(record)
                except DecodeError:
                    raise self.unreadable(path, f"record {number:,} is no tf.Example") from None
                yield Row(f"record {number:,}", values)
