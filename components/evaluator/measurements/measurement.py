"""The seam between what examples are and everything else: one class per kind says how they are measured.

A measurement says what a batch gives (exact statistics that add up), how much is kept or lost by their sum, how sure that
is, what stands in the report and in which words. Scoring, the rules, the report, its screen and its page ask it; none of
them knows kinds. A new kind is a new file with two classes, its name in ``Metric`` and its line in ``table.py``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from edgeproof_edge.answers import DEFAULT_DECISION_THRESHOLD
from numpy.typing import NDArray

from components.evaluator.counting.flips import Flip
from components.evaluator.counting.metric import Metric
from components.evaluator.counting.slices import Grouping, SliceKey
from components.evaluator.counting.tally import Statistics, Tally
from components.evaluator.gate.figure import Figure
from components.evaluator.gate.rule import RuleResult
from components.evaluator.gate.thresholds import GateRules
from components.evaluator.report.gate_report import GateReport, MeasuredRows

#: Figures (float, candidate) by TFMA's names of them.
TfmaFigures = dict[str, tuple[float, float]]


@dataclass(frozen=True)
class MeasurementOptions:
    """What a measurement has to know of the models and the labels.

    Attributes:
        top_k: An answer is right when the label is among so many of the best scores.
        num_classes: Number of classes; 0 takes it from the outputs.
        decision_threshold: For models with one output unit.
        class_names: By label; empty where the data does not name them.
    """

    top_k: int = 1
    num_classes: int = 0
    decision_threshold: float = DEFAULT_DECISION_THRESHOLD
    class_names: tuple[str, ...] = ()


@dataclass(frozen=True)
class UsableRows:
    """Rows whose outputs are finite and whose labels mean something: what every metric can take.

    Attributes:
        usable: Which rows of the batch they are, booleans ``[n]``.
        labels: Of all rows: class indices ``[n]``, or real numbers.
        of_float: Scores or values of the float model, ``[n, k]``.
        of_candidate: The same of the candidate.
    """

    usable: NDArray[np.bool_]
    labels: NDArray[Any]
    of_float: NDArray[Any]
    of_candidate: NDArray[Any]


class BatchComparison(ABC):
    """Both models' outputs on one batch, held against its labels."""

    #: Number of classes; 0 where labels are none.
    num_classes: int = 0
    #: Rows that each model got right ``[n]``; None where an answer is not right or wrong.
    right_float: NDArray[np.bool_] | None = None
    right_candidate: NDArray[np.bool_] | None = None

    @property
    @abstractmethod
    def same_answer(self) -> NDArray[np.bool_]:
        """Rows ``[n]`` that both models answer alike."""

    @abstractmethod
    def statistics(self, clipped: NDArray[np.bool_]) -> Statistics:
        """What is counted of the whole batch; ``clipped`` are the rows that the candidate's inputs cut off."""

    @abstractmethod
    def parts(self, grouping: Grouping, clipped: NDArray[np.bool_]) -> Sequence[Any]:
        """What is counted of every slice of one slicing, in the order of ``grouping.keys``: the statistics, or fewer."""

    @abstractmethod
    def rows(self) -> UsableRows:
        """What other metrics than the gate's can take."""

    def flips(self, keys: NDArray[np.uint64], inputs: dict[str, NDArray[Any]]) -> tuple[Flip, ...]:
        """Examples that changed their answer; none where there are no answers to change."""
        del keys, inputs
        return ()


@dataclass(frozen=True)
class PartResult:
    """How one slice fared: its examples, whether it keeps the rule, how it ranks (lowest first), and what it did in words."""

    num_examples: int
    keeps: bool
    rank: Fraction
    result: str


@dataclass(frozen=True)
class PartRow:
    """One slice as a screen or a page shows it.

    Attributes:
        name: What cuts the holdout.
        value: The slice.
        num_examples: Its examples.
        loss: What the candidate lost, to sort by: 0 and less is nothing, more is worse.
        sentence: What it did, such as ``keeps 31.00 % (31 / 100 right of 120)``.
    """

    name: str
    value: str
    num_examples: int
    loss: Fraction
    sentence: str


@dataclass(frozen=True)
class Measurement(ABC):
    """One figure, measured one way.

    Attributes:
        metric: The figure.
        options: What has to be known of models and labels.
    """

    metric: Metric
    options: MeasurementOptions = MeasurementOptions()

    # What a batch gives

    @abstractmethod
    def compare(self, labels: NDArray[Any], of_float: NDArray[Any], of_candidate: NDArray[Any]) -> BatchComparison:
        """Holds both models' outputs on one batch against its labels.

        Raises:
            DataError: The labels do not fit the outputs.
            ModelError: The outputs do not fit each other, or the figure.
        """

    # What is kept and lost, by the sum

    @abstractmethod
    def figure(self, statistics: Any) -> Figure:
        """Both models' figure."""

    @abstractmethod
    def finite(self, statistics: Any) -> RuleResult:
        """No NaN, no infinity."""

    @abstractmethod
    def float_good_enough(self, statistics: Any, rules: GateRules) -> RuleResult:
        """The float model is worth comparing with: clearly better than knowing nothing, or above an explicit floor."""

    @abstractmethod
    def not_collapsed(self, statistics: Any) -> RuleResult:
        """The candidate does not answer the same for everything."""

    @abstractmethod
    def kept(self, statistics: Any, rules: GateRules) -> RuleResult:
        """The candidate keeps of the figure what is required."""

    @abstractmethod
    def bound_kept(self, statistics: Any, rules: GateRules) -> RuleResult:
        """The one-sided confidence bound keeps it too; asked only where ``metric.has_bound``."""

    @abstractmethod
    def part_kept(self, part: Any, required: Fraction) -> PartResult:
        """How one slice fared against the ratio, or the factor, that every slice has to keep."""

    # Words

    @abstractmethod
    def required(self, rules: GateRules) -> Fraction:
        """What the rules ask of the figure: a least ratio, or a largest factor."""

    @abstractmethod
    def requirement(self, required: Fraction) -> str:
        """The same in words, such as ``97.00 %``."""

    @abstractmethod
    def compared(self, statistics: Any, rules: GateRules) -> str:
        """The verdict's sentence without its first words: both parts of the ratio, and what was required."""

    @abstractmethod
    def overfitting_hint(self) -> str:
        """What a training log shows where the model knows its training examples by heart, such as ``an accuracy far above``."""

    def chance_to_pass(self, statistics: Any, rules: GateRules) -> str:
        """How often luck would pass a model a little below the rule, as a sentence; empty where nobody knows."""
        del statistics, rules
        return ""

    # Rows in the report, on the screen and on the page

    @abstractmethod
    def rows(self, tally: Tally, rules: GateRules) -> MeasuredRows:
        """What the report holds beside the verdict."""

    def part_rows(self, report: GateReport) -> tuple[PartRow, ...]:
        """The slices of a report, for a screen or a page: here, the records that any measurement may leave."""
        return tuple(
            PartRow(part.name, part.value, part.num_examples, Fraction(part.loss), part.sentence)
            for part in report.parts
        )

    @abstractmethod
    def tfma_figures(self, part: Any, *, is_whole: bool) -> TfmaFigures:
        """Figures of the whole or of a slice under TFMA's names."""


def sorted_slices(tally: Tally) -> list[tuple[SliceKey, Any]]:
    """The slices by name and value."""
    return sorted(tally.slices.items(), key=lambda item: item[0])
