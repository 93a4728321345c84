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
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from edgeproof_edge.answers import judged_output, named_inputs
from edgeproof_edge.errors import InputError, ModelFileError
from edgeproof_edge.rows import RowOrder, RowUse, rows_within
from numpy.typing import NDArray

from components.data.examples import Batch
from components.errors import ModelError
from components.evaluator.counting.domain import clipped_rows
from components.evaluator.counting.flips import row_keys
from components.evaluator.counting.metric import LabelKind
from components.evaluator.counting.other_outputs import compare_others
from components.evaluator.counting.slices import Grouping, SliceKey, SliceSpec, group_rows
from components.evaluator.counting.tally import ChampionCounts, Tally
from components.evaluator.measurements.measurement import BatchComparison, Measurement
from components.evaluator.scoring.kernels import KernelAgreement, largest_difference, sampled_rows
from components.evaluator.scoring.observed_rows import ObservedRows, Watch, observe_batch
from components.evaluator.scoring.row_facts import RowFacts
from components.evaluator.tfma.extracts import ScoredRows
from components.saved_models.saved_model import FloatModel, bind_inputs, row_bytes

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
class ScoringPlan:
    """What is counted on every batch.

    Attributes:
        measurement: How examples are measured.
        slices: How the holdout is cut.
        kernel_sample_share: Part of the examples that a second kernel family scores too; 0 switches that off.
        output: The output that is judged; empty where the models have one.
        observed_share: Part of the examples of which golden rows are chosen; 0 observes nothing.
        row_order: What rows are to one another; AUTO asks the float model.
    """

    measurement: Measurement
    slices: tuple[SliceSpec, ...] = ()
    kernel_sample_share: float = 0.0
    output: str = ""
    observed_share: float = 0.0
    row_order: RowOrder = RowOrder.AUTO

    @property
    def builtin_share(self) -> float:
        """Part of the examples that built-in kernels score too."""
        return max(self.kernel_sample_share, self.observed_share)

    def watch(self, output: TensorSpec) -> Watch:
        """How the observed output is read."""
        is_value = self.measurement.metric.labels is LabelKind.VALUE
        return Watch(output, None if is_value else self.measurement.options.decision_threshold)


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
    candidate_outputs: Mapping[str, NDArray[Any]]
    clipped: NDArray[np.bool_]
    keys: NDArray[np.uint64]
    other_kernels: OtherKernels


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
    other_kernels: OtherKernels


