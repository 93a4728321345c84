"""Labels become a span that a pipeline reads: whole, once, with everything that was there before."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

import pytest

from telemetry.database import Database
from telemetry.errors import TelemetryError
from telemetry.feedback import MESSAGE, FeedbackBook
from telemetry.spans import newest_span, write_span
from tests.telemetry.test_pages import feedback_json

NOW = datetime(2026, 3, 2, tzinfo=timezone.utc)


@pytest.fixture
def book(database: Database) -> FeedbackBook:
    made = FeedbackBook(database)
    for number in range(4):
        made.take("pi-1", MESSAGE.validate_json(feedback_json(number)), NOW, 2**20)
    return made


def images(tmp_path: Path) -> Path:
    for label in ("0", "1"):
        (tmp_path / "images" / label).mkdir(parents=True)
        (tmp_path / "images" / label / "a.png").write_bytes(label.encode())
    return tmp_path / "images"


def give_labels(book: FeedbackBook, **labels: str) -> None:
    for example in book.waiting("digits", 10):
        if f"a{example.answer}" in labels:
            book.label("digits", example.content_sha256, labels[f"a{example.answer}"], "jo", NOW)


def names(directory: Path) -> list[str]:
    return sorted(f"{path.parent.name}/{path.name[:5]}" for path in directory.glob("*/*"))


def test_spans_grow_and_hold_everything_once(book: FeedbackBook, tmp_path: Path) -> None:
    first, spans = images(tmp_path), tmp_path / "data"
    assert write_span(book, "digits", spans, first) is None
    give_labels(book, a0="0", a1="7")
    written = write_span(book, "digits", spans, first)
    assert written is not None
    assert (written.number, written.num_new, written.num_all) == (1, 2, 4)
    assert names(written.directory) == ["0/a.png", "0/dark-", "1/a.png", "7/dark-"]
    assert write_span(book, "digits", spans) is None
    give_labels(book, a2="2")
    second = write_span(book, "digits", spans)
    assert second is not None
    assert (second.number, second.num_new, second.num_all) == (2, 1, 5)
    assert newest_span(spans) == 2
    assert names(spans / "span-1") == names(written.directory)
    assert [path.name for path in spans.iterdir() if path.name.startswith(".")] == []


def test_a_span_of_feedback_alone_is_refused(book: FeedbackBook, tmp_path: Path) -> None:
    give_labels(book, a0="0")
    with pytest.raises(TelemetryError, match="--first"):
        write_span(book, "digits", tmp_path / "data")


def test_an_export_that_was_killed_after_its_rename_is_made_up_for(
    book: FeedbackBook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_labels(book, a0="0")
    with monkeypatch.context() as patch:
        patch.setattr(book, "set_span", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            write_span(book, "digits", tmp_path / "data", images(tmp_path))
    again = write_span(book, "digits", tmp_path / "data")
    assert again is not None
    assert (again.number, again.num_new) == (1, 0)
    assert newest_span(tmp_path / "data") == 1
    assert book.labelled_without_span("digits") == ()


def test_accuracy_counts_what_was_taken_by_chance_only(database: Database) -> None:
    book = FeedbackBook(database)
    for number in range(6):
        sampling = "random" if number < 4 else "unsure"
        label = str(number) if number != 1 else "9"
        message = MESSAGE.validate_json(feedback_json(number, sampling=sampling, label=label))
        book.take(f"pi-{number}", message, NOW, 2**20)
    (dark,) = book.accuracy("digits", message.model_version)
    assert (dark.slice, dark.num_labelled, dark.num_correct, dark.num_devices) == ("dark", 4, 3, 4)
