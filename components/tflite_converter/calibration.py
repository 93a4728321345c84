"""Decides which examples set the ranges of an int8 model, and which are kept to look at the result.

Rules, in order:

1. Nothing converts without calibration data that a recipe needs: TensorFlow takes an empty or a NaN data set without
   a word and returns a float model.
2. Which examples matters more than how many (a pool sorted by capture time starts with one domain; with min/max
   ranges 10 well chosen rows do as well as 1000), so rows are drawn over the whole pool, stratified by label, never
   from its head.
3. A row is known by the hash of its content. Draws therefore do not depend on the order of the pool, and equal rows
   stay together: they are drawn once, and never stand on both sides of the cut between the range part and the
   selection part.
4. The range part sets ranges; the selection part only looks at candidates.

Needs NumPy only.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from edgeproof_edge.errors import InputError
from edgeproof_edge.tensors import TensorSpec
from numpy.typing import NDArray

from components.data.buckets import bucket_names, bucket_positions, quantile_edges
from components.data.npz import read_array, read_headers, read_slices
from components.data.row_sources import LabeledRows, is_record_pattern, open_pictures, open_records
from components.errors import CalibrationError
from components.saved_models.saved_model import bind_inputs

#: Examples a pool must hold. TensorFlow's guide asks for "around 100-500"; fewer hide whole domains, and the pool is
#: also the only data that candidates are looked at with before the holdout.
DEFAULT_MIN_SAMPLES = 500
#: Distinct examples drawn to set ranges. A min/max pass costs well under a millisecond per row on the models measured.
DEFAULT_NUM_SAMPLES = 500
DEFAULT_SEED = 7
#: Share of the pool that may set ranges; the rest selects. Equal halves: a rare domain needs to stand in both.
RANGE_SHARE = Fraction(1, 2)
#: Limits of a pool read from a split, so that memory stays bounded whatever the size of the split.
MAX_POOL_ROWS = 5000
MAX_POOL_BYTES = 256 * 2**20

#: Strata of real-valued labels: tenths of 500 examples are as large as the strata of ten classes.
NUM_LABEL_STRATA = 10

#: Examples of a folder or of records that are read at once.
_ROWS_READ_AT_ONCE = 32

#: A stratum of fewer rows than this, and than this share of the usual one, is rare.
MAX_RARE_ROWS = 100
RARE_SHARE = 0.25

LABELS_ARRAY = "y"
_NPZ_FILE = "calibration file"
ALL_ROWS = "all"


@dataclass(frozen=True)
class CalibrationPool:
    """Examples that calibration may use; never the holdout.

    Attributes:
        inputs: Arrays ``[n, ...]`` by input name.
        labels: ``[n]`` labels that stratify the draw, or None.
        truth: True values of an output that is no class ``[n, ...]``, or None: they tell float's own error.
        source: Where the examples came from, as messages name it.
        num_seen: Examples at the source, where more were read than kept; None when all were kept.
        notes: Things the report should say about how the pool was read.
        groups: ``[n]`` values by feature that stratify the draw beside the labels, such as the domain of a frame.
    """

    inputs: dict[str, NDArray[Any]]
    labels: NDArray[Any] | None = None
    source: str = "the calibration pool"
    num_seen: int | None = None
    notes: tuple[str, ...] = ()
    groups: dict[str, NDArray[Any]] = field(default_factory=dict)
    truth: NDArray[Any] | None = None

    @property
    def num_rows(self) -> int:
        """Rows held."""
        first = next(iter(self.inputs.values()), np.empty(0))
        return first.shape[0] if first.ndim else 1

    @property
    def num_offered(self) -> int:
        """Rows at the source, kept or not."""
        return self.num_rows if self.num_seen is None else self.num_seen

    def take(self, rows: Sequence[int] | NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """Returns the inputs of the rows at these positions."""
        index = np.asarray(rows, np.int64)
        return {name: array[index] for name, array in self.inputs.items()}


@dataclass(frozen=True)
class Stratum:
    """One label: how many distinct rows the pool holds and how many were drawn to set ranges."""

    label: str
    num_distinct: int
    num_drawn: int


@dataclass(frozen=True)
class CalibrationSet:
    """What was drawn from a pool: the rows that set ranges, the rows that select, and the facts for the report.

    ``spare_rows`` are rows of rare labels that were to set ranges and were not drawn: a search may look at them as well.
    """

    range_rows: tuple[int, ...]
    selection_rows: tuple[int, ...]
    strata: tuple[Stratum, ...]
    seed: int
    num_requested: int
    num_distinct: int
    sha256: str
    warnings: tuple[str, ...] = field(default=())
    spare_rows: tuple[int, ...] = ()


def load_pool(
    path: Path,
    inputs: Sequence[TensorSpec],
    stratify_by: Sequence[str] = (),
    min_rows: int = DEFAULT_MIN_SAMPLES,
) -> CalibrationPool:
    """Reads a pool from an .npz file, a folder of pictures ``<class>/<file>``, or TFRecord files (``'records/*.gz'``).

    Args:
        path: What the user gave.
        inputs: The model's inputs.
        stratify_by: Further arrays of an .npz file that stratify the draw; the others are stratified by label.
        min_rows: Rows to keep even if they are larger than the byte limit.

    Raises:
        EdgeproofError: It is missing, holds nothing, or does not fit ``inputs``.
    """
    if not path.is_dir() and not is_record_pattern(path):
        return load_npz_pool(path, inputs, stratify_by, min_rows)
    if stratify_by:
        raise CalibrationError(
            f"{path} has no array {stratify_by[0]!r} to stratify by; only an .npz file has such arrays."
        )
    opened = open_pictures(path, inputs) if path.is_dir() else open_records(path, inputs, real_labels=False)
    return fit_pool(bounded_pool(_labeled_slices(opened, inputs), str(path), min_rows), inputs)


def _labeled_slices(
    opened: LabeledRows, inputs: Sequence[TensorSpec]
) -> Iterator[tuple[Mapping[str, NDArray[Any]], NDArray[Any], Mapping[str, NDArray[Any]]]]:
    start = 0
    for part in opened.inputs.slices(_ROWS_READ_AT_ONCE):
        rows = bind_inputs(part, inputs)
        stop = start + len(next(iter(rows.values())))
        yield rows, opened.labels[start:stop], {}
        start = stop


def load_npz_pool(
    path: Path,
    inputs: Sequence[TensorSpec],
    stratify_by: Sequence[str] = (),
    min_rows: int = DEFAULT_MIN_SAMPLES,
) -> CalibrationPool:
    """Reads a pool from an ``.npz`` file: array ``x`` (or one array per input name) and, optionally, labels ``y``.

    Args:
        path: The file. One of more than :data:`MAX_POOL_BYTES` is read in slices, and a part of its rows is kept.
        inputs: The model's inputs.
        stratify_by: Further arrays ``[n]`` that stratify the draw.
        min_rows: Rows to keep even if they are larger than the byte limit.

    Raises:
        CalibrationError: The file is missing or no npz, holds pickled objects, or its arrays do not fit ``inputs``.
    """
    headers = read_headers(path, _NPZ_FILE, CalibrationError)
    names = [spec.name for spec in inputs]
    labels = LABELS_ARRAY if LABELS_ARRAY in headers and LABELS_ARRAY not in names else None
    others = [name for name in headers if name != labels]
    wanted = ["x"] if len(names) == 1 and names[0] not in others else names
    missing = [name for name in wanted if name not in others]
    if missing:
        given = ", ".join(sorted(headers)) or "none"
        either = f"array 'x' or {names[0]!r}" if len(names) == 1 else f"one array per model input ({', '.join(names)})"
        raise CalibrationError(
            f"calibration file {path} needs {either}; found arrays: {given}. Save them with numpy.savez."
        )
    absent = [name for name in stratify_by if name not in others]
    if absent:
        raise CalibrationError(
            f"calibration file {path} has no array {absent[0]!r} to stratify by; found arrays: {', '.join(sorted(others))}."
        )
    ignored = sorted(set(others) - set(wanted) - set(stratify_by))
    notes = (f"arrays of {path.name} that are no model input were ignored: {', '.join(ignored)}",) if ignored else ()
    columns = _Columns(dict(zip(names, wanted, strict=True)), labels, tuple(stratify_by))
    if sum(headers[name].num_bytes for name in wanted) <= MAX_POOL_BYTES:
        pool = columns.pool_of({name: read_array(path, name, _NPZ_FILE, CalibrationError) for name in columns.names})
    else:
        _check_lengths(f"calibration file {path}", {name: headers[name].num_rows for name in columns.names})
        slices = read_slices(path, columns.names, _ROWS_READ_AT_ONCE, _NPZ_FILE, CalibrationError)
        parts = (columns.pool_of(part) for part in slices)
        pool = bounded_pool(((part.inputs, part.labels, part.groups) for part in parts), "", min_rows)
    return fit_pool(replace(pool, source=f"calibration file {path}", notes=notes), inputs)


@dataclass(frozen=True)
class _Columns:
    """Which arrays of a file are what: ``inputs[input name]`` is the array's name."""

    inputs: Mapping[str, str]
    labels: str | None
    groups: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Each array once."""
        return tuple(dict.fromkeys((*self.inputs.values(), *([self.labels] if self.labels else []), *self.groups)))

    def pool_of(self, arrays: Mapping[str, NDArray[Any]]) -> CalibrationPool:
        """The arrays as a pool."""
        return CalibrationPool(
            {name: arrays[array] for name, array in self.inputs.items()},
            arrays[self.labels] if self.labels else None,
            groups={name: arrays[name] for name in self.groups},
        )


def fit_pool(pool: CalibrationPool, inputs: Sequence[TensorSpec]) -> CalibrationPool:
    """Checks a pool against the model's inputs and casts it to their types.

    Args:
        pool: The pool as it was read.
        inputs: The model's raw inputs; the first dimension of each is the batch.

    Returns:
        The pool with arrays in the model's types and class labels or none; what was cast is noted.

    Raises:
        CalibrationError: Empty, names, shapes, types or lengths do not fit, or a value is NaN or infinite.
    """
    if pool.num_rows == 0:
        raise CalibrationError(f"{pool.source} is empty; ranges cannot be set without examples. Add examples to it.")
    try:
        arrays = bind_inputs(pool.inputs, inputs)
    except InputError as error:
        raise CalibrationError(f"{pool.source} does not fit the model: {error}") from error
    given = pool.inputs if set(arrays) <= set(pool.inputs) else dict(zip(arrays, pool.inputs.values(), strict=True))
    casts = tuple(
        f"input {name!r}: {given[name].dtype} values were cast to {array.dtype}, not scaled"
        for name, array in arrays.items()
        if given[name].dtype != array.dtype
    )
    _check_lengths(pool.source, _lengths(pool, arrays))
    _check_finite(pool.source, arrays)
    labels = _class_labels(pool.labels)
    truth = pool.truth if labels is not None or pool.labels is None else _true_values(pool.labels)
    return replace(pool, inputs=arrays, labels=labels, truth=truth, notes=(*pool.notes, *casts))


def _lengths(pool: CalibrationPool, arrays: Mapping[str, NDArray[Any]]) -> dict[str, int]:
    lengths = {name: len(array) for name, array in arrays.items()}
    if pool.labels is not None:
        lengths["labels"] = len(pool.labels) if pool.labels.ndim else 0
    return lengths | {name: len(values) if values.ndim else 0 for name, values in pool.groups.items()}


def _check_lengths(source: str, lengths: Mapping[str, int]) -> None:
    if len(set(lengths.values())) > 1:
        sizes = ", ".join(f"{name}: {count}" for name, count in lengths.items())
        raise CalibrationError(f"{source} holds arrays of different lengths ({sizes}); each needs one row per example.")


def _check_finite(source: str, arrays: Mapping[str, NDArray[Any]]) -> None:
    for name, array in arrays.items():
        if array.dtype.kind != "f":
            continue
        bad = ~np.isfinite(array.reshape(len(array), -1)).all(axis=1)
        if bad.any():
            row = int(np.argmax(bad))
            raise CalibrationError(
                f"{source}: input {name!r} holds NaN or infinite values in {int(bad.sum())} of {len(array)} rows, "
                f"first in row {row}. "
                "One such value spoils the ranges of the whole model; remove or repair these rows."
            )


def _class_labels(labels: NDArray[Any] | None) -> NDArray[Any] | None:
    if labels is None:
        return None
    flat = labels.reshape(-1) if labels.size == len(labels) else labels
    if flat.ndim == 1 and (
        flat.dtype.kind in "iubUS" or (flat.dtype.kind == "f" and np.array_equal(flat, np.rint(flat)))
    ):
        return flat.astype(np.int64) if flat.dtype.kind in "bf" else flat
    return None


def _true_values(labels: NDArray[Any]) -> NDArray[Any] | None:
    """Labels that are no class ids, where they are finite numbers."""
    return labels if labels.dtype.kind in "iufb" and np.isfinite(labels).all() else None


def stratified_by_value(pool: CalibrationPool, label: str) -> CalibrationPool:
    """A pool whose real-valued labels stratify the draw by tenths: as class ids, every price would be a stratum of its own.

    Args:
        pool: A pool with labels ``[n]``.
        label: Their name, for the strata in the report.
    """
    if pool.labels is None:
        return pool
    edges = quantile_edges(pool.labels, NUM_LABEL_STRATA)
    names = np.array([*bucket_names(edges), "(missing)"])
    buckets = names[bucket_positions(pool.labels, edges)]
    truth = _true_values(pool.labels)
    return replace(pool, labels=None, truth=truth, groups={**pool.groups, label: buckets})


def check_pool_size(pool: CalibrationPool, min_samples: int) -> None:
    """Refuses a pool that holds fewer than ``min_samples`` examples.

    Raises:
        CalibrationError: It does.
    """
    if pool.num_offered < min_samples:
        raise CalibrationError(
            f"{pool.source} has {pool.num_offered} examples; int8 calibration needs {min_samples}. "
            "Add examples, or lower convert.calibration.min_samples in the config (--min-samples on the command line)."
        )


def draw(pool: CalibrationPool, num_samples: int, seed: int) -> CalibrationSet:
    """Cuts a pool into range part and selection part and draws distinct range rows, stratified by label.

    Args:
        pool: A fitted pool (see :func:`fit_pool`).
        num_samples: Most rows that set ranges.
        seed: Changes which rows are drawn, never where the cut lies.

    Returns:
        The drawn set. Row order, too, depends on content and seed only.

    Raises:
        CalibrationError: ``num_samples`` is below 1.
    """
    if num_samples < 1:
        raise CalibrationError(
            f"num_samples is {num_samples}; ranges cannot be set without examples. Ask for at least 1."
        )
    digests = row_digests(pool.inputs)
    first_rows = {digest: row for row, digest in reversed(list(enumerate(digests)))}
    strata = _strata(pool, first_rows)
    range_part, selection_part = _cut(strata)
    counts = allot({label: len(rows) for label, rows in range_part.items()}, num_samples)
    key = seed.to_bytes(8, "little", signed=True)
    chosen = [
        d for label, rows in range_part.items() for d in sorted(rows, key=lambda d: _keyed(d, key))[: counts[label]]
    ]
    chosen.sort(key=lambda d: _keyed(d, key))
    return CalibrationSet(
        range_rows=tuple(first_rows[d] for d in chosen),
        selection_rows=tuple(first_rows[d] for d in sorted(d for rows in selection_part.values() for d in rows)),
        strata=tuple(Stratum(label, len(strata[label]), counts[label]) for label in strata),
        seed=seed,
        num_requested=num_samples,
        num_distinct=len(first_rows),
        sha256=hashlib.sha256(b"".join(sorted(chosen))).hexdigest(),
        warnings=_warnings(pool, len(first_rows), strata, num_samples),
        spare_rows=tuple(first_rows[d] for d in sorted(_rare(range_part) - set(chosen))),
    )


def _rare(strata: Mapping[str, list[bytes]]) -> set[bytes]:
    """Rows of strata that hold far fewer than the others."""
    usual = sum(len(rows) for rows in strata.values()) / max(1, len(strata))
    rare = [rows for rows in strata.values() if len(rows) < min(MAX_RARE_ROWS, RARE_SHARE * usual)]
    return {digest for rows in rare for digest in rows}


def draw_stream(pool: CalibrationPool, num_samples: int, seed: int) -> CalibrationSet:
    """Cuts a pool whose rows follow one another in time: the first part sets ranges, the rest selects, each in its order.

    A row of a stream means nothing without those before it, so nothing is drawn at random and nothing is set aside twice.

    Args:
        pool: A fitted pool in the order in which it was recorded.
        num_samples: Most rows that set ranges.
        seed: Of the draw that is not made; it is reported.

    Raises:
        CalibrationError: ``num_samples`` is below 1.
    """
    if num_samples < 1:
        raise CalibrationError(
            f"num_samples is {num_samples}; ranges cannot be set without examples. Ask for at least 1."
        )
    cut = math.ceil(pool.num_rows * RANGE_SHARE)
    chosen = range(min(cut, num_samples))
    digests = row_digests(pool.take(chosen))
    return CalibrationSet(
        range_rows=tuple(chosen),
        selection_rows=tuple(range(cut, pool.num_rows)),
        strata=(Stratum(ALL_ROWS, pool.num_rows, len(chosen)),),
        seed=seed,
        num_requested=num_samples,
        num_distinct=pool.num_rows,
        sha256=hashlib.sha256(b"".join(digests)).hexdigest(),
        warnings=(
            "the model keeps variables from row to row: the pool's rows were taken for a stream, in their order",
        ),
    )


def row_digests(inputs: Mapping[str, NDArray[Any]]) -> list[bytes]:
    """SHA-256 of each row's content over all inputs, in the order of their names."""
    names = sorted(inputs)
    columns = [np.ascontiguousarray(inputs[name]) for name in names]
    header = repr(
        [(name, column.dtype.str, column.shape[1:]) for name, column in zip(names, columns, strict=True)]
    ).encode()
    return [
        hashlib.sha256(header + b"".join(column[row].tobytes() for column in columns)).digest()
        for row in range(len(columns[0]))
    ]


