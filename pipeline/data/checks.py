"""What can be refused, or is worth knowing, before the data is ingested: as far as the folder and a look into the files tell."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from components.data.data_summary import DataSummary
from components.data.example_proto import encode_example
from components.errors import DataError
from components.formats.table import FORMATS
from components.image_example_gen.folders import class_folder_pattern
from components.image_example_gen.splits import SPLIT_NAMES, UNDIVIDED
from components.light_workers import run_tasks
from components.record_example_gen.encoding import Encoder, Kind, kind_of
from components.record_example_gen.plan import ShardScan, plan_records, problems_message, summarize
from components.record_example_gen.scanning import RecordOptions, scan_tasks
from pipeline.config.data import DataConfig
from pipeline.data.files import matched_files, nearest, split_patterns
from pipeline.data.source import (
    class_names_of,
    example_spec,
    group_by_of,
    image_limits,
    images_per_class,
    is_raw,
    shares_of,
)

_FILES_LOOKED_INTO = 200  # Files whose first bytes are read; more would make `check` slow on a network disk.
_IMAGES_LOOKED_INTO = 2000  # Images whose header is read, spread over the folder: half a second.
_BYTES_READ_WHOLE = 16 * 2**20  # Records of so many bytes are read to their end, which takes seconds.
_ROWS_LOOKED_INTO = 1000  # Of each of the first files where there is more.
_RECORD_FILES_LOOKED_INTO = 20
#: Examples that the model's module is tried with.
EXAMPLES_TAKEN = 8
#: Folders beside images that hold something else, in datasets for other tasks.
_SELDOM_CLASSES = {"mask", "masks", "label", "labels", "annotation", "annotations", "images", "gt", "groundtruth"}


@dataclass(frozen=True)
class DataLook:
    """What a look at the data tells.

    Attributes:
        sentences: What is worth knowing before the run.
        summary: Counts and statistics, of the rows that were looked at.
        is_complete: Whether these are all rows, so that the run will count the same.
        examples: Some tf.Examples, serialized as the run will read them.
    """

    sentences: tuple[str, ...]
    summary: DataSummary
    is_complete: bool
    examples: tuple[bytes, ...] = ()


def preflight(data: DataConfig, parse_module: str | None = None) -> DataLook:
    """Refuses data that cannot be ingested.

    Args:
        data: The data section.
        parse_module: The model module, where it has a parser of its own.

    Raises:
        DataError: The path is missing or unreadable, a pattern matches nothing, spans do not resolve, a file is not of
            its format, a column is missing, a value cannot be used, or an image is of another size than ``data.image`` says.
    """
    if not data.path.exists():
        raise DataError(f"data.path {data.path} does not exist.{nearest(data.path)}")
    if not data.path.is_dir():
        raise DataError(f"data.path {data.path} is a file; it must be the folder that holds the data.")
    if not os.access(data.path, os.R_OK | os.X_OK):
        raise DataError(f"data.path {data.path} cannot be read by this user. Change its permissions.")
    matched = matched_files(data)
    files = [path for paths in matched.values() for path in paths]
    for path in files[:_FILES_LOOKED_INTO]:
        if not os.access(path, os.R_OK):
            raise DataError(f"{path} cannot be read by this user. Change its permissions.")
    if data.kind.is_image_folder:
        num_per_class = images_per_class(data, matched)
        _check_class_folders(data, num_per_class)
        return _look_at_images(data, matched, num_per_class)
    for path in files[:_FILES_LOOKED_INTO]:
        data.kind.check_file(path)
    _check_columns(data, files)
    return _look_at_records(data, matched, parse_module)


def _check_class_folders(data: DataConfig, with_images: Iterable[str]) -> None:
    """Names class folders that hold no image; the run counts them as classes, and refuses."""
    for pattern in split_patterns(data).values():
        if "{" in pattern:
            continue  # the newest span's folders are those that hold a file
        folders = {path.name for path in data.path.glob(class_folder_pattern(pattern)) if path.is_dir()}
        empty = sorted(
            name for name in folders - {*with_images, *data.ignore} if not name.startswith((".", "__MACOSX"))
        )
        if empty:
            raise DataError(
                f"{len(empty)} class folder(s) under {data.path} hold no image: {', '.join(empty[:5])}. Put images into them, delete "
                "them, or name them in data.ignore."
            )


def _look_at_images(
    data: DataConfig, matched: Mapping[str, Sequence[Path]], num_per_class: Mapping[str, int]
) -> DataLook:
    files = [path for paths in matched.values() for path in paths]
    class_names = data.class_names or tuple(sorted(num_per_class))
    sentences = _check_images(data, files, class_names)
    numbers = {name: number for number, name in enumerate(class_names)}
    summary = DataSummary(
        num_examples={split: len(paths) for split, paths in matched.items()},
        class_names=class_names,
        num_per_class={UNDIVIDED: tuple(num_per_class.get(name, 0) for name in class_names)},
    )
    expected = "" if UNDIVIDED not in matched else _expected_sentence(data, len(files))
    sentences = (*expected_first(summary, expected), *sentences, *_mask_sentence(class_names))
    return DataLook(sentences, summary, is_complete=False, examples=_first_images(data, matched, numbers))


def _first_images(
    data: DataConfig, matched: Mapping[str, Sequence[Path]], numbers: Mapping[str, int]
) -> tuple[bytes, ...]:
    """Images from all over the folder, as ImageExampleGen writes them."""
    from components.image_example_gen.images import ImageFacts, examine_image
    from components.image_example_gen.shards import image_example
    from components.image_example_gen.splits import ScannedImage

    split, files = next(iter(matched.items()))
    position = class_folder_pattern(split_patterns(data)[split]).count("/")
    number = min(len(files), EXAMPLES_TAKEN)
    examples = []
    for path in (files[index * len(files) // number] for index in range(number)):
        facts, name = examine_image(path.read_bytes()), path.relative_to(data.path)
        label = numbers.get(name.parts[position])
        if isinstance(facts, ImageFacts) and label is not None:
            scanned = ScannedImage(str(name), split, label, **vars(facts), group_key="", file_sha256="")
            examples.append(image_example(path.read_bytes(), scanned))
    return tuple(examples)


def _mask_sentence(class_names: Sequence[str]) -> tuple[str, ...]:
    """A word about folders that are seldom classes."""
    suspects = [name for name in class_names if name.lower() in _SELDOM_CLASSES]
    if not suspects:
        return ()
    return (
        f"classes: {', '.join(map(repr, suspects))} is taken for a class, because every folder is one. Edgeproof classifies whole "
        "images (one label each) and reads no masks or boxes; if the folder is no class, name it in data.ignore",
    )


def expected_first(summary: DataSummary, expected: str) -> tuple[str, ...]:
    """The summary's sentences, the first of which may be better said."""
    first, *rest = summary.sentences()
    return (expected or first, *rest)


