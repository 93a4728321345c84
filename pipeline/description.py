"""What the config says about data and model, in the words of the components."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from components.evaluator.gate import GateRules
from components.examples import ExampleSpec, ImageSpec, TensorFeature
from components.image_example_gen.folders import class_folder_pattern
from components.user_module import function_of, load_module
from pipeline.config import DataConfig, DataFormat, GateConfig, PipelineConfig
from pipeline.data_source import matched_files, split_patterns


@dataclass(frozen=True)
class DataDescription:
    """The examples as every component reads them, and their classes (names are numbers where the config gives none)."""

    examples: ExampleSpec
    class_names: tuple[str, ...]

    @property
    def num_classes(self) -> int:
        return len(self.class_names)


def describe_data(config: PipelineConfig) -> DataDescription:
    """Reads the class names from the image folder where the config gives none, and the model module's parser where it has one.

    Raises:
        DataError: The image folder has no class folders.
        ModelError: The model module cannot be imported.
    """
    class_names = class_names_of(config.data)
    return DataDescription(_example_spec(config.data, class_names, _parse_module(config)), class_names)


def class_names_of(data: DataConfig) -> tuple[str, ...]:
    """Names by class number: the config's, an image folder's sorted folders, or the numbers themselves."""
    if data.class_names:
        return data.class_names
    if data.format is DataFormat.IMAGE_FOLDER:
        return folder_class_names(data)
    assert data.num_classes is not None, "the config refuses records without class_names or num_classes"
    return tuple(str(number) for number in range(data.num_classes))


def folder_class_names(data: DataConfig) -> tuple[str, ...]:
    """The sorted names of the class folders that the patterns match.

    Raises:
        DataError: A pattern matches no file.
    """
    patterns = split_patterns(data)
    return tuple(
        sorted(
            {
                path.relative_to(data.path).parts[class_folder_pattern(patterns[split]).count("/")]
                for split, paths in matched_files(data).items()
                for path in paths
            }
        )
    )


def _parse_module(config: PipelineConfig) -> str | None:
    source = config.model.module
    return source if source and function_of(load_module(source), "parse_example") else None


def _example_spec(data: DataConfig, class_names: tuple[str, ...], parse_module: str | None) -> ExampleSpec:
    is_folder = data.format is DataFormat.IMAGE_FOLDER  # its ExampleGen names the features
    return ExampleSpec(
        label="label" if is_folder else data.label,
        class_names=class_names,
        image=ImageSpec(**data.image.model_dump()) if data.image else None,
        image_feature="image" if is_folder else data.image_feature,
        features=tuple(TensorFeature(name, feature.dtype, feature.shape) for name, feature in data.features.items()),
        parse_module=parse_module,
    )


def gate_rules(gate: GateConfig) -> GateRules:
    """The rules of the gate, as exact decimal text."""
    floor = gate.min_float_accuracy
    return GateRules.from_text(str(gate.min_ratio), None if floor is None else str(floor), gate.min_examples)


def fingerprint_directory(directory: Path) -> str:
    """SHA-256 over the names and contents of all files under ``directory``."""
    digest = hashlib.sha256()
    for path in sorted(path for path in directory.rglob("*") if path.is_file()):
        digest.update(str(path.relative_to(directory)).encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
