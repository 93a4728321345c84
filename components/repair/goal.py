"""What a candidate must keep of the float model, per output, and which of two candidates keeps more.

Rules, in order:

1. The float model's own outputs tell what an output is: scores of classes or ids of classes (the answer counts), or
   values (the distance counts). The config can say otherwise.
2. Class scores lose by what a changed answer costs: the float probability of its own class minus that of the class
   the candidate names. Over the rows this estimates the share of right answers that is lost, needs no labels, and
   is free where float itself as good as tossed a coin. Labels, where there are any, set the
   temperature of the probabilities and are counted as well.
3. Values lose by the root mean square of the difference in units of each column's spread. How good the float model is
   cannot be seen without the truth, so more than the goal is aimed at: a tenth of the limit, as far as that is cheap.
4. Rows with fault codes never decide: what lies far outside the rest of an input is set aside, as long as it is rare.
5. Two candidates are compared on the same rows; a difference within one standard error is a tie.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.repair.settings import GoalSettings

Array = NDArray[Any]
Floats = NDArray[np.float64]

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
#: A larger difference than this many standard errors is no tie.
TIE_STANDARD_ERRORS = 1.0
#: Of the limit for values: 0.005 of the spread adds 3 % to the error of a float model that explains 99.96 % of the variance.
AIM_SHARE = 0.1
#: A candidate that loses up to this many times the limit may be a tie with one that meets it.
NEAR_FACTOR = 1.5
#: Columns of an output that move less than this share of the median column are as good as constant.
LEAST_SPREAD = 1e-3
#: Rows beyond this many widths of the rest of an input hold fault codes (-999 among pixels), as long as they are rare:
#: more than 2 % of the rows are a domain.
FAULT_WIDTHS = 3.0
MAX_FAULT_SHARE = 0.02
#: Unnormalized rows count as logits when softmax makes them decided, but not absurdly so: cross entropy stops pushing
#: classes apart long before a margin of 30, which values in pixels or volts exceed at once.
MIN_DECIDED_LOGITS = 0.5
MAX_MEDIAN_MARGIN = 30.0
#: Temperatures tried on labeled rows: below 1 float was too modest, above 1 too sure.
TEMPERATURES = tuple(float(t) for t in np.geomspace(0.5, 4.0, 25))


class OutputKind(str, Enum):
    """What an output says."""

    CLASSES = "classes"  # one score per class: the largest is the answer
    IDS = "ids"  # the number of a class
    VALUES = "values"  # real numbers


@dataclass(frozen=True)
class OutputScore:
    """One output of a candidate.

    Attributes:
        output: Name.
        loss: Estimated share of right answers lost (classes, ids), or root mean square error / spread (values).
        limit: Largest loss that meets the goal.
        met: Whether it does; labels and agreement can say no where the loss alone would pass.
        is_ample: Whether it is so small that nothing better is looked for.
        is_near: Whether it misses that by so little that chance may have done it.
        rows: Loss of each row ``[n]`` that decides, in units in which their mean compares; divided by the limit.
    """

    output: str
    loss: float
    limit: float
    met: bool
    is_ample: bool
    is_near: bool
    rows: Floats = field(repr=False, compare=False)

    @property
    def distance(self) -> float:
        """Loss in units of the limit."""
        return self.loss / self.limit


@dataclass(frozen=True)
class Score:
    """A candidate against float on the rows that decide."""

    outputs: tuple[OutputScore, ...]

    @property
    def met(self) -> bool:
        """Whether every output meets its limit."""
        return all(output.met for output in self.outputs)

    @property
    def is_ample(self) -> bool:
        """Whether nothing better is looked for."""
        return all(output.is_ample for output in self.outputs)

    @property
    def is_near(self) -> bool:
        """Whether every output is ample, or nearly so."""
        return all(output.is_near for output in self.outputs)

    @property
    def rows(self) -> Floats:
        """Loss per row ``[n]``, each output in units of its limit, added up."""
        return np.asarray(np.sum([output.rows for output in self.outputs], axis=0), np.float64)

    @property
    def distance(self) -> float:
        """Losses in units of their limits, added up."""
        return sum(output.distance for output in self.outputs)


@dataclass(frozen=True)
class _Output:
    """What an output is judged by; arrays hold only the rows that decide."""

    name: str
    kind: OutputKind
    reason: str
    limit: float
    reference: Array = field(repr=False)
    probabilities: Floats | None = field(default=None, repr=False)
    spread: Floats | None = field(default=None, repr=False)
    labels: NDArray[np.int64] | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Goal:
    """The goal for one model on one set of selection rows.

    Attributes:
        outputs: Per output, what it is judged by.
        decides: ``[n]``: rows that decide.
    """

    outputs: tuple[_Output, ...]
    decides: NDArray[np.bool_] = field(repr=False)

    @property
    def num_set_aside(self) -> int:
        """Rows with fault codes."""
        return int((~self.decides).sum())

    def score(self, found: Mapping[str, Array]) -> Score:
        """Scores a candidate's outputs (arrays ``[n, ...]`` over all selection rows, real-world units)."""
        return Score(tuple(_score(output, np.asarray(found[output.name])[self.decides]) for output in self.outputs))

    def divergence(self, found: Mapping[str, Array]) -> float:
        """How far outputs are from float's, as one smooth number: it ranks culprits, where answers change too rarely.

        Kullback-Leibler divergence of class probabilities, share of changed ids, square of the relative error; each in
        units of its limit (its square), added up.
        """
        return sum(_divergence(output, np.asarray(found[output.name])[self.decides]) for output in self.outputs)


