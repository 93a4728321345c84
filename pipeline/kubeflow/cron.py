"""Schedules as people write them (five fields), as Kubeflow takes them (six: seconds first), and when they fire.

Kubeflow accepts five fields without a word and reads them one place off: ``0 3 * * *`` is minute 3 of every hour there, not three o'clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pipeline.errors import ConfigError


@dataclass(frozen=True)
class _Field:
    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()


_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of the month", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of the week", 0, 6, _DAYS),
)
#: A schedule that has not fired within so many years never does: 29 February on a Monday takes up to 28, or 40 over 2100.
_YEARS = 40


@dataclass(frozen=True)
class Schedule:
    """A schedule of five fields.

    Attributes:
        text: As it was given.
        allowed: For each field the values at which it fires.
        starred: Whether day of the month and day of the week are open; where both are given, either is enough.
    """

    text: str
    allowed: tuple[frozenset[int], ...]
    starred: tuple[bool, bool]

    @classmethod
    def parse(cls, text: str) -> Schedule:
        """Reads ``minute hour day month weekday``, with lists, ranges, steps and English names.

        Raises:
            ConfigError: It is none, or never fires.
        """
        parts = text.split()
        if len(parts) != len(_FIELDS):
            raise ConfigError(
                f"the schedule {text!r} has {len(parts)} fields; it takes five (minute, hour, day of the month, month, day of the week), "
                "such as '0 3 * * *' for three o'clock every night."
            )
        allowed = tuple(_values(part, field, text) for part, field in zip(parts, _FIELDS, strict=True))
        schedule = cls(text, allowed, (parts[2].startswith("*"), parts[4].startswith("*")))
        if not schedule.next_times(datetime(2024, 1, 1), 1):
            raise ConfigError(f"the schedule {text!r} never fires: no such day is in such a month.")
        return schedule

    @property
    def for_kubeflow(self) -> str:
        """Six fields, seconds first, without names; Sunday is 0."""
        days = ",".join(map(str, sorted(self.allowed[4]))) if not self.starred[1] else self.text.split()[4]
        months = self.text.split()[3]
        if any(character.isalpha() for character in months):
            months = ",".join(map(str, sorted(self.allowed[3])))
        return " ".join(["0", *self.text.split()[:3], months, days])

    def next_times(self, after: datetime, count: int) -> list[datetime]:
        """The next times after a time, in its own zone; fewer where it does not fire for decades."""
        times: list[datetime] = []
        day = after.replace(hour=0, minute=0, second=0, microsecond=0)
        last = day + timedelta(days=366 * _YEARS)
        minutes, hours = sorted(self.allowed[0]), sorted(self.allowed[1])
        while len(times) < count and day < last:
            if self._fires_on(day):
                at = (day.replace(hour=hour, minute=minute) for hour in hours for minute in minutes)
                times += [time for time in at if time > after]
            day += timedelta(days=1)
        return times[:count]

    def _fires_on(self, day: datetime) -> bool:
        in_month = day.day in self.allowed[2]
        in_week = (day.weekday() + 1) % 7 in self.allowed[4]
        either = in_month or in_week if not any(self.starred) else in_month and in_week
        return day.month in self.allowed[3] and either


def _values(part: str, field: _Field, text: str) -> frozenset[int]:
    values: set[int] = set()
    for item in part.lower().split(","):
        span, slash, step = item.partition("/")
        low, high = _span(span, field, text, is_open=bool(slash))
        width = _number(step, field, text, ()) if slash else 1
        if width < 1:
            raise _error(text, field, item)
        values.update(range(low, high + 1, width))
    if field.high == 6:
        values = {value % 7 for value in values}
    return frozenset(values)


def _span(span: str, field: _Field, text: str, *, is_open: bool) -> tuple[int, int]:
    if span == "*":
        return field.low, field.high
    first, dash, second = span.partition("-")
    low = _number(first, field, text, field.names)
    high = _number(second, field, text, field.names) if dash else field.high if is_open else low
    highest = 7 if field.high == 6 else field.high  # Sunday is 0 and 7
    if not field.low <= low <= high <= highest:
        raise _error(text, field, span)
    return low, high


def _number(word: str, field: _Field, text: str, names: Sequence[str]) -> int:
    if word in names:
        return names.index(word) + field.low
    if not word.isdecimal():
        raise _error(text, field, word)
    return int(word)


def _error(text: str, field: _Field, found: str) -> ConfigError:
    return ConfigError(
        f"the schedule {text!r}: {found!r} is no {field.name} ({field.low} to {field.high}); write numbers, lists (1,15), ranges (1-5) or "
        "steps (*/10)."
    )
