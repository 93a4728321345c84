"""The checked picture of a .tflite file: what `reading` found, with every index resolved to the thing it points at."""

from __future__ import annotations

from dataclasses import dataclass

FLOAT_DTYPES = frozenset({"float16", "bfloat16", "float32", "float64"})
INTEGER_CODE_DTYPES = frozenset({"int4", "int8", "uint8", "int16"})
CAST_OPERATORS = frozenset({"QUANTIZE", "DEQUANTIZE"})


@dataclass(frozen=True)
class Tensor:
    """A tensor of one subgraph.

    Attributes:
        index: Its place in the subgraph.
        name: As the converter wrote it; need not be unique.
        dtype: TFLite's type in lower case ("int8", "float32", "string", ...).
        shape: Dimensions as stored, open ones as 1.
        open_shape: Dimensions, open ones as -1.
        scale: Scale of a tensor with exactly one; 0.0 where there is none, or one per channel.
        zero_point: Zero point that belongs to `scale`.
        num_scales: How many scales it has: more than one means one per channel.
        scale_range: Smallest and largest of its scales; (0.0, 0.0) where it has none.
        buffer_index: Which buffer of the file holds its constant data.
        buffer_bytes: Size of that buffer; 0 for an activation.
        is_variable: Whether it keeps its values from one run to the next: the state of a fused LSTM, or of SVDF.
    """

    index: int
    name: str
    dtype: str
    shape: tuple[int, ...]
    open_shape: tuple[int, ...]
    scale: float
    zero_point: int
    num_scales: int
    scale_range: tuple[float, float]
    buffer_index: int
    buffer_bytes: int
    is_variable: bool = False

    @property
    def is_constant(self) -> bool:
        """Whether the file holds its values."""
        return self.buffer_bytes > 0

    @property
    def is_float(self) -> bool:
        """Whether its elements are floating point numbers."""
        return self.dtype in FLOAT_DTYPES


@dataclass(frozen=True)
class Operator:
    """A node of one subgraph; an optional input that is left out is None.

    `runs_once` is the subgraph that a CALL_ONCE runs before the first invoke; None for all other operators. `reduced_axes`
    are the axes that a reduction reduces, where the file has them as a constant; negative ones count from the last.
    """

    name: str
    version: int
    is_custom: bool
    inputs: tuple[Tensor | None, ...]
    outputs: tuple[Tensor | None, ...]
    runs_once: int | None = None
    reduced_axes: tuple[int, ...] = ()

    @property
    def activations(self) -> list[Tensor]:
        """Its inputs and outputs that are not constants, in order."""
        return [tensor for tensor in (*self.inputs, *self.outputs) if tensor is not None and not tensor.is_constant]

    @property
    def reduces_rows(self) -> bool:
        """Whether it reduces over the first axis of something with more axes than one: in a batch, over its rows."""
        rank = len(self.inputs[0].shape) if self.inputs and self.inputs[0] is not None else 0
        return rank > 1 and any(axis in (0, -rank) for axis in self.reduced_axes)

    @property
    def is_cast(self) -> bool:
        """Whether it only changes how numbers are stored."""
        return self.name in CAST_OPERATORS

    @property
    def unpacks_weights(self) -> bool:
        """Whether it is a cast of a constant: float16 weights, widened once when the model is loaded."""
        return self.is_cast and all(tensor is None or tensor.is_constant for tensor in self.inputs)

    @property
    def computes_in_float(self) -> bool:
        """Whether it is more than a cast and has a float activation."""
        return not self.is_cast and any(tensor.is_float for tensor in self.activations)


@dataclass(frozen=True)
class Graph:
    """A subgraph; operators in the order they run, inputs and outputs as tensor indices."""

    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class Signature:
    """Public names for tensors of a subgraph."""

    key: str
    subgraph_index: int
    inputs: tuple[tuple[str, int], ...]
    outputs: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Model:
    """A whole file; the first graph is the main one, and there always is one."""

    graphs: tuple[Graph, ...]
    signatures: tuple[Signature, ...]
    minimum_runtime: str | None