def is_better(candidate: Score, than: Score) -> bool:
    """Whether a candidate loses less than another on the same rows, by more than one standard error."""
    gain = than.rows - candidate.rows
    if len(gain) < 2:
        return bool(gain.mean() > 0)
    return bool(gain.mean() > TIE_STANDARD_ERRORS * gain.std(ddof=1) / np.sqrt(len(gain)))


def find_goal(
    inputs: Mapping[str, Array],
    reference: Mapping[str, Array],
    labels: Array | None = None,
    settings: GoalSettings | None = None,
) -> Goal:
    """Finds out what each output says and what a candidate must keep of it.

    Args:
        inputs: Selection rows ``[n, ...]`` by input name.
        reference: The float model's outputs on them.
        labels: Class ids ``[n]``, or None. Used for the only output that names classes.
        settings: Limits, and kinds of outputs that are given.
    """
    settings = settings or GoalSettings()
    decides = ordinary_rows(inputs) & _finite_rows(reference)
    if not decides.any():
        decides = np.ones_like(decides)
    ids = None if labels is None or labels.dtype.kind not in "iu" else np.asarray(labels, np.int64)[decides]
    rows = {name: np.asarray(array)[decides] for name, array in reference.items()}
    kinds = {name: _kind(name, array, ids, settings) for name, array in rows.items()}
    classes = [name for name, (kind, _) in kinds.items() if kind is not OutputKind.VALUES]
    return Goal(
        tuple(
            _output(name, array, *kinds[name], ids if classes == [name] else None, settings)
            for name, array in sorted(rows.items())
        ),
        decides,
    )


def ordinary_rows(inputs: Mapping[str, Array]) -> NDArray[np.bool_]:
    """``[n]``: False for rows that hold a value far outside what the rest of a real-valued input holds.

    Vectors are looked at column by column (their columns have scales of their own), other tensors as a whole.
    """
    num_rows = len(next(iter(inputs.values())))
    faulty = np.zeros(num_rows, np.bool_)
    for array in inputs.values():
        if array.dtype.kind == "f" and array.size:
            lowest, highest = _row_extremes(array)
            low, high = np.percentile(lowest, 2, axis=0), np.percentile(highest, 98, axis=0)
            margin = FAULT_WIDTHS * (high - low)
            faulty |= ((lowest < low - margin) | (highest > high + margin)).any(axis=1)
    return ~faulty if faulty.mean() <= MAX_FAULT_SHARE else np.ones(num_rows, np.bool_)


def _row_extremes(array: Array) -> tuple[Floats, Floats]:
    values = np.asarray(array, np.float64)
    if values.ndim <= 2:
        columns = values.reshape(len(values), -1)
        return columns, columns
    flat = values.reshape(len(values), -1)
    return flat.min(axis=1, keepdims=True), flat.max(axis=1, keepdims=True)


