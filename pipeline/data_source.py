"""From the config's data section to the components that read it, and what can be refused before they run.

``preflight`` finds the files as TFX's driver will (newest span, then newest version) without importing TFX, so that
``edgeproof check`` answers at once, and so that a mistake is one sentence and not a traceback of the driver.
"""

from __future__ import annotations

import csv
import datetime
import glob
import math
import os
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from components.content_hashes import content_fingerprint
from components.errors import DataError
from components.examples import ImageSpec
from components.image_example_gen.folders import class_folder_pattern, is_hidden
from components.image_example_gen.splits import SPLIT_NAMES, UNDIVIDED, Shares
from pipeline.config.data import DataConfig, DataFormat, LabelType

_DEFAULT_PATTERNS = {DataFormat.IMAGE_FOLDER: "*/*"}
_DATE = ("{YYYY}", "{MM}", "{DD}")
#: A placeholder of TFX's patterns, with its width where one is given: {SPAN}, {SPAN:3}, {VERSION}, {YYYY}.
_PLACEHOLDER = re.compile(r"\{(SPAN|VERSION|YYYY|MM|DD)(?::(\d+))?\}")
_GZIP_MAGIC = b"\x1f\x8b"
_CORRECT = "Correct data.pattern or data.format."
_REAL_LABEL = "and data.label_type value needs numbers. Correct data.label, or the data."
_ROWS_LOOKED_INTO = 1000  # Rows whose label preflight reads.
_FILES_LOOKED_INTO = 200  # Files whose first bytes preflight reads; more would make `check` slow on a network disk.
_IMAGES_LOOKED_INTO = 2000  # Images whose header preflight reads, spread over the folder: half a second.


@dataclass(frozen=True)
class SpanVersion:
    """What the placeholders of a pattern stand for in one file's path; dates count as spans (days since 1970)."""

    span: int | None = None
    version: int | None = None


def split_patterns(data: DataConfig) -> dict[str, str]:
    """Input split -> file pattern relative to ``data.path``; one split named ``all`` where the hash divides the data.

    Raises:
        DataError: Record data comes in splits of a person, and one is missing.
    """
    if data.patterns is None:
        return {UNDIVIDED: data.pattern or _DEFAULT_PATTERNS.get(data.format, "*")}
    given = {name: getattr(data.patterns, name) for name in SPLIT_NAMES}
    if given["calibration"] is None and given["train"] is None:
        raise DataError(
            "data.patterns has neither calibration nor train files, so int8 ranges cannot be measured. Add one of them."
        )
    if given["calibration"] is None and data.format is not DataFormat.IMAGE_FOLDER:
        raise DataError(
            f"data.patterns has no calibration files, which {data.format.value} data needs: only an image folder's "
            "train files can be cut again. Add data.patterns.calibration, or use data.pattern and data.shares instead."
        )
    return {name: pattern for name, pattern in given.items() if pattern is not None}


def data_fingerprint(data: DataConfig, workspace: Path) -> str:
    """One hash over the names and contents of the files that an ExampleGen would read now.

    Args:
        data: The data section.
        workspace: Where the hashes of files are remembered, so that the next look reads only what has changed.

    Raises:
        DataError: As :func:`matched_files`, or a file cannot be read.
    """
    paths = [str(path.relative_to(data.path)) for files in matched_files(data).values() for path in files]
    return content_fingerprint(data.path, paths, workspace / "content_hashes.json")


