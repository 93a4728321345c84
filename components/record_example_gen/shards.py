"""The work of one part of a file of records, in a process that imports no TensorFlow.

Scanning counts and looks for problems, so that nothing is written before everything is known to be good; writing reads the part again.
A task and its answer are what JSON can hold; see :mod:`components.light_workers`.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components import files
from components.data.example_proto import encode_example
from components.data.examples import ExampleSpec, orientation_feature
from components.data.records import RecordWriter, read_records
from components.errors import DataError
from components.formats.data_format import Row
from components.formats.table import FORMATS
from components.image_example_gen import images
from components.image_example_gen.splits import UNDIVIDED, Shares
from components.record_example_gen.encoding import Encoder, Kind, Typed, kind_of

#: Rows that a problem names; the rest are counted.
PLACES_KEPT = 3
#: Texts of one feature beyond which they are no categories.
MAX_CATEGORIES = 10_000
#: The split whose statistics a model may know.
_TRAIN = "train"
_KEY_BYTES = 8


class _Reader:
    """The rows of a task's part, with what every use of them needs."""

    def __init__(self, task: Mapping[str, Any]) -> None:
        self.spec = ExampleSpec.from_json(task["example_spec"])
        self.encoder = Encoder(self.spec, is_raw=task["is_raw"])
        self.path: str = task["path"]
        self._task = task
        self._shares = Shares.from_json(task["shares"])

    def rows(self) -> Iterator[Row]:
        limit = self._task.get("max_rows")
        for number, row in enumerate(FORMATS[self._task["format"]].rows(self.path, self._task["part"])):
            if number == limit:
                return
            yield row

    @property
    def examines_images(self) -> bool:
        return self.spec.image is not None and self.spec.parse_module is None

    def group_of(self, row: Row) -> str:
        """What keeps rows in one split; empty where the content does."""
        name = self._task["group_by"]
        if not name:
            return ""
        values = row.values.get(name, ())
        if not values or any(isinstance(value, float) for value in values):
            reason = "is a fraction; group by whole numbers or text" if values else "has no value"
            raise DataError(f"data.group_by {name!r} {reason} in {row.place} of {self.path}.")
        return _sha256(_canonical({name: values}))

    def split_of(self, key: str) -> str:
        given: str = self._task["input_split"]
        return self._shares.split_of(key) if given == UNDIVIDED else given


def scan(task: dict[str, Any]) -> dict[str, Any]:
    """Looks at every row of one part.

    Args:
        task: ``format``, ``path``, ``part``, ``input_split``, ``example_spec``, ``is_raw``, ``group_by``, ``shares``; and
            ``max_rows`` where a look at the first is enough.

    Returns:
        The fields of :class:`components.record_example_gen.plan.ShardScan`.
    """
    reader, scanned = _Reader(task), _Scan()
    for row in reader.rows():
        typed = reader.encoder.typed(row)
        group = reader.group_of(row)
        key = group or _sha256(_canonical(row.values))
        if reader.examines_images:
            key = scanned.add_image(reader, row, typed, group) or key
        scanned.add(reader, row, typed, reader.split_of(key))
    return scanned.answer()