class Scorer:
    """Scores batches with all models, which are loaded at the first batch: until then it is cheap to send about."""

    def __init__(
        self,
        saved_model_dir: str | Path,
        tflite: str | Path | Candidate,
        plan: ScoringPlan,
        expected_sha256: str | None = None,
        champion: str | Path | None = None,
    ) -> None:
        """Remembers what to load.

        Args:
            saved_model_dir: Directory of the float SavedModel.
            tflite: The candidate, or the path of its file.
            plan: What is counted.
            expected_sha256: SHA-256 the bytes must have, in lower-case hex; None accepts any.
            champion: File of the model released now, or None.
        """
        self._saved_model_dir = Path(saved_model_dir)
        self._tflite = tflite
        self._plan = plan
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
                raise CandidateError(
                    f"the candidate's bytes have SHA-256 {candidate.sha256[:12]}..., and {self._expected_sha256[:12]}... is judged: "
                    "the file was changed after it was made. Convert again; nothing but the converter may write there."
                )
            float_model = FloatModel.load(self._saved_model_dir, self._plan.row_order)
            order = float_model.order
            builtin, problem = self._load_builtin(candidate, order)
            self._models = _Models(
                float_model, candidate.load(order=order), builtin, problem, self._load_champion(order)
            )
        return self._models

    @property
    def rows_per_batch(self) -> int:
        """Rows worth scoring at once, within a bounded memory."""
        return rows_per_batch(self.load().float_model.signature.inputs)

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

        if self._plan.builtin_share <= 0:
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
        compared = self._compare(outputs)
        slices: dict[SliceKey, Any] = {}
        for grouping in self._group(outputs.batch, compared.num_classes):
            slices.update(zip(grouping.keys, compared.parts(grouping, outputs.clipped), strict=True))
        return Tally(
            whole=compared.statistics(outputs.clipped),
            slices=slices,
            flips=compared.flips(outputs.keys, outputs.rows),
            kernels=self._check_kernels(outputs, compared),
            champion=self._score_champion(outputs, compared),
            observed=self._observe(outputs),
            others=compare_others(outputs.float_outputs, outputs.candidate_outputs, outputs.candidate_name),
            rows=RowFacts.of(*self.row_uses),
        )

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
        float_name, candidate_name = paired_names(float_outputs, run.outputs, self._plan.output)
        return Outputs(
            batch=batch,
            rows=rows,
            float_outputs=float_outputs,
            of_float=float_outputs[float_name],
            of_candidate=run.outputs[candidate_name],
            candidate_name=candidate_name,
            candidate_outputs=run.outputs,
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
    ) -> OtherKernels:
        """The second kernel family on the sample; of a stream on every row, because the next ones depend on it."""
        sample = sampled_rows(keys, self._plan.builtin_share)
        is_stream = models.float_model.order is RowOrder.STREAM
        if models.builtin is None or not (len(sample) or is_stream):
            return OtherKernels(sample[:0], {}, models.builtin_problem)
        try:
            if is_stream:
                whole = _predict_candidate(models.builtin, rows)
                return OtherKernels(sample, {name: values[sample] for name, values in whole.items()})
            part = {name: array[sample] for name, array in rows.items()}
            return OtherKernels(sample, _predict_candidate(models.builtin, part))
        except (CandidateError, ModelError) as error:
            return OtherKernels(sample[:0], {}, str(error))

    def usable_rows(self, outputs: Outputs) -> ScoredRows:
        """The rows of a scored batch that metrics other than the gate's can take."""
        batch, compared = outputs.batch, self._compare(outputs)
        rows = compared.rows()
        return ScoredRows(
            labels=rows.labels[rows.usable],
            of_float=rows.of_float[rows.usable],
            of_candidate=rows.of_candidate[rows.usable],
            groupings=tuple(Grouping(g.keys, g.rows[rows.usable]) for g in self._group(batch, compared.num_classes)),
            features={name: column[rows.usable] for name, column in batch.slice_features.items()},
            are_classes=compared.num_classes > 0,
        )

    def _compare(self, outputs: Outputs) -> BatchComparison:
        return self._plan.measurement.compare(outputs.batch.labels, outputs.of_float, outputs.of_candidate)

    def _group(self, batch: Batch, num_classes: int) -> tuple[Grouping, ...]:
        names = self._plan.measurement.options.class_names
        return group_rows(
            self._plan.slices, np.asarray(batch.labels), names, num_classes, batch.inputs, batch.slice_features
        )

    def _check_kernels(self, outputs: Outputs, compared: BatchComparison) -> KernelAgreement | None:
        if self._plan.kernel_sample_share <= 0:
            return None
        other = outputs.other_kernels
        if not len(other.sample):
            return KernelAgreement(problem=other.problem)
        judged, labels = outputs.of_candidate[other.sample], np.asarray(outputs.batch.labels)[other.sample]
        of_builtin = other.outputs[outputs.candidate_name]
        of_kernels = self._plan.measurement.compare(labels, judged, of_builtin)
        return KernelAgreement(
            num_examples=len(other.sample),
            num_same_answer=int(of_kernels.same_answer.sum()),
            num_correct_float=_num_right(compared.right_float, other.sample),
            num_correct=_num_right(of_kernels.right_float),
            num_correct_builtin=_num_right(of_kernels.right_candidate),
            worst_difference=largest_difference(judged, of_builtin),
        )

    def _observe(self, outputs: Outputs) -> ObservedRows | None:
        """What is remembered of the rows; none of a stream can be golden, because its answer depends on those before it."""
        if self._plan.observed_share <= 0:
            return None
        models, other = self.load(), outputs.other_kernels
        spec = next(spec for spec in models.candidate.outputs if spec.name == outputs.candidate_name)
        has_golden = len(other.sample) > 0 and models.float_model.order is not RowOrder.STREAM
        sample = other.sample if has_golden else other.sample[:0]
        of_builtin = other.outputs[outputs.candidate_name] if has_golden else outputs.of_candidate[:0]
        rows = rename_inputs(outputs.rows, models.candidate.inputs)
        return observe_batch(self._plan.watch(spec), outputs.keys, rows, outputs.of_candidate, sample, of_builtin)

    def _score_champion(self, outputs: Outputs, compared: BatchComparison) -> ChampionCounts | None:
        if self._champion is None or compared.right_candidate is None:
            return None
        champion = self.load().champion
        if champion is None:
            return ChampionCounts(problem=self._champion_problem)
        try:
            answers = champion.predict(rename_inputs(outputs.rows, champion.inputs))
            of_float, of_champion = paired_outputs(outputs.float_outputs, answers, self._plan.output)
            right = self._plan.measurement.compare(outputs.batch.labels, of_float, of_champion).right_candidate
        except (InputError, RuntimeError, ValueError) as error:
            return ChampionCounts(problem=f"the current release cannot be compared on this holdout: {error}")
        assert right is not None, "the measurement gave right answers above"
        candidate_right = compared.right_candidate
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


