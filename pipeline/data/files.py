"""Which files the config's data section means: patterns, and the newest span and version, as TFX's driver finds them.

Nothing here imports TFX, so that ``edgeproof check`` answers at once, and so that a mistake is one sentence and not a traceback of the
driver.
"""

from __future__ import annotations

import datetime
import glob
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from components.errors import DataError
from components.image_example_gen.folders import class_folder_pattern, is_hidden, is_ignored
from components.image_example_gen.splits import SPLIT_NAMES, UNDIVIDED
from pipeline.config.data import DataConfig

_DATE = ("{YYYY}", "{MM}", "{DD}")
#: A placeholder of TFX's patterns, with its width where one is given: {SPAN}, {SPAN:3}, {VERSION}, {YYYY}.
_PLACEHOLDER = re.compile(r"\{(SPAN|VERSION|YYYY|MM|DD)(?::(\d+))?\}")
_FOLDERS_WANTED = " An image folder has one folder per class, with the images of the class in it: <class>/<file>."
#: Files looked at to tell whether a pattern matches folders only.
_FILES_LOOKED_INTO = 200


@dataclass(frozen=True)
class SpanVersion:
    """What the placeholders of a pattern stand for in one file's path; dates count as spans (days since 1970)."""

    span: int | None = None
    version: int | None = None


def split_patterns(data: DataConfig) -> dict[str, str]:
    """Input split -> file pattern relative to ``data.path``; one split named ``all`` where the hash divides the data.

    Raises:
        DataError: Record data comes in splits of a person, and one is missing.
    """
    if data.patterns is None:
        return {UNDIVIDED: data.pattern or data.kind.default_pattern}
    given = {name: getattr(data.patterns, name) for name in SPLIT_NAMES}
    if given["calibration"] is None and given["train"] is None:
        raise DataError(
            "data.patterns has neither calibration nor train files, so int8 ranges cannot be measured. Add one of them."
        )
    if given["calibration"] is None and not data.kind.is_image_folder:
        raise DataError(
            f"data.patterns has no calibration files, which {data.kind.name} data needs: only an image folder's "
            "train files can be cut again. Add data.patterns.calibration, or use data.pattern and data.shares instead."
        )
    return {name: pattern for name, pattern in given.items() if pattern is not None}


def has_spans(data: DataConfig) -> bool:
    """Whether the data comes in spans, numbered or by date."""
    return any(
        match[1] != "VERSION" for pattern in split_patterns(data).values() for match in _PLACEHOLDER.finditer(pattern)
    )


def matched_files(data: DataConfig) -> dict[str, list[Path]]:
    """The files of each input split, sorted, after the newest span and version are filled in as TFX's driver does.

    Raises:
        DataError: A pattern matches nothing, or the splits' newest spans or versions differ.
    """
    patterns = split_patterns(data)
    if data.kind.is_image_folder:
        for pattern in patterns.values():
            class_folder_pattern(pattern)
    newest = {split: newest_span(data.path, pattern) for split, pattern in patterns.items()}
    if len(set(newest.values())) > 1:
        newest_names = ", ".join(
            f"{split}: span {value.span}, version {value.version}" for split, value in newest.items()
        )
        raise DataError(
            f"the splits of data.patterns have different newest spans or versions ({newest_names}). "
            "Complete the newest span in every split, or remove it."
        )
    return {split: _files_of(data, split, pattern, newest[split]) for split, pattern in patterns.items()}


def newest_span(base: Path, pattern: str) -> SpanVersion:
    """The newest span, and the newest version in it, among the files that ``pattern`` matches under ``base``.

    Raises:
        DataError: The placeholders are used wrongly, nothing matches, or a folder name is not a number.
    """
    names = [match.group(1) for match in _PLACEHOLDER.finditer(pattern)]
    if not names:
        return SpanVersion()
    _check_placeholders(pattern, names)
    expression = re.compile(_placeholder_expression(pattern))
    versions: list[tuple[int, int]] = []
    for path in _relative_matches(base, _PLACEHOLDER.sub("*", pattern)):
        match = expression.fullmatch(path)
        if match:
            versions.append(_numbers_in(path, pattern, match.groupdict()))
    if not versions:
        raise DataError(f"no files under {base} match {pattern!r}.{_contents(base, _PLACEHOLDER.sub('*', pattern))}")
    span, version = max(versions)
    return SpanVersion(span, version if "VERSION" in names else None)


def _check_placeholders(pattern: str, names: Sequence[str]) -> None:
    dates = [name for name in names if f"{{{name}}}" in _DATE]
    is_repeated = len(set(names)) != len(names)
    is_half_a_date = bool(dates) and (len(dates) != 3 or "SPAN" in names)
    if is_repeated or is_half_a_date or names == ["VERSION"]:
        raise DataError(
            f"the pattern {pattern!r} must hold {{SPAN}} once, or {{YYYY}}, {{MM}} and {{DD}} once each, "
            "and {VERSION} at most once beside them."
        )


