"""Opens a SavedModel: finds its raw-tensor signature and runs it in float.

The signature ``edge`` is the contract (raw tensors in, named outputs out); a SavedModel from elsewhere is accepted when it has
exactly one signature without string inputs, or when ``serving_default`` is one. TensorFlow is imported inside functions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from edgeproof_edge.answers import named_inputs
from edgeproof_edge.errors import InputError
from edgeproof_edge.progress import progress
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
from edgeproof_edge.tensors import TensorSpec
from numpy.typing import NDArray

from components.errors import ModelError
from components.saved_models.graph import GraphFacts, read_graph_facts
from components.saved_models.signatures import STRING, DecodeError, read_signatures

EDGE_SIGNATURE = "edge"
DEFAULT_SIGNATURE = "serving_default"
#: Where TFX's Trainer puts the SavedModel, under its artifact.
SERVING_FOLDER = "Format-Serving"
#: Where the Trainer puts the SavedModel of quantization-aware training, beside TFX's Format-Serving, which holds the float model.
QAT_FOLDER = "Format-QAT"
#: Rows given to TensorFlow at once at most: beyond them it is no faster.
MAX_BATCH = 256
#: Memory that the activations of these rows may take. MobileNetV2 at 224 pixels is as fast with 8 rows as with 256.
MAX_BATCH_BYTES = 96 * 2**20
#: Activations of a row over its inputs where the file does not tell shapes: MobileNetV2 has 16 times its input alive.
_ACTIVATIONS_PER_INPUT = 50

MIXING = (
    "the SavedModel gives a row other values when other rows are in its batch (normalization or another reduction over the "
    "batch dimension): its rows are run one by one, as a device runs them"
)
RANDOM = (
    "the SavedModel gives the same row other values from call to call (a random operator, such as dropout left on): its "
    "figures are those of this one run. Export it with training=False"
)


@dataclass(frozen=True)
class Signature:
    """A raw-tensor signature: its key and its named inputs and outputs, sorted by name."""

    key: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


def saved_model_dir(directory: str) -> Path:
    """The directory that holds ``saved_model.pb``: TFX's ``Format-Serving`` under a Model artifact's, or ``directory`` itself.

    Raises:
        ModelError: Neither holds a SavedModel.
    """
    for candidate in (Path(directory) / SERVING_FOLDER, Path(directory)):
        if (candidate / "saved_model.pb").is_file():
            return candidate
    raise ModelError(
        f"{directory} holds no SavedModel (no saved_model.pb). Export with model.export(DIR) or tf.saved_model.save(model, DIR)."
    )


def artifact_of(saved_model: Path) -> Path | None:
    """The Model artifact that a SavedModel lies in, beside the reports of its training; None of a SavedModel by itself."""
    return saved_model.parent if saved_model.name == SERVING_FOLDER else None


def qat_saved_model(directory: str) -> Path | None:
    """The SavedModel that was fine-tuned with quantization in the loop, under a Model artifact's directory; None where there is none."""
    fine_tuned = Path(directory) / QAT_FOLDER
    return fine_tuned if (fine_tuned / "saved_model.pb").is_file() else None


def read_signature(directory: Path) -> Signature:
    """Reads the raw-tensor signature without loading TensorFlow or the model's variables.

    Raises:
        ModelError: No SavedModel, or none or several raw-tensor signatures; the message lists what there is.
    """
    file = saved_model_dir(str(directory)) / "saved_model.pb"
    try:
        signatures = read_signatures(file.read_bytes())
    except DecodeError as error:
        raise ModelError(f"{file} is damaged: {error}. Export the model again.") from error
    if signatures is None:
        raise ModelError(f"{file} holds no graph. Export the model again.")
    raw = {key: sides for key, sides in signatures.items() if all(tensor.dtype != STRING for tensor in sides[0])}
    key = _raw_key(sorted(raw), sorted(signatures), directory)
    return Signature(key, *raw[key])