def expected_examples(data: DataConfig, number: int) -> dict[str, int]:
    """How many examples each split can expect of ``number``, where a hash of the content cuts them."""
    shares = {split: getattr(data.shares, split) for split in SPLIT_NAMES}
    return {split: number * share // sum(shares.values()) for split, share in shares.items() if share}


def _expected_sentence(data: DataConfig, number: int) -> str:
    parts = ", ".join(f"{split} about {count:,}" for split, count in expected_examples(data, number).items())
    return f"examples: {number:,} files: {parts}"


def _check_images(data: DataConfig, files: Sequence[Path], class_names: Sequence[str]) -> tuple[str, ...]:
    """Refuses what ImageExampleGen would refuse, as far as the headers of a spread of the files tell; what is worth a note."""
    from components.image_example_gen.images import (
        BadImage,
        ImageHeader,
        bad_images_message,
        examine_header,
        other_size_message,
    )

    number = min(len(files), _IMAGES_LOOKED_INTO)
    chosen = [files[index * len(files) // number] for index in range(number)]
    looks = [(path.relative_to(data.path).as_posix(), examine_header(path)) for path in chosen]
    among = f"{number:,} files {'' if number == len(files) else f'(of {len(files):,}) looked into '}under {data.path}"
    bad = [BadImage(path, reason) for path, reason in looks if isinstance(reason, str)]
    if bad:
        raise DataError(bad_images_message(bad, len(bad), among))
    headers = [(path, header) for path, header in looks if isinstance(header, ImageHeader)]
    other_size = other_size_message(((path, header.size) for path, header in headers), image_limits(data), among)
    if other_size:
        raise DataError(" ".join((other_size, *(f"Note on {each}." for each in _mask_sentence(class_names)))))
    num_turned = sum(header.orientation != 1 for _, header in headers)
    return (_turned_sentence(num_turned, among),) if num_turned else ()


def _turned_sentence(number: int, among: str) -> str:
    return (
        f"EXIF orientation: {number:,} of {among} are stored on their side or mirrored, and are turned upright wherever they are "
        "decoded; a device that takes pictures from files must turn them, too"
    )


def _look_at_records(data: DataConfig, matched: Mapping[str, Sequence[Path]], parse_module: str | None) -> DataLook:
    spec = example_spec(data, class_names_of(data), parse_module)
    is_complete = sum(path.stat().st_size for paths in matched.values() for path in paths) <= _BYTES_READ_WHOLE
    options = RecordOptions(
        record_format=data.kind.name,
        input_base=str(data.path),
        patterns=split_patterns(data),
        example_spec=spec,
        is_raw=is_raw(data, parse_module),
        group_by=group_by_of(data),
        shares=shares_of(data),
        image_limits=image_limits(data) if spec.image and parse_module is None else None,
    )
    limit = None if is_complete else _RECORD_FILES_LOOKED_INTO
    paths = {split: [str(path) for path in those[:limit]] for split, those in matched.items()}
    tasks = scan_tasks(options, paths)
    if not is_complete:
        tasks = [{**task, "max_rows": _ROWS_LOOKED_INTO} for task in tasks[:_RECORD_FILES_LOOKED_INTO]]
    answers = run_tasks("components.record_example_gen.shards:scan", tasks)
    scans = [
        ShardScan(task["path"], task["input_split"], **answer) for task, answer in zip(tasks, answers, strict=True)
    ]
    if is_complete:
        plan = plan_records(scans, spec, options.shares, options.image_limits, options.input_base)
        num_turned = sum(image["orientation"] != 1 for scan in scans for image in scan.images)
        turned = (
            (_turned_sentence(num_turned, f"{sum(plan.summary.num_examples.values()):,} images"),) if num_turned else ()
        )
        examples = _first_records(options, tasks, plan.summary)
        return DataLook((*plan.summary.sentences(), *turned), plan.summary, is_complete=True, examples=examples)
    problems = problems_message(scans, spec, options.input_base)
    if problems:
        raise DataError(problems)
    rows = Counter[str]()
    for scan in scans:
        rows.update(scan.num_rows)
    summary = summarize(scans, spec, rows)
    sentence = f"examples: looked at the first {sum(rows.values()):,}; the run reads all"
    return DataLook((sentence,), summary, is_complete=False, examples=_first_records(options, tasks, summary))


def _first_records(options: RecordOptions, tasks: Sequence[dict[str, Any]], summary: DataSummary) -> tuple[bytes, ...]:
    """The first rows, as RecordExampleGen writes them."""
    encoder = Encoder(options.example_spec, is_raw=options.is_raw)
    rows = list(islice(FORMATS[options.record_format].rows(tasks[0]["path"], tasks[0]["part"]), EXAMPLES_TAKEN))
    kinds: dict[str, Kind] = {}
    for row in rows:
        for name, values in encoder.undeclared(row).items() if row.is_text else ():
            kinds[name] = kind_of(values).widened(kinds.get(name, Kind.WHOLE))
    vocabularies = {
        name: {text: number for number, text in enumerate(feature.vocabulary, 1)}
        for name, feature in summary.features.items()
    }
    return tuple(encode_example(encoder.encoded(row, encoder.typed(row), kinds, vocabularies)) for row in rows)


def _check_columns(data: DataConfig, files: Sequence[Path]) -> None:
    """Refuses files without the columns that the config names, or with other columns than the first."""
    first = data.kind.columns(files[0])
    if first is None:
        return
    for path in files[1:]:
        columns = data.kind.columns(path)
        if columns is not None and list(columns) != list(first):
            raise DataError(
                f"{path} has other columns ({', '.join(columns)}) than {files[0]} ({', '.join(first)}). "
                "Give all files one header, or narrow data.pattern."
            )
    wanted = {data.label: "data.label", **dict.fromkeys(data.features, "data.features")}
    if data.image:
        wanted[data.image_feature] = "data.image_feature"
    if data.group_by and data.patterns is None:
        wanted[data.group_by] = "data.group_by"
    missing = [f"{name!r} ({key})" for name, key in wanted.items() if name not in first]
    if missing:
        has = ", ".join(first[:20])
        raise DataError(
            f"{files[0]} lacks the column(s) {', '.join(missing)}; it has {has}. Correct the config or the data."
        )
