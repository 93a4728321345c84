"""Which files of a folder are images to ingest, and which class each belongs to.

The class is the folder that the first ``*`` part of the pattern matches: ``*/*`` and ``train/*/*`` read
``<class>/<file>``, and ``*/*/*`` reads ``<class>/<burst>/<file>``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from components.errors import DataError

_HIDDEN_NAMES = frozenset({"thumbs.db", "desktop.ini", "__macosx"})
_SHOWN = 5  # How many names a message lists before it only counts.


@dataclass(frozen=True)
class SourceImage:
    """A file to ingest: its path relative to the input folder, the input split it came through, its class index."""

    path: str
    input_split: str
    label: int


@dataclass(frozen=True)
class Listing:
    """Every file to ingest, sorted by path, and the classes: ``class_names[label]``."""

    images: tuple[SourceImage, ...]
    class_names: tuple[str, ...]


def is_hidden(path: str) -> bool:
    """Whether a relative path is what a desktop leaves behind (.DS_Store, Thumbs.db, __MACOSX/), no user's image."""
    return any(part.startswith(".") or part.lower() in _HIDDEN_NAMES for part in path.split("/"))


def is_ignored(path: str, ignore: Sequence[str]) -> bool:
    """Whether a part of a relative path, or the whole, matches one of the patterns in ``data.ignore``."""
    return any(fnmatchcase(name, pattern) for pattern in ignore for name in (path, *path.split("/")))


def class_folder_pattern(pattern: str) -> str:
    """The part of ``pattern`` that matches the class folders: ``train/*`` of ``train/*/*``.

    Raises:
        DataError: The pattern has no folder part that could name the class.
    """
    parts = PurePosixPath(pattern).parts
    wild = next((index for index, part in enumerate(parts) if any(mark in part for mark in "*?[")), len(parts))
    if wild >= len(parts) - 1:
        raise DataError(
            f"the pattern {pattern!r} has no folder part for the label: an image folder is <class>/<file>. "
            "Use a pattern such as */*, or train/*/*."
        )
    return "/".join(parts[: wild + 1])


def list_images(
    paths: Mapping[str, Iterable[str]],
    patterns: Mapping[str, str],
    class_folders: Mapping[str, Iterable[str]],
    class_names: Sequence[str],
) -> Listing:
    """Gives every file its class.

    Args:
        paths: Relative paths that each input split's pattern matched.
        patterns: The pattern of each input split, spans and versions filled in.
        class_folders: Relative paths of the folders that could be classes, empty ones included, by input split.
        class_names: The classes in label order; empty means the sorted folder names.

    Raises:
        DataError: No file, a folder that is no class, or a class without a file.
    """
    named = {split: _with_class(paths[split], patterns[split]) for split in paths}
    for split, files in named.items():
        if not files:
            raise DataError(f"no file matches the {split} pattern {patterns[split]!r}: the folder holds no images.")
    names = {name for files in named.values() for _, name in files}
    folders = {PurePosixPath(path).name for those in class_folders.values() for path in those if not is_hidden(path)}
    classes = tuple(class_names) or tuple(sorted(names | folders))
    _check_classes(classes, names)
    labels = {name: label for label, name in enumerate(classes)}
    images = [SourceImage(path, split, labels[name]) for split, files in named.items() for path, name in files]
    return Listing(tuple(sorted(images, key=lambda image: (image.path, image.input_split))), classes)


def _with_class(paths: Iterable[str], pattern: str) -> list[tuple[str, str]]:
    """(path, class name) of every path that is not hidden, sorted."""
    position = class_folder_pattern(pattern).count("/")
    return [(path, path.split("/")[position]) for path in sorted(set(paths)) if not is_hidden(path)]


def _check_classes(classes: tuple[str, ...], names: set[str]) -> None:
    strangers = sorted(names - set(classes))
    if strangers:
        raise DataError(
            f"{len(strangers)} label folder(s) are not in data.class_names: {_some(strangers)}. "
            f"The config names {_some(classes)}. Add the folder to data.class_names, or move it out of data.path."
        )
    empty = [name for name in classes if name not in names]
    if empty:
        raise DataError(
            f"{len(empty)} class(es) have no image: {_some(empty)}. Put images into the folder, "
            "or take the class out (delete the empty folder, or its line in data.class_names)."
        )


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"
