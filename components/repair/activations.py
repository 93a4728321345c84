"""Runs a float model and shows what every one of its tensors holds, batch by batch.

The device's door to LiteRT (edgeproof_edge.interpreter) shows inputs and outputs only; this is the other one.
Built-in kernels compute, because XNNPACK keeps no tensor between two of its operators. Rows go through in batches where
the graph takes them and computes the same as one by one, otherwise by the declared batch; memory stays bounded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from edgeproof_edge.errors import ModelFileError
from edgeproof_edge.flatbuffer import GraphInterface, read_interface
from numpy.typing import NDArray

from components.errors import CalibrationError
from components.repair.graph import FloatGraph

Array: TypeAlias = NDArray[Any]

MAX_BATCH_SIZE = 64
"""Larger batches are no faster: their tensors do not fit the processor's caches."""
MAX_BATCH_BYTES = 2 * 2**20
"""All tensors of one batch together: they stay in the cache until they have been measured, which saves a third of the time."""
_SAME_VALUE_TOLERANCE = 1e-3
"""Two batch sizes may add up in another order; a graph that mixes rows differs by more than this share of the largest."""


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
        )
        self._model = model
        self._interface = read_interface(model)
        self._declared = max(1, *(bound.spec.shape[0] if bound.spec.shape else 1 for bound in self._interface.inputs))
        self._wanted = batch_size or _batch_size(self._interface, self._declared)
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
        fed = {
            bound.tensor_index: np.ascontiguousarray(rows[bound.spec.name], np.dtype(bound.spec.dtype))
            for bound in self._interface.inputs
        }
        num_rows = len(next(iter(fed.values())))
        batch_size = self._usable_batch_size(fed, min(self._wanted, num_rows))
        takes_any = batch_size > self._declared or (self._declared == 1 and batch_size == 1)
        for start in range(0, num_rows, batch_size):
            stop = min(start + batch_size, num_rows)
            positions = np.arange(start, stop if takes_any else start + batch_size) % num_rows
            self._run({tensor: array[positions] for tensor, array in fed.items()}, start)
            yield range(start, stop)

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

    def _usable_batch_size(self, fed: Mapping[int, Array], wanted: int) -> int:
        """The wanted size where the graph computes the same with it as with the declared one, else the declared one."""
        if wanted <= self._declared:
            return self._declared
        first = {tensor: array[np.arange(self._declared) % len(array)] for tensor, array in fed.items()}
        self._run(first, 0)
        expected = {tensor: self.read(tensor).copy() for tensor in self.graph.outputs}
        try:
            self._run({tensor: array[:wanted] for tensor, array in fed.items()}, 0)
            same = all(_starts_with(self.read(tensor), values, wanted) for tensor, values in expected.items())
        except CalibrationError:
            same = False
        if not same:
            self._interpreter, self._allocated = self._open(), self._declared
        return wanted if same else self._declared

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


def _batch_size(interface: GraphInterface, declared: int) -> int:
    bytes_per_row = max(1, interface.activation_bytes // declared)
    size = max(1, min(MAX_BATCH_SIZE, MAX_BATCH_BYTES // bytes_per_row))
    return max(declared, size // declared * declared)


def _starts_with(found: Array, expected: Array, num_rows: int) -> bool:
    """Whether a batch's output has one row per input row and begins with the rows of the smaller batch."""
    if found.ndim == 0 or found.ndim != expected.ndim or len(found) != num_rows:
        return False
    head = found[: len(expected)]
    if head.shape != expected.shape or head.dtype.kind != "f":
        return head.shape == expected.shape and bool(np.array_equal(head, expected))
    tolerance = _SAME_VALUE_TOLERANCE * float(np.abs(expected).max(initial=0.0))
    return bool(np.allclose(head, expected, rtol=0.0, atol=tolerance, equal_nan=True))