def example_gen(data: DataConfig, code_version: str, fingerprint: str = "") -> Any:
    """The ExampleGen component for the config's data section.

    Args:
        data: The data section.
        code_version: Hash of the code and libraries behind the executor, for the cache.
        fingerprint: What :func:`data_fingerprint` says, for the cache; empty where the data is looked at by TFX alone.

    Raises:
        DataError: As :func:`split_patterns`.
    """
    from tfx.proto import example_gen_pb2

    patterns = split_patterns(data)
    splits = [example_gen_pb2.Input.Split(name=name, pattern=pattern) for name, pattern in patterns.items()]
    input_config = example_gen_pb2.Input(splits=splits)
    if data.format is DataFormat.IMAGE_FOLDER:
        from components.image_example_gen.component import ImageExampleGen

        return ImageExampleGen(
            input_base=str(data.path),
            input_config=input_config,
            code_version=code_version,
            fingerprint=fingerprint,
            class_names=data.class_names,
            group_by=data.group_by or "",
            shares=Shares(data.shares.train, data.shares.calibration, data.shares.eval),
            image_limits=_image_limits(data),
        )
    from components.record_example_gen.component import RecordExampleGen, RecordFormat

    return RecordExampleGen(
        record_format=RecordFormat(data.format.value),
        input_base=str(data.path),
        input_config=input_config,
        output_config=_hash_buckets(data) if UNDIVIDED in patterns else example_gen_pb2.Output(),
        code_version=code_version,
        fingerprint=fingerprint,
        class_names=data.class_names or tuple(map(str, range(data.num_classes or 0))),
        real_label=data.label if data.label_type is LabelType.VALUE else "",
    )


def _image_limits(data: DataConfig) -> dict[str, int]:
    """What ``data.image`` asks of every image file; a team's own schema says itself what images may be."""
    return {} if data.image is None or data.schema_file else ImageSpec(**data.image.model_dump()).limits


def example_gen_room(data: DataConfig) -> str:
    """The folder of ``components`` whose code reads this data, for its code version."""
    return "image_example_gen" if data.format is DataFormat.IMAGE_FOLDER else "record_example_gen"


def _hash_buckets(data: DataConfig) -> Any:
    from tfx.proto import example_gen_pb2

    split_config = example_gen_pb2.SplitConfig()
    for name in SPLIT_NAMES:
        share = getattr(data.shares, name)
        if share:
            split_config.splits.add(name=name, hash_buckets=share)
    if data.group_by:
        split_config.partition_feature_name = data.group_by
    return example_gen_pb2.Output(split_config=split_config)


def statistics_gen(examples: Any, schema: Any, feature_names: Sequence[str] = ()) -> Any:
    """StatisticsGen that reads the schema first: it then counts image bytes as present or absent and nothing else.

    Args:
        examples: The channel of examples.
        schema: The channel of the schema.
        feature_names: Features to look at; others in the data are ignored. Empty looks at all, so that a feature which
            a team's own schema does not know is an anomaly.
    """
    from tensorflow_data_validation import StatsOptions
    from tfx.components import StatisticsGen

    # Sketches bound the memory of counting distinct values; the exact counter keeps every value.
    options = StatsOptions(use_sketch_based_topk_uniques=True, feature_allowlist=list(feature_names) or None)
    return StatisticsGen(examples=examples, schema=schema, stats_options=options)


def preflight(data: DataConfig) -> tuple[str, ...]:
    """Refuses data that cannot be ingested, as far as the folder and a look into the files tell.

    Returns:
        One sentence per thing that is worth knowing before the run.

    Raises:
        DataError: The path is missing or unreadable, a pattern matches nothing, spans do not resolve, a file is not of
            its format, a CSV or Parquet file lacks a column, or an image is of another size than ``data.image`` says.
    """
    if not data.path.exists():
        raise DataError(f"data.path {data.path} does not exist.{_nearest(data.path)}")
    if not data.path.is_dir():
        raise DataError(f"data.path {data.path} is a file; it must be the folder that holds the data.")
    if not os.access(data.path, os.R_OK | os.X_OK):
        raise DataError(f"data.path {data.path} cannot be read by this user. Change its permissions.")
    matched = matched_files(data)
    for files in matched.values():
        _check_files(data, files)
    if data.format is DataFormat.IMAGE_FOLDER:
        return _check_images(data, [path for files in matched.values() for path in files])
    return ()


