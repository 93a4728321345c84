"""What the config says about data and model, in the words of the components."""

from __future__ import annotations

from dataclasses import dataclass

from components.data.examples import ExampleSpec
from components.evaluator.counting.slices import SliceBy, SliceSpec, check_slices
from components.example_validator.minimums import Minimum
from components.modules.user_module import function_of, load_module
from pipeline.config import PipelineConfig
from pipeline.config.gate import GateConfig, SliceConfig
from pipeline.data.source import class_names_of, example_spec
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


def describe_data(config: PipelineConfig, class_names: tuple[str, ...] | None = None) -> DataDescription:
    """Reads the class names from the image folder where the config gives none, and the model module's parser where it has one.

    Args:
        config: The config.
        class_names: As :func:`pipeline.data.source.class_names_of` finds them, where the folder was listed already.

    Raises:
        DataError: The image folder has no class folders.
        ModelError: The model module cannot be imported.
    """
    class_names = class_names_of(config.data) if class_names is None else class_names
    return DataDescription(example_spec(config.data, class_names, parse_module(config)), class_names)


def parse_module(config: PipelineConfig) -> str | None:
    """The model module, where it has a parser of its own."""
    source = config.model.module
    return source if source and function_of(load_module(source), "parse_example") else None


def minimums(config: PipelineConfig) -> dict[str, Minimum]:
    """How many examples the converter and the gate need of a split, and the key that says so."""
    gate = {"eval": Minimum(config.gate.min_examples, "gate.min_examples")}
    if not config.convert.recipe.needs_calibration:
        return gate
    min_samples = config.convert.calibration.min_samples
    return {"calibration": Minimum(min_samples, "convert.calibration.min_samples"), **gate}


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
