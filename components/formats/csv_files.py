"""CSV files with one header line, in UTF-8; a mark at the beginning (BOM) and line breaks inside quotes are understood."""

from __future__ import annotations

import csv
import gzip
import io
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from components import files
from components.errors import DataError
from components.formats.data_format import CORRECT, DataFormat, Row

csv.field_size_limit(sys.maxsize)


class Csv(DataFormat):
    """A row is a line, its values text."""

    name = "csv"
    description = "CSV"
    holds_scalars_only = True

    def check_file(self, path: Path) -> None:
        """Binary files are no UTF-8 text in their first line."""
        self.columns(path)

    def columns(self, path: Path) -> Sequence[str]:
        with _text(str(path)) as file:
            try:
                return _names(next(csv.reader([file.readline()], skipinitialspace=True), []))
            except (UnicodeDecodeError, csv.Error):
                raise DataError(f"{path} is not CSV: its first line is not UTF-8 text. {CORRECT}") from None

    def rows(self, path: str, part: int) -> Iterator[Row]:
        with _text(path) as file:
            lines = csv.reader(file, skipinitialspace=True, strict=True)
            try:
                names = _names(next(lines, []))
                start = lines.line_num + 1
                for cells in lines:
                    if cells:
                        if len(cells) != len(names):
                            raise self.unreadable(
                                path,
                                f"line {start:,} has {len(cells)} cell(s), but the header names {len(names)} columns",
                            )
                        yield Row(
                            f"line {start:,}", {n: _cell(c) for n, c in zip(names, cells, strict=True)}, is_text=True
                        )
                    start = lines.line_num + 1
            except UnicodeDecodeError as error:
                raise self.unreadable(
                    path, f"after line {lines.line_num:,} it is not UTF-8 text ({error.reason})"
                ) from None
            except csv.Error as error:
                raise self.unreadable(path, f"line {lines.line_num:,}: {error}") from None
            except (EOFError, OSError) as error:
                raise self.unreadable(path, f"after line {lines.line_num:,}: {error}") from None


def _names(cells: Sequence[str]) -> list[str]:
    return [cell.strip() for cell in cells]


def _cell(cell: str) -> tuple[str, ...]:
    text = cell.strip()
    return (text,) if text else ()


@contextmanager
def _text(path: str) -> Iterator[IO[str]]:
    with files.open_file(path) as stored:
        opened = gzip.GzipFile(fileobj=stored) if path.endswith(".gz") else stored
        with io.TextIOWrapper(opened, encoding="utf-8-sig", newline="") as text:
            yield text
