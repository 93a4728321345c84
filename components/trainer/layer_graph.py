"""A Keras model as the graph of operators that equalization knows, so that one algorithm serves .tflite files and training.

Rules: 1. What the device computes as one operator is one here: convolution, BatchNorm and ReLU. The BatchNorm stays apart in Keras; the
operator holds the convolution's own kernel, which differs from the folded one by a factor per output, and no gain depends on that. 2. A
layer that is not understood becomes an operator that no gain passes. 3. The graph is never run: its shapes, weights and connections are
read, and its weights are changed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from components.repair.graph import FloatGraph
from components.trainer.fake_quantization import activation_of

Array = NDArray[Any]

_NONE, _RELU, _RELU6 = (getattr(schema.ActivationFunctionType, name) for name in ("NONE", "RELU", "RELU6"))
_PADDINGS = {"same": schema.Padding.SAME, "valid": schema.Padding.VALID}
#: Operators of a layer with weights, in the order in which its kernels are applied.
_WEIGHTED = {
    "Conv2D": ("CONV_2D",),
    "Dense": ("FULLY_CONNECTED",),
    "DepthwiseConv2D": ("DEPTHWISE_CONV_2D",),
    "SeparableConv2D": ("DEPTHWISE_CONV_2D", "CONV_2D"),
}
#: Stands for every layer that is not understood: a sigmoid is not homogeneous, so no gain passes.
_OPAQUE = "LOGISTIC"
_IDENTITIES = ("Dropout", "SpatialDropout2D")


@dataclass(frozen=True)
class WeightLayer:
    """A layer with kernels, and its operators in the order in which these are applied.

    Attributes:
        layer: The Keras layer.
        norm: The BatchNormalization that folds into it, or None.
        operators: One per kernel; SeparableConv2D has two.
    """

    layer: Any
    norm: Any
    operators: tuple[Any, ...]

    @property
    def layers(self) -> tuple[Any, ...]:
        """The layer, and its BatchNormalization where it has one."""
        return (self.layer,) if self.norm is None else (self.layer, self.norm)


@dataclass(frozen=True)
class LayerGraph:
    """What was read from a Keras model.

    Attributes:
        graph: Its operators; an activation is named after the layer that computes it.
        activations: The Keras tensor of each activation but the inputs, by tensor index.
        weight_layers: Layers whose weights the operators hold.
    """

    graph: FloatGraph
    activations: dict[int, Any]
    weight_layers: tuple[WeightLayer, ...]


def read_layers(model: Any) -> LayerGraph:
    """Reads a Functional model that shares no layer with another model."""
    return _Reader(model).read()


def kernels_of(layer: Any) -> tuple[Any, ...]:
    """The kernel variables of a layer with weights, in the order in which they are applied."""
    names = ("depthwise_kernel", "pointwise_kernel", "kernel")
    return tuple(kernel for name in names if (kernel := getattr(layer, name, None)) is not None)


def to_operator(kind: str, kernel: Array) -> Array:
    """A Keras kernel in the layout of a TFLite operator."""
    if kind == "CONV_2D":
        return kernel.transpose(3, 0, 1, 2)
    return kernel.T if kind == "FULLY_CONNECTED" else kernel.reshape(1, *kernel.shape[:2], -1)


def from_operator(kind: str, weights: Array, shape: Sequence[int]) -> Array:
    """The weights of a TFLite operator as a Keras kernel of that shape."""
    if kind == "CONV_2D":
        return weights.transpose(1, 2, 3, 0)
    return weights.T if kind == "FULLY_CONNECTED" else weights.reshape(shape)


class _Reader:
    """Walks the calls of layers ("nodes") in the order in which they run."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._graph = FloatGraph.empty()
        self._nodes = [node for layer in model.layers for node in layer.inbound_nodes]
        self._readers: dict[int, list[Any]] = {}
        for node in self._nodes:
            for tensor in node.keras_inputs:
                self._readers.setdefault(id(tensor), []).append(node)
        self._final = {id(tensor) for tensor in model.outputs}
        self._tensors: dict[int, int] = {}
        self._activations: dict[int, Any] = {}
        self._weight_layers: list[WeightLayer] = []

    def read(self) -> LayerGraph:
        inputs = [
            self._tensor(tensor, name) for tensor, name in zip(self._model.inputs, self._model.input_names, strict=True)
        ]
        self._activations.clear()
        waiting = [node for node in self._nodes if not self._is_read(node)]
        while waiting:
            for node in waiting:
                if not self._is_read(node) and all(id(tensor) in self._tensors for tensor in node.keras_inputs):
                    self._read(node)
            left = [node for node in waiting if not self._is_read(node)]
            assert len(left) < len(waiting), "a Functional model has no loops"
            waiting = left
        self._graph.set_interface(inputs, [self._tensors[id(tensor)] for tensor in self._model.outputs])
        return LayerGraph(self._graph, self._activations, tuple(self._weight_layers))

    def _is_read(self, node: Any) -> bool:
        return all(id(tensor) in self._tensors for tensor in _outputs(node))

    def _read(self, node: Any) -> None:
        layer, kind, inputs = node.layer, type(node.layer).__name__, self._inputs(node)
        passing = None
        if len(layer.inbound_nodes) == 1 and getattr(layer, "data_format", "channels_last") == "channels_last":
            if kind in _WEIGHTED:
                self._read_weighted(node)
                return
            if kind in _IDENTITIES or (kind == "Activation" and activation_of(layer) == "linear"):
                self._tensors[id(node.outputs)] = inputs[0]
                return
            passing = _passing(layer, len(inputs))
        passing = passing or _Passing(_OPAQUE)
        held = [self._constant(layer, values) for values in passing.constants]
        outputs = [self._tensor(tensor, layer.name) for tensor in _outputs(node)]
        self._add(passing.kind, [*inputs, *held], outputs, passing.options)

    def _read_weighted(self, node: Any) -> None:
        """A layer with weights, the BatchNorm and the ReLU that the device computes with it, as one operator."""
        layer, own = node.layer, activation_of(node.layer)
        norm = self._only_reader(node, is_norm_of_channels) if own == "linear" else None
        relu = self._only_reader(norm or node, relu_of) if own == "linear" else None
        chain = [called for called in (node, norm, relu) if called is not None]
        output = self._tensor(chain[-1].outputs, layer.name)
        self._tensors.update({id(called.outputs): output for called in chain})
        is_bent = own not in ("linear", "relu")
        linear = self._hidden(layer, node.outputs.shape) if is_bent else output
        activation = int(_RELU) if own == "relu" else _fused(relu)
        operators = self._operators(layer, self._inputs(node)[0], linear, activation)
        if is_bent:
            self._add(_OPAQUE, [linear], [output])
        self._weight_layers.append(WeightLayer(layer, None if norm is None else norm.layer, operators))

    def _operators(self, layer: Any, source: int, output: int, activation: int) -> tuple[Any, ...]:
        operators: list[Any] = []
        kinds, kernels = _WEIGHTED[type(layer).__name__], kernels_of(layer)
        for kind, kernel in zip(kinds, kernels, strict=True):
            weights = np.ascontiguousarray(to_operator(kind, kernel.numpy()))
            inputs = [source, self._constant(layer, weights)]
            options = _options(kind, layer, is_first=not operators)
            if len(operators) + 1 < len(kinds):
                source = self._hidden(layer, (*layer.input_shape[:-1], weights.shape[-1]))
                operators.append(self._add(kind, inputs, [source], options))
                continue
            if layer.use_bias:
                inputs.append(self._constant(layer, layer.bias.numpy()))
            options.fusedActivationFunction = activation
            operators.append(self._add(kind, inputs, [output], options))
        return tuple(operators)

    def _only_reader(self, node: Any, fits: Callable[[Any], Any]) -> Any:
        """The call that alone reads this one's output, where its layer fits and is called once."""
        readers = self._readers.get(id(node.outputs), [])
        if len(readers) != 1 or id(node.outputs) in self._final:
            return None
        layer = readers[0].layer
        return readers[0] if len(layer.inbound_nodes) == 1 and fits(layer) else None

    # Tensors

    def _inputs(self, node: Any) -> list[int]:
        return [self._tensors[id(tensor)] for tensor in node.keras_inputs]

    def _tensor(self, tensor: Any, name: str) -> int:
        """What a layer gives; it can be measured."""
        if id(tensor) not in self._tensors:
            added = self._graph.add_tensor(name, _shape(tensor.shape), tensor.dtype.name)
            self._tensors[id(tensor)] = added
            self._activations[added] = tensor
        return self._tensors[id(tensor)]

    def _hidden(self, layer: Any, shape: Sequence[int | None]) -> int:
        """A tensor inside a layer: it cannot be measured, and hence has no gain."""
        return self._graph.add_tensor(f"{layer.name}/inside", _shape(shape), "float32")

    def _constant(self, layer: Any, values: Array) -> int:
        return self._graph.add_tensor(f"{layer.name}/constant", values.shape, values.dtype.name, values)

    def _add(self, kind: str, inputs: Sequence[int], outputs: Sequence[int], options: Any = None) -> Any:
        return self._graph.insert_operator(len(self._graph.operators), kind, 1, inputs, outputs, options)


