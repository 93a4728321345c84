"""Examples from the field: what devices were unsure of, with the model's answer, and the right one once somebody gave it.

Rules, in order: 1. An example is its content: the same picture of a model is stored once. 2. A label is given once, by somebody whose
name is kept; giving another replaces it until the example has gone into a span. 3. What a span holds does not change.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from hashlib import sha256
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from telemetry.database.database import Database
from telemetry.errors import EventError, TelemetryError
from telemetry.event import MODEL_NAME_PATTERN, MODEL_VERSION_PATTERN, Text, Time, parse_time

#: A folder of the span is named after the label, a file's name holds the slice.
LABEL_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,99}$"
SLICE_PATTERN = r"^[a-z0-9][a-z0-9-]{0,39}$"
_MAGIC = {"image/png": b"\x89PNG\r\n\x1a\n", "image/jpeg": b"\xff\xd8\xff"}
SUFFIXES = {"image/png": ".png", "image/jpeg": ".jpg"}


class State(str, Enum):
    """What became of an example."""

    WAITING = "waiting"
    LABELLED = "labelled"
    UNUSABLE = "unusable"


class FeedbackMessage(BaseModel):
    """The body of ``POST /v1/feedback``: one picture with the model's answer."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    model_name: Annotated[str, Field(pattern=MODEL_NAME_PATTERN)]
    model_version: Annotated[str, Field(pattern=MODEL_VERSION_PATTERN)]
    captured_at: Time
    media_type: Literal["image/png", "image/jpeg"]
    content: Annotated[str, Field(min_length=1, description="The file's bytes in base64.")]
    answer: Annotated[Text, Field(min_length=1, max_length=100, description="The class that the model answered.")]
    confidence: Annotated[float, Field(ge=0, le=1)]
    slice: Annotated[str, Field(pattern=SLICE_PATTERN, description="Where it comes from, as in dark.")] = "field"
    sampling: Annotated[
        Literal["random", "unsure"],
        Field(description="random: taken by chance, so that it can tell the accuracy. unsure: because the model was."),
    ] = "unsure"
    label: (
        Annotated[str, Field(pattern=LABEL_PATTERN, description="The right class, where the device knows it.")] | None
    ) = None


MESSAGE: TypeAdapter[FeedbackMessage] = TypeAdapter(FeedbackMessage)


@dataclass(frozen=True)
class Example:
    """An example as it is stored; ``content_sha256`` names it."""

    content_sha256: str
    model_name: str
    device_id: str
    model_version: str
    captured_at: datetime
    media_type: str
    content: bytes
    answer: str
    confidence: float
    slice: str
    label: str | None
    state: State
    span: int | None


@dataclass(frozen=True)
class Accuracy:
    """How a model did on the labelled examples of a slice."""

    slice: str
    num_labelled: int
    num_correct: int
    num_devices: int


_COLUMNS = (
    "content_sha256, model_name, device_id, model_version, captured_at, media_type, content, answer, confidence, slice, label, state,"
    " span"
)


