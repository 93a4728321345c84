"""Which local files count for a user's module."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from components.modules.local_imports import reachable_files

UNRELATED = "notes.py"


def reached(folder: Path, files: dict[str, str], entry: str = "model.py") -> set[str]:
    """The files of ``folder`` that count, after ``files`` and an unrelated one were written into it."""
    for name, text in {UNRELATED: "", **files}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return {str(file.relative_to(folder)) for file in reachable_files(folder / entry)}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        pytest.param({"model.py": "import json\nimport numpy as np\n"}, {"model.py"}, id="libraries-only"),
        pytest.param(
            {"model.py": "import a", "a.py": "from b import c", "b.py": ""}, {"model.py", "a.py", "b.py"}, id="chain"
        ),
        pytest.param({"model.py": "import a", "a.py": "import model"}, {"model.py", "a.py"}, id="cycle"),
        pytest.param({"model.py": "def f():\n    import a", "a.py": ""}, {"model.py", "a.py"}, id="inside-a-function"),
        pytest.param({"model.py": "import types", "types.py": ""}, {"model.py", "types.py"}, id="named-as-a-library"),
        pytest.param({"model.py": "f('a.Layer')", "a.py": ""}, {"model.py", "a.py"}, id="named-in-text"),
        pytest.param({"model.py": "f('', './')"}, {"model.py"}, id="text-without-a-name"),
        pytest.param(
            {"model.py": "import p", "p/__init__.py": "", "p/q/__init__.py": "", "p/q/r.py": "import a", "a.py": ""},
            {"model.py", "p/__init__.py", "p/q/__init__.py", "p/q/r.py", "a.py"},
            id="nested-package",
        ),
        pytest.param(
            {"model.py": "from p.q import r", "p/__init__.py": "", "p/q/__init__.py": "", "p/q/r.py": "", "p/s.py": ""},
            {"model.py", "p/__init__.py", "p/q/__init__.py", "p/q/r.py"},
            id="one-module-of-a-package",
        ),
        pytest.param(
            {"model.py": "from p import *", "p/__init__.py": "", "p/s.py": ""},
            {"model.py", "p/__init__.py", "p/s.py"},
            id="star",
        ),
        pytest.param({"model.py": "import n.a", "n/a.py": "", "n/b.py": ""}, {"model.py", "n/a.py"}, id="no-init"),
        pytest.param({"model.py": "from . import a", "a.py": ""}, {"model.py", "a.py"}, id="relative"),
        pytest.param(
            {
                "model.py": "import p.m",
                "p/__init__.py": "",
                "p/m.py": "from .k import x\nfrom .. import a",
                "p/k.py": "",
                "a.py": "",
            },
            {"model.py", "p/__init__.py", "p/m.py", "p/k.py", "a.py"},
            id="relative-in-a-package",
        ),
        pytest.param({"model.py": "import sys\nprint(sys.argv)"}, {"model.py"}, id="harmless-sys"),
    ],
)
def test_imports_are_followed(tmp_path: Path, files: dict[str, str], expected: set[str]) -> None:
    assert reached(tmp_path, files) == expected


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("def f(:", id="does-not-parse"),
        pytest.param("from importlib import import_module", id="importlib"),
        pytest.param("__import__('a' + 'b')", id="dunder-import"),
        pytest.param("exec(open('x').read())", id="exec"),
        pytest.param("import runpy", id="runpy"),
        pytest.param("import sys\nsys.path.insert(0, 'lib')", id="sys-path"),
        pytest.param("import sys as s\ns.path += ['lib']", id="sys-path-by-another-name"),
        pytest.param("from sys import path", id="path-of-sys"),
        pytest.param("import sys\nf(sys)", id="sys-handed-on"),
        pytest.param("import no_such_module_anywhere", id="unknown-module"),
    ],
)
@pytest.mark.parametrize("name", ["model.py", "a.py"])
def test_what_cannot_be_followed_counts_with_its_folder(tmp_path: Path, name: str, text: str) -> None:
    assert UNRELATED in reached(tmp_path, {"model.py": "import a", "a.py": "", name: text})


def test_a_module_of_a_package_reaches_its_own_package(tmp_path: Path) -> None:
    files = {"p/__init__.py": "", "p/model.py": "from p.layers import x", "p/layers.py": "", "p/other.py": ""}
    assert reached(tmp_path, files, "p/model.py") == {"p/__init__.py", "p/model.py", "p/layers.py"}


def test_a_local_file_on_the_import_path_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path / "lib")
    files = {"model.py": "import lib_of_this_test", "lib/lib_of_this_test.py": "raise SystemExit('it was run')"}
    assert reached(tmp_path, files) == {"model.py", "lib/lib_of_this_test.py"}
    assert "lib_of_this_test" not in sys.modules


def test_an_installed_module_reaches_its_own_package_only(tmp_path: Path) -> None:
    files = {"p/__init__.py": "", "p/m.py": "import p.k, json", "p/k.py": "", "p/other.py": "", "json.py": ""}
    assert reached(tmp_path / "site-packages", files, "p/m.py") == {"p/__init__.py", "p/m.py", "p/k.py"}


@pytest.mark.parametrize("first", ["import importlib", "import no_such_module_anywhere"])
def test_what_can_be_followed_counts_too(tmp_path: Path, first: str) -> None:
    files = {"model.py": f"{first}\nimport p.m", "p/__init__.py": "", "p/m.py": ""}
    assert reached(tmp_path, files) == {*files, UNRELATED}


def test_a_missing_file_counts_with_its_folder(tmp_path: Path) -> None:
    assert reached(tmp_path, {"a.py": ""}) == {"a.py", UNRELATED}
