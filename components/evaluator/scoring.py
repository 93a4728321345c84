"""Runs both models on the same rows: the float SavedModel, and the exact .tflite bytes with the device's own
interpreter.

Rules: 1. The bytes are hashed when they are loaded; other bytes than the ones expected are a :class:`CandidateError`.
2. One thread per interpreter: the workers are the parallelism. 3. One output of each model is compared, paired by being
the only one or by name. 4. What is wrong with the candidate raises :class:`CandidateError`, which the gate turns into a
refusal; what is wrong with the data or the baseline is the user's to mend.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeproof_edge.errors import InputError, ModelFileError
from numpy.typing import NDArray

from components.errors import ModelError
from components.evaluator.counts import DEFAULT_DECISION_THRESHOLD, Counts, count_batch
from components.evaluator.domain import clipped_rows
from components.evaluator.gate import candidate_unchanged
from components.examples import Batch
from components.saved_model import FloatModel, bind_inputs

if TYPE_CHECKING:
    from edgeproof_edge.interpreter import TFLiteModel
    from edgeproof_edge.tensors import TensorSpec

#: Rows scored at once: throughput is flat from 100 rows on, and memory stays small.
BATCH_SIZE = 256
#: Interpreter threads. Spinning threads made a busy two-core machine 60 times slower.
NUM_THREADS = 1


class CandidateError(ModelFileError):
    """The candidate itself cannot be judged: unreadable, changed, or not runnable. The gate refuses it."""


@dataclass(frozen=True)
class Candidate:
    """The bytes under judgement. ``sha256`` and ``size_bytes`` were taken from the same read as ``data``."""

    uri: str
    data: bytes
    sha256: str

    @property
    def size_bytes(self) -> int:
        """Size of the file."""
        return len(self.data)

    @classmethod
    def read(cls, path: str | Path) -> Candidate:
        """Reads a .tflite file once.

        Raises:
            CandidateError: There is no such file.
        """
        try:
            data = Path(path).read_bytes()
        except OSError as error:
            raise CandidateError(
                f"the candidate {path} cannot be read: {error.strerror or error}. Convert again."
            ) from error
        return cls(str(path), data, hashlib.sha256(data).hexdigest())

    def load(self) -> TFLiteModel:
        """Loads the bytes into the device's interpreter.

        Raises:
            CandidateError: The interpreter refuses them.
        """
        from edgeproof_edge.interpreter import TFLiteModel

        try:
            return TFLiteModel.load(self.data, num_threads=NUM_THREADS)
        except ModelFileError as error:
            raise CandidateError(f"the candidate cannot be loaded: {error}") from error


class Scorer:
    """Scores batches with both models, which are loaded at the first batch: until then it is cheap to send about."""

    def __init__(
        self,
        saved_model_dir: str | Path,
        tflite: str | Path | Candidate,
        num_classes: int = 0,
        decision_threshold: float = DEFAULT_DECISION_THRESHOLD,
        expected_sha256: str | None = None,
    ) -> None:
        """Remembers what to load.

        Args:
            saved_model_dir: Directory of the float SavedModel.
            tflite: The candidate, or the path of its file.
            num_classes: Number of classes; 0 takes it from the outputs.
            decision_threshold: For models with one output unit.
            expected_sha256: SHA-256 the bytes must have, in lower-case hex; None accepts any.
        """
        self._saved_model_dir = Path(saved_model_dir)
        self._tflite = tflite
        self._num_classes = num_classes
        self._decision_threshold = decision_threshold
        self._expected_sha256 = expected_sha256
        self._models: tuple[FloatModel, TFLiteModel] | None = None

    def load(self) -> tuple[FloatModel, TFLiteModel]:
        """Loads both models, once.

        Raises:
            CandidateError: The candidate cannot be read or loaded, or has other bytes than expected.
            ModelError: The SavedModel cannot be used.
        """
        if self._models is None:
            candidate = self._tflite if isinstance(self._tflite, Candidate) else Candidate.read(self._tflite)
            if self._expected_sha256 is not None and candidate.sha256 != self._expected_sha256:
                raise CandidateError(candidate_unchanged(candidate.sha256, self._expected_sha256).reason)
            self._models = (FloatModel.load(self._saved_model_dir), candidate.load())
        return self._models

    def score(self, batch: Batch) -> Counts:
        """Scores one batch of raw tensors in real-world units with their class indices.

        Raises:
            CandidateError: The candidate fails on these rows.
            InputError: The rows do not fit the models, or the models do not fit each other.
        """
        float_model, candidate = self.load()
        rows = bind_inputs(batch.inputs, float_model.signature.inputs)
        float_outputs = _predict_float(float_model, rows)
        float_output, candidate_output = paired_outputs(float_outputs, _predict_candidate(candidate, rows))
        counts = count_batch(batch.labels, float_output, candidate_output, self._num_classes, self._decision_threshold)
        clipped = clipped_rows(rename_inputs(rows, candidate.inputs), candidate.inputs)
        return replace(counts, num_clipped=int(clipped.sum()))


def _predict_float(float_model: FloatModel, rows: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    from tensorflow import errors

    try:
        return float_model.predict(rows)
    except errors.OpError as error:
        reason = " ".join(str(error.message).split())[:300]
        raise ModelError(f"the float model fails on a batch of the holdout: {reason}") from error


def _predict_candidate(candidate: TFLiteModel, rows: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    renamed = rename_inputs(rows, candidate.inputs)
    try:
        return candidate.predict(renamed)
    except ModelFileError as error:
        raise CandidateError(f"the candidate cannot be run: {error}") from error
    except InputError as error:
        raise ModelError(
            f"the candidate does not fit the float model: {error} Convert the SavedModel that is the baseline."
        ) from error
    except (RuntimeError, ValueError) as error:
        raise CandidateError(f"the candidate fails on a batch of the holdout: {error}") from error


def rename_inputs(rows: Mapping[str, NDArray[Any]], wanted: Sequence[TensorSpec]) -> dict[str, NDArray[Any]]:
    """Gives arrays the candidate's input names: equal names as they are, a single array to a single input.

    Raises:
        ModelError: The names differ and there are several.
    """
    if len(rows) == 1 and len(wanted) == 1:
        return {wanted[0].name: next(iter(rows.values()))}
    names = {spec.name for spec in wanted}
    if names != set(rows):
        raise ModelError(
            f"the candidate's inputs {sorted(names)} are not the float model's {sorted(rows)}. Convert the SavedModel "
            "that is the baseline."
        )
    return dict(rows)


def paired_outputs(
    float_outputs: Mapping[str, NDArray[Any]], candidate_outputs: Mapping[str, NDArray[Any]]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """The one output of each model that is compared.

    Raises:
        ModelError: A model has several outputs and not exactly one name is common to both.
    """
    if len(float_outputs) == 1 and len(candidate_outputs) == 1:
        return next(iter(float_outputs.values())), next(iter(candidate_outputs.values()))
    common = sorted(set(float_outputs) & set(candidate_outputs))
    if len(common) != 1:
        raise ModelError(
            f"the float model has outputs {sorted(float_outputs)} and the candidate {sorted(candidate_outputs)}; the "
            "gate compares one. "
            "Export a signature 'edge' whose only output is the class scores."
        )
    return float_outputs[common[0]], candidate_outputs[common[0]]


def sha256_of_directory(directory: Path) -> str:
    """SHA-256 over the relative names and the contents of all files, in sorted order; lower-case hex."""
    digest = hashlib.sha256()
    for path in sorted(p for p in directory.rglob("*") if p.is_file()):
        digest.update(f"{path.relative_to(directory).as_posix()}\0{path.stat().st_size}\0".encode())
        with path.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()
