"""From a row as it is stored to the features of a tf.Example, as the config describes them.

Rules, in order: 1. A declared feature comes out with its dtype and shape, or the row has a problem; nothing is guessed. 2. An empty
cell, a null, a feature without values and a NaN are missing values: the feature's ``default`` stands for them. 3. A label may be
a class number or a class name. 4. A column that nobody declared is kept as it is, for slices, groups and a module's own parser;
a text column holds numbers where all of its cells do. 5. A team that brings its own schema or parser gets rule 4 for all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from components.data.examples import ExampleSpec, TensorFeature
from components.formats.data_format import Row

_INT32 = 2**31
_INT64 = 2**63
_SHOWN = 40


class Kind(str, Enum):
    """What the cells of a text column hold, from the narrowest to the widest."""

    WHOLE = "whole"
    NUMBER = "number"
    TEXT = "text"

    def widened(self, other: Kind) -> Kind:
        """The narrowest kind that holds both."""
        order = list(Kind)
        return order[max(order.index(self), order.index(other))]


@dataclass(frozen=True)
class Problem:
    """Why a value cannot be used: the column, the problem of all rows alike, and what stands in this row."""

    column: str
    reason: str
    detail: str = ""


@dataclass(frozen=True)
class Typed:
    """A row's declared values in their types: numbers in their final shape, texts of categories still as ``str``."""

    values: Mapping[str, Sequence[Any]]
    num_defaults: Mapping[str, int]
    problems: tuple[Problem, ...]


def is_missing(values: Sequence[Any]) -> bool:
    """Whether a cell, a list or a feature says nothing."""
    return not values or (len(values) == 1 and (values[0] in ("", b"") or _is_nan(values[0])))


def _is_nan(value: Any) -> bool:
    if isinstance(value, str):
        return value.lower() == "nan"
    return isinstance(value, float) and math.isnan(value)


class Encoder:
    """Reads rows by one description."""

    def __init__(self, spec: ExampleSpec, *, is_raw: bool = False) -> None:
        """Prepares.

        Args:
            spec: What is inside an example.
            is_raw: Whether a team's own schema or parser says what the features are.
        """
        self._spec = spec
        self._is_raw = is_raw
        self._class_numbers = {name: number for number, name in enumerate(spec.class_names)}
        self._declared = set() if is_raw else {spec.label, *(feature.name for feature in spec.features)}

    def typed(self, row: Row) -> Typed:
        """The declared values of a row, and what is wrong with them."""
        values: dict[str, Sequence[Any]] = {}
        defaults: dict[str, int] = {}
        problems: list[Problem] = []
        if not self._is_raw:
            for feature in self._spec.features:
                result = self._feature(feature, row.values.get(feature.name, ()), defaults)
                _sort_out(feature.name, result, values, problems)
            _sort_out(self._spec.label, self._label(row.values.get(self._spec.label, ()), row), values, problems)
        return Typed(values, defaults, tuple(problems))

    def undeclared(self, row: Row) -> dict[str, Sequence[Any]]:
        """The other columns, as they are stored."""
        return {name: values for name, values in row.values.items() if name not in self._declared}

    def encoded(
        self, row: Row, typed: Typed, kinds: Mapping[str, Kind], vocabularies: Mapping[str, Mapping[str, int]]
    ) -> dict[str, Sequence[Any]]:
        """The features of the tf.Example.

        Args:
            row: The row.
            typed: What :meth:`typed` said of it; it has no problems.
            kinds: Kind of each undeclared text column.
            vocabularies: Category -> number, of each string feature.
        """
        features: dict[str, Sequence[Any]] = {}
        for name, values in self.undeclared(row).items():
            features[name] = _as_kind(values, kinds[name]) if row.is_text else _stored(values)
        for feature in self._spec.features if not self._is_raw else ():
            values = typed.values[feature.name]
            if feature.is_text:
                features[f"{feature.name}_text"] = [value.encode() for value in values]
                values = [vocabularies[feature.name].get(value, 0) for value in values]
            features[feature.name] = values
        label = self._spec.label
        if not self._is_raw:
            features[label] = typed.values[label]
        elif self._spec.has_real_label and all(isinstance(value, int) for value in features.get(label, ())):
            features[label] = [float(value) for value in features.get(label, ())]
        return features

    def _label(self, values: Sequence[Any], row: Row) -> Sequence[Any] | Problem:
        if is_missing(values):
            return Problem(self._spec.label, _NAN if values and _is_nan(values[0]) else _MISSING)
        if len(values) != 1:
            return Problem(self._spec.label, "has other than one value", f"{len(values)} values")
        if self._spec.has_real_label:
            return _numbers(self._spec.label, values, float)
        text = _text_of(values[0])
        if text is None:
            return _numbers(self._spec.label, values, _CONVERSIONS["int64"])
        if text in self._class_numbers:
            return [self._class_numbers[text]]
        number = _numbers(self._spec.label, [text], _CONVERSIONS["int64"])
        if isinstance(number, Problem) and self._class_numbers:
            return Problem(self._spec.label, "is no class name and no class number", repr(text[:_SHOWN]))
        return number

    def _feature(
        self, feature: TensorFeature, values: Sequence[Any], defaults: dict[str, int]
    ) -> Sequence[Any] | Problem:
        if is_missing(values):
            if feature.default is None:
                return Problem(feature.name, _NAN if values and _is_nan(values[0]) else _MISSING)
            defaults[feature.name] = 1
            values = [feature.default] * feature.num_values
        elif feature.default is not None and any(map(_is_nan, values)):
            defaults[feature.name] = sum(map(_is_nan, values))
            values = [feature.default if _is_nan(value) else value for value in values]
        typed = (
            _texts(feature.name, values)
            if feature.is_text
            else _numbers(feature.name, values, _CONVERSIONS[feature.dtype])
        )
        return typed if isinstance(typed, Problem) else _shaped(feature, typed)