class FeedbackBook:
    """The examples in a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def take(self, device_id: str, message: FeedbackMessage, now: datetime, max_bytes: int) -> bool:
        """Stores an example; False where this model's copy of it is there already.

        Raises:
            EventError: The content is no picture of its type, or too large.
        """
        content = _content(message, max_bytes)
        time_value = self._database.time_value
        state = State.WAITING if message.label is None else State.LABELLED
        labelled = (None, None) if message.label is None else (f"device {device_id}", time_value(now))
        with self._database.transaction() as transaction:
            values = (
                sha256(content).hexdigest(), message.model_name, device_id, message.model_version,
                time_value(parse_time(message.captured_at)), time_value(now), message.media_type, content, message.answer,
                message.confidence, message.slice, message.sampling, message.label, state.value, *labelled, None,
            )  # fmt: skip
            places = ", ".join("?" * len(values))
            return transaction.run(f"insert into feedback values ({places}) on conflict do nothing", values) == 1

    def waiting(self, model_name: str, limit: int) -> tuple[Example, ...]:
        """Examples without a label, those the model was least sure of first."""
        return self._select(
            "model_name = ? and state = 'waiting' order by confidence, content_sha256 limit ?", (model_name, limit)
        )

    def find(self, model_name: str, content_sha256: str) -> Example | None:
        """One example."""
        return next(iter(self._select("model_name = ? and content_sha256 = ?", (model_name, content_sha256))), None)

    def label(self, model_name: str, content_sha256: str, label: str | None, by: str, now: datetime) -> None:
        """Gives an example its label; None says that nobody can tell.

        Raises:
            TelemetryError: There is no such example, or it is in a span already.
        """
        state = State.UNUSABLE if label is None else State.LABELLED
        with self._database.transaction() as transaction:
            num_changed = transaction.run(
                "update feedback set label = ?, state = ?, labelled_by = ?, labelled_at = ?"
                " where model_name = ? and content_sha256 = ? and span is null",
                (label, state.value, by, self._database.time_value(now), model_name, content_sha256),
            )
        if num_changed == 0:
            raise TelemetryError(
                f"example {content_sha256[:12]} of {model_name} is not there, or a span holds it already."
            )

    def undo(self, model_name: str, content_sha256: str) -> None:
        """Takes a label back."""
        with self._database.transaction() as transaction:
            transaction.run(
                "update feedback set label = null, state = 'waiting', labelled_by = null, labelled_at = null"
                " where model_name = ? and content_sha256 = ? and span is null",
                (model_name, content_sha256),
            )

    def counts(self, model_name: str) -> dict[str, int]:
        """Examples by state, and those that no span holds yet as ``new``."""
        with self._database.transaction() as transaction:
            rows = transaction.query(
                "select state, count(*) from feedback where model_name = ? group by state", (model_name,)
            )
            new = transaction.query(
                "select count(*) from feedback where model_name = ? and state = 'labelled' and span is null",
                (model_name,),
            )
        return {state.value: 0 for state in State} | dict(rows) | {"new": new[0][0]}

    def labelled_without_span(self, model_name: str) -> tuple[Example, ...]:
        """Labelled examples that no span holds yet."""
        return self._select(
            "model_name = ? and state = 'labelled' and span is null order by content_sha256", (model_name,)
        )

    def set_span(self, model_name: str, examples: Sequence[Example], span: int) -> None:
        """Notes that a span holds these examples."""
        with self._database.transaction() as transaction:
            for example in examples:
                transaction.run(
                    "update feedback set span = ? where model_name = ? and content_sha256 = ?",
                    (span, model_name, example.content_sha256),
                )

    def accuracy(self, model_name: str, model_version: str) -> tuple[Accuracy, ...]:
        """Right answers of a release on its labelled examples, by slice; only of those that were taken by chance."""
        with self._database.transaction() as transaction:
            rows = transaction.query(
                "select slice, count(*), sum(case when answer = label then 1 else 0 end), count(distinct device_id) from feedback"
                " where model_name = ? and model_version = ? and state = 'labelled' and sampling = 'random' group by slice order by slice",
                (model_name, model_version),
            )
        return tuple(Accuracy(name, int(total), int(correct), int(devices)) for name, total, correct, devices in rows)

    def labels(self, model_name: str) -> tuple[str, ...]:
        """Classes that were answered or given, for a page that offers them."""
        with self._database.transaction() as transaction:
            rows = transaction.query(
                "select answer from feedback where model_name = ? union"
                " select label from feedback where model_name = ? and label is not null order by 1",
                (model_name, model_name),
            )
        return tuple(name for (name,) in rows)

    def _select(self, condition: str, values: Sequence[Any]) -> tuple[Example, ...]:
        with self._database.transaction() as transaction:
            rows = transaction.query(f"select {_COLUMNS} from feedback where {condition}", values)
        return tuple(self._example(row) for row in rows)

    def _example(self, row: tuple[Any, ...]) -> Example:
        digest, model, device, version, captured, media, content, answer, confidence, part, label, state, span = row
        captured_at = self._database.as_time(captured)
        return Example(
            digest,
            model,
            device,
            version,
            captured_at,
            media,
            bytes(content),
            answer,
            confidence,
            part,
            label,
            State(state),
            span,
        )


def _content(message: FeedbackMessage, max_bytes: int) -> bytes:
    try:
        content = base64.b64decode(message.content, validate=True)
    except (binascii.Error, ValueError):
        raise EventError("content is not base64") from None
    if len(content) > max_bytes:
        raise EventError(f"the picture has {len(content)} bytes; up to {max_bytes} are taken")
    if not content.startswith(_MAGIC[message.media_type]):
        raise EventError(f"content is no {message.media_type}")
    return content
