"""Slices of the holdout: by label, by a feature of the examples, by buckets of a number, by the brightness of an image.

Rules: 1. Every example is in exactly one slice of each slicing, so the slices of one slicing add up to the whole; an
example without the feature is in the slice ``(missing)``. 2. Memory does not grow with the data: a feature with more
than :data:`MAX_VALUES` values is an error that asks for buckets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from fractions import Fraction
from typing import Any

import numpy as np
from edgeproof_edge.errors import InputError
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from components.data.buckets import bucket_names, bucket_positions
from components.data.examples import MISSING_INTEGER
from components.errors import DataError

#: Values of one slicing; an identifier has more, and nobody reads a thousand slices.
MAX_VALUES = 1000
#: Edges of the built-in brightness slices: quarters of an image's 0..255.
BRIGHTNESS_BUCKETS = (64.0, 128.0, 192.0)
#: Slices by a real-valued label where nobody gives buckets: quarters of a holdout of 500 still hold enough to be judged.
NUM_LABEL_BUCKETS = 4
#: Slice of the examples that lack the feature.
MISSING = "(missing)"
#: Slice of the examples whose label names no class.
OUT_OF_RANGE = "(out of range)"


class SliceBy(str, Enum):
    """What cuts the holdout."""

    LABEL = "label"
    BRIGHTNESS = "brightness"
    FEATURE = "feature"


@dataclass(frozen=True)
class SliceSpec:
    """One slicing.

    Attributes:
        by: What cuts.
        feature: Name of the feature, for slices by feature.
        buckets: Rising edges of a number's buckets; each edge belongs to the bucket above it. Empty: one slice per value, and
            of a real-valued label the quarters.
    """

    by: SliceBy
    feature: str = ""
    buckets: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if (self.by is SliceBy.FEATURE) != bool(self.feature):
            raise InputError(f"slices by {self.by.value} and the feature {self.feature!r} do not go together.")
        if any(not np.isfinite(edge) for edge in self.buckets) or list(self.buckets) != sorted(set(self.buckets)):
            raise InputError(f"the buckets {list(self.buckets)} of slices by {self.name} are not rising numbers.")

    @property
    def name(self) -> str:
        """How the report calls the slicing."""
        return self.feature or self.by.value

    @property
    def declared_values(self) -> tuple[str, ...]:
        """The slices that a person asked for by name: explicit buckets. They have to hold examples."""
        return bucket_names(self.buckets) if self.buckets else ()


_SPECS: TypeAdapter[tuple[SliceSpec, ...]] = TypeAdapter(tuple[SliceSpec, ...])


def slices_to_json(specs: Sequence[SliceSpec]) -> str:
    """One line of JSON, as the exec property ``slices`` carries it."""
    return _SPECS.dump_json(tuple(specs)).decode()


def slices_from_json(text: str) -> tuple[SliceSpec, ...]:
    """Reads what :func:`slices_to_json` wrote.

    Raises:
        InputError: It is none, two slicings have the same name, or a slicing cannot be meant.
    """
    try:
        specs = _SPECS.validate_json(text)
    except ValidationError as error:
        raise InputError(f"these are no slices: {text!r} ({error.errors()[0]['msg']}).") from error
    check_slices(specs)
    return specs


def check_slices(specs: Sequence[SliceSpec]) -> None:
    """Every slicing needs a name of its own.

    Raises:
        InputError: Two have the same.
    """
    names = [spec.name for spec in specs]
    if len(set(names)) != len(names):
        raise InputError(f"the slices {names} are not told apart by their names; give each feature once.")


def check_label_slices(specs: Sequence[SliceSpec], *, has_real_label: bool) -> None:
    """Buckets of the label are for real values.

    Raises:
        InputError: They were given where labels are classes.
    """
    if not has_real_label and any(spec.by is SliceBy.LABEL and spec.buckets for spec in specs):
        raise InputError("slices by label take no buckets where labels are classes.")


def with_label_buckets(specs: Sequence[SliceSpec], edges: tuple[float, ...]) -> tuple[SliceSpec, ...]:
    """The slicings, those by a real-valued label cut at ``edges`` where nobody gave buckets; left out where there are no edges."""
    filled = (replace(spec, buckets=edges) if _lacks_edges(spec) else spec for spec in specs)
    return tuple(spec for spec in filled if not _lacks_edges(spec))


def _lacks_edges(spec: SliceSpec) -> bool:
    return spec.by is SliceBy.LABEL and not spec.buckets


@dataclass(frozen=True, order=True)
class SliceKey:
    """One slice: the name of the slicing and the value, as the report shows them."""

    name: str
    value: str


@dataclass(frozen=True)
class PairedCounts:
    """The paired table of one slice, and how many of its examples the candidate's quantized inputs cut off."""

    num_both_correct: int = 0
    num_only_float_correct: int = 0
    num_only_candidate_correct: int = 0
    num_neither_correct: int = 0
    num_clipped: int = 0

    @property
    def num_examples(self) -> int:
        """Examples of the slice."""
        return (
            self.num_both_correct
            + self.num_only_float_correct
            + self.num_only_candidate_correct
            + self.num_neither_correct
        )

    @property
    def num_correct_float(self) -> int:
        """Examples that the float model got right."""
        return self.num_both_correct + self.num_only_float_correct

    @property
    def num_correct_candidate(self) -> int:
        """Examples that the candidate got right."""
        return self.num_both_correct + self.num_only_candidate_correct

    @property
    def kept(self) -> Fraction | None:
        """Candidate's right answers over the float model's; None where the float model had none."""
        return Fraction(self.num_correct_candidate, self.num_correct_float) if self.num_correct_float else None

    def __add__(self, other: PairedCounts) -> PairedCounts:
        return PairedCounts(
            self.num_both_correct + other.num_both_correct,
            self.num_only_float_correct + other.num_only_float_correct,
            self.num_only_candidate_correct + other.num_only_candidate_correct,
            self.num_neither_correct + other.num_neither_correct,
            self.num_clipped + other.num_clipped,
        )