def _keyed(digest: bytes, key: bytes) -> bytes:
    return hashlib.blake2b(digest, key=key, digest_size=16).digest()


def _strata(pool: CalibrationPool, first_rows: Mapping[bytes, int]) -> dict[str, list[bytes]]:
    strata: dict[str, list[bytes]] = {}
    for digest in sorted(first_rows):
        strata.setdefault(_stratum_of(pool, first_rows[digest]), []).append(digest)
    return dict(sorted(strata.items()))


def _stratum_of(pool: CalibrationPool, row: int) -> str:
    """The row's label and the values of its groups, such as ``3, domain night``."""
    label = [] if pool.labels is None else [str(pool.labels[row])]
    groups = [f"{name} {_text(values[row])}" for name, values in sorted(pool.groups.items())]
    return ", ".join([*label, *groups]) or ALL_ROWS


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _cut(strata: Mapping[str, list[bytes]]) -> tuple[dict[str, list[bytes]], dict[str, list[bytes]]]:
    """Cuts each stratum in the order of its digests; a stratum of one row sets ranges."""
    at = {label: math.ceil(len(rows) * RANGE_SHARE) for label, rows in strata.items()}
    return ({k: rows[: at[k]] for k, rows in strata.items()}, {k: rows[at[k] :] for k, rows in strata.items()})


