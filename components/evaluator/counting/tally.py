"""Everything that one pass over the holdout gives: sums that merge in any order, of bounded size."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from components.evaluator.counting.counts import Comparison, Counts
from components.evaluator.counting.deviations import Deviations
from components.evaluator.counting.extra_figures import TfmaResults
from components.evaluator.counting.flips import Flip, keep_flips
from components.evaluator.counting.kernels import KernelAgreement
from components.evaluator.counting.ranks import Ranks
from components.evaluator.counting.row_facts import RowFacts
from components.evaluator.counting.slices import PairedCounts, SliceKey, merge_slices

#: Up to so many classes the confusion of both models is counted; beyond, its cells would outgrow a page and memory.
MAX_CONFUSION_CLASSES = 64


@dataclass(frozen=True)
class ChampionCounts:
    """The model released now against the candidate, on the same examples; ``a + b`` merges two disjoint parts.

    ``problem`` says why it could not be scored; empty when it could.
    """

    num_examples: int = 0
    num_correct_champion: int = 0
    num_only_champion_correct: int = 0
    num_only_candidate_correct: int = 0
    problem: str = ""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    def __add__(self, other: ChampionCounts) -> ChampionCounts:
        return ChampionCounts(
            self.num_examples + other.num_examples,
            self.num_correct_champion + other.num_correct_champion,
            self.num_only_champion_correct + other.num_only_champion_correct,
            self.num_only_candidate_correct + other.num_only_candidate_correct,
            min({self.problem, other.problem} - {""}, default=""),
        )


@dataclass(frozen=True)
class Tally:
    """What was counted; ``a + b`` merges two disjoint parts.

    Attributes:
        counts: Right and wrong answers; empty for regression.
        errors: Sums of errors, for regression; None for classes.
        ranks: Histograms of scores, where the area under the ROC curve is asked for.
        confusion: Examples by (label, float model's class, candidate's class); rows that are not finite or whose label
            is out of range are left out, and everything is where there are too many classes.
        slices: Paired tables by slice; for regression ``slice_errors`` instead.
        slice_errors: Sums of errors by slice.
        flips: A few examples that changed their answer.
        kernels: Agreement of two kernel families on a sample; None where that is off.
        champion: The current release on the same examples; None where it is not compared.
        rows: How rows went into both models.
        extra: What TFMA computed on the same predictions, over all parts; None where no EvalConfig asks for it.
    """

    counts: Counts = field(default_factory=Counts)
    errors: Deviations | None = None
    ranks: Ranks | None = None
    confusion: Mapping[tuple[int, int, int], int] = field(default_factory=dict)
    slices: Mapping[SliceKey, PairedCounts] = field(default_factory=dict)
    slice_errors: Mapping[SliceKey, Deviations] = field(default_factory=dict)
    flips: tuple[Flip, ...] = ()
    kernels: KernelAgreement | None = None
    champion: ChampionCounts | None = None
    rows: RowFacts | None = None
    extra: TfmaResults | None = None

    @property
    def num_examples(self) -> int:
        """Examples scored."""
        return self.errors.num_examples if self.errors is not None else self.counts.num_examples

    def __add__(self, other: Tally) -> Tally:
        """Merges two disjoint parts.

        Raises:
            ModelError: The parts were scored with different numbers of classes.
            DataError: A slicing has too many values.
        """
        return Tally(
            counts=self.counts + other.counts,
            errors=_add(self.errors, other.errors),
            ranks=_add(self.ranks, other.ranks),
            confusion=Counter(self.confusion) + Counter(other.confusion),
            slices=merge_slices(self.slices, other.slices),
            slice_errors=merge_slices(self.slice_errors, other.slice_errors),
            flips=keep_flips((*self.flips, *other.flips)),
            kernels=_add(self.kernels, other.kernels),
            champion=_add(self.champion, other.champion),
            rows=_add(self.rows, other.rows),
        )

    def inconsistencies(self) -> tuple[str, ...]:
        """Sentences about numbers that contradict each other; empty for what scoring made."""
        found = list(self.counts.inconsistencies())
        if self.errors is not None:
            found.extend(self.errors.inconsistencies())
        sizes: Counter[str] = Counter()
        for key, table in self.slices.items():
            sizes[key.name] += table.num_examples
        for key, errors in self.slice_errors.items():
            sizes[key.name] += errors.num_examples
        found.extend(
            f"the slices by {name} hold {size} examples and the split {self.num_examples}"
            for name, size in sorted(sizes.items())
            if size != self.num_examples
        )
        if self.champion is not None and not self.champion.problem and self.champion.num_examples != self.num_examples:
            found.append(f"the current release was scored on {self.champion.num_examples} examples")
        return tuple(found)


def _add(left: Any, right: Any) -> Any:
    if left is None or right is None:
        return left if right is None else right
    return left + right


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
