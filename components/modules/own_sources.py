"""The files of Edgeproof that a module can run: found in the syntax trees, without importing any of them.

Rules, in order: 1. Whatever an import names, anywhere in a file, counts, and so do the packages around it. 2. Text that is the dotted name
of a module counts as an import of it: child processes are started with ``python -m``. 3. What is no Python (templates of pages) counts with
the modules of its folder. 4. Libraries are not followed: their versions are hashed elsewhere.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Set
from functools import lru_cache
from pathlib import Path

import edgeproof_edge

import components
import releases

_PACKAGES = {
    package.__name__: Path(package.__file__ or "").parent for package in (components, releases, edgeproof_edge)
}
_INIT = "__init__.py"
_COMPILED = (".py", ".pyc")
_DOTTED = re.compile(r"\w+(\.\w+)+")


def reachable_sources(module: str, not_run: Iterable[str] = ()) -> dict[str, Path]:
    """The files that running ``module`` can read, by their path from the folder of its package, such as ``components/data/npz.py``.

    Args:
        module: Dotted name of a module of ``components``, ``releases`` or ``edgeproof_edge``.
        not_run: Modules that it imports and, as it is set, does not run.

    Raises:
        ValueError: There is no such module.
    """
    files = list(_files_of(module))
    names = {path.parent.name if path.name == _INIT else path.stem for path in files[-1:]}
    if names != {module.rpartition(".")[2]}:
        raise ValueError(f"{module!r} is no module of {', '.join(_PACKAGES)}")
    return _followed(files, {path for name in not_run for path in list(_files_of(name))[-1:]})


def sources_named_in(file: Path) -> dict[str, Path]:
    """Edgeproof's files that a file from elsewhere (a user's model) can run, as :func:`reachable_sources` gives them."""
    return _followed([path for module in _modules_named_in(file) for path in _files_of(module)])


def _followed(waiting: list[Path], left_out: Set[Path] = frozenset()) -> dict[str, Path]:
    reached: set[Path] = set()
    while waiting:
        file = waiting.pop()
        if file not in reached | left_out:
            reached.add(file)
            waiting += [path for module in _modules_named_in(file) for path in _files_of(module)]
    beside = {path for folder in {file.parent for file in reached} for path in _no_python(folder)}
    return {_name(file): file for file in sorted(reached | beside)}


def _no_python(folder: Path) -> Iterator[Path]:
    return (path for path in folder.iterdir() if path.is_file() and path.suffix not in _COMPILED)


def _name(file: Path) -> str:
    top, folder = next((top, folder) for top, folder in _PACKAGES.items() if file.is_relative_to(folder))
    return f"{top}/{file.relative_to(folder).as_posix()}"


def _modules_named_in(file: Path) -> tuple[str, ...]:
    state = file.stat()
    return _parsed_names(file, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=1024)
def _parsed_names(file: Path, changed: int, size: int) -> tuple[str, ...]:
    """Dotted names that may be modules of Edgeproof; when the file changed is part of the key of the cache."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):  # a user's, or compiled: its own bytes are hashed all the same
        return ()
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and _DOTTED.fullmatch(node.value):
            names.add(node.value)
    return tuple(sorted(name for name in names if name.partition(".")[0] in _PACKAGES))


def _files_of(module: str) -> Iterator[Path]:
    """The files that importing ``module`` runs: packages from the outermost, then the module; further parts are names in it."""
    top, *parts = module.split(".")
    folder = _PACKAGES.get(top)
    if folder is None:
        return
    yield folder / _INIT
    for part in parts:
        if (folder / part / _INIT).is_file():
            folder = folder / part
            yield folder / _INIT
            continue
        if (folder / f"{part}.py").is_file():
            yield folder / f"{part}.py"
        return
