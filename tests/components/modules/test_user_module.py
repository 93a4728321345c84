"""A user's module is loaded by content, and a failure names the user's own line."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from components.errors import ModelError
from components.modules.user_module import call_user_function, function_of, load_module


def test_an_edited_file_is_loaded_anew(tmp_path: Path) -> None:
    file = tmp_path / "model.py"
    file.write_text("def value(): return 1\n", encoding="utf-8")
    assert load_module(str(file)).value() == 1
    file.write_text("def value(): return 2\n", encoding="utf-8")
    assert load_module(str(file)).value() == 2


def test_a_file_may_import_the_files_beside_it_but_no_library_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.path", [*sys.path])
    for name in ("layers_beside_it", "json"):
        (tmp_path / f"{name}.py").write_text("VALUE = 'beside'\n", encoding="utf-8")
    file = tmp_path / "model.py"
    file.write_text(
        "import json\ndef value():\n    import layers_beside_it\n    return layers_beside_it.VALUE\n", "utf-8"
    )
    module = load_module(str(file))
    assert module.value() == "beside"
    assert not hasattr(module.json, "VALUE")


@pytest.mark.parametrize("beside", ["components.py", "components/__init__.py"])
@pytest.mark.parametrize(
    "line", ["import components", "from components import head", "from components.head import make"]
)
def test_a_file_that_our_own_package_hides_is_named(tmp_path: Path, beside: str, line: str) -> None:
    (tmp_path / beside).parent.mkdir(exist_ok=True)
    (tmp_path / beside).write_text("def head(): ...\n", "utf-8")
    file = tmp_path / "model.py"
    file.write_text(f"{line}\n", "utf-8")
    with pytest.raises(
        ModelError, match=r"model\.py imports 'components'.*components.* is hidden.*Rename components.*my_components"
    ):
        load_module(str(file))


def test_our_own_packages_may_be_imported_where_nothing_beside_is_meant(tmp_path: Path) -> None:
    file = tmp_path / "model.py"
    file.write_text("from components.errors import ModelError\n", "utf-8")
    assert load_module(str(file)).ModelError is ModelError


def test_a_dotted_module_is_imported() -> None:
    assert function_of(load_module("json.decoder"), "JSONDecoder") is not None


@pytest.mark.parametrize(
    ("source", "message"),
    [
        pytest.param("x = 1\ndef f(:\n", r"SyntaxError: .* \(line 2\)", id="syntax-error"),
        pytest.param(
            "import no_such_library\n", r"ModuleNotFoundError: .*no_such_library.* \(line 1\)", id="missing-library"
        ),
        pytest.param("\n\n1 / 0\n", r"ZeroDivisionError: division by zero \(line 3\)", id="raises-on-import"),
    ],
)
def test_a_module_that_cannot_be_imported_names_the_line(tmp_path: Path, source: str, message: str) -> None:
    file = tmp_path / "model.py"
    file.write_text(source, encoding="utf-8")
    with pytest.raises(ModelError, match=message):
        load_module(str(file))


def test_a_missing_file_is_named() -> None:
    with pytest.raises(ModelError, match=r"nowhere\.py does not exist"):
        load_module("nowhere.py")


def test_a_function_that_raises_names_its_own_line(tmp_path: Path) -> None:
    file = tmp_path / "model.py"
    file.write_text("def build_model(h):\n    return h['width']\n", encoding="utf-8")
    build = function_of(load_module(str(file)), "build_model")
    assert build is not None
    with pytest.raises(ModelError, match=r"model.py: build_model raised KeyError: 'width' \(line 2\)"):
        call_user_function(build, {}, what=f"{file}: build_model")
