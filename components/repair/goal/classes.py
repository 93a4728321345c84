"""Outputs that name a class, by a score for each or by its id: what counts is the answer.

Class scores lose by what a changed answer costs: the float probability of its own class minus that of the class the
candidate names. Over the rows this estimates the share of right answers that is lost, needs no labels, and is free where
float itself as good as tossed a coin. A rare class weighs as much as a common one: an alarm that is raised once in 250
rows is lost with one row in 250; and a class of which most is gone is lost by the gate's own test, whatever the rest
costs. Labels, where there are any, set the temperature of the probabilities, refuse what provably loses more than the
goal allows, and decide between equals.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.exact_tests import LOST_SHARE, PairedLoss, beyond_chance
from components.repair.goal.scores import AMPLE_SHARE, OutputScore
from components.repair.goal.sound_rows import is_finite
from components.repair.settings import GoalSettings

Array = NDArray[Any]
Floats = NDArray[np.float64]
Ids = NDArray[np.int64]

#: Output that names a class id (an argmax inside the graph) tells nothing of how sure float was. Good int8 models
#: differed from float in 0.7 to 1.2 % of 200 rows.
MAX_CHANGED_IDS = 0.015
#: Two classes closer than this in float's probability are a toss-up. A weak MobileNetV2 (float right in 33 % of rows) changed
#: 9 % of its answers in good int8, by 0.02 on average, and was right as often as before.
TOSS_UP = 0.05
#: A model that names another class in one row of five is another model, however undecided float was.
MIN_AGREEMENT = 0.8
#: One-sided 95 % of a normal distribution: labels refuse a candidate only where the loss is no chance.
LABEL_CONFIDENCE = 1.645
#: Unnormalized rows count as logits when softmax makes them decided, but not absurdly so: cross entropy stops pushing
#: classes apart long before a margin of 30, which values in pixels or volts exceed at once.
MIN_DECIDED_LOGITS = 0.5
MAX_MEDIAN_MARGIN = 30.0
#: Temperatures tried on labeled rows: below 1 float was too modest, above 1 too sure.
TEMPERATURES = tuple(float(t) for t in np.geomspace(0.5, 4.0, 25))
#: A class of fewer rows weighs as if it had as many: one row of three is chance.
MIN_CLASS_ROWS = 20
#: A class of fewer rows than this, and than this share of what it would have if all were alike, is rare: changed answers are
#: too few to count, so what its score moved counts, as far as it is more than a step or two of int8.
MAX_RARE_ROWS = 100
RARE_SHARE = 0.25
LEAST_MOVE = 0.01
#: Root mean square error / spread of scores of their own, which are often close together at the largest: a pitch tracker's
#: 360 named another bin in 7 % of the rows at 0.03, in less than 3 % at half of it.
MAX_SCORE_ERROR = 0.015
#: Rows of each class that are scored at least, in outputs of no more classes than this.
NUM_OF_EACH_CLASS = 100
MAX_RARE_CLASSES = 100
#: Divergence of outputs that are not finite: as if every row had got a class of which float was sure that it is not.
MAX_DIVERGENCE = 14.0


class OutputKind(str, Enum):
    """What an output says."""

    CLASSES = "classes"  # one score per class: the largest is the answer
    IDS = "ids"  # the number of a class
    VALUES = "values"  # real numbers


def class_kind(name: str, reference: Array, labels: Array | None, settings: GoalSettings) -> tuple[OutputKind, str]:
    """What an output is, and why.

    Args:
        name: Of the output.
        reference: The float model's ``[n, ...]``.
        labels: Of the same rows, or None.
        settings: What the config says of it.
    """
    ids = class_ids(labels)
    if name in settings.outputs:
        return OutputKind(settings.outputs[name]), "the config says so"
    if reference.dtype.kind != "f":
        return OutputKind.IDS, f"it holds {reference.dtype}"
    if _is_binary_score(reference, ids):
        return OutputKind.CLASSES, "one score between 0 and 1, and labels 0 and 1"
    if reference.ndim != 2 or reference.shape[1] < 2:
        return OutputKind.VALUES, f"its shape is {list(reference.shape[1:])} per row"
    if _is_normalized(reference):
        return OutputKind.CLASSES, "its rows add up to 1"
    if _labels_agree(reference, ids):
        return OutputKind.CLASSES, "its largest entry follows the labels"
    if _looks_like_logits(reference):
        return OutputKind.CLASSES, "softmax decides its rows as it does logits"
    return OutputKind.VALUES, "its rows are no scores of classes"


def rows_to_score(reference: Mapping[str, Array], most: int) -> NDArray[np.intp]:
    """Which rows candidates are scored on: the first, but a hundred of each class that float names, if there are as many.

    Args:
        reference: The float model's outputs ``[n, ...]``.
        most: Rows at most.

    Returns:
        Positions, ascending.
    """
    num_rows = len(next(iter(reference.values()), np.empty(0)))
    if num_rows <= most:
        return np.arange(num_rows)
    ranks = [_ranks(_two_columns(array).argmax(axis=1)) for array in reference.values() if _is_like_scores(array)]
    first = np.min(ranks, axis=0) if ranks else np.arange(num_rows)
    order = np.lexsort((np.arange(num_rows), first >= NUM_OF_EACH_CLASS))
    return np.sort(order[:most])


def _ranks(answers: NDArray[np.intp]) -> NDArray[np.intp]:
    """How many rows of the same answer stand before each."""
    ranks = np.zeros(len(answers), np.intp)
    for answer in np.unique(answers):
        rows = np.flatnonzero(answers == answer)
        ranks[rows] = np.arange(len(rows))
    return ranks


def _is_like_scores(array: Array) -> bool:
    if array.dtype.kind != "f":
        return False
    is_single = array.size == len(array) and array.min() >= 0 and array.max() <= 1
    return bool(is_single or (array.ndim == 2 and 2 <= array.shape[1] <= MAX_RARE_CLASSES))


def class_ids(labels: Array | None) -> Ids | None:
    """Labels as class ids; None where they are none."""
    return None if labels is None or labels.dtype.kind not in "iu" or labels.ndim != 1 else labels.astype(np.int64)


@dataclass(frozen=True)
class IdGoal:
    """An output that holds the number of a class."""

    name: str
    reason: str
    reference: Array = field(repr=False)
    limit: float = MAX_CHANGED_IDS
    kind: OutputKind = OutputKind.IDS
    parts: tuple[str, ...] = ()

    def score(self, array: Array) -> OutputScore:
        """Loses by the share of ids that changed."""
        changed = np.asarray((np.asarray(array) != self.reference).reshape(len(array), -1).mean(axis=1))
        return OutputScore.of(self.name, float(changed.mean()), self.limit, changed / self.limit)

    def divergence(self, array: Array) -> float:
        """The same share."""
        return self.score(array).distance


@dataclass(frozen=True)
class ClassGoal:
    """An output of one score per class, or of one score for "yes"; arrays hold only the rows that decide.

    Attributes:
        name: Of the output.
        reason: Why its scores are those of classes.
        limit: Largest share of right answers that may be lost.
        reference: Float's scores.
        probabilities: What float's scores say of each class ``[n, classes]``.
        labels: Class ids ``[n]``, or None.
        weights: Per class, what a changed answer from or to it costs, in rows.
    """

    name: str
    reason: str
    limit: float
    reference: Array = field(repr=False)
    probabilities: Floats = field(repr=False)
    labels: Ids | None = field(repr=False)
    weights: Floats = field(repr=False)
    kind: OutputKind = OutputKind.CLASSES
    parts: tuple[str, ...] = ()

    @classmethod
    def of(cls, name: str, reason: str, reference: Array, labels: Array | None, limit: float) -> ClassGoal:
        """The goal for these float scores."""
        ids = class_ids(labels)
        usable = ids if ids is not None and _are_ids_of(ids, reference) else None
        scores = _two_columns(reference)
        goal = cls(name, reason, limit, reference, _calibrated(scores, usable), usable, _weights(scores))
        if not len(goal._rare_classes):
            return goal
        because = f"{reason}; {_listed(goal._rare_classes)} rare and may lose a third of that"
        return replace(goal, reason=because)

    def score(self, array: Array) -> OutputScore:
        """Loses by what changed answers cost, in right answers."""
        rows, expected = np.arange(len(array)), self._answers
        sure = self.probabilities[rows, expected]
        finite = is_finite(array)
        answers = np.where(finite, np.nan_to_num(_two_columns(array)).argmax(axis=1), 0)
        gap = np.where(finite, sure - self.probabilities[rows, answers], sure)
        weight = np.maximum(1.0, (self.weights[expected] + self.weights[answers]) / 2)
        cost = np.where(gap > TOSS_UP, gap, 0.0) / max(float(sure.mean()), 1e-12) * weight
        moved_rare = self._moved_rare_scores(array, finite)
        cost = np.maximum(cost, moved_rare)
        loss = float(cost.mean())
        is_of_rare = np.isin(expected, self._rare_classes) | np.isin(answers, self._rare_classes)
        loss_of_rare = float(np.where(is_of_rare, cost, moved_rare).mean())
        proven = self._proven_loss(answers, finite)
        if self._has_own_scores:  # some answers of hundreds tell less of which candidate is closer than all scores do
            moved = self._moved_own_scores(array)
            if (by_scores := float(np.sqrt(moved.mean())) * self.limit) > loss:
                loss, cost = by_scores, moved * self.limit
        elif proven > loss:
            loss, cost = proven, self._by_labels(answers, finite)
        agreement = float(((answers == expected) & finite).mean())
        return OutputScore.of(
            self.name,
            loss,
            self.limit,
            cost / self.limit,
            agreement >= MIN_AGREEMENT
            and proven <= self.limit
            and not self._has_lost_class(answers, finite)
            and loss_of_rare <= AMPLE_SHARE * self.limit,  # twenty rows without a miss leave room for one in seven
            num_lost=int(self._by_labels(answers, finite).sum()),
            is_useless=self._is_useless(answers, finite),
        )

    def divergence(self, array: Array) -> float:
        """Kullback-Leibler divergence of class probabilities, or how far scores of their own moved, in units of the limit."""
        if not is_finite(array).all():
            return MAX_DIVERGENCE / self.limit
        if self._has_own_scores:  # their logarithms are ruled by the hundreds that say "no"
            return min(float(self._moved_own_scores(array).mean()), MAX_DIVERGENCE / self.limit)
        expected, actual = _two_columns(self.reference), _two_columns(array)
        if _is_normalized(expected):
            p, q = expected, np.clip(actual, 0, None)
        else:
            p, q = _softmax(_logits(expected)), _softmax(_logits(actual))
        divergence = (p * (np.log(p + 1e-6) - np.log(q + 1e-6))).sum(axis=1)
        return min(float(np.maximum(divergence, 0).mean()), MAX_DIVERGENCE) / self.limit

    @property
    def _answers(self) -> NDArray[np.intp]:
        return np.asarray(_two_columns(self.reference).argmax(axis=1))

    @cached_property
    def _has_own_scores(self) -> bool:
        """Whether its scores are none of one distribution."""
        return self.reference.ndim == 2 and self.reference.shape[1] >= 3 and _are_own_scores(self.reference)

    def _moved_own_scores(self, array: Array) -> Floats:
        """Per row the squared difference of scores of their own, in units of what they may move."""
        difference = np.nan_to_num(np.asarray(array, np.float64), nan=1.0) - self.reference
        spread = max(float(self.reference.std()), 1e-12)
        return np.asarray(((difference / (MAX_SCORE_ERROR * spread)) ** 2).mean(axis=1))

    def _moved_rare_scores(self, array: Array, finite: NDArray[np.bool_]) -> Floats:
        """What a row costs because scores of rare classes moved; 0 where there are none."""
        rare = self._rare_classes
        if not len(rare):
            return np.zeros(len(array))
        scores, reference = _as_probabilities(_two_columns(array)), _as_probabilities(_two_columns(self.reference))
        moved = np.where(finite[:, None], np.nan_to_num(np.abs(scores - reference)[:, rare], nan=1.0), 1.0)
        return np.asarray((np.where(moved > LEAST_MOVE, moved, 0.0) * self.weights[rare] / 2).sum(axis=1))

    @cached_property
    def _rare_classes(self) -> NDArray[np.intp]:
        """Classes that float names in too few rows for changed answers to be counted."""
        if len(self.weights) > MAX_RARE_CLASSES:
            return np.empty(0, np.intp)
        counts = np.bincount(self._answers, minlength=len(self.weights))
        usual = len(self._answers) / max(2, int((counts > 0).sum()))
        return np.flatnonzero((counts > 0) & (counts < MAX_RARE_ROWS) & (counts < RARE_SHARE * usual))

    def _proven_loss(self, answers: NDArray[np.intp], finite: NDArray[np.bool_]) -> float:
        """Share of float's right answers that the labels prove to be lost (paired: only rows that changed count)."""
        changes = self._by_labels(answers, finite)
        num_right = 0 if self.labels is None else int((self._answers == self.labels).sum())
        least = changes.sum() - LABEL_CONFIDENCE * np.sqrt(np.abs(changes).sum())
        return max(0.0, float(least)) / max(1, num_right)

    def _by_labels(self, answers: NDArray[np.intp], finite: NDArray[np.bool_]) -> Floats:
        """Per row 1 where float is right and the candidate is not, -1 where it is the other way round."""
        if self.labels is None:
            return np.zeros(len(answers))
        was_right, is_right = self._answers == self.labels, (answers == self.labels) & finite
        return np.asarray(was_right.astype(np.float64) - is_right)

    def _has_lost_class(self, answers: NDArray[np.intp], finite: NDArray[np.bool_]) -> bool:
        """Whether less than half of what float gets right is left of a class, and chance does not explain it.

        What float gets right is what the labels say, or what it answers where there are none.
        """
        labels = self._answers if self.labels is None else self.labels
        was_right, is_right = self._answers == labels, (answers == labels) & finite
        right, lost, won = (
            np.bincount(labels[rows], minlength=len(self.weights))
            for rows in (was_right, was_right & ~is_right, is_right & ~was_right)
        )
        known = np.flatnonzero(right)
        pairs = [PairedLoss(int(lost[label]), int(won[label])) for label in known]
        is_half_gone = (right - lost + won)[known] < float(LOST_SHARE) * right[known]
        return bool((is_half_gone & beyond_chance(pairs)).any())

    def _is_useless(self, answers: NDArray[np.intp], finite: NDArray[np.bool_]) -> bool:
        """Whether it agrees with float no more often than always naming float's commonest class would."""
        commonest = np.bincount(self._answers).max() / len(answers)
        return bool(
            commonest < 1 and ((answers == self._answers) & finite).mean() <= commonest and self._has_moved(answers)
        )

    def _has_moved(self, answers: NDArray[np.intp]) -> bool:
        return not np.array_equal(answers, self._answers)


