"""The cache key of a room changes with the code that it can run, and only with that."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from components.code_version import code_version


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "user"
    folder.mkdir()
    (folder / "model.py").write_text("import layers\n", encoding="utf-8")
    (folder / "layers.py").write_text("WIDTH = 8\n", encoding="utf-8")
    return folder / "model.py"


def version(model: Path) -> str:
    return code_version("trainer", (str(model),))


def test_an_unrelated_file_changes_nothing(model: Path) -> None:
    before = version(model)
    model.with_name("notes.py").write_text("\n", encoding="utf-8")
    assert version(model) == before


@pytest.mark.parametrize("name", ["model.py", "layers.py"])
def test_a_file_that_runs_changes_it(model: Path, name: str) -> None:
    before = version(model)
    with model.with_name(name).open("a", encoding="utf-8") as file:
        file.write("DEPTH = 2\n")
    assert version(model) != before


def test_beside_a_dynamic_import_every_file_counts(model: Path) -> None:
    model.write_text("import importlib\nlayers = importlib.import_module('lay' + 'ers')\n", encoding="utf-8")
    before = version(model)
    model.with_name("notes.py").write_text("\n", encoding="utf-8")
    assert version(model) != before


def test_a_function_of_a_file_counts_as_its_file(model: Path) -> None:
    assert code_version("trainer", (f"{model}:run_fn",)) == version(model)


def test_the_same_content_elsewhere_is_the_same_version(model: Path, tmp_path: Path) -> None:
    shutil.copytree(model.parent, tmp_path / "copy")
    assert version(tmp_path / "copy" / "model.py") == version(model)
