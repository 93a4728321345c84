"""Reads JSON objects strictly: every key once and no other, each of its type; what is wrong is an InputError that names the key."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

from edgeproof_edge.errors import InputError
from edgeproof_edge.manifest.checks import require, wrong

_Value = TypeVar("_Value")


def load(text: str | bytes) -> Any:
    """The JSON of a text; refuses repeated keys, NaN and infinity."""
    try:
        return json.loads(text, object_pairs_hook=_unique_keys, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:  # a wrong encoding is a ValueError, too
        raise InputError(f"manifest: not JSON: {error}. Check that the file is a manifest.json.") from error


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        raise ValueError("an object has the same key twice")
    return content


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def object_at(value: Any, place: str) -> dict[str, Any]:
    """The value, if it is an object."""
    require(isinstance(value, dict), place, "an object", value)
    content: dict[str, Any] = value
    return content


def as_text(value: Any, place: str) -> str:
    """The value, if it is a text."""
    require(isinstance(value, str), place, "a text", value)
    return str(value)


def as_integer(value: Any, place: str) -> int:
    """The value, if it is an integer and no truth value."""
    require(isinstance(value, int) and not isinstance(value, bool), place, "an integer", value)
    return int(value)


def as_number(value: Any, place: str) -> float:
    """The value as a float, if it is a number."""
    require(isinstance(value, (int, float)) and not isinstance(value, bool), place, "a number", value)
    try:
        return float(value)
    except OverflowError:
        raise wrong(place, "a number", value) from None


class Reader:
    """Takes the keys of one object, each once; what is missing or left over is an error that names it."""

    def __init__(self, content: dict[str, Any], place: str) -> None:
        self._content = dict(content)
        self._place = place

    def take(self, key: str) -> Any:
        if key not in self._content:
            raise InputError(f"manifest: the key {self.at(key)} is missing. Publish the release again.")
        return self._content.pop(key)

    def at(self, key: str) -> str:
        return f"{self._place}.{key}" if self._place else key

    def text(self, key: str) -> str:
        return as_text(self.take(key), self.at(key))

    def optional_text(self, key: str) -> str | None:
        value = self.take(key)
        return None if value is None else as_text(value, self.at(key))

    def integer(self, key: str) -> int:
        return as_integer(self.take(key), self.at(key))

    def optional_integer(self, key: str) -> int | None:
        value = self.take(key)
        return None if value is None else as_integer(value, self.at(key))

    def number(self, key: str) -> float:
        return as_number(self.take(key), self.at(key))

    def optional_number(self, key: str) -> float | None:
        value = self.take(key)
        return None if value is None else as_number(value, self.at(key))

    def items(self, key: str, read: Callable[[Any, str], _Value]) -> tuple[_Value, ...]:
        values, place = self.take(key), self.at(key)
        require(isinstance(values, list), place, "a list", values)
        return tuple(read(value, f"{place}[{index}]") for index, value in enumerate(values))

    def objects(self, key: str, read: Callable[[Reader], _Value]) -> tuple[_Value, ...]:
        return self.items(key, lambda value, place: _read_object(value, place, read))

    def child(self, key: str, read: Callable[[Reader], _Value]) -> _Value:
        return _read_object(self.take(key), self.at(key), read)

    def optional_child(self, key: str, read: Callable[[Reader], _Value]) -> _Value | None:
        value = self.take(key)
        return None if value is None else _read_object(value, self.at(key), read)

    def finish(self) -> None:
        if self._content:
            unknown = ", ".join(self.at(key) for key in sorted(self._content))
            raise InputError(f"manifest: unknown key {unknown} in this schema version. Update edgeproof-edge.")


def _read_object(value: Any, place: str, read: Callable[[Reader], _Value]) -> _Value:
    reader = Reader(object_at(value, place), place)
    document = read(reader)
    reader.finish()
    return document
