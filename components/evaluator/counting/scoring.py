"""Runs both models on the same rows: the float SavedModel, and the exact .tflite bytes with the device's own
interpreter.

Rules: 1. The bytes are hashed when they are loaded; other bytes than the ones expected are a :class:`CandidateError`.
2. One thread per interpreter: the workers are the parallelism. 3. Rows go in as the float model takes them: where it
keeps variables from call to call they are a stream, for the candidate, too. 4. One output of each model is compared, paired by being
the only one or by name. 5. What is wrong with the candidate raises :class:`CandidateError`, which the gate turns into a
refusal; what is wrong with the data or the baseline is the user's to mend.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from edgeproof_edge.answers import DEFAULT_DECISION_THRESHOLD, judged_output, named_inputs
from edgeproof_edge.errors import InputError, ModelFileError
from edgeproof_edge.rows import RowOrder, RowUse, rows_within
from numpy.typing import NDArray

from components.errors import ModelError
from components.evaluator.counting.counts import Comparison, class_scores, compare
from components.evaluator.counting.deviations import Deviations, compare_numbers, slice_deviations
from components.evaluator.counting.domain import clipped_rows
from components.evaluator.counting.flips import find_flips, row_keys
from components.evaluator.counting.kernels import KernelAgreement, largest_difference, sampled_rows
from components.evaluator.counting.metric import Metric
from components.evaluator.counting.ranks import Ranks, rank_batch
from components.evaluator.counting.row_facts import RowFacts
from components.evaluator.counting.slices import Grouping, SliceKey, SliceSpec, count_slices, group_rows
from components.evaluator.counting.tally import ChampionCounts, Tally, count_confusion
from components.evaluator.gate.judgement import candidate_unchanged
from components.evaluator.tfma.extracts import ScoredRows
from components.examples import Batch
from components.saved_model import FloatModel, bind_inputs, row_bytes

if TYPE_CHECKING:
    from edgeproof_edge.interpreter import Kernels, TFLiteModel
    from edgeproof_edge.tensors import TensorSpec

#: Most rows scored at once: throughput is flat from 100 rows on.
BATCH_SIZE = 256
#: Bytes of inputs that are scored at once; several such batches are read ahead.
BATCH_BYTES = 16 * 2**20
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

    def load(self, kernels: Kernels | None = None, order: RowOrder = RowOrder.AUTO) -> TFLiteModel:
        """Loads the bytes into the device's interpreter.

        Args:
            kernels: XNNPACK where none are given.
            order: What rows are to one another.

        Raises:
            CandidateError: The interpreter refuses them.
        """
        from edgeproof_edge.interpreter import Kernels, TFLiteModel

        try:
            return TFLiteModel.load(self.data, kernels or Kernels.XNNPACK, NUM_THREADS, order)
        except ModelFileError as error:
            raise CandidateError(f"the candidate cannot be loaded: {error}") from error


@dataclass(frozen=True)
class Measurement:
    """What is counted on every batch.

    Attributes:
        metric: The figure that the gate compares.
        top_k: An answer is right when the label is among so many of the best scores.
        num_classes: Number of classes; 0 takes it from the outputs.
        decision_threshold: For models with one output unit.
        class_names: By label; they name the slices by label.
        slices: How the holdout is cut.
        kernel_sample_share: Part of the examples that a second kernel family scores too; 0 switches that off.
        row_order: What rows are to one another; AUTO asks the float model.
    """

    metric: Metric = Metric.TOP1
    top_k: int = 1
    num_classes: int = 0
    decision_threshold: float = DEFAULT_DECISION_THRESHOLD
    class_names: tuple[str, ...] = ()
    slices: tuple[SliceSpec, ...] = ()
    kernel_sample_share: float = 0.0
    row_order: RowOrder = RowOrder.AUTO


@dataclass(frozen=True)
class _Models:
    float_model: FloatModel
    candidate: TFLiteModel
    builtin: TFLiteModel | None
    builtin_problem: str
    champion: TFLiteModel | None


@dataclass(frozen=True)
class Outputs:
    """One batch with both models' answers; ``clipped`` are the rows that the candidate's inputs cut off."""

    batch: Batch
    rows: dict[str, NDArray[Any]]
    float_outputs: Mapping[str, NDArray[Any]]
    of_float: NDArray[Any]
    of_candidate: NDArray[Any]
    candidate_name: str
    clipped: NDArray[np.bool_]
    keys: NDArray[np.uint64]
    other_kernels: OtherKernels | None


@dataclass(frozen=True)
class OtherKernels:
    """What the second kernel family gave on the sample, by output name; nothing where it could not be run."""

    sample: NDArray[np.int64]
    outputs: Mapping[str, NDArray[Any]]
    problem: str = ""


@dataclass(frozen=True)
class _CandidateRun:
    """What runs beside the float model."""

    outputs: dict[str, NDArray[Any]]
    clipped: NDArray[np.bool_]
    keys: NDArray[np.uint64]
    other_kernels: OtherKernels | None


class Scorer:
    """Scores batches with all models, which are loaded at the first batch: until then it is cheap to send about."""

    def __init__(
        self,
        saved_model_dir: str | Path,
        tflite: str | Path | Candidate,
        measurement: Measurement | None = None,
        expected_sha256: str | None = None,
        champion: str | Path | None = None,
    ) -> None:
        """Remembers what to load.

        Args:
            saved_model_dir: Directory of the float SavedModel.
            tflite: The candidate, or the path of its file.
            measurement: What is counted.
            expected_sha256: SHA-256 the bytes must have, in lower-case hex; None accepts any.
            champion: File of the model released now, or None.
        """
        self._saved_model_dir = Path(saved_model_dir)
        self._tflite = tflite
        self._measurement = measurement or Measurement()
        self._expected_sha256 = expected_sha256
        self._champion = champion
        self._champion_problem = ""
        self._models: _Models | None = None

    def load(self) -> _Models:
        """Loads the models, once. What is wrong with the champion or the second kernels is counted, not raised.

        Raises:
            CandidateError: The candidate cannot be read or loaded, or has other bytes than expected.
            ModelError: The SavedModel cannot be used.
        """
        if self._models is None:
            candidate = self._tflite if isinstance(self._tflite, Candidate) else Candidate.read(self._tflite)
            if self._expected_sha256 is not None and candidate.sha256 != self._expected_sha256:
                raise CandidateError(candidate_unchanged(candidate.sha256, self._expected_sha256).reason)
            float_model = FloatModel.load(self._saved_model_dir, self._measurement.row_order)
            order = float_model.order
            builtin, problem = self._load_builtin(candidate, order)
            self._models = _Models(
                float_model, candidate.load(order=order), builtin, problem, self._load_champion(order)
            )
        return self._models

    @property
    def rows_per_batch(self) -> int:
        """Rows worth scoring at once, within a bounded memory."""
        signature = self.load().float_model.signature
        return rows_within(BATCH_BYTES, row_bytes(signature.inputs), BATCH_SIZE)

    def restart(self) -> None:
        """Begins a new sequence: what the models remember of earlier rows is forgotten."""
        models = self.load()
        for model in (models.float_model, models.candidate, models.builtin, models.champion):
            if model is not None:
                model.restart()

    @property
    def row_uses(self) -> tuple[RowUse, RowUse]:
        """How rows went into the float model and into the candidate."""
        models = self.load()
        return models.float_model.row_use, models.candidate.row_use

    def _load_builtin(self, candidate: Candidate, order: RowOrder) -> tuple[TFLiteModel | None, str]:
        from edgeproof_edge.interpreter import Kernels

        if self._measurement.kernel_sample_share <= 0:
            return None, ""
        try:
            return candidate.load(Kernels.BUILTIN, order), ""
        except CandidateError as error:
            return None, str(error)

    def _load_champion(self, order: RowOrder) -> TFLiteModel | None:
        if self._champion is None:
            return None
        try:
            return Candidate.read(self._champion).load(order=order)
        except CandidateError as error:
            self._champion_problem = str(error).replace("the candidate", "the current release", 1)
            return None

    def score(self, batch: Batch) -> Tally:
        """Scores one batch of raw tensors in real-world units with their labels.

        Raises:
            CandidateError: The candidate fails on these rows.
            InputError: The rows do not fit the models, or the models do not fit each other.
        """
        return self.tally(self.predict(batch))

    def tally(self, outputs: Outputs) -> Tally:
        """Counts one scored batch; raises what :meth:`score` raises."""
        score = self._score_numbers if self._measurement.metric.is_regression else self._score_classes
        return replace(score(outputs), rows=RowFacts.of(*self.row_uses))

    def predict(self, batch: Batch) -> Outputs:
        """Both models' outputs on one batch; raises what :meth:`score` raises."""
        models = self.load()
        rows = bind_inputs(batch.inputs, models.float_model.signature.inputs)
        beside = self._side_thread.submit(self._run_candidate, models, rows)
        try:
            float_outputs = _predict_float(models.float_model, rows)
        finally:
            wait([beside])  # the interpreters are not to run into the next batch
        run = beside.result()
        float_name, candidate_name = paired_names(float_outputs, run.outputs)
        return Outputs(
            batch=batch,
            rows=rows,
            float_outputs=float_outputs,
            of_float=float_outputs[float_name],
            of_candidate=run.outputs[candidate_name],
            candidate_name=candidate_name,
            clipped=run.clipped,
            keys=run.keys,
            other_kernels=run.other_kernels,
        )

    @cached_property
    def _side_thread(self) -> ThreadPoolExecutor:
        """The interpreters' thread: LiteRT and TensorFlow both let go of the interpreter lock while they compute."""
        return ThreadPoolExecutor(1, "candidate")

    def _run_candidate(self, models: _Models, rows: dict[str, NDArray[Any]]) -> _CandidateRun:
        outputs = _predict_candidate(models.candidate, rows)
        clipped = clipped_rows(rename_inputs(rows, models.candidate.inputs), models.candidate.inputs)
        keys = row_keys(rows)
        return _CandidateRun(outputs, clipped, keys, self._run_other_kernels(models, rows, keys))

    def _run_other_kernels(
        self, models: _Models, rows: dict[str, NDArray[Any]], keys: NDArray[np.uint64]
    ) -> OtherKernels | None:
        """The second kernel family on the sample; of a stream on every row, because the next ones depend on it."""
        if self._measurement.kernel_sample_share <= 0:
            return None
        sample = sampled_rows(keys, self._measurement.kernel_sample_share)
        is_stream = models.float_model.order is RowOrder.STREAM
        if models.builtin is None or not (len(sample) or is_stream):
            return OtherKernels(sample, {}, models.builtin_problem)
        try:
            if is_stream:
                whole = _predict_candidate(models.builtin, rows)
                return OtherKernels(sample, {name: values[sample] for name, values in whole.items()})
            part = {name: array[sample] for name, array in rows.items()}
            return OtherKernels(sample, _predict_candidate(models.builtin, part))
        except (CandidateError, ModelError) as error:
            return OtherKernels(sample, {}, str(error))

    def _score_classes(self, outputs: Outputs) -> Tally:
        comparison = self._compare(outputs.batch.labels, outputs.of_float, outputs.of_candidate)
        return Tally(
            counts=replace(comparison.counts(), num_clipped=int(outputs.clipped.sum())),
            ranks=self._rank(comparison, outputs),
            confusion=count_confusion(comparison),
            slices=count_slices(
                self._group(outputs.batch, comparison.num_classes), comparison.outcomes, outputs.clipped
            ),
            flips=find_flips(comparison, outputs.keys, outputs.rows),
            kernels=self._check_kernels(outputs, comparison),
            champion=self._score_champion(outputs, comparison),
        )

    def usable_rows(self, outputs: Outputs) -> ScoredRows:
        """The rows of a scored batch that metrics other than the gate's can take."""
        batch, is_regression = outputs.batch, self._measurement.metric.is_regression
        labels = np.asarray(batch.labels)
        num_rows, num_classes = len(labels), 0
        if is_regression:
            rows = [array.reshape(num_rows, -1) for array in (outputs.of_float, outputs.of_candidate)]
            usable = np.isfinite(np.column_stack([labels.reshape(num_rows, -1), *rows])).all(axis=1)
        else:
            comparison = self._compare(labels, outputs.of_float, outputs.of_candidate)
            rows = [class_scores(outputs.of_float, "float model"), class_scores(outputs.of_candidate, "candidate")]
            usable = comparison.in_range & comparison.finite_float & comparison.finite_candidate
            labels, num_classes = comparison.labels, comparison.num_classes
        return ScoredRows(
            labels=labels[usable],
            of_float=rows[0][usable],
            of_candidate=rows[1][usable],
            groupings=tuple(Grouping(g.keys, g.rows[usable]) for g in self._group(batch, num_classes)),
            features={name: column[usable] for name, column in batch.slice_features.items()},
            are_classes=not is_regression,
        )

    def _score_numbers(self, outputs: Outputs) -> Tally:
        labels, of_float, of_candidate = np.asarray(outputs.batch.labels), outputs.of_float, outputs.of_candidate
        slice_errors: dict[SliceKey, Deviations] = {}
        for grouping in self._group(outputs.batch, 0):
            parts = slice_deviations(labels, of_float, of_candidate, outputs.clipped, grouping.rows, len(grouping.keys))
            slice_errors.update(zip(grouping.keys, parts, strict=True))
        return Tally(
            errors=compare_numbers(labels, of_float, of_candidate, outputs.clipped),
            slice_errors=slice_errors,
            kernels=self._check_kernels(outputs, None),
        )

    def _compare(self, labels: NDArray[Any], float_output: NDArray[Any], output: NDArray[Any]) -> Comparison:
        use = self._measurement
        return compare(labels, float_output, output, use.num_classes, use.decision_threshold, use.top_k)

    def _group(self, batch: Batch, num_classes: int) -> tuple[Grouping, ...]:
        use = self._measurement
        return group_rows(
            use.slices, np.asarray(batch.labels), use.class_names, num_classes, batch.inputs, batch.slice_features
        )

    def _rank(self, comparison: Comparison, outputs: Outputs) -> Ranks | None:
        if self._measurement.metric is not Metric.AUC:
            return None
        if comparison.num_classes != 2:
            raise ModelError(
                f"the area under the ROC curve is made for two classes and the models have {comparison.num_classes}. "
                "Set gate.metric to top1."
            )
        usable = comparison.in_range & comparison.finite_float & comparison.finite_candidate
        scores = (
            class_scores(outputs.of_float, "float model"),
            class_scores(outputs.of_candidate, "candidate"),
        )
        return rank_batch(comparison.labels, *scores, usable)

    def _check_kernels(self, outputs: Outputs, comparison: Comparison | None) -> KernelAgreement | None:
        if outputs.other_kernels is None:
            return None
        sample = outputs.other_kernels.sample
        if not outputs.other_kernels.outputs or not len(sample):
            return KernelAgreement(problem=outputs.other_kernels.problem)
        other = outputs.other_kernels.outputs[outputs.candidate_name]
        judged = outputs.of_candidate[sample]
        if comparison is None:
            same = (judged.reshape(len(sample), -1) == other.reshape(len(sample), -1)).all(axis=1)
            return KernelAgreement(len(sample), int(same.sum()), worst_difference=largest_difference(judged, other))
        of_kernels = self._compare(comparison.labels[sample], judged, other)
        return KernelAgreement(
            num_examples=len(sample),
            num_same_answer=int((of_kernels.predicted_float == of_kernels.predicted_candidate).sum()),
            num_correct_float=int(comparison.right_float[sample].sum()),
            num_correct=int(of_kernels.right_float.sum()),
            num_correct_builtin=int(of_kernels.right_candidate.sum()),
            worst_difference=largest_difference(judged, other),
        )

    def _score_champion(self, outputs: Outputs, comparison: Comparison) -> ChampionCounts | None:
        if self._champion is None:
            return None
        champion = self.load().champion
        if champion is None:
            return ChampionCounts(problem=self._champion_problem)
        try:
            found = champion.predict(rename_inputs(outputs.rows, champion.inputs))
            other = self._compare(comparison.labels, *paired_outputs(outputs.float_outputs, found))
        except (InputError, RuntimeError, ValueError) as error:
            return ChampionCounts(problem=f"the current release cannot be compared on this holdout: {error}")
        right, candidate_right = other.right_candidate, comparison.right_candidate
        return ChampionCounts(
            num_examples=len(right),
            num_correct_champion=int(right.sum()),
            num_only_champion_correct=int((right & ~candidate_right).sum()),
            num_only_candidate_correct=int((candidate_right & ~right).sum()),
        )


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
    names = [spec.name for spec in wanted]
    if not len(rows) == len(names) == 1 and set(names) != set(rows):
        raise ModelError(
            f"the candidate's inputs {sorted(names)} are not the float model's {sorted(rows)}. Convert the SavedModel "
            "that is the baseline."
        )
    return named_inputs(rows, names)