def matched_files(data: DataConfig) -> dict[str, list[Path]]:
    """The files of each input split, sorted, after the newest span and version are filled in as TFX's driver does.

    Raises:
        DataError: A pattern matches nothing, or the splits' newest spans or versions differ.
    """
    patterns = split_patterns(data)
    if data.format is DataFormat.IMAGE_FOLDER:
        for pattern in patterns.values():
            class_folder_pattern(pattern)
    newest = {split: newest_span(data.path, pattern) for split, pattern in patterns.items()}
    if len(set(newest.values())) > 1:
        found = ", ".join(f"{split}: span {value.span}, version {value.version}" for split, value in newest.items())
        raise DataError(
            f"the splits of data.patterns have different newest spans or versions ({found}). "
            "Complete the newest span in every split, or remove it."
        )
    return {split: _files_of(data, split, pattern, newest[split]) for split, pattern in patterns.items()}


def newest_span(base: Path, pattern: str) -> SpanVersion:
    """The newest span, and the newest version in it, among the files that ``pattern`` matches under ``base``.

    Raises:
        DataError: The placeholders are used wrongly, nothing matches, or a folder name is not a number.
    """
    names = [match.group(1) for match in _PLACEHOLDER.finditer(pattern)]
    if not names:
        return SpanVersion()
    _check_placeholders(pattern, names)
    expression = re.compile(_placeholder_expression(pattern))
    found: list[tuple[int, int]] = []
    for path in _relative_matches(base, _PLACEHOLDER.sub("*", pattern)):
        match = expression.fullmatch(path)
        if match:
            found.append(_numbers_in(path, pattern, match.groupdict()))
    if not found:
        raise DataError(f"no files under {base} match {pattern!r}.{_contents(base, _PLACEHOLDER.sub('*', pattern))}")
    span, version = max(found)
    return SpanVersion(span, version if "VERSION" in names else None)


def _check_placeholders(pattern: str, names: Sequence[str]) -> None:
    dates = [name for name in names if f"{{{name}}}" in _DATE]
    is_repeated = len(set(names)) != len(names)
    is_half_a_date = bool(dates) and (len(dates) != 3 or "SPAN" in names)
    if is_repeated or is_half_a_date or names == ["VERSION"]:
        raise DataError(
            f"the pattern {pattern!r} must hold {{SPAN}} once, or {{YYYY}}, {{MM}} and {{DD}} once each, "
            "and {VERSION} at most once beside them."
        )


def _placeholder_expression(pattern: str) -> str:
    """A regular expression over relative paths with a group per placeholder; a wildcard stays inside its folder."""
    expression, position = "", 0
    for match in _PLACEHOLDER.finditer(pattern):
        width = match.group(2) or {"YYYY": "4", "MM": "2", "DD": "2"}.get(match.group(1))
        group = f"(?P<{match.group(1)}>[^/]{{{width}}})" if width else f"(?P<{match.group(1)}>[^/]+)"
        expression += _glob_expression(pattern[position : match.start()]) + group
        position = match.end()
    return expression + _glob_expression(pattern[position:])


def _glob_expression(pattern: str) -> str:
    return re.escape(pattern).replace(r"\*", "[^/]*").replace(r"\?", "[^/]")


def _numbers_in(path: str, pattern: str, values: Mapping[str, str]) -> tuple[int, int]:
    try:
        numbers = {name: int(value) for name, value in values.items()}
        if "YYYY" in numbers:
            day = datetime.date(numbers["YYYY"], numbers["MM"], numbers["DD"])
            return (day - datetime.date(1970, 1, 1)).days, numbers.get("VERSION", 0)
    except ValueError:
        raise DataError(
            f"{path} matches the pattern {pattern!r}, but {', '.join(values.values())} is not a span, version or date "
            "number. Rename the folder or move it out of data.path."
        ) from None
    return numbers["SPAN"], numbers.get("VERSION", 0)


