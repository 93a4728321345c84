"""The one door to LiteRT: loads a .tflite file and runs it in real-world units, for the gate and for the device alike.

Rules, in order: 1. the file is checked here before LiteRT sees it, because a damaged one can abort the process. 2.
Inputs and outputs have the signature's names, but run through the plain interpreter: the signature runner drops the
delegate when it resizes a batch, and another kernel gives another score. 3. How rows go in is decided by `rows`: one
declared batch at a time, as on a device, unless more at once give the same values. 4. Nothing is cast that would lose a
token id or wrap around.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeproof_edge.errors import InputError, ModelFileError
from edgeproof_edge.flatbuffer import BoundTensor, GraphInterface, read_interface
from edgeproof_edge.flatbuffer.reading import HAS_SCHEMA
from edgeproof_edge.litert import Interpreter, OpResolverType
from edgeproof_edge.litert import runtime_version as runtime_version
from edgeproof_edge.rows import (
    Feeding,
    RowOrder,
    RowUse,
    State,
    are_independent,
    check_whole_steps,
    feeding_of,
    filled,
    probe_rows,
    reversed_rows,
    rows_within,
    same_values,
)
from edgeproof_edge.tensors import TensorSpec, dequantize, quantize

MAX_BATCH = 256
"""Most rows of one invoke; more rows only cost memory (an invoke of 32 rows is 5 % faster per row than 32 of one)."""

MAX_ACTIVATION_BYTES = 8 * 2**20
"""Rows of one invoke are cut further so that all activations together stay below this."""

Array = NDArray[Any]


class Kernels(str, Enum):
    """Which code computes the operators. They differ in the last bits, and so in a few answers."""

    XNNPACK = "xnnpack"
    """LiteRT's default: XNNPACK where it can, built-in kernels for the rest."""
    BUILTIN = "builtin"
    """Built-in kernels only: what a runtime without XNNPACK computes."""


_RESOLVERS = {
    Kernels.XNNPACK: OpResolverType.AUTO,
    Kernels.BUILTIN: OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
}


