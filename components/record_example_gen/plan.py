"""What is decided when every part has been scanned: whether the data can be used, and how it is written.

Rules, in order: 1. A bad image, an image of another size or a value that cannot be used stops the ingest; all are counted, the first named.
2. Categories are the sorted texts of the train split, unless the config lists them. 3. Images go to the splits that images of a folder
go to, and what the holdout holds is dropped from the others. 4. Files hold a bounded number of bytes, because they are mixed in memory.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from components.data.data_summary import DataSummary, FeatureSummary, feature_summary
from components.data.examples import ExampleSpec
from components.errors import DataError
from components.image_example_gen.images import BadImage, ImageSize, bad_images_message, other_size_message
from components.image_example_gen.splits import SPLIT_NAMES, UNDIVIDED, ScannedImage, Shares, SplitPlan, plan_splits
from components.record_example_gen.encoding import Kind

#: Bytes and rows of one TFRecord file: what is mixed in memory at once, and a fair piece of work for an Evaluator's worker.
BYTES_PER_FILE = 32 * 2**20
ROWS_PER_FILE = 20_000
_IMAGE_FIELDS = ("height", "width", "channels", "content_key", "orientation", "is_stored_as_it_is")
_PROBLEMS_NAMED = 10


@dataclass(frozen=True)
class ShardScan:
    """What :func:`components.record_example_gen.shards.scan` answers about one part of a file."""

    path: str
    input_split: str
    num_rows: Mapping[str, int]
    num_bytes: Mapping[str, int]
    labels: Mapping[str, Sequence[tuple[int, int]]]
    kinds: Mapping[str, str]
    problems: Sequence[tuple[str, str, int, Sequence[tuple[str, str]]]]
    defaults: Mapping[str, int]
    texts: Mapping[str, Sequence[str]]
    numbers: Mapping[str, Sequence[Any]]
    images: Sequence[Mapping[str, Any]]
    bad_images: Sequence[tuple[str, str]]
    num_bad_images: int


@dataclass(frozen=True)
class RecordPlan:
    """How the rows are written.

    Attributes:
        kinds: Kind of each undeclared text column.
        vocabularies: Texts by number, from 1, of each string feature.
        images: Per part the facts of each row's image, with its ``split`` or None where it is dropped; None without images.
        split_plan: The splits of the images; None without images.
        num_buckets: Files per split.
        summary: What the artifact says of its examples.
    """

    kinds: Mapping[str, str]
    vocabularies: Mapping[str, Sequence[str]]
    images: Sequence[Sequence[Mapping[str, Any]]] | None
    split_plan: SplitPlan | None
    num_buckets: Mapping[str, int]
    summary: DataSummary


def plan_records(
    scans: Sequence[ShardScan], spec: ExampleSpec, shares: Shares, image_limits: Mapping[str, int] | None, where: str
) -> RecordPlan:
    """Decides.

    Args:
        scans: One per part, in the order of the data.
        spec: What is inside an example.
        shares: How undivided data is cut.
        image_limits: Height, width and channels -> the only value that images may have; None where rows hold no image.
        where: The folder, for messages.

    Raises:
        DataError: The data cannot be used, or a split came out empty.
    """
    if image_limits is not None:
        _check_images(scans, image_limits, where)
    problems = problems_message(scans, spec, where)
    if problems:
        raise DataError(problems)
    splits = _splits(scans, shares)
    images, split_plan = _place_images(scans, shares) if image_limits is not None else (None, None)
    num_rows = _sum(scan.num_rows for scan in scans)
    if split_plan is not None:
        num_rows = Counter({split: len(members) for split, members in split_plan.splits.items()})
    for split in splits:
        if not num_rows[split]:
            raise DataError(_empty_split(split, sum(num_rows.values()), where))
    num_bytes = _sum(scan.num_bytes for scan in scans)
    return RecordPlan(
        kinds=_kinds(scans),
        vocabularies=_vocabularies(scans, spec),
        images=images,
        split_plan=split_plan,
        num_buckets={split: _num_buckets(num_rows[split], num_bytes[split]) for split in splits},
        summary=summarize(scans, spec, {split: num_rows[split] for split in splits}, split_plan),
    )


def problems_message(scans: Sequence[ShardScan], spec: ExampleSpec, where: str) -> str:
    """One paragraph about every column that cannot be used, with counts, places and what to do; empty where there is none."""
    counts: dict[tuple[str, str], int] = {}
    places: dict[tuple[str, str], list[str]] = {}
    for scan in scans:
        for column, reason, number, shown in scan.problems:
            key = (column, reason)
            counts[key] = counts.get(key, 0) + number
            known = places.setdefault(key, [])
            known += [_place(scan.path, where, *each) for each in shown][: 3 - len(known)]
    if not counts:
        return ""
    total = sum(sum(scan.num_rows.values()) for scan in scans)
    parts = [
        f"{_what(column, spec)} {reason} in {number:,} of {total:,} rows ({'; '.join(places[column, reason])}"
        f"{'; ...' if number > len(places[column, reason]) else ''})"
        for (column, reason), number in sorted(counts.items())[:_PROBLEMS_NAMED]
    ]
    rest = f"; and {len(counts) - _PROBLEMS_NAMED} more problems" if len(counts) > _PROBLEMS_NAMED else ""
    return f"{'; '.join(parts)}{rest}. Nothing was ingested. Next: {'; '.join(_advices(sorted(counts), spec))}."


def _advices(problems: Sequence[tuple[str, str]], spec: ExampleSpec) -> list[str]:
    """What to do, said once where several columns have the same problem."""
    columns: dict[str, list[str]] = {}
    for column, reason in problems:
        columns.setdefault(_advice(column, reason, spec), []).append(column)
    return [advice.replace(_NAME, those[0] if len(those) == 1 else "<name>") for advice, those in columns.items()]


def _what(column: str, spec: ExampleSpec) -> str:
    return f"the label {column!r}" if column == spec.label else f"{column!r}"


def _place(path: str, where: str, place: str, detail: str) -> str:
    name = path.removeprefix(where).lstrip("/")
    return f"{place} of {name}" + (f": {detail}" if detail else "")


#: Stands for the column in an advice.
_NAME = "{name}"


def _advice(column: str, reason: str, spec: ExampleSpec) -> str:
    if column == spec.label:
        if spec.has_real_label:
            return "correct data.label, or the rows: data.label_type value needs a number in each"
        names = ", ".join(spec.class_names[:5])
        return f"correct the rows, or data.class_names (now {names}); a label is one of these names, or a class number from 0"
    key = f"data.features.{_NAME}"
    if "no value" in reason or "NaN" in reason:
        return f"give {key}.default the value that stands for a missing one, fill the cells, or remove the rows"
    if "shape" in reason:
        return f"give {key}.pad the value that fills shorter examples up, set {key}.shape to the longest, or correct the rows"
    if "no whole number" in reason:
        return f"set {key}.dtype to float32, or correct the rows"
    if "no number" in reason:
        return f"set {key}.dtype to string, so that its texts become categories, or correct the rows"
    return f"correct the rows, or {key}"


def summarize(
    scans: Sequence[ShardScan],
    spec: ExampleSpec,
    num_examples: Mapping[str, int],
    split_plan: SplitPlan | None = None,
) -> DataSummary:
    """What the scans say of the examples; statistics are of the train split."""
    labels = _labels(scans, num_examples, split_plan)
    defaults = _sum(scan.defaults for scan in scans)
    vocabularies = _vocabularies(scans, spec)
    features = {}
    for feature in spec.features:
        summary = _feature(scans, feature.name, vocabularies.get(feature.name, ()))
        features[feature.name] = summary.model_copy(update={"num_defaults": defaults[feature.name]})
    is_class = not spec.has_real_label and spec.class_names
    return DataSummary(
        num_examples=dict(num_examples),
        class_names=spec.class_names,
        num_per_class={s: tuple(counts[n] for n in range(len(spec.class_names))) for s, counts in labels.items()}
        if is_class
        else {},
        features=features,
    )


def _labels(scans: Sequence[ShardScan], splits: Iterable[str], split_plan: SplitPlan | None) -> dict[str, Counter[int]]:
    """Examples per label, by split; of images after those that straddle splits are dropped."""
    if split_plan is not None:
        return {split: Counter(image.label for image in members) for split, members in split_plan.splits.items()}
    labels = {split: Counter[int]() for split in splits}
    for scan in scans:
        for split, counts in scan.labels.items():
            if split in labels:
                labels[split].update(dict(counts))
    return labels


def _feature(scans: Sequence[ShardScan], name: str, vocabulary: Sequence[str]) -> FeatureSummary:
    totals = [scan.numbers[name] for scan in scans if name in scan.numbers]
    if not totals:
        return FeatureSummary(vocabulary=tuple(vocabulary))
    numbers, sums, squares, low, high = zip(*totals, strict=True)
    return feature_summary(
        sum(numbers),
        [math.fsum(each) for each in zip(*sums, strict=True)],
        [math.fsum(each) for each in zip(*squares, strict=True)],
        [min(each) for each in zip(*low, strict=True)],
        [max(each) for each in zip(*high, strict=True)],
    )


def _vocabularies(scans: Sequence[ShardScan], spec: ExampleSpec) -> dict[str, Sequence[str]]:
    return {
        feature.name: feature.vocabulary
        or sorted({text for scan in scans for text in scan.texts.get(feature.name, ())})
        for feature in spec.features
        if feature.is_text
    }


def _kinds(scans: Iterable[ShardScan]) -> dict[str, str]:
    kinds: dict[str, Kind] = {}
    for scan in scans:
        for name, kind in scan.kinds.items():
            kinds[name] = Kind(kind).widened(kinds.get(name, Kind.WHOLE))
    return {name: kind.value for name, kind in kinds.items()}


def _check_images(scans: Sequence[ShardScan], limits: Mapping[str, int], where: str) -> None:
    among = f"{sum(len(scan.images) for scan in scans):,} images under {where}"
    bad = [BadImage(*each) for scan in scans for each in scan.bad_images]
    if bad:
        raise DataError(bad_images_message(bad, sum(scan.num_bad_images for scan in scans), among))
    sizes = (
        (image["path"], ImageSize(image["height"], image["width"], image["channels"]))
        for scan in scans
        for image in scan.images
    )
    other_size = other_size_message(sizes, limits, among)
    if other_size:
        raise DataError(other_size)


def _place_images(
    scans: Sequence[ShardScan], shares: Shares
) -> tuple[Sequence[Sequence[Mapping[str, Any]]], SplitPlan]:
    scanned = [[ScannedImage(input_split=scan.input_split, **image) for image in scan.images] for scan in scans]
    plan = plan_splits([image for part in scanned for image in part], shares)
    split_of = {image.path: split for split, members in plan.splits.items() for image in members}
    facts = [
        [
            {**{name: getattr(image, name) for name in _IMAGE_FIELDS}, "split": split_of.get(image.path)}
            for image in part
        ]
        for part in scanned
    ]
    return facts, plan


def _splits(scans: Sequence[ShardScan], shares: Shares) -> tuple[str, ...]:
    given = {scan.input_split for scan in scans}
    return tuple(name for name in SPLIT_NAMES if name in given or (UNDIVIDED in given and getattr(shares, name) > 0))


def _sum(counts: Iterable[Mapping[str, int]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for each in counts:
        total.update(each)
    return total


def _num_buckets(num_rows: int, num_bytes: int) -> int:
    return max(1, math.ceil(num_rows / ROWS_PER_FILE), math.ceil(num_bytes / BYTES_PER_FILE))


def _empty_split(split: str, total: int, where: str) -> str:
    return (
        f"the {split} split came out empty: {total:,} examples under {where}. Add data, raise the share of that split in data.shares, "
        "or let data.group_by make smaller groups."
    )