def _finite_rows(arrays: Mapping[str, Array]) -> NDArray[np.bool_]:
    return np.asarray(np.logical_and.reduce([_is_finite(array) for array in arrays.values()]))


def _is_finite(array: Array) -> NDArray[np.bool_]:
    flat = np.asarray(array).reshape(len(array), -1)
    return np.asarray(np.isfinite(flat).all(axis=1)) if flat.dtype.kind == "f" else np.ones(len(flat), np.bool_)


def _kind(
    name: str, reference: Array, labels: NDArray[np.int64] | None, settings: GoalSettings
) -> tuple[OutputKind, str]:
    if name in settings.outputs:
        return OutputKind(settings.outputs[name]), "the config says so"
    if reference.dtype.kind != "f":
        return OutputKind.IDS, f"it holds {reference.dtype}"
    if _is_binary_score(reference, labels):
        return OutputKind.CLASSES, "one score between 0 and 1, and labels 0 and 1"
    if reference.ndim != 2 or reference.shape[1] < 2:
        return OutputKind.VALUES, f"its shape is {list(reference.shape[1:])} per row"
    if _is_normalized(reference):
        return OutputKind.CLASSES, "its rows add up to 1"
    if _labels_agree(reference, labels):
        return OutputKind.CLASSES, "its largest entry follows the labels"
    if _looks_like_logits(reference):
        return OutputKind.CLASSES, "softmax decides its rows as it does logits"
    return OutputKind.VALUES, "its rows are no scores of classes"


def _is_binary_score(reference: Array, labels: NDArray[np.int64] | None) -> bool:
    if reference.ndim > 2 or reference.size != len(reference) or labels is None or not labels.size:
        return False
    return all(bool(array.min() >= 0 and array.max() <= 1) for array in (reference, labels))


def _is_normalized(reference: Array) -> bool:
    sums = reference.astype(np.float64).sum(axis=1)
    return bool(reference.min() >= -1e-4 and (np.abs(sums - 1) < 1e-2).mean() >= 0.99)


def _labels_agree(reference: Array, labels: NDArray[np.int64] | None) -> bool:
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


def _output(
    name: str,
    reference: Array,
    kind: OutputKind,
    reason: str,
    labels: NDArray[np.int64] | None,
    settings: GoalSettings,
) -> _Output:
    if kind is OutputKind.IDS:
        return _Output(name, kind, reason, MAX_CHANGED_IDS, reference)
    if kind is OutputKind.VALUES:
        return _Output(name, kind, reason, settings.max_relative_error, reference, spread=_spread(reference))
    usable = labels if labels is not None and _are_ids_of(labels, reference) else None
    probabilities = _calibrated(_two_columns(reference), usable)
    limit = settings.max_accuracy_loss
    return _Output(name, kind, reason, limit, reference, probabilities=probabilities, labels=usable)


def _are_ids_of(labels: NDArray[np.int64], reference: Array) -> bool:
    num_classes = _two_columns(reference).shape[1]
    return bool(labels.size and labels.min() >= 0 and labels.max() < num_classes)


def _two_columns(scores: Array) -> Floats:
    """Rows of class scores ``[n, k]``; a single score becomes the scores of "no" and "yes"."""
    flat = np.asarray(scores, np.float64).reshape(len(scores), -1)
    return np.concatenate([1 - flat, flat], axis=1) if flat.shape[1] == 1 else flat


def _softmax(logits: Array) -> Floats:
    shifted = np.exp(np.asarray(logits, np.float64) - np.max(logits, axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))


def _calibrated(scores: Floats, labels: NDArray[np.int64] | None) -> Floats:
    """Float's probabilities; with labels, at the temperature that makes the labels likeliest."""
    logits = np.log(np.clip(scores, 1e-9, None)) if _is_normalized(scores) else scores
    if labels is None or not _labels_agree(scores, labels):
        return _softmax(logits)
    rows = np.arange(len(labels))
    likelihoods = [np.log(_softmax(logits / t)[rows, labels] + 1e-12).mean() for t in TEMPERATURES]
    return _softmax(logits / TEMPERATURES[int(np.argmax(likelihoods))])