class TFLiteModel:
    """A loaded .tflite file. Not thread safe: use one per thread.

    Attributes:
        inputs: What `predict` wants, in graph order; named by the signature where the file has exactly one, by tensor
            otherwise.
        outputs: What `predict` returns, likewise.
    """

    def __init__(
        self,
        content: bytes,
        interface: GraphInterface,
        kernels: Kernels,
        num_threads: int,
        order: RowOrder,
        delegates: Sequence[Any] = (),
    ) -> None:
        """Used by `load`; raises ModelFileError where LiteRT refuses the file."""
        self._content = content
        self._interface = interface
        self._order = order
        self._kernels = kernels
        self._num_threads = num_threads
        self._delegates = delegates
        self._inputs = interface.inputs
        self._outputs = interface.outputs
        self.inputs: tuple[TensorSpec, ...] = tuple(bound.spec for bound in interface.inputs)
        self.outputs: tuple[TensorSpec, ...] = tuple(bound.spec for bound in interface.outputs)
        self._declared_batch = _declared_batch(self.inputs)
        bytes_per_row = interface.activation_bytes // self._declared_batch
        self._max_rows = rows_within(MAX_ACTIVATION_BYTES, bytes_per_row, MAX_BATCH, self._declared_batch)
        self._feeding = feeding_of(interface.state, order)  # None: only values tell, on the first rows
        if self._feeding is None and (interface.keeps_batch or self._max_rows == self._declared_batch):
            self._feeding = Feeding.APART
        self._can_reset = interface.state is State.TENSORS
        # A layer beside the variables of a stream, such as a Keras LSTM, begins anew with every call of the float model.
        self._begins_anew = interface.state is State.VARIABLES and interface.has_variable_tensors
        self._num_probe_rows = 0
        self._allocated_batch = 0
        self._open()

    @classmethod
    def load(
        cls,
        source: Path | str | bytes | bytearray | memoryview,
        kernels: Kernels = Kernels.XNNPACK,
        num_threads: int = 1,
        order: RowOrder = RowOrder.AUTO,
        delegates: Sequence[Any] = (),
    ) -> TFLiteModel:
        """Loads a model and allocates its tensors.

        Args:
            source: Path of a .tflite file, or its bytes.
            kernels: Which kernels compute.
            num_threads: Threads of one invoke, at least 1.
            order: What the rows given to `predict` are to one another; only a model with a memory cares.
            delegates: What `litert.open_delegate` returned; they come before XNNPACK.

        Raises:
            ModelFileError: The file cannot be read, is damaged, or the installed LiteRT refuses it.
        """
        content, place = _read(source)
        try:
            interface = read_interface(content) if HAS_SCHEMA else _interface_of_runtime(content)
            _check_interface(interface)
            return cls(content, interface, Kernels(kernels), num_threads, RowOrder(order), delegates)
        except ModelFileError as error:
            raise ModelFileError(f"{place}: {error}") from error

    @property
    def row_use(self) -> RowUse:
        """How rows go in, as far as that is known: before the first rows it is the declared batch."""
        return RowUse(self._feeding or Feeding.APART, self._num_probe_rows, self._feeding is not None)

    @property
    def rows_per_step(self) -> int:
        """Rows of one invoke, as far as that is known; a call with a multiple of them is cut nowhere else."""
        return self._max_rows if self._feeding is Feeding.TOGETHER else self._declared_batch

    def find_feeding(self, rows: Mapping[str, Array]) -> Feeding | None:
        """Finds out how rows like these go in, as the first call of `predict` does; None where they cannot tell.

        Args:
            rows: As `predict` takes them.
        """
        if self._feeding is None:
            self._feeding = self._find_feeding(self._checked(rows))
        return self._feeding

    def twin(self) -> TFLiteModel:
        """The same file in an interpreter of its own, for another thread; what this one found out, it knows."""
        twin = TFLiteModel(self._content, self._interface, self._kernels, self._num_threads, self._order)
        twin._feeding = self._feeding
        return twin

    def restart(self) -> None:
        """Forgets all rows so far: the next one is the first of a stream."""
        if self._feeding is Feeding.STREAM:
            self._reset()

    def predict(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Runs the model on a batch of real-world values.

        Args:
            inputs: One array per input, by name, batch first; all with the same number of rows. Quantized inputs take
                real numbers and are quantized here; float inputs take any real number; integer inputs that are not
                quantized (token ids) take integers that fit.

        Returns:
            One array per output, by name, batch first. Quantized outputs are dequantized to float32. What a model
            remembers is reset before every declared batch, or carried on from call to call where rows are a stream.

        Raises:
            InputError: A name, shape, type or value is not what the model takes.
            ModelFileError: The graph's outputs do not follow the batch.
        """
        arrays = self._checked(inputs)
        num_rows = len(next(iter(arrays.values())))
        if num_rows == 0:
            return {spec.name: _no_rows(spec) for spec in self.outputs}
        if self._feeding is None:
            self._feeding = self._find_feeding(arrays)
        chunks = [
            self._run({name: array[start : start + self._max_rows] for name, array in arrays.items()})
            for start in range(0, num_rows, self._max_rows)
        ]
        return {spec.name: np.concatenate([chunk[spec.name] for chunk in chunks]) for spec in self.outputs}

    @property
    def declared_batch(self) -> int:
        """Rows of one invoke as the file was exported; an open batch is 1."""
        return self._declared_batch

    def invoke_codes(self, codes: Sequence[Array]) -> list[Array]:
        """Runs one declared batch of tensors as they go in and come out, in the order of `inputs` and `outputs`.

        For callers that quantize themselves, each example once (`runtime`): nothing is checked, cast or copied.
        """
        if self._allocated_batch != self._declared_batch:
            self._open()
        if self._feeding is Feeding.RESET:
            self._reset()
        for bound, tensor in zip(self._inputs, codes, strict=True):
            self._interpreter.set_tensor(bound.tensor_index, tensor)
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(bound.tensor_index) for bound in self._outputs]

    def _find_feeding(self, rows: Mapping[str, Array]) -> Feeding | None:
        """Tries a few rows by declared batch and all at once; None where these rows cannot tell."""
        probe = probe_rows(rows, self._declared_batch)
        if probe is None:
            return None
        num_rows = len(next(iter(probe.values())))
        self._num_probe_rows += 4 * num_rows
        expected = self._run_by_declared_batch(probe)
        again = reversed_rows(self._run_by_declared_batch(reversed_rows(probe)))
        if self._declared_batch == 1 and not same_values(expected, again):
            return Feeding.RESET  # an operator that remembers without saying so in the file
        if are_independent(expected, self._run_resized, probe):
            return Feeding.TOGETHER
        self._open()
        return Feeding.APART

    def _checked(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        wanted = [spec.name for spec in self.inputs]
        if set(inputs) != set(wanted):
            raise InputError(
                f"the model wants the inputs {sorted(wanted)}; found {sorted(inputs)}. Rename, add or drop inputs."
            )
        arrays = {spec.name: _checked_array(np.asarray(inputs[spec.name]), spec) for spec in self.inputs}
        num_rows = {name: len(array) for name, array in arrays.items()}
        if len(set(num_rows.values())) != 1:
            raise InputError(f"all inputs must have the same number of rows; found {num_rows}.")
        return arrays

    def _run(self, rows: Mapping[str, Array]) -> dict[str, Array]:
        num_rows = len(next(iter(rows.values())))
        if self._feeding is not Feeding.TOGETHER or num_rows == self._allocated_batch == self._declared_batch:
            return self._run_by_declared_batch(rows)
        try:
            return self._run_resized(rows)
        except (RuntimeError, ValueError):
            self._open()
        outputs = self._run_by_declared_batch(rows)
        self._feeding = Feeding.APART  # only now: rows that no batch size can run say nothing about the graph
        return outputs

    def _run_resized(self, rows: Mapping[str, Array]) -> dict[str, Array]:
        """Runs all rows in one invoke; raises RuntimeError or ValueError where the graph does not follow the batch."""
        num_rows = len(next(iter(rows.values())))
        self._resize(num_rows)
        outputs = self._invoke(rows)
        if not all(_follows(outputs[spec.name], spec, num_rows) for spec in self.outputs):
            raise ValueError("an output does not follow the batch")
        return outputs

    def _resize(self, num_rows: int) -> None:
        if num_rows == self._allocated_batch:
            return
        self._allocated_batch = 0  # half resized until allocation is through
        for bound in self._inputs:
            shape = [num_rows, *self._interpreter_shape(bound)[1:]]
            self._interpreter.resize_tensor_input(bound.tensor_index, shape)
        self._interpreter.allocate_tensors()
        self._allocated_batch = num_rows

    def _interpreter_shape(self, bound: BoundTensor) -> list[int]:
        """The shape as loaded: dimensions that the graph leaves open are 1."""
        return [1 if size == -1 else size for size in bound.spec.shape]

    def _run_by_declared_batch(self, rows: Mapping[str, Array]) -> dict[str, Array]:
        """Runs the declared batch again and again, the last one filled up with its last row."""
        num_rows, size = len(next(iter(rows.values()))), self._declared_batch
        check_whole_steps(self._feeding, num_rows, size)
        if self._allocated_batch != size:
            self._open()
        chunks: list[dict[str, Array]] = []
        for start in range(0, num_rows, size):
            if self._feeding is Feeding.RESET:
                self._reset()
            elif self._begins_anew:
                self._interpreter.reset_all_variables()
            part = {name: filled(array[start : start + size], size) for name, array in rows.items()}
            try:
                outputs = self._invoke(part)
            except (RuntimeError, ValueError) as error:
                raise InputError(
                    f"the model cannot run the given values: {_reason(error)}. "
                    "Check them (a token id beyond the table?)."
                ) from error
            self._check_batch_first(outputs)
            chunks.append(outputs)
        return {spec.name: np.concatenate([part[spec.name] for part in chunks])[:num_rows] for spec in self.outputs}

    def _reset(self) -> None:
        """Puts whatever the model remembers back to what it was when it was loaded."""
        if self._can_reset:
            self._interpreter.reset_all_variables()
        else:
            self._open()

    def _invoke(self, rows: Mapping[str, Array]) -> dict[str, Array]:
        for bound in self._inputs:
            self._interpreter.set_tensor(bound.tensor_index, _to_model(rows[bound.spec.name], bound.spec))
        self._interpreter.invoke()
        return {
            bound.spec.name: _from_model(self._interpreter.get_tensor(bound.tensor_index), bound.spec)
            for bound in self._outputs
        }

    def _check_batch_first(self, outputs: Mapping[str, Array]) -> None:
        for name, array in outputs.items():
            if array.ndim == 0 or len(array) != self._declared_batch:
                raise ModelFileError(
                    f"output {name!r} has shape {array.shape} for a batch of {self._declared_batch}; "
                    "its first dimension must be the batch. "
                    "Export the model with the batch dimension kept through the whole graph."
                )

    def _open(self) -> None:
        """Makes a fresh interpreter at the declared batch."""
        try:
            self._interpreter = _open_interpreter(self._content, self._kernels, self._num_threads, self._delegates)
        except RuntimeRefusal as error:
            raise ModelFileError(
                f"{runtime_version()} with {self._kernels.value} kernels refuses the model: {error}. "
                "Run `edgeproof inspect` on the file to see its operators and versions."
            ) from error
        self._allocated_batch = self._declared_batch


@dataclass(frozen=True)
class Delegation:
    """How much of a graph a delegate computes.

    Attributes:
        partitions: Pieces of the graph that run in the delegate; 0 means none of it, many mean copying back and forth.
        delegated_fraction: Share of the graph's operators that the delegate computes, 0.0 to 1.0.
        builtin_operators: Names of the operators left to built-in kernels, sorted.
    """

    partitions: int
    delegated_fraction: float
    builtin_operators: tuple[str, ...]


def delegation(model: TFLiteModel) -> Delegation | None:
    """Counts what the delegate really runs; None where the installed LiteRT does not tell.

    LiteRT has no public call for it. Its private list of nodes keeps the replaced operators and adds the DELEGATE nodes
    behind them, so the nodes that run are those reached backwards from the outputs, the later producer of a tensor
    winning.
    """
    return _delegation(model._interpreter, model._outputs)


def try_loading(content: bytes, kernels: Kernels = Kernels.XNNPACK) -> Delegation | None:
    """Loads any model, also one that `TFLiteModel` cannot feed (no batch, strings), and counts what is delegated.

    A damaged file can end the process here: `load_test` does it in a child process.

    Raises:
        ModelFileError: The file is damaged.
        RuntimeRefusal: The installed LiteRT does not load it.
    """
    interface = read_interface(content)
    return _delegation(_open_interpreter(content, kernels, num_threads=1), interface.outputs)


class RuntimeRefusal(ModelFileError):
    """The installed LiteRT does not load a model; the message is LiteRT's own reason."""


def _open_interpreter(content: bytes, kernels: Kernels, num_threads: int, delegates: Sequence[Any] = ()) -> Interpreter:
    try:
        interpreter = Interpreter(
            model_content=content,
            num_threads=num_threads,
            experimental_op_resolver_type=_RESOLVERS[kernels],
            experimental_delegates=list(delegates) or None,
        )
        interpreter.allocate_tensors()
    except (RuntimeError, ValueError) as error:
        raise RuntimeRefusal(_reason(error)) from error
    return interpreter


def _interface_of_runtime(content: bytes) -> GraphInterface:
    """What the runtime itself says of a file, where nothing here can read it: a device whose release was verified.

    Rows go in one declared batch at a time: what else the graph may do is not known. Nor is whether it keeps variable tensors, as an LSTM
    does: they are reset before every batch, which does nothing where there are none.
    """
    interpreter = _open_interpreter(content, Kernels.BUILTIN, num_threads=1)
    signatures = interpreter.get_signature_list()
    names: dict[str, dict[str, str]] = {"inputs": {}, "outputs": {}}
    if len(signatures) == 1:
        key = next(iter(signatures))
        runner = interpreter.get_signature_runner(key)
        for side, details in (("inputs", runner.get_input_details()), ("outputs", runner.get_output_details())):
            names[side] = {detail["name"]: name for name, detail in details.items()}
    return GraphInterface(
        inputs=tuple(_bound_by_runtime(detail, names["inputs"]) for detail in interpreter.get_input_details()),
        outputs=tuple(_bound_by_runtime(detail, names["outputs"]) for detail in interpreter.get_output_details()),
        signature_key=None,
        activation_bytes=MAX_ACTIVATION_BYTES,
        keeps_batch=True,
        state=State.TENSORS,
    )


def _bound_by_runtime(detail: dict[str, Any], names: dict[str, str]) -> BoundTensor:
    scale, zero_point = detail["quantization"]
    sizes = tuple(int(size) for size in detail["shape_signature"])
    spec = TensorSpec(
        names.get(detail["name"], detail["name"]), sizes, np.dtype(detail["dtype"]).name, float(scale), int(zero_point)
    )
    return BoundTensor(spec, int(detail["index"]))


def _delegation(interpreter: Interpreter, outputs: tuple[BoundTensor, ...]) -> Delegation | None:
    list_nodes = getattr(interpreter, "_get_ops_details", None)
    if list_nodes is None:
        return None
    nodes = list_nodes()
    num_operators = sum(node["op_name"] != "DELEGATE" for node in nodes)
    running = _running_nodes(nodes, [bound.tensor_index for bound in outputs])
    builtin = [name for name in running if name != "DELEGATE"]
    return Delegation(
        partitions=len(running) - len(builtin),
        delegated_fraction=1.0 - len(builtin) / num_operators if num_operators else 0.0,
        builtin_operators=tuple(sorted(set(builtin))),
    )


def _reason(error: Exception) -> str:
    """LiteRT's own words on one line, without its final full stop."""
    return " ".join(str(error).split()).rstrip(".")


def _running_nodes(nodes: list[dict[str, Any]], outputs: list[int]) -> list[str]:
    producers = {int(tensor): node for node in nodes for tensor in node["outputs"]}
    names: dict[int, str] = {}
    pending = list(outputs)
    while pending:
        node = producers.get(pending.pop())
        if node is None or node["index"] in names:
            continue
        names[node["index"]] = node["op_name"]
        pending.extend(int(tensor) for tensor in node["inputs"] if tensor >= 0)
    return list(names.values())


def _read(source: Path | str | bytes | bytearray | memoryview) -> tuple[bytes, str]:
    if not isinstance(source, (str, Path)):
        return bytes(source), "the given bytes"
    try:
        return Path(source).read_bytes(), str(source)
    except OSError as error:
        raise ModelFileError(f"{source}: cannot be read: {error.strerror}. Check the path.") from error


def _check_interface(interface: GraphInterface) -> None:
    """Refuses graphs that cannot be fed batch first with numbers."""
    if not interface.inputs or not interface.outputs:
        raise ModelFileError("the model has no inputs or no outputs, so there is nothing to score.")
    for spec in (bound.spec for bound in (*interface.inputs, *interface.outputs)):
        if not _is_numeric(spec.dtype):
            raise ModelFileError(
                f"tensor {spec.name!r} holds {spec.dtype}; only numbers and booleans can go in and come out."
            )
    for spec in (bound.spec for bound in interface.inputs):
        if not spec.shape or spec.shape[0] == 0:
            raise ModelFileError(
                f"input {spec.name!r} has shape {spec.shape}, without a batch dimension. Export it batch first."
            )
    sizes = {bound.spec.name: bound.spec.shape[0] for bound in interface.inputs}
    if len({abs(size) for size in sizes.values()}) > 1:  # an open batch, -1, is 1 as loaded
        raise ModelFileError(
            f"the inputs declare different batch sizes: {sizes}. Export them with the same batch first."
        )


def _is_numeric(dtype: str) -> bool:
    try:
        return np.dtype(dtype).kind in "fiub"
    except TypeError:
        return False


def _declared_batch(inputs: tuple[TensorSpec, ...]) -> int:
    return max(1, *(spec.shape[0] for spec in inputs))


def _checked_array(array: Array, spec: TensorSpec) -> Array:
    """The array with its shape checked and its values in a type that holds the model's input without loss."""
    fits = array.ndim == len(spec.shape) and all(
        wanted in (-1, found) for wanted, found in zip(spec.shape[1:], array.shape[1:], strict=False)
    )
    if not fits:
        wanted_shape = ", ".join(["batch", *("any" if size == -1 else str(size) for size in spec.shape[1:])])
        raise InputError(f"input {spec.name!r} has shape {array.shape}; the model wants ({wanted_shape}).")
    wanted_dtype = np.dtype(spec.dtype)
    takes_reals = spec.is_quantized or wanted_dtype.kind == "f"
    if takes_reals and array.dtype.kind in "fiub":
        return array
    if not takes_reals and _casts_without_loss(array, wanted_dtype):
        return array.astype(wanted_dtype)
    wanted_kind = "real numbers" if takes_reals else f"{spec.dtype} values"
    raise InputError(f"input {spec.name!r} holds {array.dtype}{_value_range(array)}; the model wants {wanted_kind}.")


def _casts_without_loss(array: Array, wanted: np.dtype[Any]) -> bool:
    if array.dtype.kind == "b" or wanted.kind == "b":
        return array.dtype.kind == wanted.kind
    if array.dtype.kind not in "iu":
        return False
    bounds = np.iinfo(wanted)
    return array.size == 0 or (int(array.min()) >= bounds.min and int(array.max()) <= bounds.max)


def _value_range(array: Array) -> str:
    return f" from {array.min()} to {array.max()}" if array.size and array.dtype.kind in "iu" else ""


def _to_model(rows: Array, spec: TensorSpec) -> Array:
    return quantize(rows, spec) if spec.is_quantized else rows.astype(spec.dtype, copy=False)


def _from_model(values: Array, spec: TensorSpec) -> Array:
    if spec.is_quantized:
        return dequantize(values, spec)
    return values.astype(np.float32, copy=False) if values.dtype.kind == "f" else values


def _follows(values: Array, spec: TensorSpec, num_rows: int) -> bool:
    """Whether an output of a resized graph has one row per input row, each of the declared shape."""
    if values.ndim != len(spec.shape) or values.ndim == 0 or len(values) != num_rows:
        return False
    return all(wanted in (-1, size) for wanted, size in zip(spec.shape[1:], values.shape[1:], strict=True))


def _no_rows(spec: TensorSpec) -> Array:
    dtype = np.dtype(np.float32) if spec.is_quantized or np.dtype(spec.dtype).kind == "f" else np.dtype(spec.dtype)
    return np.empty((0, *(max(size, 0) for size in spec.shape[1:])), dtype)
