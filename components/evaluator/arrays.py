"""Judges two models on labeled rows: the proof without a pipeline. Inputs are read in slices, labels at once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from edgeproof_edge.answers import DEFAULT_DECISION_THRESHOLD
from numpy.typing import NDArray

from components.data.buckets import quantile_edges
from components.data.examples import Batch
from components.data.npz import read_array, read_headers
from components.data.row_sources import (
    DATA_FILE,
    ArrayRows,
    LabeledRows,
    NpzRows,
    RowReader,
    first_rows,
    is_record_pattern,
    open_pictures,
    open_records,
    spread_positions,
    spread_rows,
)
from components.errors import DataError
from components.evaluator.case import NO_CHAMPION, Case, Champion, NoChampion
from components.evaluator.counting.metric import LabelKind
from components.evaluator.counting.slices import NUM_LABEL_BUCKETS, SliceSpec, with_label_buckets
from components.evaluator.counting.tally import Tally
from components.evaluator.evaluation import Judgement, judge_case
from components.evaluator.gate.thresholds import GateRules
from components.evaluator.scoring.both_models import BATCH_SIZE, Candidate, Scorer
from components.evaluator.scoring.kernels import DEFAULT_SAMPLE_SIZE
from components.saved_models.saved_model import Signature, bind_inputs, saved_model_dir


def evaluate_arrays(
    saved_model: Path,
    tflite: Path,
    inputs: Mapping[str, NDArray[Any]] | RowReader,
    labels: NDArray[Any],
    rules: GateRules,
    *,
    class_names: tuple[str, ...] = (),
    decision_threshold: float = DEFAULT_DECISION_THRESHOLD,
    candidate_name: str = "candidate",
    source: str = "arrays",
    slices: tuple[SliceSpec, ...] = (),
    slice_features: Mapping[str, NDArray[Any]] | None = None,
    kernel_sample_size: int = DEFAULT_SAMPLE_SIZE,
    champion: Champion | NoChampion = NO_CHAMPION,
    output: str = "",
) -> Judgement:
    """Scores a float SavedModel and a .tflite file on the same rows and judges.

    Args:
        saved_model: Directory of the SavedModel, or of an artifact that holds it.
        tflite: The candidate's file; a damaged one is a refusal, a missing one too.
        inputs: Raw tensors ``[n, ...]`` by input name, in real-world units; or what reads them in slices.
        labels: Class indices ``[n]``, or real numbers for ``mae`` and ``rmse``.
        rules: The gate's thresholds.
        class_names: By label, for the report; empty where there are none.
        decision_threshold: For models with one output unit.
        candidate_name: How to call the candidate, such as ``int8``.
        source: Where the rows come from, for the report.
        slices: How the rows are cut.
        slice_features: Values ``[n]`` by name, for slices by feature.
        kernel_sample_size: Rows that a second kernel family scores too; 0 switches that off.
        champion: The model released now, for ``rules.champion_min_ratio``, or why there is none.
        output: The output that is judged; empty where the models have one.

    Raises:
        InputError: The SavedModel cannot be used, or the rows do not fit it.
    """
    case = Case(
        saved_model=saved_model_dir(str(saved_model)),
        tflite=tflite,
        candidate_name=candidate_name,
        split=source,
        expected_num_examples=len(labels),
        rules=rules,
        class_names=class_names,
        num_classes=len(class_names),
        decision_threshold=decision_threshold,
        slices=_with_quarters(slices, labels) if rules.metric.labels is LabelKind.VALUE else slices,
        kernel_sample_size=kernel_sample_size,
        champion=champion,
        output=output,
    )

    reader = ArrayRows(inputs) if isinstance(inputs, Mapping) else inputs

    def score(candidate: Candidate) -> Tally:
        scorer = Scorer(
            case.saved_model, candidate, case.plan, champion=champion.tflite if isinstance(champion, Champion) else None
        )
        total, start = Tally(), 0
        for part in reader.slices(scorer.rows_per_batch):
            rows = slice(start, start + len(next(iter(part.values()))))
            features = {name: array[rows] for name, array in (slice_features or {}).items()}
            total += scorer.score(Batch(dict(part), labels[rows], features))
            start = rows.stop
        return total

    def sample() -> Batch:
        positions = spread_positions(len(labels), BATCH_SIZE)
        return Batch(spread_rows(reader, len(labels), BATCH_SIZE), labels[positions], {})

    return judge_case(case, score, sample)


def _with_quarters(slices: tuple[SliceSpec, ...], labels: NDArray[Any]) -> tuple[SliceSpec, ...]:
    numbers = labels.reshape(len(labels), -1).mean(axis=1, dtype=np.float64)
    return with_label_buckets(slices, quantile_edges(numbers, NUM_LABEL_BUCKETS))


def load_dataset(path: Path, signature: Signature, *, real_labels: bool = False) -> LabeledRows:
    """Opens a labeled data set: an .npz file, a folder of pictures, or TFRecord files (a pattern such as ``'r/*.gz'``).

    Args:
        path: What the user gave.
        signature: The float model's signature.
        real_labels: Whether labels are real numbers, not class indices.

    Raises:
        DataError: It is missing or empty, or holds no labels of that kind.
        InputError: A shape or a dtype does not fit the signature.
    """
    if path.is_dir():
        if real_labels:
            raise DataError(f"{path} is a folder of classes, and the metric compares real numbers. Give an .npz file.")
        return open_pictures(path, signature.inputs)
    if is_record_pattern(path):
        opened = open_records(path, signature.inputs, real_labels=real_labels)
        bind_inputs(first_rows(opened.inputs), signature.inputs)
        return opened
    return load_npz_dataset(path, signature, real_labels=real_labels)


def load_npz_dataset(path: Path, signature: Signature, *, real_labels: bool = False) -> LabeledRows:
    """Opens a labeled .npz: arrays ``x`` and ``y``, or one array per input name and ``y``; inputs stay in the file.

    Args:
        path: A .npz file as ``numpy.savez`` writes it. Pickled arrays are not read: unpickling runs code.
        signature: The float model's signature.
        real_labels: Whether labels are real numbers, not class indices.

    Raises:
        DataError: The file or an array is missing, empty, pickled, or lengths differ.
        InputError: A shape or a dtype does not fit the signature.
    """
    headers = read_headers(path, DATA_FILE, DataError)
    members = _members_of_inputs(headers, [spec.name for spec in signature.inputs], path, real_labels)
    stored = read_array(path, "y", DATA_FILE, DataError)
    labels = _real_labels(stored, path) if real_labels else _class_indices(stored, path)
    lengths = {name: headers[member].num_rows for name, member in members.items()}
    if not len(labels) or set(lengths.values()) != {len(labels)}:
        raise DataError(
            f"{path} has {len(labels)} labels and inputs of length {lengths}; every row needs one label, and at least "
            "one row."
        )
    shapes = {name: np.empty((0, *headers[m].shape[1:]), headers[m].dtype) for name, m in members.items()}
    bind_inputs(shapes, signature.inputs)
    others = [name for name in headers if name not in {"x", "y", *members}]
    features = {n: read_array(path, n, DATA_FILE, DataError) for n in others if headers[n].shape == (len(labels),)}
    return LabeledRows(NpzRows(path, members), labels, features)


def _members_of_inputs(arrays: Mapping[str, Any], names: list[str], path: Path, real_labels: bool) -> dict[str, str]:
    """The array of each input, by the input's name."""
    given = {name: name for name in names if name in arrays}
    if not given and len(names) == 1 and "x" in arrays:
        given = {names[0]: "x"}
    missing = []
    if len(given) != len(names):
        missing.append(f"array 'x' or {names[0]!r}" if len(names) == 1 else f"one array per input {names}")
    if "y" not in arrays:
        missing.append(f"array 'y' with the {'real-valued labels' if real_labels else 'class indices'}")
    if missing:
        raise DataError(
            f"{path} needs {' and '.join(missing)}; found {sorted(arrays)}. Name the arrays so in numpy.savez."
        )
    return given


