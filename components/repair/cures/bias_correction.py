"""Moves biases so that, on average, each int8 layer computes what the float layer does.

Rounded weights and cut ranges shift a channel's mean, and the next layer sees the shift in every value. Layers are
corrected in the order in which they run, each after the ones before it, because a correction moves everything behind it
(empirical bias correction, Nagel et al. 2019). The corrections are measured in the int8 model and written into the
float graph, to be quantized again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from edgeproof_edge.codes import dequantizer, quantizer
from edgeproof_edge.flatbuffer import read_interface
from edgeproof_edge.interpreter import TFLiteModel
from edgeproof_edge.rows import filled
from numpy.typing import NDArray

from components.repair.equalization.linear_operators import LinearOperator
from components.repair.graph import FloatGraph
from components.repair.range_statistics import Statistics, measure
from components.repair.sensitivity import multiply_adds

Array: TypeAlias = NDArray[Any]
Vector: TypeAlias = NDArray[np.float64]

MAX_PASSES = 24
"""Most times the rows run through the int8 model; a deeper model is corrected where its means are off the most."""
MIN_PASSES = 4
PASS_BUDGET = 3e10
"""Multiply-adds that all passes may cost together; as int8 about a second of one core."""

_ROWS_AT_ONCE = 16
_BIAS = 2
_BIASED_KINDS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
_INT32 = np.iinfo(np.int32)


@dataclass(frozen=True)
class _Layer:
    """A layer of the int8 model and the float layer it came from.

    Attributes:
        name: Name of its output in both.
        output: Its output in the int8 model.
        bias: Its int32 bias there.
        depth: Corrected layers between it and the inputs, at most.
        source: The float layer.
    """

    name: str
    output: int
    bias: int
    depth: int
    source: LinearOperator


def correct_biases(
    graph: FloatGraph, statistics: Statistics, quantized: bytes, rows: Mapping[str, Array]
) -> FloatGraph:
    """Returns a copy of the float graph with corrected biases; a layer that the int8 model keeps in float is left alone.

    Args:
        graph: The float graph that was quantized; it stays as it is.
        statistics: What it was measured to hold; its means are used where it was measured on as many rows.
        quantized: The int8 model made of it; its tensors have the float tensors' names.
        rows: Inputs by name, batch first: the rows, or the first rows, that the statistics were measured on.

    Raises:
        CalibrationError: The float model cannot run the rows.
        InputError: The int8 model cannot.
        ModelFileError: LiteRT refuses a model.
    """
    corrected = graph.copy()
    wanted = statistics if statistics.num_rows == _num_rows(rows) else measure(graph.pack(), rows)
    public_names = [bound.spec.name for bound in read_interface(quantized).inputs]
    trial = _Trial(FloatGraph.parse(quantized), [rows[name] for name in public_names])
    layers = [layer for layer in _layers(corrected, trial.graph) if layer.name in wanted]
    for level in _levels_to_correct(layers, trial, wanted):
        errors = trial.errors(level, wanted)
        for layer in level:
            layer.source.add_to_bias(trial.add_to_bias(layer, errors[layer.name]))
    return corrected


class _Trial:
    """The int8 model while its biases move."""

    def __init__(self, graph: FloatGraph, rows: list[Array]) -> None:
        """Takes the rows of each input in the graph's order."""
        self.graph = graph
        self._rows = rows

    def errors(self, layers: Sequence[_Layer], wanted: Statistics) -> dict[str, Vector]:
        """Per layer, float's mean of each output channel minus int8's; only what the layers need is run."""
        means = self._means([layer.output for layer in layers])
        return {layer.name: wanted[layer.name].channel_mean - mean for layer, mean in zip(layers, means, strict=True)}

    def add_to_bias(self, layer: _Layer, addend: Vector) -> Vector:
        """Adds to the int32 bias, in whole codes, and returns what that is in real numbers."""
        before = self.graph.constant(layer.bias)
        assert before is not None
        scales = self.scales(layer.bias)
        after = np.clip(before.astype(np.int64) + np.rint(addend / scales), _INT32.min, _INT32.max).astype(np.int32)
        self.graph.set_constant(layer.bias, after)
        moved: Vector = (after.astype(np.float64) - before) * scales
        return moved

    def num_affordable_passes(self) -> int:
        """Passes within the budget; depends on the model and the rows only, never on the clock."""
        of_one_pass = max(1.0, multiply_adds(self.graph) * len(self._rows[0]))
        return max(MIN_PASSES, min(MAX_PASSES, int(PASS_BUDGET / of_one_pass)))

    def scales(self, tensor: int) -> Vector:
        """Real numbers per code, one for all channels or one for each."""
        return np.asarray(self.graph.tensors[tensor].quantization.scale, np.float64)

    def _means(self, tensors: Sequence[int]) -> list[Vector]:
        """Mean per channel over all rows and positions."""
        front = self.graph.copy()
        front.cut_off(tensors)
        model = TFLiteModel.load(front.pack())
        sums = [np.zeros(self.graph.shape(tensor)[-1]) for tensor in tensors]
        num_rows = len(self._rows[0])
        run = _run_step_by_step if _folds_rows(model, self._rows) else _run
        for start in range(0, num_rows, _ROWS_AT_ONCE):
            outputs = run(model, [rows[start : start + _ROWS_AT_ONCE] for rows in self._rows])
            for total, values in zip(sums, outputs, strict=True):
                total += values.reshape(len(values), -1, values.shape[-1]).mean(1, dtype=np.float64).sum(0)
        return [total / num_rows for total in sums]