def _fill_in(pattern: str, newest: SpanVersion) -> str:
    """``pattern`` with numbers in it, written as TFX's driver writes them: padded only where a width is given."""
    day = datetime.date(1970, 1, 1) + datetime.timedelta(days=newest.span or 0)
    values = {"SPAN": newest.span, "VERSION": newest.version, "YYYY": day.year, "MM": day.month, "DD": day.day}

    def number(match: re.Match[str]) -> str:
        width = match.group(2) or {"YYYY": "4", "MM": "2", "DD": "2"}.get(match.group(1), "0")
        return str(values[match.group(1)]).zfill(int(width))

    return _PLACEHOLDER.sub(number, pattern)


def _files_of(data: DataConfig, split: str, pattern: str, newest: SpanVersion) -> list[Path]:
    filled = _fill_in(pattern, newest)
    matches = [path for path in sorted(_relative_matches(data.path, filled)) if not is_hidden(path)]
    where = f"data.pattern{'s.' + split if split != UNDIVIDED else ''} {pattern!r}"
    if not matches and filled != pattern:
        raise DataError(
            f"{where} resolves to {filled!r}, which matches no file under {data.path}: the number in the folder's name "
            "is padded with zeros. Give its width in the pattern, for example {SPAN:3} for span-007."
        )
    if not matches:
        raise DataError(f"{where} matches no file under {data.path}.{_contents(data.path, filled)}")
    files = [data.path / path for path in matches]
    if all(path.is_dir() for path in files[:_FILES_LOOKED_INTO]):
        raise DataError(
            f"{where} matches only folders under {data.path}, such as {matches[0]}: the files lie deeper. "
            f"Point data.path one folder down, or lengthen the pattern to {pattern + '/*'!r}."
        )
    return files


def _relative_matches(base: Path, pattern: str) -> Iterator[str]:
    return glob.iglob(pattern, root_dir=base)


def _nearest(path: Path) -> str:
    """The nearest folder that exists above ``path`` and what it holds: usually the typo is visible at once."""
    folder = next(parent for parent in path.parents if parent.exists())
    return f" The nearest folder that exists is {folder}; it holds {_names_in(folder)}."


def _contents(base: Path, pattern: str) -> str:
    """How far ``pattern`` can be followed below ``base``, and what lies there."""
    reached = base
    for part in pattern.split("/")[:-1]:
        folders = [name for name in sorted(glob.glob(part, root_dir=reached)) if (reached / name).is_dir()]
        if not folders:
            break
        reached /= folders[0]
    return f" {reached} holds {_names_in(reached)}."


def _names_in(folder: Path) -> str:
    try:
        names = sorted(entry.name + "/" * entry.is_dir() for entry in islice(os.scandir(folder), 1000))
    except OSError as error:
        return f"something this user cannot list ({error.strerror})"
    shown = ", ".join(names[:6])
    return (shown + f" and {len(names) - 6} more" * (len(names) > 6)) if names else "nothing"


def _check_files(data: DataConfig, files: Sequence[Path]) -> None:
    for path in files[:_FILES_LOOKED_INTO]:
        if not os.access(path, os.R_OK):
            raise DataError(f"{path} cannot be read by this user. Change its permissions.")
        if data.format is DataFormat.TFRECORD:
            _check_tfrecord(path)
    if data.format is DataFormat.CSV:
        _check_csv_headers(data, files)
    elif data.format is DataFormat.PARQUET:
        _check_parquet_columns(data, files[0])


def _check_images(data: DataConfig, files: Sequence[Path]) -> tuple[str, ...]:
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
    found = [(path.relative_to(data.path).as_posix(), examine_header(path)) for path in chosen]
    among = f"{number:,} files {'' if number == len(files) else f'(of {len(files):,}) looked into '}under {data.path}"
    bad = [BadImage(path, reason) for path, reason in found if isinstance(reason, str)]
    if bad:
        raise DataError(bad_images_message(bad, len(bad), among))
    headers = [(path, header) for path, header in found if isinstance(header, ImageHeader)]
    other_size = other_size_message(((path, header.size) for path, header in headers), _image_limits(data), among)
    if other_size:
        raise DataError(other_size)
    num_turned = sum(header.orientation != 1 for _, header in headers)
    if not num_turned:
        return ()
    return (
        f"EXIF orientation: {num_turned:,} of {among} are stored on their side or mirrored and are turned upright wherever "
        "they are decoded; a device that takes pictures from files must do so, too",
    )