def _raw_key(raw: list[str], signatures: list[str], directory: Path) -> str:
    for key in (EDGE_SIGNATURE, DEFAULT_SIGNATURE):
        if key in raw:
            return key
    if len(raw) == 1:
        return raw[0]
    names = ", ".join(raw) if raw else f"none; signatures: {', '.join(signatures) or 'none'}"
    raise ModelError(
        f"{directory} needs one signature that takes raw tensors, named 'edge' where there are several; found {names}. "
        "Export one with a tf.function over the model's input tensors."
    )


def bind_inputs(given: Mapping[str, NDArray[Any]], wanted: Sequence[TensorSpec]) -> dict[str, NDArray[Any]]:
    """Matches arrays to inputs by name (a single array fits a single input) and casts them to the wanted dtype.

    One number per row ``[n]`` fits an input ``[n, 1]``, as in Keras: the columns of a table are such.

    Args:
        given: Arrays ``[n, ...]`` by name.
        wanted: The inputs of a model; their first dimension is the batch.

    Raises:
        InputError: A name, a shape or a dtype does not fit.
    """
    named = named_inputs(given, [spec.name for spec in wanted])
    return {spec.name: _fit(named[spec.name], spec) for spec in wanted}


def _fit(array: NDArray[Any], spec: TensorSpec) -> NDArray[Any]:
    rest, array = spec.shape[1:], as_column(array, spec)
    if array.ndim != len(spec.shape) or any(w not in (-1, g) for w, g in zip(rest, array.shape[1:], strict=True)):
        raise InputError(f"input {spec.name!r} wants shape {['n', *rest]}; found {list(array.shape)}.")
    wanted = np.dtype(spec.dtype)
    if array.dtype == wanted:
        return array
    if wanted.kind in "iu" and (array.dtype.kind not in "iu" or not np.array_equal(array.astype(wanted), array)):
        raise InputError(f"input {spec.name!r} wants {spec.dtype}; found {array.dtype} values that do not fit.")
    if array.dtype.kind not in "iufb":
        raise InputError(f"input {spec.name!r} wants {spec.dtype}; found {array.dtype}.")
    return array.astype(wanted)


def as_column(array: NDArray[Any], spec: TensorSpec) -> NDArray[Any]:
    """One number per row ``[n]`` as ``[n, 1]`` where the input wants that; any other array as it is."""
    return array.reshape(-1, 1) if array.ndim == 1 and spec.shape[1:] == (1,) else array