def _run(model: TFLiteModel, rows: Sequence[Array]) -> list[Array]:
    answers = model.predict(dict(zip([spec.name for spec in model.inputs], rows, strict=True)))
    return [answers[spec.name] for spec in model.outputs]


def _run_step_by_step(model: TFLiteModel, rows: Sequence[Array]) -> list[Array]:
    """For layers that hold several places of a row in their first axis, such as boxes: ``[n, places, channels]``."""
    size, num_rows = model.declared_batch, len(rows[0])
    inputs, outputs = [quantizer(spec) for spec in model.inputs], [dequantizer(spec) for spec in model.outputs]
    steps = []
    for start in range(0, num_rows, size):
        part = [filled(array[start : start + size], size) for array in rows]
        raw = model.invoke_codes([to_codes(array) for to_codes, array in zip(inputs, part, strict=True)])
        values = [from_codes(array) for from_codes, array in zip(outputs, raw, strict=True)]
        steps.append([array.reshape(size, -1, array.shape[-1]) for array in values])
    return [np.concatenate(arrays)[:num_rows] for arrays in zip(*steps, strict=True)]


def _folds_rows(model: TFLiteModel, rows: Sequence[Array]) -> bool:
    """Whether an output's first axis is not the batch; its shape in the file does not say so where that axis is open."""
    size = model.declared_batch
    codes = [quantizer(spec)(filled(array[:size], size)) for spec, array in zip(model.inputs, rows, strict=True)]
    return any(len(array) != size for array in model.invoke_codes(codes))


def _layers(graph: FloatGraph, quantized: FloatGraph) -> list[_Layer]:
    """Layers with an int32 bias of their own and an int8 output that also exist in the float graph, in order."""
    sources = {
        graph.name(linear.output): linear
        for operator in graph.operators
        if (linear := LinearOperator.read(graph, operator)) is not None and linear.kind in _BIASED_KINDS
    }
    depths: dict[int, int] = {}
    layers = []
    for operator in quantized.operators:
        depth = max((depths.get(tensor, 0) for tensor in operator.inputs), default=0)
        name = quantized.name(operator.outputs[0]) if operator.outputs else ""
        if name in sources and _is_correctable(quantized, operator, sources[name]):
            layers.append(_Layer(name, operator.outputs[0], operator.inputs[_BIAS], depth, sources[name]))
            depth += 1
        depths.update(dict.fromkeys(operator.outputs, depth))
    return layers


def _is_correctable(quantized: FloatGraph, operator: Any, source: LinearOperator) -> bool:
    if quantized.kind(operator) != source.kind or len(operator.inputs) <= _BIAS or operator.inputs[_BIAS] < 0:
        return False
    bias, output = operator.inputs[_BIAS], operator.outputs[0]
    return (
        quantized.dtype(bias) == "int32"
        and quantized.is_constant(bias)
        and quantized.consumers(bias) == [quantized.position(operator)]
        and quantized.dtype(output) in ("int8", "int16")
        and quantized.shape(output)[-1:] == quantized.shape(bias) == (source.num_outputs,)
    )


def _levels_to_correct(layers: Sequence[_Layer], trial: _Trial, wanted: Statistics) -> list[list[_Layer]]:
    """Layers of equal depth together, in order; where there are too many, those that are off by the most int8 steps."""
    levels: dict[int, list[_Layer]] = {}
    for layer in layers:
        levels.setdefault(layer.depth, []).append(layer)
    chosen = sorted(levels)
    if len(chosen) > (num_passes := trial.num_affordable_passes()):
        errors = trial.errors(layers, wanted)
        steps_off = {
            depth: max(float(np.abs(errors[layer.name]).max() / trial.scales(layer.output)[0]) for layer in level)
            for depth, level in levels.items()
        }
        chosen = sorted(sorted(chosen, key=lambda depth: -steps_off[depth])[:num_passes])
    return [levels[depth] for depth in chosen]


def _num_rows(rows: Mapping[str, Array]) -> int:
    return len(next(iter(rows.values())))
