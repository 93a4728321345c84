"""Labelled examples become a new span of an image folder: ``span-<n>/<label>/<slice>-<hash>.png``.

Rules, in order: 1. A pipeline reads the newest span and nothing else, so a span holds what the one before held, and the new examples
beside it. 2. A span appears whole, under its name, in one step; a killed export leaves nothing that is read. 3. Labels that a span holds
are final. 4. The files of the span before are linked, not copied, where the disk allows it.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from telemetry.errors import TelemetryError
from telemetry.feedback import SUFFIXES, Example, FeedbackBook

_SPAN = re.compile(r"span-(\d+)")


@dataclass(frozen=True)
class WrittenSpan:
    """A span that was written."""

    number: int
    directory: Path
    num_new: int
    num_all: int


def write_span(book: FeedbackBook, model_name: str, directory: Path, first: Path | None = None) -> WrittenSpan | None:
    """Writes the labelled examples that no span holds yet as the next span.

    Args:
        book: Of the examples.
        model_name: Of the model.
        directory: Of the spans.
        first: An image folder that the first span begins with, where there is no span yet.

    Returns:
        The span; None where nothing new is labelled.

    Raises:
        TelemetryError: The directory cannot be written, or there is nothing to begin with.
    """
    examples = book.labelled_without_span(model_name)
    if not examples:
        return None
    last = newest_span(directory)
    before = directory / f"span-{last}" if last is not None else first
    if before is None or not before.is_dir():
        raise TelemetryError(
            f"{directory} holds no span-<n> yet, and a span of feedback alone would train on nothing else. "
            "Name the image folder to begin with by --first."
        )
    number = 1 if last is None else last + 1
    try:
        directory.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=".span-", dir=directory))
        try:
            _link_all(before, unfinished)
            num_new = _write_examples(examples, unfinished)
            unfinished.chmod(0o755)
            target = directory / f"span-{number}"
            if num_new:
                unfinished.rename(target)
            else:  # a killed export had written them
                number, target = number - 1, before
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    except OSError as error:
        raise TelemetryError(f"{directory} cannot be written: {error}. Check the path and the disk.") from error
    book.set_span(model_name, examples, number)
    return WrittenSpan(number, target, num_new, sum(1 for path in target.glob("*/*") if path.is_file()))


def newest_span(directory: Path) -> int | None:
    """The highest number of a span in a directory; None where there is none."""
    names = [child.name for child in directory.iterdir()] if directory.is_dir() else []
    return max((int(match[1]) for name in names if (match := _SPAN.fullmatch(name))), default=None)


def _link_all(source: Path, target: Path) -> None:
    for path in sorted(source.glob("*/*")):
        if path.is_file():
            place = target / path.parent.name / path.name
            place.parent.mkdir(exist_ok=True)
            try:
                os.link(path, place)
            except OSError:  # another disk, or a file system without links
                shutil.copy2(path, place)


def _write_examples(examples: Sequence[Example], target: Path) -> int:
    num_new = 0
    for example in examples:
        assert example.label is not None
        folder = target / example.label
        folder.mkdir(exist_ok=True)
        place = folder / f"{example.slice}-{example.content_sha256[:24]}{SUFFIXES[example.media_type]}"
        if not place.exists():
            place.write_bytes(example.content)
            num_new += 1
    return num_new