def allot(available: Mapping[str, int], num_samples: int) -> dict[str, int]:
    """Divides ``num_samples`` over strata in proportion to their size by the largest-remainder method.

    Every stratum gets at least one as long as ``num_samples`` allows it, and none more than it has.
    """
    total = sum(available.values())
    wanted = min(num_samples, total)
    counts = {label: min(1, count) if wanted >= len(available) else 0 for label, count in available.items()}
    quota = {label: Fraction(wanted * count, total) for label, count in available.items()}
    counts = {label: max(counts[label], int(quota[label])) for label in available}
    by_remainder = sorted(available, key=lambda label: (int(quota[label]) - quota[label], label))
    while sum(counts.values()) < wanted:
        for label in by_remainder:
            if sum(counts.values()) < wanted and counts[label] < available[label]:
                counts[label] += 1
    while sum(counts.values()) > wanted:
        fullest = max(
            (label for label in counts if counts[label] > 1), key=lambda label: (counts[label] - quota[label], label)
        )
        counts[fullest] -= 1
    return counts


def _warnings(
    pool: CalibrationPool, num_distinct: int, strata: Mapping[str, list[bytes]], num_samples: int
) -> tuple[str, ...]:
    warnings = [
        f"input {name!r} is {array.reshape(-1)[0]} in every row of {pool.source}: its range says nothing of real data"
        for name, array in pool.inputs.items()
        if array.size and (array == array.reshape(-1)[0]).all()
    ]
    if num_distinct < pool.num_rows:
        warnings.append(
            f"{pool.source} holds {num_distinct} distinct examples among {pool.num_rows}; repeats count once"
        )
    if pool.num_offered > pool.num_rows:
        warnings.append(
            f"{pool.source} holds {pool.num_offered} examples; {pool.num_rows} of them, by content hash, form the pool"
        )
    if len(strata) > num_samples:
        warnings.append(f"{len(strata)} labels but only {num_samples} rows to draw: some labels do not set ranges")
    return tuple(warnings)