def is_norm_of_channels(layer: Any) -> bool:
    """Whether a layer is a BatchNormalization of the last axis."""
    if type(layer).__name__ != "BatchNormalization":
        return False
    axes = layer.axis if isinstance(layer.axis, (list, tuple)) else [layer.axis]
    return list(axes) in ([-1], [len(layer.input_shape) - 1])


def relu_of(layer: Any) -> int | None:
    """RELU or RELU6, as the schema counts them, where a layer computes that and nothing else."""
    kind = type(layer).__name__
    if kind == "Activation":
        return {"relu": int(_RELU), "relu6": int(_RELU6)}.get(activation_of(layer))
    if kind != "ReLU" or np.any(layer.negative_slope) or np.any(layer.threshold):
        return None
    return {None: int(_RELU), 6.0: int(_RELU6)}.get(None if layer.max_value is None else float(layer.max_value))


def _fused(relu: Any) -> int:
    """What the call of a ReLU layer adds to the operator in front of it; nothing where there is none."""
    activation = None if relu is None else relu_of(relu.layer)
    return int(_NONE) if activation is None else activation


@dataclass(frozen=True)
class _Passing:
    """The operator of a layer without weights, and the constants it reads behind the layer's inputs."""

    kind: str
    constants: tuple[Array, ...] = ()
    options: Any = None