def _listed(classes: NDArray[np.intp]) -> str:
    """Classes in words, and that they are."""
    if len(classes) == 1:
        return f"class {classes[0]} is"
    return f"classes {', '.join(map(str, classes[:3]))}{' and others' if len(classes) > 3 else ''} are"


def _weights(scores: Floats) -> Floats:
    """Per class, rows / (its rows x number of classes): 1 where all classes are alike, more for a rare one."""
    counts = np.bincount(scores.argmax(axis=1), minlength=scores.shape[1])
    num_named = max(1, int((counts > 0).sum()))
    return np.asarray(len(scores) / (np.maximum(counts, MIN_CLASS_ROWS) * max(2, num_named)), np.float64)


def _is_binary_score(reference: Array, labels: Ids | None) -> bool:
    if reference.ndim > 2 or reference.size != len(reference) or labels is None or not labels.size:
        return False
    return all(bool(array.min() >= 0 and array.max() <= 1) for array in (reference, labels))


def _is_normalized(reference: Array) -> bool:
    sums = reference.astype(np.float64).sum(axis=1)
    return bool(reference.min() >= -1e-4 and (np.abs(sums - 1) < 1e-2).mean() >= 0.99)


def _labels_agree(reference: Array, labels: Ids | None) -> bool:
    """Whether the labels can be class ids of this output and float is right more often than the commonest class."""
    if labels is None or not labels.size or labels.min() < 0 or labels.max() >= reference.shape[1]:
        return False
    commonest = np.bincount(labels).max() / len(labels)
    return bool((reference.argmax(axis=1) == labels).mean() > min(0.99, 1.2 * commonest))