def _check_tfrecord(path: Path) -> None:
    """TFX's reader goes by the name: gzip if it ends in .gz, plain otherwise. A plain record begins with its length."""
    with path.open("rb") as file:
        beginning = file.read(12)
    is_gzip = beginning.startswith(_GZIP_MAGIC)
    if is_gzip != (path.suffix == ".gz"):
        found, name = ("gzip-compressed", "does not end") if is_gzip else ("not gzip-compressed", "ends")
        raise DataError(f"{path} is {found}, but its name {name} in .gz, by which TFX tells. Rename the file.")
    if not beginning:
        raise DataError(f"{path} is empty (0 bytes). Delete it, or write it again.")
    if not is_gzip and (len(beginning) < 12 or struct.unpack("<Q", beginning[:8])[0] > path.stat().st_size):
        raise DataError(f"{path} is not a TFRecord file: its first record would outgrow the file. {_CORRECT}")


def _check_csv_headers(data: DataConfig, files: Sequence[Path]) -> None:
    first: list[str] | None = None
    for path in files:
        with path.open("rb") as file:
            line = file.readline()
        try:
            header = [name.strip() for name in line.decode("utf-8").strip().split(",")]
        except UnicodeDecodeError:
            raise DataError(f"{path} is not CSV: its first line is not UTF-8 text. {_CORRECT}") from None
        if first is not None and header != first:
            raise DataError(
                f"{path} has other columns ({', '.join(header)}) than {files[0]} ({', '.join(first)}). "
                "Give all files one header, or narrow data.pattern."
            )
        first = header
    _check_columns(data, first or [], files[0])
    if data.label_type is LabelType.VALUE:
        _check_csv_label(data.label, files[0])


def _check_csv_label(label: str, path: Path) -> None:
    """Looks into the first rows; ExampleValidator looks at all of them."""
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        for number, row in enumerate(islice(csv.DictReader(file, skipinitialspace=True), _ROWS_LOOKED_INTO), start=2):
            text = next((value for name, value in row.items() if name is not None and name.strip() == label), "") or ""
            try:
                is_number = math.isfinite(float(text))
            except ValueError:
                is_number = False
            if not is_number:
                found = f"{text!r} " if text else "nothing "
                raise DataError(f"the label {label!r} is {found}in line {number} of {path}, {_REAL_LABEL}")


def _check_parquet_columns(data: DataConfig, path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    try:
        schema = pyarrow.parquet.read_schema(path)
    except (pyarrow.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{path} is not a Parquet file: {reason} {_CORRECT}") from error
    _check_columns(data, schema.names, path)
    label_type = schema.field(data.label).type
    if data.label_type is LabelType.VALUE and not (
        pyarrow.types.is_integer(label_type) or pyarrow.types.is_floating(label_type)
    ):
        raise DataError(f"the label {data.label!r} is a column of {label_type} in {path}, {_REAL_LABEL}")
    if data.group_by and pyarrow.types.is_floating(schema.field(data.group_by).type):
        raise DataError(
            f"data.group_by {data.group_by!r} is a column of floats in {path}. Group by whole numbers or text."
        )


def _check_columns(data: DataConfig, columns: Sequence[str], path: Path) -> None:
    wanted = {data.label: "data.label", **dict.fromkeys(data.features, "data.features")}
    if data.image:
        wanted[data.image_feature] = "data.image_feature"
    if data.group_by and data.patterns is None:
        wanted[data.group_by] = "data.group_by"
    missing = [f"{name!r} ({key})" for name, key in wanted.items() if name not in columns]
    if missing:
        has = ", ".join(columns[:20])
        raise DataError(
            f"{path} lacks the column(s) {', '.join(missing)}; it has {has}. Correct the config or the data."
        )