class _Scan:
    def __init__(self) -> None:
        self.num_rows: Counter[str] = Counter()
        self.num_bytes: Counter[str] = Counter()
        self.labels: dict[str, Counter[int]] = {}
        self.kinds: dict[str, Kind] = {}
        self.problems: dict[tuple[str, str], tuple[int, list[tuple[str, str]]]] = {}
        self.defaults: Counter[str] = Counter()
        self.texts: dict[str, Counter[str]] = {}
        self.numbers: dict[str, _Sums] = {}
        self.images: list[dict[str, Any]] = []
        self.bad_images: list[tuple[str, str]] = []
        self.num_bad_images = 0

    def add(self, reader: _Reader, row: Row, typed: Typed, split: str) -> None:
        self.num_rows[split] += 1
        self.num_bytes[split] += _size(row)
        self._add_kinds(reader, row)
        for problem in typed.problems:
            number, places = self.problems.get((problem.column, problem.reason), (0, []))
            if len(places) < PLACES_KEPT:
                places.append((row.place, problem.detail))
            self.problems[problem.column, problem.reason] = (number + 1, places)
        self.defaults.update(typed.num_defaults)
        label = typed.values.get(reader.spec.label)
        if label and isinstance(label[0], int):
            self.labels.setdefault(split, Counter())[label[0]] += 1
        if split == _TRAIN:
            self._add_statistics(reader.spec, typed)

    def _add_kinds(self, reader: _Reader, row: Row) -> None:
        if not row.is_text:
            return
        for name, values in reader.encoder.undeclared(row).items():
            known = self.kinds.get(name, Kind.WHOLE)
            self.kinds[name] = known if known is Kind.TEXT else known.widened(kind_of(values))

    def _add_statistics(self, spec: ExampleSpec, typed: Typed) -> None:
        for feature in spec.features:
            values = typed.values.get(feature.name)
            if values is None:
                continue
            if not feature.is_text:
                self.numbers.setdefault(feature.name, _Sums(feature.shape)).add(values)
            elif not feature.vocabulary:
                texts = self.texts.setdefault(feature.name, Counter())
                texts.update(values)
                if len(texts) > MAX_CATEGORIES:
                    raise DataError(
                        f"the feature {feature.name!r} has more than {MAX_CATEGORIES:,} different texts, which are no categories. Give "
                        f"data.features.{feature.name}.vocabulary the ones that matter, or leave the feature out."
                    )

    def add_image(self, reader: _Reader, row: Row, typed: Typed, group: str) -> str:
        """Examines the row's image; returns the key that decides the split, or nothing where the image is bad."""
        values = row.values.get(reader.spec.image_feature, ())
        place = f"{reader.path}, {row.place}"
        encoded = values[0] if len(values) == 1 and isinstance(values[0], bytes) else b""
        facts = images.examine_image(encoded)
        if isinstance(facts, str):
            self.num_bad_images += 1
            if len(self.bad_images) < images.BAD_IMAGES_NAMED:
                self.bad_images.append((place, facts))
            self.images.append({})
            return ""
        label = typed.values.get(reader.spec.label, ())
        self.images.append(
            {
                **vars(facts),
                "path": place,
                "label": label[0] if label else -1,
                "group_key": group or facts.content_key,
                "file_sha256": "",
            }
        )
        return group or facts.content_key

    def answer(self) -> dict[str, Any]:
        return {
            "num_rows": dict(self.num_rows),
            "num_bytes": dict(self.num_bytes),
            "labels": {split: list(counts.items()) for split, counts in self.labels.items()},
            "kinds": {name: kind.value for name, kind in self.kinds.items()},
            "problems": [[*key, number, places] for key, (number, places) in self.problems.items()],
            "defaults": dict(self.defaults),
            "texts": {name: list(counts) for name, counts in self.texts.items()},
            "numbers": {name: sums.answer() for name, sums in self.numbers.items()},
            "images": self.images,
            "bad_images": self.bad_images,
            "num_bad_images": self.num_bad_images,
        }


class _Sums:
    """Count, sums, squares, lowest and highest per entry of a feature's last axis."""

    def __init__(self, shape: Sequence[int]) -> None:
        self._width = shape[-1] if shape else 1
        self._number = 0
        self._totals: list[NDArray[np.float64]] = []

    def add(self, values: Sequence[Any]) -> None:
        rows = np.asarray(values, np.float64).reshape(-1, self._width)
        self._number += len(rows)
        new = [rows.sum(0), np.square(rows).sum(0), rows.min(0, initial=np.inf), rows.max(0, initial=-np.inf)]
        if not self._totals:
            self._totals = new
            return
        sums, squares, low, high = self._totals
        self._totals = [sums + new[0], squares + new[1], np.minimum(low, new[2]), np.maximum(high, new[3])]

    def answer(self) -> list[Any]:
        return [self._number, *(total.tolist() for total in self._totals)]