def _looks_like_logits(reference: Array) -> bool:
    if reference.min() >= 0:
        return False
    largest = np.sort(reference.astype(np.float64), axis=1)
    margin = float(np.median(largest[:, -1] - largest[:, -2]))
    decided = float(_softmax(reference).max(axis=1).mean())
    return margin <= MAX_MEDIAN_MARGIN and decided >= max(MIN_DECIDED_LOGITS, 1.5 / reference.shape[1])


def _are_ids_of(labels: Ids, reference: Array) -> bool:
    num_classes = _two_columns(reference).shape[1]
    return bool(labels.size and labels.min() >= 0 and labels.max() < num_classes)


def _two_columns(scores: Array) -> Floats:
    """Rows of class scores ``[n, k]``; a single score becomes the scores of "no" and "yes"."""
    flat = np.asarray(scores, np.float64).reshape(len(scores), -1)
    return np.concatenate([1 - flat, flat], axis=1) if flat.shape[1] == 1 else flat


def _softmax(logits: Array) -> Floats:
    shifted = np.exp(np.asarray(logits, np.float64) - np.max(logits, axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))


def _are_own_scores(scores: Array) -> bool:
    """Whether each score is between 0 and 1 by itself, and they do not add up to 1."""
    return bool(scores.min() >= 0 and scores.max() <= 1 and not _is_normalized(scores))