_MISSING = "has no value"
_NAN = "is NaN"


def _sort_out(
    name: str, result: Sequence[Any] | Problem, values: dict[str, Sequence[Any]], problems: list[Problem]
) -> None:
    if isinstance(result, Problem):
        problems.append(result)
    else:
        values[name] = result


def _shaped(feature: TensorFeature, values: Sequence[Any]) -> Sequence[Any] | Problem:
    missing = feature.num_values - len(values)
    if missing == 0:
        return values
    if missing > 0 and feature.pad is not None:
        pad = int(feature.pad) if feature.dtype != "float32" else float(feature.pad)
        return [*values, *[pad] * missing]
    return Problem(
        feature.name,
        f"has not {feature.num_values} values, as shape {list(feature.shape)} says",
        f"{len(values)} values",
    )


def _numbers(name: str, values: Sequence[Any], convert: Callable[[Any], Any]) -> Sequence[Any] | Problem:
    typed = []
    for value in values:
        text = _text_of(value)
        try:
            typed.append(convert(value if text is None else text))
        except _NotWhole:
            return Problem(name, "is no whole number", repr(text or value)[:_SHOWN])
        except (ValueError, OverflowError, TypeError):
            return Problem(
                name,
                "is no number" if text is not None else "is beyond the range of its dtype",
                repr(text or value)[:_SHOWN],
            )
    if any(isinstance(value, float) and not math.isfinite(value) for value in typed):
        return Problem(name, _NAN if any(map(_is_nan, typed)) else "is infinite")
    return typed


def _texts(name: str, values: Sequence[Any]) -> Sequence[Any] | Problem:
    texts = [_text_of(value) if isinstance(value, (str, bytes)) else str(value) for value in values]
    if None in texts:
        return Problem(name, "is no UTF-8 text")
    return [text.strip() for text in texts if text is not None]


def _text_of(value: Any) -> str | None:
    """The text of a text value; None of a number, and of bytes that are no text."""
    if isinstance(value, bytes):
        try:
            return value.decode().strip()
        except UnicodeDecodeError:
            return None
    return value.strip() if isinstance(value, str) else None


class _NotWhole(Exception):
    pass


def _whole(limit: int) -> Callable[[Any], int]:
    def convert(value: Any) -> int:
        if isinstance(value, str):
            try:
                number = int(value)
            except ValueError:
                return convert(float(value))
        elif isinstance(value, float):
            if not value.is_integer():
                raise _NotWhole
            number = int(value)
        else:
            number = int(value)
        if not -limit <= number < limit:
            raise OverflowError
        return number

    return convert


_CONVERSIONS: Mapping[str, Callable[[Any], Any]] = {"float32": float, "int32": _whole(_INT32), "int64": _whole(_INT64)}


def kind_of(values: Sequence[str]) -> Kind:
    """What a text cell holds."""
    kind = Kind.WHOLE
    for value in values:
        if kind is Kind.WHOLE and not _is_whole(value):
            kind = Kind.NUMBER
        if kind is Kind.NUMBER and not _is_number(value):
            return Kind.TEXT
    return kind


def _is_whole(text: str) -> bool:
    try:
        return -_INT64 <= int(text) < _INT64
    except ValueError:
        return False


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _as_kind(values: Sequence[str], kind: Kind) -> list[Any]:
    if kind is Kind.TEXT:
        return [value.encode() for value in values]
    return [int(value) if kind is Kind.WHOLE else float(value) for value in values]


def _stored(values: Sequence[Any]) -> list[Any]:
    """Typed values; whole numbers beside fractions are fractions."""
    if any(isinstance(value, float) for value in values):
        return [float(value) for value in values]
    return [value.encode() if isinstance(value, str) else value for value in values]