def write(task: dict[str, Any]) -> list[tuple[str, int, str]]:
    """Writes the rows of one part into one file per split and bucket, each record behind the key that mixes it.

    Args:
        task: As for :func:`scan`; ``number`` of the part, ``scratch``, ``kinds``, ``vocabularies`` (feature -> texts by number, from
            1), ``num_buckets`` by split, and, where rows hold images, ``splits``: the split of each row, None where it is dropped.

    Returns:
        (split, bucket, file) of what was written.
    """
    reader = _Reader(task)
    kinds = {name: Kind(kind) for name, kind in task["kinds"].items()}
    vocabularies = {
        name: {text: number for number, text in enumerate(texts, 1)} for name, texts in task["vocabularies"].items()
    }
    parts: dict[tuple[str, int], RecordWriter] = {}
    planned: Sequence[dict[str, Any]] | None = task["images"]
    try:
        for number, row in enumerate(reader.rows()):
            facts = planned[number] if planned is not None else None
            split = facts["split"] if facts is not None else _split_of_row(reader, row)
            if split is None:
                continue
            typed = reader.encoder.typed(row)
            if typed.problems:
                raise DataError(f"{reader.path} changed while it was read. Run again.")
            features = reader.encoder.encoded(row, typed, kinds, vocabularies)
            if facts is not None:
                features = _with_image(features, reader.spec.image_feature, facts)
            key = hashlib.sha256(f"{task['name']}\0{number}".encode("utf-8", "surrogateescape")).digest()[:_KEY_BYTES]
            place = (split, int.from_bytes(key, "big") % task["num_buckets"][split])
            if place not in parts:
                parts[place] = RecordWriter(
                    f"{task['scratch']}/part-{task['number']:05d}-{split}-{place[1]:05d}"
                ).__enter__()
            parts[place].write(key + encode_example(features))
    finally:
        for part in parts.values():
            part.__exit__(None, None, None)
    return [(split, bucket, part.path) for (split, bucket), part in parts.items()]


def merge(task: dict[str, Any]) -> int:
    """Brings the parts of one file together, mixed by their keys; returns the number of records.

    Args:
        task: ``parts``: the files of one bucket in the order of the data; ``file``: what they become.
    """
    records: list[bytes] = []
    for path in task["parts"]:
        with files.open_file(path) as file:
            records += read_records(file, path, is_gzip=True)
        files.remove(path)
    records.sort(key=lambda record: record[:_KEY_BYTES])  # equal keys keep the order of the data
    with RecordWriter(task["file"]) as writer:
        for record in records:
            writer.write(record[_KEY_BYTES:])
    return len(records)


def _split_of_row(reader: _Reader, row: Row) -> str:
    return reader.split_of(reader.group_of(row) or _sha256(_canonical(row.values)))


def _with_image(features: dict[str, Sequence[Any]], name: str, facts: Mapping[str, Any]) -> dict[str, Sequence[Any]]:
    """What an image of a folder has, too: its size, how to turn it, and bytes that TensorFlow can decode."""
    size = {key: [facts[key]] for key in ("height", "width", "channels")}
    changed = {**size, **features}
    if not facts["is_stored_as_it_is"]:
        changed[name] = [images.stored_bytes(features[name][0])]
    if facts["orientation"] != 1:
        changed[orientation_feature(name)] = [facts["orientation"]]
    return changed


def _size(row: Row) -> int:
    return sum(
        len(value) if isinstance(value, (str, bytes)) else 8 for values in row.values.values() for value in values
    )


def _canonical(values: Mapping[str, Sequence[Any]]) -> bytes:
    """Equal rows are equal bytes, in whatever order their columns stand."""
    return repr([(name, list(values[name])) for name in sorted(values)]).encode("utf-8", "surrogatepass")


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
