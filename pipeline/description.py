"""What the config says about data and model, in the words of the components."""

from __future__ import annotations

from dataclasses import dataclass

from components.evaluator.counting.slices import SliceBy, SliceSpec, check_slices
from components.examples import ExampleSpec, ImageSpec, TensorFeature
from components.image_example_gen.folders import class_folder_pattern
from components.user_module import function_of, load_module
from pipeline.config import PipelineConfig
from pipeline.config.data import DataConfig, DataFormat, LabelType
from pipeline.config.gate import GateConfig, SliceConfig
from pipeline.data_source import matched_files, split_patterns
from pipeline.errors import ConfigError


@dataclass(frozen=True)
class DataDescription:
    """The examples as every component reads them, and their classes (names are numbers where the config gives none).

    Real-valued labels have no classes.
    """

    examples: ExampleSpec
    class_names: tuple[str, ...]

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def parse_sources(self) -> tuple[str, ...]:
        """User code that runs wherever examples are read."""
        return (self.examples.parse_module,) if self.examples.parse_module else ()


def describe_data(config: PipelineConfig) -> DataDescription:
    """Reads the class names from the image folder where the config gives none, and the model module's parser where it has one.

    Raises:
        DataError: The image folder has no class folders.
        ModelError: The model module cannot be imported.
    """
    class_names = class_names_of(config.data)
    return DataDescription(_example_spec(config.data, class_names, _parse_module(config)), class_names)


def class_names_of(data: DataConfig) -> tuple[str, ...]:
    """Names by class number: the config's, an image folder's sorted folders, or the numbers themselves; none of real values."""
    if data.label_type is LabelType.VALUE:
        return ()
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
        label_dtype="float32" if data.label_type is LabelType.VALUE else "int64",
        class_names=class_names,
        image=ImageSpec(**data.image.model_dump()) if data.image else None,
        image_feature="image" if is_folder else data.image_feature,
        features=tuple(TensorFeature(name, feature.dtype, feature.shape) for name, feature in data.features.items()),
        parse_module=parse_module,
    )


def gate_eval_config(gate: GateConfig) -> str | None:
    """The text of the user's EvalConfig; None where there is none.

    Raises:
        ConfigError: The file cannot be read.
    """
    if gate.eval_config is None:
        return None
    try:
        return gate.eval_config.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ConfigError(
            f"gate.eval_config: {gate.eval_config} cannot be read: {reason}. It takes a TFMA EvalConfig as a text proto."
        ) from error


def gate_slices(config: PipelineConfig) -> tuple[SliceSpec, ...]:
    """How the holdout is cut: as the config says, or by label (quarters of real-valued ones) and, for images, by brightness.

    Raises:
        InputError: Two slicings have the same name.
    """
    if config.gate.slices is None:
        by_label = SliceSpec(SliceBy.LABEL)
        return (by_label, SliceSpec(SliceBy.BRIGHTNESS)) if config.data.image else (by_label,)
    slices = tuple(_slice_spec(part) for part in config.gate.slices)
    check_slices(slices)
    return slices


def _slice_spec(part: SliceConfig) -> SliceSpec:
    return SliceSpec(SliceBy(part.by) if part.by else SliceBy.FEATURE, part.feature or "", part.buckets)