def _class_indices(labels: NDArray[Any], path: Path) -> NDArray[np.int64]:
    flat = labels.reshape(-1) if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if flat.ndim != 1:
        raise DataError(
            f"{path}: y has shape {list(labels.shape)}; it takes one class index per row, [n]. {_hint(labels)}"
        )
    whole = flat.dtype.kind in "iub" or (
        flat.dtype.kind == "f" and bool(np.isfinite(flat).all() and (flat == np.rint(flat)).all())
    )
    if not whole:
        raise DataError(
            f"{path}: y is {labels.dtype} with values that are no class indices; it takes whole numbers from 0."
        )
    return flat.astype(np.int64)


def _hint(labels: NDArray[Any]) -> str:
    """What labels of several numbers per row are, and what judges them."""
    by_value = "--metric mae or rmse compares the outputs with them number by number."
    if labels.ndim == 2 and np.isin(labels, (0, 1)).all():
        if (labels.sum(axis=1) == 1).all():
            return "Turn one-hot labels into indices with numpy.argmax(y, axis=1)."
        return f"Rows with several ones, or none, are several labels per example: {by_value}"
    if labels.ndim == 2:
        return f"Several real numbers per row are values, such as an embedding: {by_value}"
    return f"A label per pixel or step is many values: {by_value}"


def _real_labels(labels: NDArray[Any], path: Path) -> NDArray[np.float64]:
    if labels.dtype.kind not in "iuf" or labels.ndim == 0:
        raise DataError(f"{path}: y is {labels.dtype} of shape {list(labels.shape)}; it takes one real number per row.")
    return labels.astype(np.float64)
