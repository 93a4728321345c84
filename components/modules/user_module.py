"""Loads a user's Python file or dotted module, and tells which line of it failed.

A file is loaded under a name made from its content, so that an edited file is never served from ``sys.modules``. It may import the
files beside it, as a script may; they come last on the path, so that none of them stands in for a library.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from components.errors import ModelError
from components.modules.local_imports import imported_packages, is_library
from components.modules.opened_files import watching
from components.tensorflow_errors import cause_of

#: Edgeproof's own packages come first on the path, so that a user's files of these names cannot be imported.
_OWN_PACKAGES = frozenset(
    {"components", "edgeproof_edge", "examples", "pipeline", "releases", "schemas", "telemetry", "triggers"}
)
#: Files that were opened in the folder of a source, in this process: a module is loaded once.
_OPENED: dict[str, set[Path]] = {}


def load_module(source: str) -> ModuleType:
    """Imports ``path/to/file.py`` or ``package.module``.

    Raises:
        ModelError: There is no such module, or importing it raised.
    """
    try:
        with remembering_opened_files(source):
            return _load_file(Path(source)) if source.endswith(".py") else importlib.import_module(source)
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(f"model module {source} cannot be imported: {describe_failure(error, source)}") from error


def _load_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise ModelError(f"model module {path} does not exist; model.module names a Python file or a dotted module.")
    _check_names_beside(path)
    source = path.read_bytes()
    name = f"edgeproof_user_{path.stem}_{hashlib.sha256(source).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    module = ModuleType(name)
    module.__file__ = str(path)
    sys.modules[name] = module
    try:
        # Compiled here, not by importlib, whose bytecode cache takes a file of equal size and time for the same file.
        exec(compile(source, str(path), "exec"), module.__dict__)
    except BaseException:
        del sys.modules[name]
        raise
    return module


@contextlib.contextmanager
def remembering_opened_files(source: str) -> Iterator[None]:
    """Adds what is opened in the folder of ``source`` meanwhile to :func:`files_opened_by`."""
    file = source_file(source)
    if not file.is_file() or is_library(file):
        yield
        return
    with watching(file.resolve().parent) as opened:
        yield
    _OPENED.setdefault(source, set()).update(opened)


def files_opened_by(source: str) -> tuple[Path, ...]:
    """The files but Python's in the folder of a module that loading it, or building its model, has opened in this process, sorted."""
    return tuple(sorted(_OPENED.get(source, ())))


def source_file(source: str) -> Path:
    """The file behind ``file.py``, ``file.py:function``, ``package.module`` or ``package.module.function``."""
    file = source.partition(":")[0]
    if file.endswith(".py"):
        return Path(file)
    for name in (source, source.rpartition(".")[0]):
        spec = importlib.util.find_spec(name) if name else None
        if spec is not None and spec.origin is not None:
            return Path(spec.origin)
    return Path(file)


def _check_names_beside(path: Path) -> None:
    """Refuses an import that would silently get Edgeproof's package instead of the user's file.

    Raises:
        ModelError: The file imports a name of ours, and a file or folder of that name lies beside it.
    """
    for name in sorted(imported_packages(path) & _OWN_PACKAGES):
        hidden = next(
            (beside for beside in (path.with_name(f"{name}.py"), path.with_name(name)) if beside.exists()), None
        )
        if hidden is not None:
            raise ModelError(
                f"{path} imports {name!r}, which is a package of Edgeproof; {hidden} beside it is hidden by it. Rename {hidden.name}, "
                f"for example to my_{hidden.name}, and the import with it."
            )


def function_of(module: ModuleType, name: str) -> Callable[..., Any] | None:
    """The module's callable of that name, or None where it has none."""
    value = getattr(module, name, None)
    return value if callable(value) else None


def call_user_function(function: Callable[..., Any], *args: Any, what: str) -> Any:
    """Calls a user's function; whatever it raises becomes a ModelError with the user's own line.

    Args:
        function: The function from the user's module.
        *args: Its arguments.
        what: The user's file and function, such as ``model.py: build_model``.
    """
    try:
        return function(*args)
    except Exception as error:
        raise ModelError(f"{what} raised {describe_failure(error, what.partition(': ')[0])}") from error


def _message_of(error: BaseException) -> str:
    """The whole message, but of TensorFlow's runtime errors (which carry a node and an operation) the cause."""
    return cause_of(str(error)) if hasattr(error, "op") and hasattr(error, "error_code") else str(error)


def describe_failure(error: BaseException, source: str) -> str:
    """One line about an exception: its type, its message, and the last line of ``source`` on its way.

    A syntax error carries its own line; AutoGraph carries the user's stack beside the exception; other errors are traced back to the
    deepest frame inside the user's file.
    """
    if isinstance(error, SyntaxError):
        return f"SyntaxError: {error.msg} (line {error.lineno})"
    autograph = getattr(error, "ag_error_metadata", None)
    if autograph is None:
        message = f"{type(error).__name__}: {_message_of(error)}"
        frames = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    else:
        message = autograph.cause_message
        frames = [
            (frame.filename, frame.lineno) for frame in reversed(autograph.translated_stack)
        ]  # innermost comes first
    lines = [line for file, line in frames if Path(file) == Path(source)]
    where = f" (line {lines[-1]})" if lines else ""
    return " ".join(message.split())[:500] + where
