"""Scored rows as TFMA's extracts: one per example, with both models' predictions and the slices it belongs to.

Rules: 1. Nothing is scored here: the predictions are the ones that the gate counted. 2. Classes come with probabilities:
outputs beyond 0..1 are logits, and go through softmax or a sigmoid, of both models alike. 3. A slicing of the gate has the
gate's values, ``(missing)`` among them; of any other feature an example without it is in no slice, as TFMA has it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.data.examples import MISSING_INTEGER
from components.errors import DataError, ModelError
from components.evaluator.counting.slices import MAX_VALUES, Grouping
from components.evaluator.tfma.eval_config import BASELINE, CANDIDATE, slicing_features

#: Outputs so far beyond 0..1 are no probabilities; int8 codes may step over the edge by half a code.
_TOLERANCE = 0.01
#: Combinations of values whose slices are remembered; beyond, they are worked out again.
_MAX_REMEMBERED = 10_000


@dataclass(frozen=True)
class ScoredRows:
    """Rows of one batch whose outputs are finite and whose labels mean something: what every metric can take.

    Attributes:
        labels: Class indices ``[n]``, or real numbers ``[n]`` or ``[n, d]``.
        of_float: Scores or values of the float model, ``[n, k]``.
        of_candidate: The same of the candidate, in real-world units.
        groupings: The gate's slices of these rows.
        features: Other features to cut by, ``[n]`` by name; see :class:`components.data.examples.Batch`.
        are_classes: Whether labels are class indices.
    """

    labels: NDArray[Any]
    of_float: NDArray[Any]
    of_candidate: NDArray[Any]
    groupings: tuple[Grouping, ...]
    features: Mapping[str, NDArray[Any]]
    are_classes: bool


class ExtractMaker:
    """Makes extracts, and remembers what it found out: whether outputs are logits, and the slices of values seen."""

    def __init__(self, config: Any) -> None:
        """Prepares the slicing.

        Args:
            config: An EvalConfig of :func:`read_eval_config`.
        """
        from tensorflow_model_analysis.slicer import slicer_lib

        specs = list(config.slicing_specs)
        for cross in config.cross_slicing_specs:
            specs += [cross.baseline_spec, *cross.slicing_specs]
        self._specs = list(dict.fromkeys(slicer_lib.SingleSliceSpec(spec=spec) for spec in specs))
        self._names = slicing_features(config)
        self._are_logits: bool | None = None
        self._slices: dict[tuple[Any, ...], tuple[dict[str, Any], Any]] = {}
        self._keys: set[Any] = set()

    def make(self, rows: ScoredRows) -> Iterator[dict[str, Any]]:
        """One extract per row.

        Raises:
            ModelError: Outputs are probabilities in one batch and not in another.
            DataError: There are more than ``MAX_VALUES`` slices.
        """
        from tensorflow_model_analysis import constants

        of_float, of_candidate = self._predictions(rows)
        labels = rows.labels.reshape(len(rows.labels), -1)
        columns = [_column(name, rows) for name in self._names]
        for position in range(len(labels)):
            features, slices = self._slices_of(tuple(column[position] for column in columns))
            yield {
                constants.LABELS_KEY: labels[position],
                constants.PREDICTIONS_KEY: {BASELINE: of_float[position], CANDIDATE: of_candidate[position]},
                constants.FEATURES_KEY: features,
                constants.SLICE_KEY_TYPES_KEY: slices,
            }

    def _predictions(self, rows: ScoredRows) -> tuple[NDArray[Any], NDArray[Any]]:
        if not rows.are_classes or not len(rows.labels):
            return rows.of_float, rows.of_candidate
        are_logits = bool((rows.of_float < -_TOLERANCE).any() or (rows.of_float > 1 + _TOLERANCE).any())
        if self._are_logits is None:
            self._are_logits = are_logits
        if are_logits and not self._are_logits:
            raise ModelError(
                "the float model's outputs are probabilities in one batch of the holdout and beyond 0..1 in another, so "
                "TFMA's metrics cannot read them. End the model in softmax or a sigmoid, or remove gate.eval_config."
            )
        if not self._are_logits:
            return rows.of_float, rows.of_candidate
        return probabilities(rows.of_float), probabilities(rows.of_candidate)

    def _slices_of(self, values: tuple[Any, ...]) -> tuple[dict[str, Any], Any]:
        """Features and slice keys of an example with these values of the slicing features."""
        from tensorflow_model_analysis.slicer import slicer_lib

        if values not in self._slices:
            features = {
                name: np.array([value]) for name, value in zip(self._names, values, strict=True) if value is not None
            }
            keys = sorted(set(slicer_lib.get_slices_for_features_dicts([], features, self._specs)), key=repr)
            self._keys.update(keys)
            if len(self._keys) > MAX_VALUES:
                raise DataError(
                    f"the slicing_specs of gate.eval_config cut the holdout into more than {MAX_VALUES} slices, each "
                    "with a metric of its own in memory. Slice by features of fewer values, or by buckets in gate.slices."
                )
            if len(self._slices) >= _MAX_REMEMBERED:
                self._slices.clear()
            self._slices[values] = features, slicer_lib.slice_keys_to_numpy_array(keys)
        return self._slices[values]


def _column(name: str, rows: ScoredRows) -> Sequence[Any]:
    """Values of a slicing feature by row; None where an example lacks it."""
    for grouping in rows.groupings:
        if grouping.keys and grouping.keys[0].name == name:
            return [grouping.keys[row].value for row in grouping.rows.tolist()]
    return [_value(value) for value in rows.features[name].tolist()]


def _value(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace") or None
    return None if value == MISSING_INTEGER or value != value else value  # NaN differs from itself


def probabilities(logits: NDArray[Any]) -> NDArray[np.float64]:
    """Softmax over classes ``[n, classes]``, or a sigmoid of one unit ``[n, 1]``."""
    values = logits.astype(np.float64)
    if values.shape[1] == 1:
        return np.asarray(0.5 * (1 + np.tanh(values / 2)))
    exponentials = np.exp(values - values.max(axis=1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))
