"""Spans of data in a directory, told apart by their content."""

from __future__ import annotations

import hashlib
import re
from datetime import datetime, timezone
from pathlib import Path

from triggers.errors import TriggerConfigError
from triggers.evidence import SpanFacts

_PLACEHOLDER = re.compile(r"\{SPAN(?::\d+)?\}")
_CHUNK_BYTES = 2**20


def newest_span(directory: Path, pattern: str, marker: str | None = None) -> SpanFacts | None:
    """The span of the highest number; None where there is none.

    Args:
        directory: Of the spans.
        pattern: Name of a span's directory, with ``{SPAN}`` for its number.
        marker: A file that says that a span is complete; it is no data.

    Raises:
        TriggerConfigError: The pattern does not hold ``{SPAN}`` once.
    """
    before, *after = _PLACEHOLDER.split(pattern)
    if len(after) != 1:
        raise TriggerConfigError(f"rules.new_span.pattern {pattern!r} must hold {{SPAN}} once, as in span-{{SPAN}}")
    name = re.compile(rf"{re.escape(before)}(\d+){re.escape(after[0])}")
    spans = [
        (int(match[1]), child)
        for child in (directory.iterdir() if directory.is_dir() else ())
        if (match := name.fullmatch(child.name)) and child.is_dir()
    ]
    if not spans:
        return None
    number, path = max(spans)
    return _facts(number, path, marker)


def _facts(number: int, span: Path, marker: str | None) -> SpanFacts:
    files = sorted(path for path in span.rglob("*") if path.is_file() and path.name != marker)
    digest = hashlib.sha256()
    newest = span.stat().st_mtime
    for path in files:
        newest = max(newest, path.stat().st_mtime)
        digest.update(f"{path.relative_to(span)}\0{_sha256(path)}\n".encode("utf-8", "surrogateescape"))
    is_whole = marker is None or (span / marker).is_file()
    return SpanFacts(number, digest.hexdigest(), len(files), datetime.fromtimestamp(newest, timezone.utc), is_whole)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