def _as_probabilities(scores: Floats) -> Floats:
    """Scores between 0 and 1 as they are, others by softmax."""
    with np.errstate(all="ignore"):
        is_between = np.nanmin(scores) >= -1e-4 and np.nanmax(scores) <= 1 + 1e-2
        return scores if is_between else _softmax(scores)


def _logits(scores: Floats) -> Floats:
    """Scores as logits: the logarithm of probabilities, the log odds of scores of their own in [0, 1], others as they are."""
    if _is_normalized(scores):
        return np.asarray(np.log(np.clip(scores, 1e-9, None)))
    if _are_own_scores(scores):
        clipped = np.clip(scores, 1e-6, 1 - 1e-6)
        return np.asarray(np.log(clipped / (1 - clipped)))
    return scores


def _calibrated(scores: Floats, labels: Ids | None) -> Floats:
    """Float's probabilities; with labels, at the temperature that makes the labels likeliest."""
    logits = _logits(scores)
    if labels is None or not _labels_agree(scores, labels):
        return _softmax(logits)
    rows = np.arange(len(labels))
    likelihoods = [np.log(_softmax(logits / t)[rows, labels] + 1e-12).mean() for t in TEMPERATURES]
    return _softmax(logits / TEMPERATURES[int(np.argmax(likelihoods))])
