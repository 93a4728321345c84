"""A user's module is loaded by content, and a failure names the user's own line."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.errors import ModelError
from components.user_module import call_user_function, function_of, load_module


def test_an_edited_file_is_loaded_anew(tmp_path: Path) -> None:
    file = tmp_path / "model.py"
    file.write_text("def value(): return 1\n", encoding="utf-8")
    assert load_module(str(file)).value() == 1
    file.write_text("def value(): return 2\n", encoding="utf-8")
    assert load_module(str(file)).value() == 2


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
