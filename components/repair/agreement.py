"""Compares a candidate with the float .tflite, both run by the device's interpreter, on rows that set no range."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from edgeproof_edge.interpreter import TFLiteModel
from numpy.typing import NDArray

from components.repair.facts import LabelAgreement, OutputAgreement, SelectionScore
from components.repair.recipes import Recipe

#: Rows compared. With 200 rows agreement moved by half a percent from draw to draw; far beyond 1000 it only costs time.
MAX_ROWS = 1000
#: Rows from which a search chooses those: a class that stands once in 250 rows is to be among them.
MAX_ROWS_TO_CHOOSE_FROM = 5000
#: int16x8 has no fast kernels (50 to 100 times slower than int8 on conv nets).
MAX_ROWS_WITHOUT_FAST_KERNELS = 200

Array = NDArray[np.generic]


def num_rows_to_compare(recipe: Recipe, num_available: int) -> int:
    """How many selection rows a recipe is compared on."""
    return min(num_available, MAX_ROWS if recipe.storage.has_fast_kernels else MAX_ROWS_WITHOUT_FAST_KERNELS)


def score(
    float_model: TFLiteModel, candidate: TFLiteModel, inputs: Mapping[str, Array], labels: NDArray[np.generic] | None
) -> SelectionScore:
    """Runs both models on ``inputs`` (arrays ``[n, ...]``) and compares every output.

    Args:
        float_model: The float .tflite.
        candidate: The model to compare with it.
        inputs: The rows, in real-world units.
        labels: Class ids ``[n]``, or None.
    """
    return compare(float_model.predict(inputs), candidate.predict(inputs), labels)


def compare(
    reference: Mapping[str, Array], candidate: Mapping[str, Array], labels: NDArray[np.generic] | None
) -> SelectionScore:
    """Compares outputs ``[n, ...]`` by name of a candidate with those of the float model on the same rows."""
    outputs = tuple(compare_output(name, reference[name], candidate[name]) for name in sorted(reference))
    return SelectionScore(
        outputs=outputs, labels=_compare_with_labels(list(reference.values()), list(candidate.values()), labels)
    )


def compare_output(name: str, reference: Array, candidate: Array) -> OutputAgreement:
    """Compares one output ``[n, ...]``: the error always, the largest entry per row where it is a vector of scores."""
    num_rows = len(reference)
    expected = np.asarray(reference, np.float64).reshape(num_rows, -1)
    actual = np.asarray(candidate, np.float64).reshape(num_rows, -1)
    finite = np.isfinite(expected).all(axis=1) & np.isfinite(actual).all(axis=1)
    same = int((expected.argmax(axis=1) == actual.argmax(axis=1))[finite].sum()) if _is_class_like(reference) else None
    return OutputAgreement(
        output=name,
        num_rows=num_rows,
        num_same=same,
        num_not_finite=int((~finite).sum()),
        relative_error=_relative_error(expected, actual) if finite.all() else None,
    )


def _relative_error(expected: NDArray[np.float64], actual: NDArray[np.float64]) -> float | None:
    spread = float(expected.std())
    return float(np.sqrt(np.mean((actual - expected) ** 2))) / spread if spread > 0 else None


def _is_class_like(output: Array) -> bool:
    return output.ndim == 2 and output.shape[1] >= 2 and output.dtype.kind == "f"


def _compare_with_labels(
    reference: list[Array], candidate: list[Array], labels: NDArray[np.generic] | None
) -> LabelAgreement | None:
    """Counts right answers where the only output is a vector of scores and the labels are its class ids."""
    if labels is None or labels.dtype.kind not in "iu" or labels.ndim != 1:
        return None
    if len(reference) != 1 or not _is_class_like(reference[0]):
        return None
    if labels.size == 0 or int(labels.min()) < 0 or int(labels.max()) >= reference[0].shape[1]:
        return None
    return LabelAgreement(
        num_rows=len(labels),
        num_correct_float=_num_correct(reference[0], labels),
        num_correct_model=_num_correct(candidate[0], labels),
    )


def _num_correct(scores: Array, labels: NDArray[np.generic]) -> int:
    values = np.asarray(scores, np.float64)
    return int(((values.argmax(axis=1) == labels) & np.isfinite(values).all(axis=1)).sum())