def paired_outputs(
    float_outputs: Mapping[str, NDArray[Any]], candidate_outputs: Mapping[str, NDArray[Any]]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """The one output of each model that is compared; raises what :func:`paired_names` raises."""
    float_name, candidate_name = paired_names(float_outputs, candidate_outputs)
    return float_outputs[float_name], candidate_outputs[candidate_name]


def paired_names(float_outputs: Iterable[str], candidate_outputs: Iterable[str]) -> tuple[str, str]:
    """Names of the one output of each model that is compared.

    Raises:
        ModelError: A model has several outputs and not exactly one name is common to both.
    """
    of_float, of_candidate = sorted(float_outputs), sorted(candidate_outputs)
    only_float, only_candidate = judged_output(of_float), judged_output(of_candidate)
    if only_float is not None and only_candidate is not None:
        return only_float, only_candidate
    common = sorted(set(of_float) & set(of_candidate))
    if len(common) != 1:
        raise ModelError(
            f"the float model has outputs {of_float} and the candidate {of_candidate}; the gate compares one. "
            "Export a signature 'edge' whose only output is the class scores."
        )
    return common[0], common[0]


def sha256_of_directory(directory: Path) -> str:
    """SHA-256 over the relative names and the contents of all files, in sorted order; lower-case hex."""
    digest = hashlib.sha256()
    for path in sorted(p for p in directory.rglob("*") if p.is_file()):
        digest.update(f"{path.relative_to(directory).as_posix()}\0{path.stat().st_size}\0".encode())
        with path.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()