def rows_per_batch(inputs: Sequence[TensorSpec]) -> int:
    """Rows of such inputs that are worth scoring at once, within a bounded memory."""
    return rows_within(BATCH_BYTES, row_bytes(inputs), BATCH_SIZE)


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
    float_outputs: Mapping[str, NDArray[Any]], candidate_outputs: Mapping[str, NDArray[Any]], output: str = ""
) -> tuple[NDArray[Any], NDArray[Any]]:
    """The one output of each model that is compared; raises what :func:`paired_names` raises."""
    float_name, candidate_name = paired_names(float_outputs, candidate_outputs, output)
    return float_outputs[float_name], candidate_outputs[candidate_name]


def paired_names(float_outputs: Iterable[str], candidate_outputs: Iterable[str], output: str = "") -> tuple[str, str]:
    """Names of the one output of each model that is compared.

    Args:
        float_outputs: Names of the float model's outputs.
        candidate_outputs: Names of the candidate's.
        output: The output that was named; empty where none was.

    Raises:
        ModelError: A model has several outputs and not exactly one name is common to both, or none has that name.
    """
    of_float, of_candidate = sorted(float_outputs), sorted(candidate_outputs)
    if output:
        if output not in of_float or output not in of_candidate:
            raise ModelError(
                f"the output {output!r} is not in both models: the float model has {of_float}, the candidate {of_candidate}."
            )
        return output, output
    only_float, only_candidate = judged_output(of_float), judged_output(of_candidate)
    if only_float is not None and only_candidate is not None:
        return only_float, only_candidate
    common = sorted(set(of_float) & set(of_candidate))
    if len(common) != 1:
        raise ModelError(
            f"the float model has outputs {of_float} and the candidate {of_candidate}; the gate judges one. Name it: "
            "edgeproof evaluate --output NAME, or gate.output in a config."
        )
    return common[0], common[0]


def _num_right(right: NDArray[np.bool_] | None, rows: NDArray[np.int64] | None = None) -> int:
    """Right answers among some rows; 0 where answers are not right or wrong."""
    if right is None:
        return 0
    return int((right if rows is None else right[rows]).sum())


def sha256_of_directory(directory: Path) -> str:
    """SHA-256 over the relative names and the contents of all files, in sorted order; lower-case hex."""
    digest = hashlib.sha256()
    for path in sorted(p for p in directory.rglob("*") if p.is_file()):
        digest.update(f"{path.relative_to(directory).as_posix()}\0{path.stat().st_size}\0".encode())
        with path.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()
