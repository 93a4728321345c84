"""Parquet files: a column is a feature, a list column a feature with several values; row groups are read side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from components import files
from components.errors import DataError
from components.formats.data_format import CORRECT, DataFormat, Row

_ROWS_AT_ONCE = 1_000


class Parquet(DataFormat):
    """A row is a row; text is UTF-8."""

    name = "parquet"
    description = "Parquet"

    def check_file(self, path: Path) -> None:
        """The schema stands at the end of the file and is read whole."""
        self.columns(path)

    def columns(self, path: Path) -> Sequence[str]:
        import pyarrow
        import pyarrow.parquet

        try:
            names: list[str] = pyarrow.parquet.read_schema(path).names
        except (pyarrow.ArrowException, OSError) as error:
            reason = " ".join(str(error).split())[:200]
            raise DataError(f"{path} is not a Parquet file: {reason} {CORRECT}") from error
        return names

    def parts(self, path: str) -> Sequence[int]:
        """Its row groups."""
        with files.open_file(path) as file:
            return range(max(1, self._open(file, path).num_row_groups))

    def rows(self, path: str, part: int) -> Iterator[Row]:
        import pyarrow

        with files.open_file(path) as file:
            parquet = self._open(file, path)
            if not parquet.num_row_groups:
                return
            number = sum(parquet.metadata.row_group(index).num_rows for index in range(part))
            try:
                for batch in parquet.iter_batches(_ROWS_AT_ONCE, row_groups=[part]):
                    for columns in batch.to_pylist():
                        number += 1
                        place = f"row {number:,}"
                        yield Row(place, {name: self._values(path, place, name, columns[name]) for name in columns})
            except (pyarrow.ArrowException, OSError) as error:
                raise self.unreadable(path, " ".join(str(error).split())[:300].rstrip(".")) from error

    def _open(self, file: Any, path: str) -> Any:
        import pyarrow
        import pyarrow.parquet

        try:
            return pyarrow.parquet.ParquetFile(file)
        except (pyarrow.ArrowException, OSError) as error:
            raise self.unreadable(path, " ".join(str(error).split())[:300].rstrip(".")) from error

    def _values(self, path: str, place: str, name: str, value: Any) -> list[Any]:
        values = [] if value is None else value if isinstance(value, list) else [value]
        kinds = {_kind(item) for item in values}
        if None in kinds or len(kinds) > 1:
            shown = next((type(item).__name__ for item in values if _kind(item) is None), "mixed")
            raise self.unreadable(
                path,
                f"the column {name!r} holds {shown} values in {place}, which an example cannot hold; use numbers, text, bytes, or one "
                "flat list of these per row",
            )
        return [int(item) if isinstance(item, bool) else item for item in values]


def _kind(value: Any) -> str | None:
    if isinstance(value, (bool, int, float)):
        return "number"
    return "text" if isinstance(value, (str, bytes)) else None