def _spread(reference: Array) -> Floats:
    """Standard deviation per column of the last axis; a column that hardly moves is held against the usual one."""
    columns = np.asarray(reference, np.float64).reshape(-1, reference.shape[-1] if reference.ndim > 1 else 1)
    spread = columns.std(axis=0)
    least = max(float(np.median(spread)), float(np.abs(columns).max(initial=0.0)) if not spread.any() else 0.0)
    return np.asarray(np.maximum(spread, max(LEAST_SPREAD * least, 1e-12)))


def _score(output: _Output, found: Array) -> OutputScore:
    if output.kind is OutputKind.VALUES:
        return _score_values(output, found)
    changed = _changed_answers(output, found)
    if output.kind is OutputKind.IDS:
        loss = float(changed.mean())
        return _within(output, loss, changed / output.limit)
    return _score_classes(output, found)


def _score_values(output: _Output, found: Array) -> OutputScore:
    assert output.spread is not None
    with np.errstate(all="ignore"):
        scaled = (np.asarray(found, np.float64) - output.reference).reshape(-1, len(output.spread)) / output.spread
        rows = (scaled**2).reshape(len(found), -1).mean(axis=1)
    rows = np.where(np.isfinite(rows), np.minimum(rows, 1e6), 1e6)
    loss = float(np.sqrt(rows.mean()))
    return _within(output, loss, rows / output.limit**2)


def _changed_answers(output: _Output, found: Array) -> Floats:
    if output.kind is OutputKind.IDS:
        return np.asarray((np.asarray(found) != output.reference).reshape(len(found), -1).mean(axis=1))
    same = _two_columns(found).argmax(axis=1) == _two_columns(output.reference).argmax(axis=1)
    return np.asarray(~(same & _is_finite(found)), np.float64)


def _score_classes(output: _Output, found: Array) -> OutputScore:
    assert output.probabilities is not None
    rows = np.arange(len(found))
    sure = output.probabilities[rows, _two_columns(output.reference).argmax(axis=1)]
    finite = _is_finite(found)
    answers = np.where(finite, np.nan_to_num(_two_columns(found)).argmax(axis=1), 0)
    gap = np.where(finite, sure - output.probabilities[rows, answers], sure)
    cost = np.where(gap > TOSS_UP, gap, 0.0) / max(float(sure.mean()), 1e-12)
    loss = float(cost.mean())
    agreement = 1 - float(_changed_answers(output, found).mean())
    is_same_model = agreement >= MIN_AGREEMENT and _labels_allow(output, answers, finite)
    return _within(output, loss, cost / output.limit, is_same_model)


def _within(output: _Output, loss: float, rows: Floats, is_same_model: bool = True) -> OutputScore:
    aim = output.limit * (AIM_SHARE if output.kind is OutputKind.VALUES else 1.0)
    met, is_ample, is_near = (is_same_model and loss <= most for most in (output.limit, aim, NEAR_FACTOR * aim))
    return OutputScore(output.name, loss, output.limit, met, is_ample, is_near, rows)


def _divergence(output: _Output, found: Array) -> float:
    if output.kind is not OutputKind.CLASSES:
        return _score(output, found).distance
    if not _is_finite(found).all():
        return float("inf")
    expected, actual = _two_columns(output.reference), _two_columns(found)
    if _is_normalized(expected):
        p, q = expected, np.clip(actual, 0, None)
    else:
        p, q = _softmax(expected), _softmax(actual)
    divergence = (p * (np.log(p + 1e-6) - np.log(q + 1e-6))).sum(axis=1)
    return float(np.maximum(divergence, 0).mean()) / output.limit


def _labels_allow(output: _Output, answers: NDArray[np.intp], finite: NDArray[np.bool_]) -> bool:
    """Whether the labels do not prove a greater loss than the limit (paired: only rows that changed count)."""
    if output.labels is None:
        return True
    was_right = _two_columns(output.reference).argmax(axis=1) == output.labels
    is_right = (answers == output.labels) & finite
    lost, won = int((was_right & ~is_right).sum()), int((~was_right & is_right).sum())
    return bool(lost - won - LABEL_CONFIDENCE * np.sqrt(lost + won) <= output.limit * was_right.sum())