def _passing(layer: Any, num_inputs: int) -> _Passing | None:
    """The operator of a layer that a gain passes; None for every other."""
    kind = type(layer).__name__
    if relu_of(layer) == _RELU:
        return _Passing("RELU")
    if kind in _OF_TWO and num_inputs == 2:
        return _Passing(_OF_TWO[kind])
    if kind in _PLAIN:
        return _Passing(_PLAIN[kind])
    return _MADE[kind](layer) if kind in _MADE else None


def _pooled(layer: Any) -> _Passing:
    kind = "MEAN" if type(layer).__name__ == "GlobalAveragePooling2D" else "REDUCE_MAX"
    return _Passing(kind, (np.array([1, 2], np.int32),))


def _sloped(layer: Any) -> _Passing | None:
    """A ReLU with a slope; one that stops somewhere is not homogeneous."""
    return _Passing("LEAKY_RELU") if layer.max_value is None and not layer.threshold else None


def _joined(layer: Any) -> _Passing:
    options = schema.ConcatenationOptionsT()
    options.axis = layer.axis
    return _Passing("CONCATENATION", options=options)


def _reshaped(layer: Any) -> _Passing:
    return _Passing("RESHAPE", (np.array(_shape(layer.output_shape), np.int32),))


def _resized(layer: Any) -> _Passing | None:
    kinds = {"nearest": "RESIZE_NEAREST_NEIGHBOR", "bilinear": "RESIZE_BILINEAR"}
    return _Passing(kinds[layer.interpolation]) if layer.interpolation in kinds else None


def _padded(layer: Any) -> _Passing:
    return _Passing("PAD", (np.array([(0, 0), *layer.padding, (0, 0)], np.int32),))


def _parametric(layer: Any) -> _Passing:
    return _Passing("PRELU", (layer.alpha.numpy(),))


_OF_TWO = {"Add": "ADD", "Multiply": "MUL"}
#: Averages, and sums of three and more, become an operator that gains pass and offsets do not.
_PLAIN = {
    "Add": "ADD_N",
    "Average": "ADD_N",
    "AveragePooling2D": "AVERAGE_POOL_2D",
    "LeakyReLU": "LEAKY_RELU",
    "MaxPooling2D": "MAX_POOL_2D",
    "Maximum": "MAXIMUM",
    "Minimum": "MINIMUM",
    "Subtract": "SUB",
}
_MADE: dict[str, Callable[[Any], _Passing | None]] = {
    "Concatenate": _joined,
    "Flatten": _reshaped,
    "GlobalAveragePooling2D": _pooled,
    "GlobalMaxPooling2D": _pooled,
    "PReLU": _parametric,
    "ReLU": _sloped,
    "Reshape": _reshaped,
    "UpSampling2D": _resized,
    "ZeroPadding2D": _padded,
}


def _options(kind: str, layer: Any, is_first: bool) -> Any:
    """Of a layer's first operator, what the layer says; of the pointwise second, nothing but one step without padding."""
    if kind == "FULLY_CONNECTED":
        return schema.FullyConnectedOptionsT()
    options = schema.DepthwiseConv2DOptionsT() if kind == "DEPTHWISE_CONV_2D" else schema.Conv2DOptionsT()
    options.padding = _PADDINGS[layer.padding] if is_first else schema.Padding.VALID
    options.strideH, options.strideW = layer.strides if is_first else (1, 1)
    options.dilationHFactor, options.dilationWFactor = layer.dilation_rate if is_first else (1, 1)
    return options


def _outputs(node: Any) -> list[Any]:
    import tensorflow as tf

    return list(tf.nest.flatten(node.outputs))


def _shape(shape: Sequence[int | None]) -> list[int]:
    return [-1 if size is None else int(size) for size in shape]
