"""Each format reads its rows as they are stored, and names what it cannot read."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from components.errors import DataError
from components.formats.data_format import Row
from components.formats.table import FORMATS


def rows(name: str, path: Path, part: int = 0) -> list[Row]:
    return list(FORMATS[name].rows(str(path), part))


def parquet(path: Path, columns: dict[str, list[Any]], **options: Any) -> Path:
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.table(columns), path, **options)
    return path


def test_every_format_is_in_the_table_under_its_name() -> None:
    assert set(FORMATS) == {"image_folder", "tfrecord", "csv", "parquet"}
    assert all(each.name == name and each.description for name, each in FORMATS.items())


@pytest.mark.parametrize(
    ("value", "values"),
    [
        pytest.param(0, [0], id="zero-is-a-value"),
        pytest.param(0.0, [0.0], id="zero-point-zero-is-a-value"),
        pytest.param(False, [0], id="false-is-a-value"),
        pytest.param("", [""], id="empty-text-is-a-value"),
        pytest.param([1, 2], [1, 2], id="a-list-of-whole-numbers"),
        pytest.param([1.0, 0.5], [1.0, 0.5], id="a-list-with-a-fraction"),
        pytest.param("Grüße", ["Grüße"], id="text"),
        pytest.param(b"\xff\x00", [b"\xff\x00"], id="bytes-as-they-are"),
        pytest.param(None, [], id="null-is-missing"),
        pytest.param([], [], id="an-empty-list-is-missing"),
    ],
)
def test_a_parquet_value_becomes_a_list(tmp_path: Path, value: object, values: list[Any]) -> None:
    other = [1] if isinstance(value, list) else value
    (first, _) = rows("parquet", parquet(tmp_path / "a.parquet", {"x": [value, other]}))
    assert (first.place, dict(first.values)) == ("row 1", {"x": values})


@pytest.mark.parametrize("value", [[[1], [2]], {"a": 1}], ids=["nested-lists", "a-struct"])
def test_what_an_example_cannot_hold_is_refused_by_name(tmp_path: Path, value: object) -> None:
    with pytest.raises(DataError, match=r"a\.parquet cannot be read as Parquet: the column 'x' holds .* in row 1"):
        rows("parquet", parquet(tmp_path / "a.parquet", {"x": [value]}))


def test_parquet_row_groups_are_parts(tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", {"x": list(range(10))}, row_group_size=4)
    parts = FORMATS["parquet"].parts(str(path))
    places = [(row.place, row.values["x"]) for part in parts for row in rows("parquet", path, part)]
    assert len(parts) == 3
    assert places == [(f"row {number + 1}", [number]) for number in range(10)]


def test_csv_reads_what_people_export(tmp_path: Path) -> None:
    text = '\ufeffstate, note,x\r\nok,"a, b",1\r\n\r\nworn,"two\nlines",\r\nok,"say ""hi""",NaN\r\n'
    (tmp_path / "a.csv").write_bytes(text.encode())
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(text.encode()))
    for name in ("a.csv", "a.csv.gz"):
        assert FORMATS["csv"].columns(tmp_path / name) == ["state", "note", "x"]
        assert [(row.place, dict(row.values)) for row in rows("csv", tmp_path / name)] == [
            ("line 2", {"state": ("ok",), "note": ("a, b",), "x": ("1",)}),
            ("line 4", {"state": ("worn",), "note": ("two\nlines",), "x": ()}),
            ("line 6", {"state": ("ok",), "note": ('say "hi"',), "x": ("NaN",)}),
        ]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(b"a,b\n1,2\n3\n", r"line 3 has 1 cell\(s\), but the header names 2 columns", id="a-short-row"),
        pytest.param(b'a,b\n1,"2\n', "line 2: unexpected end of data", id="an-open-quote"),
        pytest.param(b"a,b\n1,2\n\xff,3\n", "is not UTF-8 text", id="another-encoding"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(DataError, match=reason) as refusal:
        rows("csv", tmp_path / "a.csv")
    assert str(refusal.value).startswith(f"{tmp_path / 'a.csv'} cannot be read as CSV: ")


def test_a_cut_gzip_csv_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"a,b\n" + b"1,2\n" * 5000)[:-9])
    with pytest.raises(DataError, match=r"a\.csv\.gz cannot be read as CSV: after line .*ended before"):
        rows("csv", tmp_path / "a.csv.gz")
