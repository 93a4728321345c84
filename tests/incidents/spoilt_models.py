"""Spoils a float .tflite at its output, as files that are wrong by accident are: order, scale, a constant, no number at all.

The file stays one that loads and runs; what it answers is another model's. A row cannot be swapped with another inside a
file, so "permuted" is the order of the columns, or values mirrored about their mean.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from edgeproof_edge.flatbuffer import read_interface

from components.repair.graph import FloatGraph
from tests.incidents.data import Array

Spoil = Callable[["_Output"], None]


class _Output:
    """The output of a graph, with what float gives there; operators are put between the two."""

    def __init__(self, graph: FloatGraph, tensor: int, values: Array) -> None:
        self.graph, self._tensor, self.values = graph, tensor, np.asarray(values, np.float64)
        self._last = graph.add_tensor_like(tensor, "sound")
        producer = graph.producer(tensor)
        assert producer is not None
        graph.replace_output(producer, tensor, self._last)
        for consumer in graph.consumers(tensor):
            graph.replace_input(consumer, tensor, self._last)

    @property
    def num_columns(self) -> int:
        """Numbers of a row that is a vector; 1 for all others."""
        return self.values.shape[1] if self.values.ndim == 2 else 1

    def scaled(self, factor: float) -> None:
        """Multiplied by a number."""
        self._add("MUL", np.float32(factor), schema.MulOptionsT())

    def moved(self, addend: Array) -> None:
        """With numbers added, the same ones to each row."""
        self._add("ADD", np.asarray(addend, np.float32), schema.AddOptionsT())

    def reordered(self, columns: Array) -> None:
        """With its columns in another order."""
        options = schema.GatherOptionsT()
        options.axis = 1
        self._add("GATHER", np.asarray(columns, np.int32), options)

    def finish(self) -> bytes:
        """The file; the signature's output is what was computed last."""
        self.graph.replace_output(len(self.graph.operators) - 1, self._last, self._tensor)
        return self.graph.pack()

    def _add(self, kind: str, constant: Any, options: Any) -> None:
        values = np.asarray(constant)
        operand = self.graph.add_tensor(kind.lower(), values.shape, values.dtype.name, values)
        result = self.graph.add_tensor_like(self._tensor, f"after {kind.lower()}")
        self.graph.insert_operator(len(self.graph.operators), kind, 1, [self._last, operand], [result], options)
        self._last = result


def _permuted(output: _Output) -> None:
    if output.num_columns > 1:
        output.reordered(np.arange(output.num_columns)[::-1])
        return
    output.scaled(-1.0)
    output.moved(2 * output.values.mean(axis=0, keepdims=True))


def _constant(output: _Output) -> None:
    output.scaled(0.0)
    output.moved(output.values[-1:])


def _without_numbers(output: _Output) -> None:
    output.scaled(float("nan"))


def _shifted(output: _Output) -> None:
    """By one class; the other of two; values by their own spread."""
    is_score = output.values.min() >= 0 and output.values.max() <= 1
    if output.num_columns > 1 and output.values.ndim == 2:
        output.reordered(np.roll(np.arange(output.num_columns), 1))
    elif output.values.ndim == 2 and is_score:
        output.scaled(-1.0)
        output.moved(np.ones((1, 1)))
    else:
        output.moved(np.full((1,) * output.values.ndim, output.values.std()))


SPOILS: Mapping[str, Spoil] = {
    "permuted": _permuted,
    "constant": _constant,
    "nan": _without_numbers,
    "shifted": _shifted,
}


def spoilt(model: bytes, name: str, values: Array, spoil: Spoil) -> bytes:
    """The file with one output spoilt.

    Args:
        model: A float .tflite.
        name: Of the output, as its signature has it.
        values: What the model gives there, ``[n, ...]``.
        spoil: One of ``SPOILS``.
    """
    (bound,) = [bound for bound in read_interface(model).outputs if bound.spec.name == name]
    output = _Output(FloatGraph.parse(model), bound.tensor_index, values)
    spoil(output)
    return output.finish()
