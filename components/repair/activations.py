"""Runs a float model and shows what every one of its tensors holds, batch by batch.

The device's door to LiteRT (edgeproof_edge.interpreter) shows inputs and outputs only; this is the other one.
Built-in kernels compute, because XNNPACK keeps no tensor between two of its operators. Rows go through as
``edgeproof_edge.rows`` says: many at once where the graph computes the same as one by one, otherwise by the declared batch,
with what the graph remembers reset before each or, of a stream, carried on. Memory stays bounded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from edgeproof_edge.errors import ModelFileError
from edgeproof_edge.flatbuffer import read_interface
from edgeproof_edge.rows import Feeding, RowOrder, State, are_independent, feeding_of, probe_rows, rows_within
from numpy.typing import NDArray

from components.errors import CalibrationError
from components.repair.graph import FloatGraph

Array: TypeAlias = NDArray[Any]

MAX_BATCH_SIZE = 64
"""Larger batches are no faster: their tensors do not fit the processor's caches."""
MAX_BATCH_BYTES = 2 * 2**20
"""All tensors of one batch together: they stay in the cache until they have been measured, which saves a third of the time."""


class ActivationReader:
    """A float model whose tensors can be read after each batch.

    Attributes:
        tensors: Float activation tensors that are fed or computed, by index in the file.
        graph: The model's graph.
    """

    def __init__(self, model: bytes, batch_size: int | None = None) -> None:
        """Loads the model.

        Args:
            model: A float .tflite file.
            batch_size: Rows of one invoke; None for as many as are fast and fit ``MAX_BATCH_BYTES``.

        Raises:
            ModelFileError: The installed LiteRT refuses the model.
        """
        self.graph = FloatGraph.parse(model)
        self.tensors = tuple(
            tensor
            for tensor in range(len(self.graph.tensors))
            if self.graph.is_activation(tensor)
            and (self.graph.producer(tensor) is not None or tensor in self.graph.inputs)
            and not _is_dropped_by_loop(self.graph, tensor)
        )
        self._model = model
        self._interface = read_interface(model)
        self._declared = max(1, *(bound.spec.shape[0] if bound.spec.shape else 1 for bound in self._interface.inputs))
        self._bytes_per_row = self._interface.activation_bytes // self._declared
        self._wanted = batch_size or rows_within(MAX_BATCH_BYTES, self._bytes_per_row, MAX_BATCH_SIZE, self._declared)
        self._feeding = feeding_of(self._interface.state, RowOrder.AUTO)
        self._interpreter = self._open()
        self._allocated = self._declared

    def batches(self, rows: Mapping[str, Array]) -> Iterator[range]:
        """Runs the rows through the model; after each step ``read`` gives the tensors of the rows yielded.

        Args:
            rows: One array per input by its public name, batch first. Where the graph fixes its batch size, a short last
                batch is filled up from the first rows, as TensorFlow's calibration is fed.

        Raises:
            CalibrationError: The model cannot run some of the rows.
        """
        yield from self.run_steps(rows, self.steps(rows))

    def steps(self, rows: Mapping[str, Array]) -> list[range]:
        """The rows of each step: many at once where that changes no value. Needs a few invokes to find that out."""
        num_rows = _num_rows(rows)
        size = self._usable_batch_size(rows, min(self._wanted, num_rows))
        return [range(start, min(start + size, num_rows)) for start in range(0, num_rows, size)]

    def run_steps(self, rows: Mapping[str, Array], steps: Sequence[range]) -> Iterator[range]:
        """Runs some of the steps of :meth:`steps`, in order; a reader of its own may run others at the same time."""
        if self._feeding is Feeding.STREAM:
            self._restart()
        for step in steps:
            if self._feeding is Feeding.RESET or self._interface.has_variable_tensors:
                self._reset()
            self._run(self._fed(rows, self._positions(step, _num_rows(rows))), step.start)
            yield step

    @property
    def is_stream(self) -> bool:
        """Whether rows must go through in their order."""
        return self._feeding is Feeding.STREAM

    @property
    def step_bytes(self) -> int:
        """Memory that the activations of a step take, about."""
        return max(self._wanted * self._bytes_per_row, self._interface.activation_bytes)

    def _positions(self, step: range, num_rows: int) -> NDArray[np.intp]:
        size = len(step) if self._declared == 1 else -(-len(step) // self._declared) * self._declared
        return np.arange(step.start, step.start + size) % num_rows

    def _fed(self, rows: Mapping[str, Array], positions: NDArray[np.intp]) -> dict[int, Array]:
        """These rows by tensor, in the model's own types."""
        return {
            bound.tensor_index: np.ascontiguousarray(rows[bound.spec.name][positions], np.dtype(bound.spec.dtype))
            for bound in self._interface.inputs
        }

    def read(self, tensor: int) -> Array:
        """The tensor's values of the last batch; valid until the next one, so it must not be kept."""
        view: Array = self._interpreter.tensor(tensor)()
        return view

    def _open(self) -> Any:
        try:
            interpreter = Interpreter(
                model_content=self._model,
                num_threads=1,
                experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
                experimental_preserve_all_tensors=True,
            )
            interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise ModelFileError(f"LiteRT refuses the float model: {' '.join(str(error).split())}.") from error
        return interpreter

    def _usable_batch_size(self, rows: Mapping[str, Array], wanted: int) -> int:
        """The wanted size where the graph computes the same with it as with the declared one, else the declared one."""
        if wanted <= self._declared or self._feeding is not None or self._interface.keeps_batch:
            return self._declared
        probe = probe_rows({bound.spec.name: rows[bound.spec.name] for bound in self._interface.inputs}, self._declared)
        if probe is None:
            return self._declared
        together = are_independent(self._run_probe(probe, self._declared), self._run_probe_together, probe)
        if not together:
            self._restart()
        return wanted if together else self._declared

    def _run_probe(self, probe: Mapping[str, Array], step: int) -> dict[str, Array]:
        """Outputs by tensor of the probe's rows, a few at a time."""
        parts: list[dict[str, Array]] = []
        for start in range(0, _num_rows(probe), step):
            self._run(self._fed(probe, np.arange(start, start + step)), 0)
            parts.append({str(tensor): np.array(self.read(tensor), ndmin=1) for tensor in self.graph.outputs})
        return {tensor: np.concatenate([part[tensor] for part in parts]) for tensor in parts[0]}

    def _run_probe_together(self, probe: Mapping[str, Array]) -> dict[str, Array]:
        try:
            return self._run_probe(probe, _num_rows(probe))
        except CalibrationError as error:
            raise ValueError(str(error)) from error

    def _reset(self) -> None:
        """Resets what operators keep, or all that the graph remembers where rows are no stream."""
        if self._interface.state is State.VARIABLES and self._feeding is Feeding.RESET:
            self._restart()
        else:
            self._interpreter.reset_all_variables()

    def _restart(self) -> None:
        self._interpreter, self._allocated = self._open(), self._declared

    def _run(self, fed: Mapping[int, Array], first_row: int) -> None:
        size = len(next(iter(fed.values())))
        try:
            if size != self._allocated:
                for tensor, array in fed.items():
                    self._interpreter.resize_tensor_input(tensor, list(array.shape))
                self._allocated = 0  # half resized until allocation is through
                self._interpreter.allocate_tensors()
                self._allocated = size
            for tensor, array in fed.items():
                self._interpreter.set_tensor(tensor, array)
            self._interpreter.invoke()
        except (RuntimeError, ValueError) as error:
            raise CalibrationError(
                f"the float model cannot run calibration rows {first_row} to {first_row + size - 1}: "
                f"{' '.join(str(error).split())}. Check their values (a token id beyond the table?)."
            ) from error


def _num_rows(rows: Mapping[str, Array]) -> int:
    return len(next(iter(rows.values())))


def _is_dropped_by_loop(graph: FloatGraph, tensor: int) -> bool:
    """Whether a loop computes it and nothing reads it: LiteRT then gives it no memory."""
    producer = graph.producer(tensor)
    is_of_loop = producer is not None and graph.kind(producer) in ("WHILE", "IF")
    return is_of_loop and not graph.consumers(tensor) and tensor not in graph.outputs
