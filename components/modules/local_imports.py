"""The local files that a user's Python file can run: found in the syntax trees, without importing any of them.

Rules, in order: 1. A file too many costs a rerun; a file too few serves a stale result. So what cannot be followed counts with its whole
folder. 2. Libraries (site-packages, the standard library, Edgeproof) are not followed: their versions are hashed elsewhere.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import sysconfig
import warnings
from collections.abc import Iterator
from importlib.machinery import ModuleSpec, all_suffixes
from pathlib import Path

#: Whoever names one of these may load files that no import statement names.
_DYNAMIC = {
    *("importlib", "__import__", "runpy", "pkgutil", "pkg_resources", "imp", "zipimport", "site", "subprocess"),
    *("exec", "eval", "builtins", "__builtins__", "__path__"),
}
_DYNAMIC_OF_SYS = {"path", "meta_path", "path_hooks", "modules"}
_OURS = {"components", "edgeproof_edge"}
_INSTALLED = {"site-packages", "dist-packages"}
_STANDARD_LIBRARY = Path(sysconfig.get_path("stdlib"))
_INIT = "__init__.py"
#: ``layers``, ``layers.Conv``, ``./layers.py:conv``: text that may name a module to some loader.
_MODULE_TEXT = re.compile(r"[\w./:]+")


def reachable_files(entry: Path) -> list[Path]:
    """The file itself and the local files it can reach through imports, sorted.

    Where a file on the way does not parse (or is compiled), imports dynamically, or names a module that is not found, every ``*.py``
    beside it and beside ``entry`` counts.

    Args:
        entry: The user's file; one that does not exist counts as one that does not parse.
    """
    entry = Path(os.path.normpath(entry.absolute()))  # a link keeps its own folder
    files: set[Path] = set()
    waiting = [entry]
    while waiting:
        file = waiting.pop()
        if file not in files:
            files.add(file)
            waiting += [*_inits_above(file), *_successors(file, entry)]
    return sorted(file for file in files if file.is_file())


def _successors(file: Path, entry: Path) -> list[Path]:
    tree = _parsed(file)
    if tree is None:
        return _beside(file, entry)
    files = [path for text in _module_texts(tree) for path in _in_folders(text, (file.parent, entry.parent))]
    can_follow = not (_is_dynamic(tree) or _is_library_root(file.parent))
    for level, name in _imports(tree):
        parts = tuple(name.split("."))
        reached = _relative(level, parts, file) if level else _absolute(parts, file, entry)
        can_follow = can_follow and reached is not None
        files += reached or []
    return files if can_follow else [*files, *_beside(file, entry)]


def _parsed(file: Path) -> ast.Module | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the user's escapes are told where the module is loaded
            return ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _imports(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Level (0 is absolute) and dotted name; what is imported from a module is the last part of the name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            prefix = f"{node.module}." if node.module else ""
            yield from ((node.level, f"{prefix}{alias.name}") for alias in node.names)


def imported_packages(file: Path) -> set[str]:
    """The first parts of the absolute names that a file imports; none where it does not parse."""
    tree = _parsed(file)
    return set() if tree is None else {name.partition(".")[0] for level, name in _imports(tree) if not level}


def _is_dynamic(tree: ast.Module) -> bool:
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    imported = list(_imports(tree))
    tops = {name.partition(".")[0] for level, name in imported if not level}
    from_sys = {name.partition(".")[2] for level, name in imported if not level and name.startswith("sys.")}
    return bool((names | tops) & _DYNAMIC or from_sys & {*_DYNAMIC_OF_SYS, "*"} or _changes_sys(tree))


def _changes_sys(tree: ast.Module) -> bool:
    """Whether ``sys`` is used otherwise than as ``sys.name``, or a name of it that decides about imports is."""
    aliases = {
        alias.asname or "sys"
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
        if alias.name == "sys"
    }
    attributes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    harmless = {id(node.value) for node in attributes if node.attr not in _DYNAMIC_OF_SYS}
    return any(isinstance(n, ast.Name) and n.id in aliases and id(n) not in harmless for n in ast.walk(tree))


def _module_texts(tree: ast.Module) -> Iterator[tuple[str, ...]]:
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    split = (
        tuple(part for part in re.split(r"[./:]+", text) if part) for text in texts if _MODULE_TEXT.fullmatch(text)
    )
    yield from (parts for parts in split if parts)


def _relative(level: int, parts: tuple[str, ...], file: Path) -> list[Path]:
    """Local files behind ``from .. import``; one dot is the file's own folder."""
    return _walk(file.parents[min(level, len(file.parents)) - 1], parts)


def _absolute(parts: tuple[str, ...], file: Path, entry: Path) -> list[Path] | None:
    """Local files behind an absolute import; None where nobody knows the module."""
    root = _package_root(file)
    own = file.relative_to(root).parts[0]
    folders = [file.parent, entry.parent, root]
    files = _in_folders(parts, [folder for folder in folders if parts[0] == own or not _is_library_root(folder)])
    spec = _top_level_spec(parts[0])
    if spec is None:
        return files or None
    places = list(spec.submodule_search_locations or ()) or ([spec.origin] if spec.has_location and spec.origin else [])
    bases = [Path(place).parent for place in places if parts[0] not in _OURS and not is_library(Path(place))]
    installed = _in_folders(parts, bases)
    is_known = bool(files or installed or not bases or any(Path(place).is_dir() for place in places))
    return [*files, *installed] if is_known else None


def _top_level_spec(name: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(name)  # imports nothing: a name without dots has no parent
    except (ImportError, ValueError):
        return None


def _in_folders(parts: tuple[str, ...], folders: list[Path] | tuple[Path, ...]) -> list[Path]:
    return [file for folder in dict.fromkeys(folders) for file in _walk(folder, parts)]


def _walk(folder: Path, parts: tuple[str, ...]) -> list[Path]:
    """Files that run when ``parts`` is imported from ``folder``; the parts after a module are names in it."""
    files: list[Path] = []
    for part in parts:
        if part == "*":
            break
        package = folder / part
        if not (package / _INIT).is_file():
            modules = [folder / f"{part}{suffix}" for suffix in all_suffixes()]
            present = [module for module in modules if module.is_file()]
            if present or not package.is_dir():
                return [*files, *present]
        else:
            files.append(package / _INIT)
        folder = package
    return [*files, *_package_files(folder)]


def _package_files(folder: Path) -> list[Path]:
    """All modules of a package and of the packages in it; none where the folder is no package."""
    if not (folder / _INIT).is_file():
        return []
    inner = [file for child in folder.iterdir() if not child.is_symlink() for file in _package_files(child)]
    return [*folder.glob("*.py"), *inner]


def _beside(file: Path, entry: Path) -> list[Path]:
    return [path for folder in {file.parent, entry.parent} for path in (*folder.glob("*.py"), *_package_files(folder))]


def _inits_above(file: Path) -> list[Path]:
    """What runs before a module of a package does."""
    root = _package_root(file)
    return [folder / _INIT for folder in file.parents if folder != root and folder.is_relative_to(root)]


def _package_root(file: Path) -> Path:
    """The folder that holds the outermost package around the file; the file's own folder where there is none."""
    return next(folder for folder in file.parents if folder == folder.parent or not (folder / _INIT).is_file())


def is_library(path: Path) -> bool:
    """Whether a file belongs to an installed package or to Python itself."""
    return bool(_INSTALLED & set(path.parts)) or path.is_relative_to(_STANDARD_LIBRARY)


def _is_library_root(folder: Path) -> bool:
    return folder.name in _INSTALLED or folder == _STANDARD_LIBRARY
