"""What the one pass over the holdout remembers of it for devices: rows for a self-test, and facts for histograms.

Rules, in order: 1. Which rows are remembered depends on their content alone, so neither workers nor order matter. 2. Memory
is bounded: facts of at most :data:`MAX_OBSERVED` rows, a few numbers each, and the inputs of at most :data:`MAX_CANDIDATES`
rows. 3. Rows for the self-test come from the sample that a second kernel family scored too: golden is what both answer alike.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from edgeproof_edge.answers import answered_classes, leads
from edgeproof_edge.tensors import TensorSpec
from numpy.typing import NDArray

Array = NDArray[Any]
Rows = Mapping[str, Array]

#: Rows of the holdout that histograms count: enough for 20 bins.
MAX_OBSERVED = 4096
#: Rows whose inputs are kept: by turns of the classes, and those that lead furthest.
MAX_CANDIDATES = 32
#: The same in bytes, for rows that are large; at least :data:`LEAST_CANDIDATES` rows are kept.
MAX_CANDIDATE_BYTES = 64 << 20
LEAST_CANDIDATES = 8
#: Lead of a golden row's answer, as a share of the output's range: kernels of different families differ by up to 15 of 256.
SAFE_MARGIN = 32 / 256


@dataclass(frozen=True)
class Watch:
    """What is watched: the output, and how its answer is read.

    Attributes:
        output: The output that is judged.
        threshold: A one-unit output at or above it is class 1; None where the output is a real value.
    """

    output: TensorSpec
    threshold: float | None

    @property
    def fixed_range(self) -> float:
        """256 steps of an 8-bit output; 0 for others, of which only the rows tell what they span."""
        is_byte = self.output.is_quantized and np.dtype(self.output.dtype).itemsize == 1
        return 256 * self.output.scale if is_byte else 0.0


@dataclass(frozen=True, eq=False)
class GoldenCandidate:
    """One row that may become golden: a hash of its content, its answer and lead, its inputs, both kernels' outputs ``[k]``.

    ``is_safe`` says whether it leads far enough, as far as that can be told before all rows were seen.
    """

    key: int
    answer: int
    lead: float
    is_safe: bool
    inputs: Mapping[str, Array]
    scores: Array
    other: Array

    def copied(self) -> GoldenCandidate:
        """The same with arrays of its own: a view would keep the whole batch in memory."""
        inputs = {name: array.copy() for name, array in self.inputs.items()}
        return replace(self, inputs=inputs, scores=self.scores.copy(), other=self.other.copy())

    @property
    def num_bytes(self) -> int:
        """Size of its inputs."""
        return sum(array.nbytes for array in self.inputs.values())


@dataclass(frozen=True, eq=False)
class ObservedRows:
    """Facts of observed rows, sorted by content; ``a + b`` merges two disjoint parts.

    Attributes:
        keys: Hash of every row's content, uint64 ``[n]``.
        inputs: Mean, deviation, lowest and highest value of a row, ``[n, 4]`` by input.
        answers: Class of every row, or -1 where the output is a real value, ``[n]``.
        confidences: How sure the answer is where outputs are probabilities, and where they are logits, ``[n, 2]``.
        are_probabilities: Whether all of a row's scores lie in 0..1, ``[n]``.
        values: Mean, lowest and highest of a row's outputs, ``[n, 3]``.
        num_classes: Number of classes; 0 where the output is a real value.
        candidates: Rows that may become golden.
    """

    keys: NDArray[np.uint64]
    inputs: Mapping[str, NDArray[np.float64]]
    answers: NDArray[np.int64]
    confidences: NDArray[np.float64]
    are_probabilities: NDArray[np.bool_]
    values: NDArray[np.float64]
    num_classes: int
    candidates: tuple[GoldenCandidate, ...] = field(default=())

    def __add__(self, other: ObservedRows) -> ObservedRows:
        keys = np.concatenate([self.keys, other.keys])
        kept = np.argsort(keys, kind="stable")[:MAX_OBSERVED]

        def joined(left: Array, right: Array) -> Array:
            return np.asarray(np.concatenate([left, right])[kept])

        return ObservedRows(
            keys=keys[kept],
            inputs={name: joined(self.inputs[name], other.inputs[name]) for name in self.inputs},
            answers=joined(self.answers, other.answers),
            confidences=joined(self.confidences, other.confidences),
            are_probabilities=joined(self.are_probabilities, other.are_probabilities),
            values=joined(self.values, other.values),
            num_classes=max(self.num_classes, other.num_classes),
            candidates=keep_candidates((*self.candidates, *other.candidates)),
        )


def observe_batch(
    watch: Watch, keys: NDArray[np.uint64], inputs: Rows, output: Array, sample: NDArray[np.int64], other: Array
) -> ObservedRows:
    """Facts of one batch.

    Args:
        watch: What is watched.
        keys: Hashes of the rows, ``[n]``.
        inputs: Raw tensors ``[n, ...]`` under the model's own names.
        output: The output under XNNPACK, ``[n, ...]``, in real-world units.
        sample: Rows that built-in kernels scored too.
        other: What these said, ``[len(sample), ...]``.
    """
    scores = output.reshape(len(output), -1)
    order = np.argsort(keys, kind="stable")[:MAX_OBSERVED]
    is_value = watch.threshold is None
    answers = np.full(len(scores), -1) if watch.threshold is None else answered_classes(scores, watch.threshold)
    confidences, are_probabilities = row_confidences(scores)
    return ObservedRows(
        keys=keys[order],
        inputs={name: _facts(array)[order] for name, array in inputs.items()},
        answers=answers[order],
        confidences=confidences[order],
        are_probabilities=are_probabilities[order],
        values=np.column_stack([scores.mean(axis=1, dtype=np.float64), scores.min(axis=1), scores.max(axis=1)])[order],
        num_classes=0 if is_value else max(2, scores.shape[1]),
        candidates=_candidates(watch, keys, inputs, scores, sample, other.reshape(len(sample), scores.shape[1])),
    )


def _facts(array: Array) -> NDArray[np.float64]:
    rows = array.reshape(len(array), -1).astype(np.float64)
    return np.column_stack([rows.mean(axis=1), rows.std(axis=1), rows.min(axis=1), rows.max(axis=1)])


def _candidates(
    watch: Watch, keys: NDArray[np.uint64], inputs: Rows, scores: Array, sample: NDArray[np.int64], other: Array
) -> tuple[GoldenCandidate, ...]:
    """Rows of the sample with finite outputs and the same answer under both kernels; safe ones where that can be told."""
    mine = scores[sample]
    usable = np.isfinite(mine).all(axis=1) & np.isfinite(other).all(axis=1)
    lead, answers = np.zeros(len(sample)), np.zeros(len(sample), np.int64)
    if watch.threshold is not None:
        answers = answered_classes(mine, watch.threshold)
        lead = np.minimum(leads(mine, watch.threshold), leads(other, watch.threshold))
        usable &= (answers == answered_classes(other, watch.threshold)) & (lead > 0)
    is_safe = lead >= SAFE_MARGIN * watch.fixed_range  # of outputs without a fixed range all may turn out to be
    kept = keep_candidates(
        GoldenCandidate(
            key=int(keys[sample[row]]),
            answer=int(answers[row]),
            lead=float(lead[row]),
            is_safe=bool(is_safe[row]),
            inputs={name: array[sample[row]] for name, array in inputs.items()},
            scores=mine[row],
            other=other[row],
        )
        for row in np.flatnonzero(usable).tolist()
    )
    return tuple(candidate.copied() for candidate in kept)


def keep_candidates(candidates: Iterable[GoldenCandidate]) -> tuple[GoldenCandidate, ...]:
    """The rows to keep of several parts: by turns of the classes those that lead safely, and those that lead furthest."""
    by_key = {candidate.key: candidate for candidate in candidates}
    ordered = [by_key[key] for key in sorted(by_key)]
    turns: Counter[int] = Counter()
    in_turns = []
    for candidate in ordered:
        if candidate.is_safe:
            in_turns.append((turns[candidate.answer], candidate.key))
            turns[candidate.answer] += 1
    capacity = _capacity(ordered)
    keys = {key for _, key in sorted(in_turns)[:capacity]}
    keys |= {candidate.key for candidate in sorted(ordered, key=lambda row: (-row.lead, row.key))[:capacity]}
    return tuple(candidate for candidate in ordered if candidate.key in keys)


def _capacity(candidates: list[GoldenCandidate]) -> int:
    largest = max((candidate.num_bytes for candidate in candidates), default=1)
    return min(MAX_CANDIDATES, max(LEAST_CANDIDATES, MAX_CANDIDATE_BYTES // max(largest, 1)))


def row_confidences(scores: Array) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """How sure every row's answer is, 0 to 1, were its scores probabilities and were they logits, ``[n, 2]``; which may be probabilities.

    Args:
        scores: ``[n, classes]``, or ``[n, 1]`` of a two-class model.
    """
    values = scores.astype(np.float64)
    are_probabilities = ((values >= -0.01) & (values <= 1.01)).all(axis=1)
    if values.shape[1] == 1:
        unit = values[:, 0]
        positives = [unit, 1 / (1 + np.exp(-np.clip(unit, -500, 500)))]
        both = [np.maximum(positive, 1 - positive) for positive in positives]
    else:
        exponents = np.exp(values - values.max(axis=1, keepdims=True))
        both = [values.max(axis=1), exponents.max(axis=1) / exponents.sum(axis=1)]
    return np.clip(np.column_stack(both), 0.0, 1.0), np.asarray(are_probabilities, np.bool_)
