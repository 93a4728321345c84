"""The fingerprint of a folder sees every change, and reads no file twice."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from components.data import content_hashes
from components.data.content_hashes import content_fingerprint
from components.errors import DataError

OLD = 1_500_000_000_000_000_000  # ns; long ago


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of files with equal sizes and equal times."""
    for name in ("cat/1", "cat/2", "dog/1", "dog/2"):
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
        os.utime(path, ns=(OLD, OLD))
    return tmp_path / "data"


def look(folder: Path) -> str:
    paths = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
    return content_fingerprint(folder, paths, folder.parent / "memory.json")


def move(folder: Path) -> None:
    (folder / "cat" / "1").rename(folder / "dog" / "c1")


def swap_folders(folder: Path) -> None:
    (folder / "cat").rename(folder / "x")
    (folder / "dog").rename(folder / "cat")
    (folder / "x").rename(folder / "dog")


def rename_folder(folder: Path) -> None:
    (folder / "cat").rename(folder / "kitten")


def copy_with_times(folder: Path) -> None:
    shutil.copy2(folder / "cat" / "1", folder / "cat" / "3")


def change_without_a_trace(folder: Path) -> None:
    (folder / "cat" / "1").write_text("tac/1")
    os.utime(folder / "cat" / "1", ns=(OLD, OLD))


def exchange_files(folder: Path) -> None:
    (folder / "cat" / "1").rename(folder / "x")
    (folder / "dog" / "1").rename(folder / "cat" / "1")
    (folder / "x").rename(folder / "dog" / "1")


CHANGES = [move, swap_folders, rename_folder, copy_with_times, change_without_a_trace, exchange_files]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
@pytest.mark.parametrize("is_settled", [True, False], ids=["remembered", "just-written"])
def test_every_change_is_seen(
    folder: Path, change: Callable[[Path], None], is_settled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if is_settled:
        monkeypatch.setattr(content_hashes, "_RACY_NS", -(10**18))
    before = look(folder)
    assert look(folder) == before
    change(folder)
    assert look(folder) != before


def test_the_same_files_elsewhere_are_the_same(folder: Path, tmp_path: Path) -> None:
    before = look(folder)
    shutil.copytree(folder, tmp_path / "other" / "data")
    assert look(tmp_path / "other" / "data") == before


def test_a_remembered_file_is_not_read_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content_hashes, "_RACY_NS", -(10**18))
    before = look(folder)
    read: list[str] = []
    monkeypatch.setattr(content_hashes, "run_tasks", lambda _, tasks: [read.extend(task["paths"]) for task in tasks])
    assert look(folder) == before
    assert read == []


def test_a_file_that_was_just_written_is_read_again(folder: Path) -> None:
    look(folder)
    assert "cat" not in (folder.parent / "memory.json").read_text()


def test_a_damaged_memory_costs_time_only(folder: Path) -> None:
    before = look(folder)
    (folder.parent / "memory.json").write_text('{"base": 1')
    assert look(folder) == before


def test_a_link_to_nowhere_is_named(folder: Path) -> None:
    (folder / "cat" / "9").symlink_to("gone")
    with pytest.raises(DataError, match="cat/9 cannot be read: No such file"):
        content_fingerprint(folder, ["cat/9"], folder.parent / "memory.json")