@dataclass(frozen=True)
class Grouping:
    """One slicing of one batch: the slices found, and for every row ``[n]`` the position of its slice."""

    keys: tuple[SliceKey, ...]
    rows: NDArray[np.int64]


def group_rows(
    specs: Sequence[SliceSpec],
    labels: NDArray[Any],
    class_names: Sequence[str],
    num_classes: int,
    inputs: Mapping[str, NDArray[Any]],
    features: Mapping[str, NDArray[Any]],
) -> tuple[Grouping, ...]:
    """Cuts one batch.

    Args:
        specs: The slicings.
        labels: Class indices ``[n]``, or real numbers where the slices by label have buckets.
        class_names: By label; empty where there are none.
        num_classes: Labels from 0 up to here are named; 0 where labels are no classes.
        inputs: Raw tensors ``[n, ...]`` by name, for the brightness.
        features: Slice features ``[n]`` by name: text, bytes, integers or floats.

    Raises:
        DataError: A feature is not there, is no number where buckets were asked for, or the inputs hold no image.
    """
    return tuple(_group(spec, labels, class_names, num_classes, inputs, features) for spec in specs)


def _group(
    spec: SliceSpec,
    labels: NDArray[Any],
    class_names: Sequence[str],
    num_classes: int,
    inputs: Mapping[str, NDArray[Any]],
    features: Mapping[str, NDArray[Any]],
) -> Grouping:
    if spec.by is SliceBy.LABEL and spec.buckets:
        names, rows = _bucket_rows(labels.reshape(len(labels), -1).mean(axis=1, dtype=np.float64), spec.buckets)
    elif spec.by is SliceBy.LABEL:
        values, rows = np.unique(labels, return_inverse=True)
        names = [_label_name(int(value), class_names, num_classes) for value in values]
    elif spec.by is SliceBy.BRIGHTNESS:
        names, rows = _bucket_rows(brightness(inputs), spec.buckets or BRIGHTNESS_BUCKETS)
    else:
        names, rows = _feature_rows(spec, features)
    return _merged(spec.name, names, rows.reshape(-1).astype(np.int64))


def _merged(slicing: str, names: Sequence[str], rows: NDArray[np.int64]) -> Grouping:
    """Two values that read the same (labels out of range, say) are one slice."""
    unique = sorted(set(names))
    positions = np.array([unique.index(name) for name in names], np.int64)
    return Grouping(tuple(SliceKey(slicing, name) for name in unique), positions[rows] if len(names) else rows)


