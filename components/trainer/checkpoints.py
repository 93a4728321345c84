"""Keeps what a training has reached, so that a killed one goes on instead of beginning again.

Rules, in order: 1. A checkpoint belongs to one specification and one set of files; anything else begins anew. 2. Epochs are written
before the weights that follow from them: whatever a kill leaves behind is a whole checkpoint and the epochs up to it. 3. Short trainings
write nothing: a kill costs at most ``INTERVAL_SECONDS`` and one epoch.
"""

from __future__ import annotations

import hashlib
import io
import json
import posixpath
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from components.trainer.history import Epoch
from components.trainer.spec import TrainingSpec

INTERVAL_SECONDS = 30.0
_FOLDER = ".checkpoints"
_STATE_FILE = "epochs.json"


class _State(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    epochs: tuple[Epoch, ...]
    resumed_after: tuple[int, ...]


@dataclass
class Progress:
    """What a training has come to.

    Attributes:
        epochs: Complete ones.
        resumed_after: Numbers of epochs after which a killed training went on.
        best_weights: Of the best epoch, where they are wanted.
    """

    epochs: list[Epoch] = field(default_factory=list)
    resumed_after: list[int] = field(default_factory=list)
    best_weights: list[NDArray[Any]] | None = None


def checkpoint_directory(serving_model_dir: str, spec: TrainingSpec, files: Sequence[str]) -> str:
    """Where a training of ``spec`` on ``files`` keeps its checkpoints: beside the Trainer's artifacts, on the same file system.

    Args:
        serving_model_dir: ``<root>/Trainer/model/<id>/Format-Serving``, a path or an address.
        spec: What is trained.
        files: TFRecord files; artifacts are immutable, so their names stand for their content.
    """
    key = hashlib.sha256(json.dumps([spec.to_json(), sorted(files)]).encode()).hexdigest()[:16]
    trainer = posixpath.dirname(posixpath.dirname(posixpath.dirname(serving_model_dir.rstrip("/"))))
    return posixpath.join(trainer, _FOLDER, key)


class Checkpoints:
    """The checkpoints of one training in one directory (a path or an address that TensorFlow can write)."""

    def __init__(self, directory: str, model: Any) -> None:
        import tensorflow as tf

        self._directory = directory
        self._model = model
        self._checkpoint = tf.train.Checkpoint(model=model, optimizer=model.optimizer)
        self._manager = tf.train.CheckpointManager(self._checkpoint, directory, max_to_keep=1)
        self._written_at = time.monotonic()

    def resume(self) -> Progress:
        """Puts weights and optimizer into the state of the last checkpoint; an empty progress where there is none."""
        if self._manager.latest_checkpoint is None:
            return Progress()
        if hasattr(
            self._model.optimizer, "build"
        ):  # Keras's legacy optimizers make their variables as they are restored
            self._model.optimizer.build(self._model.trainable_variables)
        self._checkpoint.restore(self._manager.latest_checkpoint).expect_partial()
        number = int(self._manager.latest_checkpoint.rpartition("-")[2])
        state = _State.model_validate_json(self._read(_STATE_FILE))
        return Progress(list(state.epochs[:number]), [*state.resumed_after, number], self._best_weights(number))

    def save_if_due(self, progress: Progress) -> None:
        """Writes a checkpoint where the last one is older than ``INTERVAL_SECONDS``."""
        if time.monotonic() - self._written_at < INTERVAL_SECONDS:
            return
        number = len(progress.epochs)
        state = _State(epochs=tuple(progress.epochs), resumed_after=tuple(progress.resumed_after))
        self._write(_STATE_FILE, state.model_dump_json().encode())
        if progress.best_weights is not None:
            self._write_best_weights(number, progress.best_weights)
        self._manager.save(checkpoint_number=number)
        self._written_at = time.monotonic()

    def delete(self) -> None:
        """Removes the directory: the trained model is written."""
        import tensorflow as tf

        if tf.io.gfile.exists(self._directory):
            tf.io.gfile.rmtree(self._directory)

    def _best_weights(self, number: int) -> list[NDArray[Any]] | None:
        import tensorflow as tf

        if not tf.io.gfile.exists(posixpath.join(self._directory, _best_file(number))):
            return None
        with np.load(io.BytesIO(self._read(_best_file(number)))) as arrays:
            return [arrays[f"{position}"] for position in range(len(arrays.files))]

    def _write_best_weights(self, number: int, weights: list[NDArray[Any]]) -> None:
        import tensorflow as tf

        for old in tf.io.gfile.glob(posixpath.join(self._directory, _best_file("*"))):
            if old.rpartition("/")[2] not in (_best_file(number), _best_file(self._latest_number())):
                tf.io.gfile.remove(old)
        packed = io.BytesIO()
        np.savez(packed, **{str(position): array for position, array in enumerate(weights)})
        self._write(_best_file(number), packed.getvalue())

    def _latest_number(self) -> int:
        return int((self._manager.latest_checkpoint or "-0").rpartition("-")[2])

    def _read(self, name: str) -> bytes:
        import tensorflow as tf

        with tf.io.gfile.GFile(posixpath.join(self._directory, name), "rb") as stream:
            return bytes(stream.read())

    def _write(self, name: str, data: bytes) -> None:
        """Replaces a file as a whole."""
        import tensorflow as tf

        tf.io.gfile.makedirs(self._directory)
        path = posixpath.join(self._directory, name)
        with tf.io.gfile.GFile(f"{path}.new", "wb") as stream:
            stream.write(data)
        tf.io.gfile.rename(f"{path}.new", path, overwrite=True)


def _best_file(number: int | str) -> str:
    return f"best-{number}.npz"
