"""Opens a SavedModel: finds its raw-tensor signature and runs it in float.

The signature ``edge`` is the contract (raw tensors in, named outputs out); a SavedModel from elsewhere is accepted when it has
exactly one signature without string inputs, or when ``serving_default`` is one. TensorFlow is imported inside functions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from edgeproof_edge.answers import named_inputs
from edgeproof_edge.errors import InputError
from edgeproof_edge.tensors import TensorSpec
from numpy.typing import NDArray

from components.errors import ModelError
from components.saved_model_signatures import STRING, DecodeError, read_signatures

EDGE_SIGNATURE = "edge"
DEFAULT_SIGNATURE = "serving_default"
#: Where TFX's Trainer puts the SavedModel, under its artifact.
SERVING_FOLDER = "Format-Serving"
#: Where the Trainer puts the SavedModel of quantization-aware training, beside TFX's Format-Serving, which holds the float model.
QAT_FOLDER = "Format-QAT"
#: Rows given to TensorFlow at once; bounds the memory of activations.
MAX_BATCH = 256


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
    found = ", ".join(raw) if raw else f"none; signatures: {', '.join(signatures) or 'none'}"
    raise ModelError(
        f"{directory} needs one signature that takes raw tensors, named 'edge' where there are several; found {found}. "
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
    """A SavedModel's raw-tensor signature, run in float in batches of at most :data:`MAX_BATCH` rows."""

    def __init__(self, module: Any, signature: Signature) -> None:
        self._module = module  # the variables live as long as this reference
        self._function = module.signatures[signature.key]
        self.signature = signature

    @classmethod
    def load(cls, directory: Path) -> FloatModel:
        """Loads the SavedModel under ``directory``.

        Raises:
            ModelError: It has no raw-tensor signature, or TensorFlow cannot load it.
        """
        import tensorflow as tf

        signature = read_signature(directory)
        try:
            return cls(tf.saved_model.load(str(saved_model_dir(str(directory)))), signature)
        except (OSError, ValueError, tf.errors.OpError) as error:
            raise ModelError(f"TensorFlow cannot load {directory}: {str(error).splitlines()[0]}") from error

    def predict(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Raw tensors ``[n, ...]`` in, outputs ``[n, ...]`` out, by name.

        Raises:
            InputError: The arrays do not fit the signature.
        """
        bound = bind_inputs(inputs, self.signature.inputs)
        num_rows = len(next(iter(bound.values())))
        fixed = self._fixed_batch()
        step = fixed or MAX_BATCH
        parts = [
            self._run({k: _rows(v, i, step, fixed) for k, v in bound.items()}) for i in range(0, max(num_rows, 1), step)
        ]
        return {name: np.concatenate([part[name] for part in parts])[:num_rows] for name in parts[0]}

    def _fixed_batch(self) -> int | None:
        """The batch size that the signature insists on, or None."""
        sizes = {spec.shape[0] for spec in self.signature.inputs if spec.shape and spec.shape[0] > 0}
        return min(sizes) if sizes else None

    def _run(self, rows: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        import tensorflow as tf

        outputs = self._function(**{name: tf.constant(array) for name, array in rows.items()})
        return {name: tensor.numpy() for name, tensor in outputs.items()}


def _rows(array: NDArray[Any], start: int, step: int, fixed: int | None) -> NDArray[Any]:
    """Rows ``start`` to ``start + step``; a fixed batch is filled up with zeros, whose outputs the caller cuts off."""
    rows = array[start : start + step]
    if fixed is None or len(rows) == fixed:
        return rows
    return np.concatenate([rows, np.zeros((fixed - len(rows), *array.shape[1:]), array.dtype)])