class FloatModel:
    """A SavedModel's raw-tensor signature, run in float.

    Rows go in as :mod:`edgeproof_edge.rows` says, the candidate's likewise: many at once where that changes no value,
    otherwise as a device would feed them.
    """

    def __init__(
        self, module: Any, signature: Signature, facts: GraphFacts | None = None, order: RowOrder = RowOrder.AUTO
    ) -> None:
        """Used by :meth:`load`."""
        facts = facts or GraphFacts()
        self._module = module  # the variables live as long as this reference
        self._function = module.signatures[signature.key]
        self.signature = signature
        self._fixed_batch = _fixed_batch(signature)
        self._max_rows = rows_within(
            MAX_BATCH_BYTES, facts.bytes_per_row or _ACTIVATIONS_PER_INPUT * row_bytes(signature.inputs), MAX_BATCH
        )
        self._feeding = feeding_of(State.VARIABLES if facts.assigns_variables else State.NONE, order)
        if self._feeding is None and self._fixed_batch:
            self._feeding = Feeding.APART
        self._initial = [(variable, variable.numpy()) for variable in self._variables()]
        self._num_probe_rows = 0

    @classmethod
    def load(cls, directory: Path, order: RowOrder = RowOrder.AUTO) -> FloatModel:
        """Loads the SavedModel under ``directory``.

        Args:
            directory: Of the SavedModel, or of an artifact that holds it.
            order: What rows are to one another; only a model that assigns variables cares.

        Raises:
            ModelError: It has no raw-tensor signature, or TensorFlow cannot load it.
        """
        import tensorflow as tf

        signature = read_signature(directory)
        facts = read_facts(directory, signature.key)
        try:
            return cls(tf.saved_model.load(str(saved_model_dir(str(directory)))), signature, facts, order)
        except (OSError, ValueError, tf.errors.OpError) as error:
            raise ModelError(f"TensorFlow cannot load {directory}: {str(error).splitlines()[0]}") from error

    @property
    def row_use(self) -> RowUse:
        """How rows go in, as far as that is known: before the first rows it is one by one."""
        return RowUse(self._feeding or Feeding.APART, self._num_probe_rows, self._feeding is not None)

    @property
    def order(self) -> RowOrder:
        """What rows are to one another: what the candidate's rows are, too."""
        return RowOrder.STREAM if self._feeding is Feeding.STREAM else RowOrder.INDEPENDENT

    def restart(self) -> None:
        """Forgets all rows so far: the next one is the first of a stream."""
        for variable, value in self._initial:
            variable.assign(value)

    def predict(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Raw tensors ``[n, ...]`` in, outputs ``[n, ...]`` out, by name.

        Raises:
            InputError: The arrays do not fit the signature.
        """
        bound = bind_inputs(inputs, self.signature.inputs)
        if self._feeding is None:
            self._feeding = self._find_feeding(bound)
        return self._run_in_steps(bound, self._max_rows if self._feeding is Feeding.TOGETHER else self._declared_batch)

    @property
    def _declared_batch(self) -> int:
        return self._fixed_batch or 1

    def _find_feeding(self, rows: Mapping[str, NDArray[Any]]) -> Feeding | None:
        """Tries a few rows one by one and all at once; None where these rows cannot tell."""
        probe = probe_rows(rows)
        if probe is None:
            return None
        self._num_probe_rows += 4 * len(next(iter(probe.values())))
        expected = self._run_in_steps(probe, 1)
        if not same_values(expected, reversed_rows(self._run_in_steps(reversed_rows(probe), 1))):
            progress.warning("%s", RANDOM)
        elif are_independent(expected, self._run_together, probe):
            return Feeding.TOGETHER
        else:
            progress.warning("%s", MIXING)
        return Feeding.APART

    def _run_in_steps(self, rows: Mapping[str, NDArray[Any]], step: int) -> dict[str, NDArray[Any]]:
        num_rows = len(next(iter(rows.values())))
        check_whole_steps(self._feeding, num_rows, step)
        parts = []
        for start in range(0, max(num_rows, 1), step):
            if self._feeding is Feeding.RESET:
                self.restart()
            part = {name: array[start : start + step] for name, array in rows.items()}
            parts.append(self._run({name: self._whole(array) for name, array in part.items()}))
        return {name: np.concatenate([part[name] for part in parts])[:num_rows] for name in parts[0]}

    def _whole(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Rows filled up to the batch that the signature insists on."""
        if not self._fixed_batch:
            return rows
        return filled(rows if len(rows) else np.zeros((1, *rows.shape[1:]), rows.dtype), self._fixed_batch)

    def _run_together(self, rows: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Raises ValueError where TensorFlow cannot take so many rows at once."""
        import tensorflow as tf

        try:
            return self._run(rows)
        except tf.errors.OpError as error:
            raise ValueError(error.message) from error

    def _run(self, rows: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        import tensorflow as tf

        outputs = self._function(**{name: tf.constant(array) for name, array in rows.items()})
        return {name: tensor.numpy() for name, tensor in outputs.items()}

    def _variables(self) -> Sequence[Any]:
        """Those that a call changes are among them; none where it changes none."""
        return self._function.variables if self._feeding in (Feeding.STREAM, Feeding.RESET) else ()


def read_facts(directory: Path, signature_key: str) -> GraphFacts:
    """What a call of the signature keeps and what a row costs, without loading TensorFlow.

    Raises:
        ModelError: There is no SavedModel.
    """
    file = saved_model_dir(str(directory)) / "saved_model.pb"
    return read_graph_facts(file.read_bytes(), signature_key)


def row_bytes(inputs: Sequence[TensorSpec]) -> int:
    """Bytes of one row of a model's inputs as they are fed: as float32, whatever the file stores."""
    return sum(4 * math.prod(max(1, size) for size in spec.shape[1:]) for spec in inputs)


def _fixed_batch(signature: Signature) -> int | None:
    """The batch size that the signature insists on, or None."""
    sizes = {spec.shape[0] for spec in signature.inputs if spec.shape and spec.shape[0] > 0}
    return min(sizes) if sizes else None
