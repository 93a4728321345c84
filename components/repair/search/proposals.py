"""What can be tried: a float graph with ranges, and the file that the quantizer makes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from components.repair.cures.half_weights import halve_weights
from components.repair.cures.saturation import cut_saturated_ranges
from components.repair.equalization import Change
from components.repair.graph import FloatGraph
from components.repair.range_statistics import RangeMethod, Statistics
from components.repair.recipes import IoType, Recipe

Range = tuple[float, float]

MASKS = "mask values cut"
CUT = "saturated ranges cut"
EQUALIZATION = "equalization"
BIAS_CORRECTION = "bias correction"


class Quantizer(Protocol):
    """``private_tensorflow.quantize_flatbuffer``: float model with ranges written into it -> integer model."""

    def __call__(
        self,
        model_with_ranges: bytes,
        *,
        activations: str,
        input_type: str,
        output_type: str,
        float_tensors: Sequence[str] = (),
    ) -> bytes: ...


@dataclass(frozen=True, eq=False)
class Variant:
    """A float graph that computes the wanted function, and what runs through it.

    Attributes:
        graph: The graph.
        statistics: What its activations hold.
        steps: What was done to get here.
        changes: What equalization changed in it.
        difference: Largest difference of an output to the float model, relative to the output's spread; None where
            nothing was changed.
    """

    graph: FloatGraph = field(repr=False)
    statistics: Statistics = field(repr=False)
    steps: tuple[str, ...] = ()
    changes: tuple[Change, ...] = ()
    difference: float | None = None


@dataclass(frozen=True)
class IoTypes:
    """Types of real-valued inputs and outputs."""

    inputs: IoType
    outputs: IoType


@dataclass(frozen=True, eq=False)
class Source:
    """What the quantizer makes an int8 file of.

    Attributes:
        variant: The float graph.
        limits: Range of every activation by tensor name.
        ranges: Method that set them.
        steps: The cures in it, in order; those of the variant come first.
        freed: Tensors that stay float.
        has_float_front: Whether a block at the inputs is among them.
        io_types: Types of inputs and outputs.
    """

    variant: Variant
    limits: Mapping[str, Range] = field(repr=False)
    ranges: str
    steps: tuple[str, ...]
    io_types: IoTypes
    freed: tuple[str, ...] = ()
    has_float_front: bool = False

    @classmethod
    def ranged(cls, variant: Variant, method: RangeMethod, io_types: IoTypes, cut: bool = False) -> Source:
        """The variant with ranges by a method, cut where consumers saturate if that is wanted and changes any."""
        whole = variant.statistics.ranges(method)
        limits = cut_saturated_ranges(variant.graph, whole) if cut else whole
        return cls(variant, limits, method.value, (*variant.steps, *([CUT] if limits != whole else [])), io_types)

    def with_biases(self, graph: FloatGraph) -> Source:
        """The same of a graph whose biases were corrected for it."""
        return replace(self, variant=replace(self.variant, graph=graph), steps=(*self.steps, BIAS_CORRECTION))

    def quantized(self, quantize: Quantizer) -> bytes:
        """The int8 file; what computes in float in it has weights of float16, unless it is a filter bank."""
        model = quantize(
            with_ranges(self.variant.graph, self.limits),
            activations=Recipe.INT8.activation_dtype,
            input_type=self.io_types.inputs.value,
            output_type=self.io_types.outputs.value,
            float_tensors=self.freed,
        )
        return halve_weights(model) if self.freed and not self.has_float_front else model


@dataclass(frozen=True)
class Proposal:
    """A candidate to make.

    Attributes:
        recipe: How it stores weights and activations.
        make: Makes the file.
        io_types: Types of inputs and outputs.
        source: What an int8 file is made of; None for other recipes.
    """

    recipe: Recipe
    make: Callable[[], bytes] = field(repr=False)
    io_types: IoTypes
    source: Source | None = None

    @property
    def name(self) -> str:
        """How the report calls it, unless another candidate has the name."""
        ranges, steps = (self.source.ranges, self.source.steps) if self.source else ("", ())
        return ", ".join([" ".join([self.recipe.value, ranges]).strip(), *steps])


def int8(source: Source, quantize: Quantizer) -> Proposal:
    """The int8 file of a source."""
    return Proposal(Recipe.INT8, lambda: source.quantized(quantize), source.io_types, source)


def with_ranges(graph: FloatGraph, limits: Mapping[str, Range]) -> bytes:
    """The float model with ranges written to its tensors; the graph is left as it is."""
    ranged = graph.copy()
    ranged.set_ranges(limits)
    return ranged.pack()