def _label_name(label: int, class_names: Sequence[str], num_classes: int) -> str:
    if num_classes and not 0 <= label < num_classes:
        return OUT_OF_RANGE
    return class_names[label] if 0 <= label < len(class_names) else str(label)


def brightness(inputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
    """Mean over all values of the only image ``[n, h, w, c]`` among the inputs.

    Raises:
        DataError: There is none, or there are several.
    """
    images = [array for array in inputs.values() if array.ndim == 4]
    if len(images) != 1:
        raise DataError(
            f"slices by brightness need one image among the inputs; found {len(images)} of shape [n, h, w, c]. "
            "Remove brightness from gate.slices."
        )
    return np.asarray(images[0].reshape(len(images[0]), -1).mean(axis=1, dtype=np.float64), np.float64)


def _feature_rows(spec: SliceSpec, features: Mapping[str, NDArray[Any]]) -> tuple[list[str], NDArray[Any]]:
    if spec.feature not in features:
        raise DataError(
            f"slices by {spec.feature!r} need a feature of that name; found {sorted(features) or 'none'}. "
            "Check gate.slices."
        )
    column = features[spec.feature]
    if spec.buckets:
        if column.dtype.kind not in "iuf":
            raise DataError(f"slices of {spec.feature!r} have buckets, and its values are no numbers. Remove buckets.")
        return _bucket_rows(column, spec.buckets)
    if column.dtype == object:  # bytes, as TensorFlow hands them over
        column = np.array([_text(value) for value in column], np.str_)
    values, rows = np.unique(column, return_inverse=True)
    return [_value_name(value) for value in values], rows


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _value_name(value: Any) -> str:
    if isinstance(value, (np.floating, float)):
        return MISSING if np.isnan(value) else f"{float(value):g}"
    return MISSING if value == MISSING_INTEGER else str(value) or MISSING


def _bucket_rows(values: NDArray[Any], edges: Sequence[float]) -> tuple[list[str], NDArray[np.int64]]:
    numbers = np.where(values == MISSING_INTEGER, np.nan, values.astype(np.float64))
    used, compact = np.unique(bucket_positions(numbers, edges), return_inverse=True)
    names = (*bucket_names(edges), MISSING)
    return [names[position] for position in used], compact


def count_slices(
    groupings: Sequence[Grouping], outcomes: NDArray[np.int64], clipped: NDArray[np.bool_]
) -> dict[SliceKey, PairedCounts]:
    """The paired table of every slice of one batch, one ``bincount`` per slicing.

    Args:
        groupings: What :func:`group_rows` found.
        outcomes: 0 both right, 1 only float, 2 only candidate, 3 neither; ``[n]``.
        clipped: Rows that the candidate's inputs cut off, ``[n]``.
    """
    slices: dict[SliceKey, PairedCounts] = {}
    for grouping in groupings:
        size = len(grouping.keys)
        table = np.bincount(grouping.rows * 4 + outcomes, minlength=size * 4).reshape(size, 4)
        cut_off = np.bincount(grouping.rows[clipped], minlength=size)
        for key, row, num_clipped in zip(grouping.keys, table.tolist(), cut_off.tolist(), strict=True):
            both, only_float, only_candidate, neither = row
            slices[key] = PairedCounts(both, only_float, only_candidate, neither, num_clipped)
    return slices


def merge_slices(left: Mapping[SliceKey, Any], right: Mapping[SliceKey, Any]) -> dict[SliceKey, Any]:
    """Adds up two parts, slice by slice.

    Raises:
        DataError: A slicing has more than :data:`MAX_VALUES` values.
    """
    merged = dict(left)
    for key, value in right.items():
        merged[key] = merged[key] + value if key in merged else value
    if len(merged) > MAX_VALUES:
        sizes: dict[str, int] = {}
        for key in merged:
            sizes[key.name] = sizes.get(key.name, 0) + 1
        worst = max(sorted(sizes), key=lambda name: sizes[name])
        if sizes[worst] > MAX_VALUES:
            raise DataError(
                f"slices by {worst!r} are more than {MAX_VALUES}; a slice needs examples enough to say something. "
                "Give buckets in gate.slices, or choose another feature."
            )
    return merged