def bounded_pool(
    batches: Iterable[tuple[Mapping[str, NDArray[Any]], NDArray[Any] | None, Mapping[str, NDArray[Any]]]],
    source: str,
    min_rows: int = DEFAULT_MIN_SAMPLES,
) -> CalibrationPool:
    """Reads a stream of examples into a pool of at most :data:`MAX_POOL_ROWS` rows or :data:`MAX_POOL_BYTES`.

    Where there are more, those with the smallest content hash stay: a uniform draw, whatever the order of the stream.

    Args:
        batches: Inputs ``[n, ...]`` by name, labels ``[n]`` (or None), and groups ``[n]`` by name.
        source: How messages name the stream.
        min_rows: Rows to keep even if they are larger than the byte limit.
    """
    kept: list[tuple[bytes, int, dict[str, NDArray[Any]], Any, dict[str, Any]]] = []
    num_seen = 0
    capacity = MAX_POOL_ROWS
    for inputs, labels, groups in batches:
        for row, digest in enumerate(row_digests(inputs)):
            values = {name: array[row].copy() for name, array in inputs.items()}
            label = None if labels is None else labels[row]
            kept.append((digest, num_seen, values, label, {name: group[row] for name, group in groups.items()}))
            num_seen += 1
        if kept:
            row_bytes = max(1, sum(array.nbytes for array in kept[0][2].values()))
            capacity = min(MAX_POOL_ROWS, max(min_rows, MAX_POOL_BYTES // row_bytes))
        if len(kept) > capacity + capacity // 4:
            kept = sorted(kept, key=lambda item: item[:2])[:capacity]
    return _stacked(sorted(kept, key=lambda item: item[:2])[:capacity], num_seen, source)


def _stacked(
    kept: Sequence[tuple[bytes, int, dict[str, NDArray[Any]], Any, dict[str, Any]]], num_seen: int, source: str
) -> CalibrationPool:
    if not kept:
        return CalibrationPool({}, None, source, num_seen)
    inputs = {name: np.stack([item[2][name] for item in kept]) for name in kept[0][2]}
    labels = None if kept[0][3] is None else np.asarray([item[3] for item in kept])
    groups = {name: np.asarray([item[4][name] for item in kept]) for name in kept[0][4]}
    return CalibrationPool(inputs, labels, source, num_seen, groups=groups)
