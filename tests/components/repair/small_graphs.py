"""Float .tflite files built by hand, operator by operator, for tests that need a certain graph and no TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from components.repair.graph import FloatGraph
from components.repair.range_statistics import Statistics, measure

NONE, RELU, RELU6 = (getattr(schema.ActivationFunctionType, name) for name in ("NONE", "RELU", "RELU6"))
SAME, VALID = schema.Padding.SAME, schema.Padding.VALID

Array = NDArray[Any]


class SmallGraph:
    """Adds operators one after the other; every method returns the tensor that it computes.

    Activations are NHWC or [1, channels], batch 1. ``options`` of an operator are given as keywords in the schema's
    spelling.
    """

    def __init__(self, **inputs: Sequence[int]) -> None:
        self.graph = FloatGraph.empty()
        for name, shape in inputs.items():
            self.feed(name, shape, "float32")

    @property
    def inputs(self) -> list[int]:
        return list(self.graph.inputs)

    def feed(self, name: str, shape: Sequence[int], dtype: str) -> int:
        """One more input."""
        self.graph.set_interface([*self.inputs, self.graph.add_tensor(name, shape, dtype)], self.graph.outputs)
        return self.inputs[-1]

    def constant(self, values: Any, dtype: str = "float32", name: str = "constant") -> int:
        array = np.asarray(values, dtype)
        return self.graph.add_tensor(name, array.shape, dtype, array)

    def operator(
        self,
        kind: str,
        inputs: Sequence[int],
        shape: Sequence[int],
        options: str | None = None,
        version: int = 1,
        name: str = "",
        **fields: Any,
    ) -> int:
        output = self.graph.add_tensor(name or kind.lower(), shape, "float32")
        filled = getattr(schema, f"{options}T")() if options else None
        for field, value in fields.items():
            assert hasattr(filled, field)
            setattr(filled, field, value)
        self.graph.insert_operator(len(self.graph.operators), kind, version, inputs, [output], filled)
        return output

    def conv(
        self,
        source: int,
        weights: Any,
        bias: Any = None,
        activation: int = NONE,
        padding: int = VALID,
        stride: int = 1,
        name: str = "conv",
    ) -> int:
        array = np.asarray(weights, np.float32)
        return self._convolve("CONV_2D", source, array, array.shape[0], bias, activation, padding, stride, name)

    def depthwise(
        self,
        source: int,
        weights: Any,
        bias: Any = None,
        activation: int = NONE,
        padding: int = VALID,
        name: str = "depthwise",
    ) -> int:
        array = np.asarray(weights, np.float32)
        return self._convolve("DEPTHWISE_CONV_2D", source, array, array.shape[3], bias, activation, padding, 1, name)

    def dense(self, source: int, weights: Any, bias: Any = None, activation: int = NONE, name: str = "dense") -> int:
        array = np.asarray(weights, np.float32)
        inputs = [source, *self._constants(array, array.shape[0], bias, name)]
        shape = (1, array.shape[0])
        return self.operator(
            "FULLY_CONNECTED", inputs, shape, "FullyConnectedOptions", name=name, fusedActivationFunction=activation
        )

    def elementwise(self, kind: str, inputs: Sequence[int], activation: int = NONE, name: str = "") -> int:
        shape = np.broadcast_shapes(*(self.graph.shape(tensor) for tensor in inputs))
        options = {"ADD": "AddOptions", "MUL": "MulOptions", "SUB": "SubOptions"}[kind]
        return self.operator(kind, inputs, shape, options, name=name, fusedActivationFunction=activation)

    def same_shape(self, kind: str, source: int, options: str | None = None, **fields: Any) -> int:
        return self.operator(kind, [source], self.graph.shape(source), options, **fields)

    def concatenate(self, inputs: Sequence[int], name: str = "joined") -> int:
        shapes = [self.graph.shape(tensor) for tensor in inputs]
        shape = (*shapes[0][:-1], sum(size[-1] for size in shapes))
        return self.operator("CONCATENATION", inputs, shape, "ConcatenationOptions", name=name, axis=len(shape) - 1)

    def mean(self, source: int, name: str = "mean") -> int:
        shape = self.graph.shape(source)
        axes = self.constant([1, 2], "int32", "axes")
        return self.operator("MEAN", [source, axes], (1, shape[-1]), "ReducerOptions", name=name, keepDims=False)

    def max_pool(self, source: int) -> int:
        batch, height, width, channels = self.graph.shape(source)
        return self.operator(
            "MAX_POOL_2D",
            [source],
            (batch, height // 2, width // 2, channels),
            "Pool2DOptions",
            padding=VALID,
            strideW=2,
            strideH=2,
            filterWidth=2,
            filterHeight=2,
        )

    def reshape(self, source: int, shape: Sequence[int]) -> int:
        return self.operator(
            "RESHAPE", [source, self.constant(shape, "int32", "shape")], shape, "ReshapeOptions", newShape=list(shape)
        )

    def pad(self, source: int, amounts: Sequence[tuple[int, int]]) -> int:
        shape = [size + sum(amount) for size, amount in zip(self.graph.shape(source), amounts, strict=True)]
        return self.operator("PAD", [source, self.constant(amounts, "int32", "amounts")], shape, "PadOptions")

    def columns(self, source: int, begin: int, end: int, name: str = "columns") -> int:
        inputs = [source, *(self.constant(v, "int32", "bounds") for v in ([0, begin], [0, end], [1, 1]))]
        return self.operator(
            "STRIDED_SLICE", inputs, (1, end - begin), "StridedSliceOptions", name=name, beginMask=1, endMask=1
        )

    def finish(self, *outputs: int) -> bytes:
        self.graph.set_interface(self.inputs, outputs)
        return self.graph.pack()

    def _convolve(
        self,
        kind: str,
        source: int,
        weights: Array,
        num_outputs: int,
        bias: Any,
        activation: int,
        padding: int,
        stride: int,
        name: str,
    ) -> int:
        batch, height, width, channels = self.graph.shape(source)
        kernel = weights.shape[1:3]
        sizes = [
            -(-size // stride) if padding == SAME else (size - k) // stride + 1
            for size, k in zip((height, width), kernel, strict=True)
        ]
        inputs = [source, *self._constants(weights, num_outputs, bias, name)]
        extra = {"depthMultiplier": num_outputs // channels} if kind == "DEPTHWISE_CONV_2D" else {}
        return self.operator(
            kind,
            inputs,
            (batch, *sizes, num_outputs),
            "DepthwiseConv2DOptions" if extra else "Conv2DOptions",
            name=name,
            padding=padding,
            strideW=stride,
            strideH=stride,
            dilationWFactor=1,
            dilationHFactor=1,
            fusedActivationFunction=activation,
            **extra,
        )

    def _constants(self, weights: Array, num_outputs: int, bias: Any, name: str) -> list[int]:
        biases = np.zeros(num_outputs) if bias is None else bias
        return [self.constant(weights, name=f"{name}/weights"), self.constant(biases, name=f"{name}/bias")]


def rows_for(model: bytes, count: int = 64, seed: int = 0) -> dict[str, Array]:
    """Normal values for every input."""
    random = np.random.default_rng(seed)
    graph = FloatGraph.parse(model)
    return {
        graph.name(tensor): random.normal(size=(count, *graph.shape(tensor)[1:])).astype(np.float32)
        for tensor in graph.inputs
    }


def statistics_of(model: bytes, count: int = 64) -> Statistics:
    return measure(model, rows_for(model, count))
