"""The event that devices send, as ``schemas/telemetry_event.schema.json`` says it, and what that schema cannot say.

Rules, in order: 1. An unknown key, a wrong type, a number out of bounds is refused with its place. 2. What a database cannot hold (a NUL
in a text, a sum beyond any clock) is refused here, not there. 3. Beyond the schema: counts are one more than edges, edges ascend.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from enum import Enum
from functools import lru_cache
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter

#: Upper edges of the latency histogram, in milliseconds: half octaves from 10 microseconds to 84 seconds.
LATENCY_EDGES_MS: tuple[float, ...] = tuple(0.01 * 2 ** (k / 2) for k in range(47))
NUM_LATENCY_COUNTS = len(LATENCY_EDGES_MS) + 1
MAX_EVENTS_PER_BATCH = 500
#: Of a day's answers at one per microsecond; beyond it, a database's sums would overflow.
MAX_LATENCY_SUM_MS = 1e15
TIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"

DEVICE_ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,126}$"
MODEL_NAME_PATTERN = r"^[a-z][a-z0-9-]{0,62}$"
MODEL_VERSION_PATTERN = r"^[0-9]{6,12}-[0-9a-f]{12}$"


def _real_time(text: str) -> str:
    parse_time(text)
    return text


@lru_cache(maxsize=1024)
def _ascending(edges: tuple[float, ...]) -> tuple[float, ...]:
    if not all(low < high for low, high in pairwise(edges)):
        raise ValueError("edges must ascend")
    return edges


#: No database keeps a NUL in a text.
Text = Annotated[str, Field(pattern=r"^[^\x00]*$")]
ShortText = Annotated[Text, Field(min_length=1, max_length=127)]
Count = Annotated[int, Field(ge=0, le=2**31 - 1)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Time = Annotated[
    str, Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$"), AfterValidator(_real_time)
]


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Statistic(str, Enum):
    """What a histogram counted of each example."""

    MEAN = "mean"
    DEVIATION = "deviation"
    CONFIDENCE = "confidence"
    VALUE = "value"


class Histogram(_Message):
    """Counts over the edges of the manifest's reference."""

    name: ShortText
    statistic: Statistic
    edges: Annotated[tuple[float, ...], Field(min_length=1, max_length=255), AfterValidator(_ascending)]
    counts: Annotated[tuple[Count, ...], Field(min_length=2, max_length=256)]


class Latency(_Message):
    """Latencies of a window over edges that are the same for every device."""

    sum: Annotated[float, Field(ge=0, le=MAX_LATENCY_SUM_MS)]
    max: Annotated[float, Field(ge=0, le=MAX_LATENCY_SUM_MS)]
    counts: Annotated[tuple[Count, ...], Field(min_length=NUM_LATENCY_COUNTS, max_length=NUM_LATENCY_COUNTS)]


class Incident(_Message):
    """Something that went wrong on a device."""

    kind: Literal[
        "update_failed",
        "release_refused",
        "rolled_back",
        "installed_damaged",
        "delegate_fallback",
        "clock_suspect",
        "windows_dropped",
    ]
    at: Time
    model_version: Annotated[Text, Field(max_length=127)] | None
    detail: Annotated[Text, Field(max_length=500)]


class Event(_Message):
    """What one device saw of one model in one window of time; the schema describes every field."""

    schema_version: Literal[1]
    device_id: Annotated[str, Field(pattern=DEVICE_ID_PATTERN)]
    model_name: Annotated[str, Field(pattern=MODEL_NAME_PATTERN)]
    model_version: Annotated[str, Field(pattern=MODEL_VERSION_PATTERN)]
    window_start: Time
    window_seconds: Annotated[int, Field(ge=1, le=86400)]
    quantization: Annotated[Text, Field(min_length=1, max_length=63)]
    runtime: ShortText
    delegate: ShortText
    delegated_fraction: Fraction | None
    expected_delegated_fraction: Fraction | None
    device_model: ShortText | None
    num_inferences: Count
    num_errors: Count
    latency_ms: Latency
    confidence: Histogram | None
    classes: Annotated[tuple[Count, ...], Field(max_length=4096)]
    values: Histogram | None
    inputs: Annotated[tuple[Histogram, ...], Field(max_length=64)]
    battery_drain_percent: Annotated[float, Field(ge=-100, le=100)] | None
    temperature_celsius: Annotated[float, Field(ge=-90, le=200)] | None
    incidents: Annotated[tuple[Incident, ...], Field(max_length=32)]

    @property
    def start(self) -> datetime:
        """When the window starts, in UTC."""
        return parse_time(self.window_start)

    @property
    def histograms(self) -> tuple[Histogram, ...]:
        """All histograms with edges of their own: of inputs, confidence and values."""
        answers = (self.confidence, self.values)
        return (*self.inputs, *(histogram for histogram in answers if histogram is not None))


class Batch(_Message):
    """The body of ``POST /v1/events``: one transaction."""

    events: Annotated[tuple[Event, ...], Field(min_length=1, max_length=MAX_EVENTS_PER_BATCH)]


class Answer(_Message):
    """What 200 says: every event of the batch is stored, now or before."""

    num_accepted: Annotated[int, Field(ge=0)]
    num_known: Annotated[int, Field(ge=0)]


BATCH: TypeAdapter[Batch] = TypeAdapter(Batch)


def parse_time(text: str) -> datetime:
    """The time of an event, in UTC."""
    # A third of the cost of strptime, for a form that was checked.
    return datetime.fromisoformat(text[:19]).replace(tzinfo=timezone.utc)


def format_time(time: datetime) -> str:
    """A time as events have it."""
    return time.astimezone(timezone.utc).strftime(TIME_FORMAT)


def problems_of(event: Event, earliest: datetime, latest: datetime) -> str | None:
    """Why an event that follows the schema still cannot be stored; None where it can.

    Args:
        event: The event.
        earliest: Windows that start before are gone by the rule of retention.
        latest: Windows that start after come from a clock that is wrong.
    """
    start = event.start
    if not earliest <= start <= latest:
        return (
            f"window_start {event.window_start} is not between {format_time(earliest)} and {format_time(latest)}; "
            "check the device's clock"
        )
    return _histogram_problem(event.histograms)


def _histogram_problem(histograms: Sequence[Histogram]) -> str | None:
    keys = [(histogram.name, histogram.statistic) for histogram in histograms]
    if len(set(keys)) != len(keys):
        return "two histograms have the same name and statistic"
    for histogram in histograms:
        if len(histogram.counts) != len(histogram.edges) + 1:
            return (
                f"histogram {histogram.name!r} has {len(histogram.counts)} counts for {len(histogram.edges)} edges; "
                "counts are one more"
            )
    return None