def _placeholder_expression(pattern: str) -> str:
    """A regular expression over relative paths with a group per placeholder; a wildcard stays inside its folder."""
    expression, position = "", 0
    for match in _PLACEHOLDER.finditer(pattern):
        width = match.group(2) or {"YYYY": "4", "MM": "2", "DD": "2"}.get(match.group(1))
        group = f"(?P<{match.group(1)}>[^/]{{{width}}})" if width else f"(?P<{match.group(1)}>[^/]+)"
        expression += _glob_expression(pattern[position : match.start()]) + group
        position = match.end()
    return expression + _glob_expression(pattern[position:])


def _glob_expression(pattern: str) -> str:
    return re.escape(pattern).replace(r"\*", "[^/]*").replace(r"\?", "[^/]")


def _numbers_in(path: str, pattern: str, values: Mapping[str, str]) -> tuple[int, int]:
    try:
        numbers = {name: int(value) for name, value in values.items()}
        if "YYYY" in numbers:
            day = datetime.date(numbers["YYYY"], numbers["MM"], numbers["DD"])
            return (day - datetime.date(1970, 1, 1)).days, numbers.get("VERSION", 0)
    except ValueError:
        raise DataError(
            f"{path} matches the pattern {pattern!r}, but {', '.join(values.values())} is not a span, version or date "
            "number. Rename the folder or move it out of data.path."
        ) from None
    return numbers["SPAN"], numbers.get("VERSION", 0)


def _fill_in(pattern: str, newest: SpanVersion) -> str:
    """``pattern`` with numbers in it, written as TFX's driver writes them: padded only where a width is given."""
    day = datetime.date(1970, 1, 1) + datetime.timedelta(days=newest.span or 0)
    values = {"SPAN": newest.span, "VERSION": newest.version, "YYYY": day.year, "MM": day.month, "DD": day.day}

    def number(match: re.Match[str]) -> str:
        width = match.group(2) or {"YYYY": "4", "MM": "2", "DD": "2"}.get(match.group(1), "0")
        return str(values[match.group(1)]).zfill(int(width))

    return _PLACEHOLDER.sub(number, pattern)


def _files_of(data: DataConfig, split: str, pattern: str, newest: SpanVersion) -> list[Path]:
    filled = _fill_in(pattern, newest)
    matches = [
        path
        for path in sorted(_relative_matches(data.path, filled))
        if not is_hidden(path) and not is_ignored(path, data.ignore)
    ]
    where = f"data.pattern{'s.' + split if split != UNDIVIDED else ''} {pattern!r}"
    if not matches and filled != pattern:
        raise DataError(
            f"{where} resolves to {filled!r}, which matches no file under {data.path}: the number in the folder's name "
            "is padded with zeros. Give its width in the pattern, for example {SPAN:3} for span-007."
        )
    if not matches:
        advice = _FOLDERS_WANTED if data.kind.is_image_folder and "/" in filled else ""
        raise DataError(f"{where} matches no file under {data.path}.{_contents(data.path, filled)}{advice}")
    files = [data.path / path for path in matches]
    if all(path.is_dir() for path in files[:_FILES_LOOKED_INTO]):
        raise DataError(
            f"{where} matches only folders under {data.path}, such as {matches[0]}: the files lie deeper. "
            f'Point data.path one folder down, or lengthen the pattern: data.pattern: "{pattern}/*", in quotes.'
        )
    return files


def _relative_matches(base: Path, pattern: str) -> Iterator[str]:
    return glob.iglob(pattern, root_dir=base)


def nearest(path: Path) -> str:
    """The nearest folder that exists above ``path`` and what it holds: usually the typo is visible at once."""
    folder = next(parent for parent in path.parents if parent.exists())
    return f" The nearest folder that exists is {folder}; it holds {_names_in(folder)}."


def _contents(base: Path, pattern: str) -> str:
    """How far ``pattern`` can be followed below ``base``, and what lies there."""
    reached = base
    for part in pattern.split("/")[:-1]:
        folders = [name for name in sorted(glob.glob(part, root_dir=reached)) if (reached / name).is_dir()]
        if not folders:
            break
        reached /= folders[0]
    return f" {reached} holds {_names_in(reached)}."


def _names_in(folder: Path) -> str:
    try:
        names = sorted(entry.name + "/" * entry.is_dir() for entry in islice(os.scandir(folder), 1000))
    except OSError as error:
        return f"something this user cannot list ({error.strerror})"
    shown = ", ".join(names[:6])
    return (shown + f" and {len(names) - 6} more" * (len(names) > 6)) if names else "nothing"
