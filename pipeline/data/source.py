"""From the config's data section to the components that read it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from components.data.content_hashes import content_fingerprint
from components.data.examples import ExampleSpec, ImageSpec, TensorFeature
from components.image_example_gen.folders import class_folder_pattern
from components.image_example_gen.splits import Shares
from pipeline.config.data import DataConfig, LabelType
from pipeline.data.files import matched_files, split_patterns


def class_names_of(data: DataConfig) -> tuple[str, ...]:
    """Names by class number: the config's, an image folder's sorted folders, or the numbers themselves; none of real values."""
    if data.label_type is LabelType.VALUE:
        return ()
    if data.class_names:
        return data.class_names
    if data.kind.is_image_folder:
        return tuple(sorted(images_per_class(data, matched_files(data))))
    assert data.num_classes is not None, "the config refuses records without class_names or num_classes"
    return tuple(str(number) for number in range(data.num_classes))


def images_per_class(data: DataConfig, matched: Mapping[str, Sequence[Path]]) -> Counter[str]:
    """How many files each class folder holds.

    Args:
        data: The data section.
        matched: The files of each input split.
    """
    counts: Counter[str] = Counter()
    start = len(os.path.join(data.path, ""))
    for split, paths in matched.items():
        position = class_folder_pattern(split_patterns(data)[split]).count("/")
        folders = Counter(os.path.dirname(str(path)) for path in paths)  # pathlib takes ten times as long for each path
        for folder, number in folders.items():
            counts[folder[start:].split("/")[position]] += number
    return counts


def example_spec(data: DataConfig, class_names: tuple[str, ...], parse_module: str | None = None) -> ExampleSpec:
    """What is inside an example, in the words of the components."""
    is_folder = data.kind.is_image_folder  # its ExampleGen names the features
    return ExampleSpec(
        label="label" if is_folder else data.label,
        label_dtype="float32" if data.label_type is LabelType.VALUE else "int64",
        class_names=class_names,
        image=ImageSpec(**data.image.model_dump()) if data.image else None,
        image_feature="image" if is_folder else data.image_feature,
        features=tuple(TensorFeature(name, **feature.model_dump()) for name, feature in data.features.items()),
        parse_module=parse_module,
    )


def data_fingerprint(data: DataConfig, workspace: Path) -> str:
    """One hash over the names and contents of the files that an ExampleGen would read now.

    Args:
        data: The data section.
        workspace: Where the hashes of files are remembered, so that the next look reads only what has changed.

    Raises:
        DataError: As :func:`pipeline.data.files.matched_files`, or a file cannot be read.
    """
    prefix = os.path.join(data.path, "")
    paths = [str(path).removeprefix(prefix) for files in matched_files(data).values() for path in files]
    return content_fingerprint(data.path, paths, workspace / "content_hashes.json")


def shares_of(data: DataConfig) -> Shares:
    """How undivided data is cut."""
    return Shares(data.shares.train, data.shares.calibration, data.shares.eval)


def group_by_of(data: DataConfig) -> str:
    """What keeps examples in one split; nothing where a person has divided records."""
    return data.group_by or "" if data.kind.is_image_folder or data.patterns is None else ""


def is_raw(data: DataConfig, parse_module: str | None) -> bool:
    """Whether a team's own schema or parser says what the features of records are."""
    return data.schema_file is not None or parse_module is not None


def example_gen(data: DataConfig, code_version: str, fingerprint: Any = "", parse_module: str | None = None) -> Any:
    """The ExampleGen component for the config's data section.

    Args:
        data: The data section.
        code_version: Hash of the code and libraries behind the executor, for the cache.
        fingerprint: What :func:`data_fingerprint` says when the node runs (a text, or a parameter that is filled in then), for the
            cache; empty where the data is looked at by TFX alone.
        parse_module: The model module, where it has a parser of its own.

    Raises:
        DataError: As :func:`pipeline.data.files.split_patterns`.
    """
    from tfx.proto import example_gen_pb2

    splits = [example_gen_pb2.Input.Split(name=name, pattern=p) for name, p in split_patterns(data).items()]
    common = {
        "input_base": str(data.path),
        "input_config": example_gen_pb2.Input(splits=splits),
        "code_version": code_version,
        "fingerprint": fingerprint,
        "group_by": group_by_of(data),
        "shares": shares_of(data),
        "ignore": data.ignore,
    }
    if data.kind.is_image_folder:
        from components.image_example_gen.component import ImageExampleGen

        return ImageExampleGen(**common, class_names=data.class_names, image_limits=image_limits(data))
    from components.record_example_gen.component import RecordExampleGen

    spec = example_spec(data, class_names_of(data), parse_module)
    return RecordExampleGen(
        **common,
        record_format=data.kind.name,
        example_spec=spec,
        is_raw=is_raw(data, parse_module),
        image_limits=image_limits(data) if spec.image and parse_module is None else None,
    )


def image_limits(data: DataConfig) -> dict[str, int]:
    """What ``data.image`` asks of every image; a team's own schema says itself what images may be."""
    return {} if data.image is None or data.schema_file else ImageSpec(**data.image.model_dump()).limits


def example_gen_room(data: DataConfig) -> str:
    """The folder of ``components`` whose code reads this data, for its code version."""
    return "image_example_gen" if data.kind.is_image_folder else "record_example_gen"


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
