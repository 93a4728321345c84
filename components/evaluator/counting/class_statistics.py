"""What is counted of class scores: right and wrong answers, how scores rank, and which answer became which."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from components.evaluator.counting.counts import Comparison, Counts
from components.evaluator.counting.ranks import Ranks

#: Up to so many classes the confusion of both models is counted; beyond, its cells would outgrow a page and memory.
MAX_CONFUSION_CLASSES = 64


@dataclass(frozen=True)
class ClassStatistics:
    """Counts of a whole holdout; ``a + b`` merges two disjoint parts.

    Attributes:
        counts: Right and wrong answers.
        ranks: Histograms of scores, where the area under the ROC curve is asked for.
        confusion: Examples by (label, float model's class, candidate's class); rows that are not finite or whose label
            is out of range are left out, and everything is where there are too many classes.
    """

    counts: Counts = field(default_factory=Counts)
    ranks: Ranks | None = None
    confusion: Mapping[tuple[int, int, int], int] = field(default_factory=dict)

    @property
    def num_examples(self) -> int:
        """Examples scored."""
        return self.counts.num_examples

    @property
    def num_clipped(self) -> int:
        """Examples that the candidate's quantized inputs cut off."""
        return self.counts.num_clipped

    def __add__(self, other: ClassStatistics) -> ClassStatistics:
        """Merges two disjoint parts.

        Raises:
            ModelError: The parts were scored with different numbers of classes.
        """
        ranks = self.ranks if other.ranks is None else other.ranks if self.ranks is None else self.ranks + other.ranks
        confusion = Counter(self.confusion) + Counter(other.confusion)
        return ClassStatistics(self.counts + other.counts, ranks, confusion)

    def inconsistencies(self) -> tuple[str, ...]:
        """Sentences about numbers that contradict each other."""
        return self.counts.inconsistencies()


def count_confusion(comparison: Comparison) -> dict[tuple[int, int, int], int]:
    """Examples of one batch by label and both answers."""
    size = comparison.num_classes
    if size > MAX_CONFUSION_CLASSES:
        return {}
    usable = comparison.in_range & comparison.finite_float & comparison.finite_candidate
    codes = (comparison.labels * size + comparison.predicted_float) * size + comparison.predicted_candidate
    cells, numbers = np.unique(codes[usable], return_counts=True)
    return {
        (cell // (size * size), cell // size % size, cell % size): number
        for cell, number in zip(cells.tolist(), numbers.tolist(), strict=True)
    }
