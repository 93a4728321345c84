"""Everything that one pass over the holdout gives: sums that merge in any order, of bounded size."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from components.evaluator.counting.extra_figures import TfmaResults
from components.evaluator.counting.flips import Flip, keep_flips
from components.evaluator.counting.other_outputs import OutputDifference
from components.evaluator.counting.slices import SliceKey, merge_slices
from components.evaluator.scoring.kernels import KernelAgreement
from components.evaluator.scoring.observed_rows import ObservedRows
from components.evaluator.scoring.row_facts import RowFacts


class Statistics(Protocol):
    """What one kind of measurement counts, of the whole holdout or of a slice: exact, so that ``a + b`` merges two disjoint parts."""

    @property
    def num_examples(self) -> int:
        """Examples scored."""

    @property
    def num_clipped(self) -> int:
        """Examples that the candidate's quantized inputs cut off; see ``domain.py``."""

    def __add__(self, other: Any) -> Any: ...

    def inconsistencies(self) -> tuple[str, ...]:
        """Sentences about numbers that contradict each other; empty for what scoring made."""


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
        whole: What the measurement counted of all examples; None while nothing was scored.
        slices: The same by slice, or the part of it that a slice needs.
        flips: A few examples that changed their answer.
        kernels: Agreement of two kernel families on a sample; None where that is off.
        champion: The current release on the same examples; None where it is not compared.
        rows: How rows went into both models.
        observed: Rows for a device's self-test and its histograms; None where nobody asks for them.
        others: Outputs that are not judged, by name.
        extra: What TFMA computed on the same predictions, over all parts; None where no EvalConfig asks for it.
    """

    whole: Statistics | None = None
    slices: Mapping[SliceKey, Any] = field(default_factory=dict)
    flips: tuple[Flip, ...] = ()
    kernels: KernelAgreement | None = None
    champion: ChampionCounts | None = None
    rows: RowFacts | None = None
    observed: ObservedRows | None = None
    others: Mapping[str, OutputDifference] = field(default_factory=dict)
    extra: TfmaResults | None = None

    @property
    def num_examples(self) -> int:
        """Examples scored."""
        return 0 if self.whole is None else self.whole.num_examples

    def __add__(self, other: Tally) -> Tally:
        """Merges two disjoint parts.

        Raises:
            ModelError: The parts were scored with different numbers of classes.
            DataError: A slicing has too many values.
        """
        return Tally(
            whole=_add(self.whole, other.whole),
            slices=merge_slices(self.slices, other.slices),
            flips=keep_flips((*self.flips, *other.flips)),
            kernels=_add(self.kernels, other.kernels),
            champion=_add(self.champion, other.champion),
            rows=_add(self.rows, other.rows),
            observed=_add(self.observed, other.observed),
            others={
                name: _add(self.others.get(name), other.others.get(name)) for name in {*self.others, *other.others}
            },
        )

    def inconsistencies(self) -> tuple[str, ...]:
        """Sentences about numbers that contradict each other; empty for what scoring made."""
        sentences = [] if self.whole is None else list(self.whole.inconsistencies())
        sizes: Counter[str] = Counter()
        for key, part in self.slices.items():
            sizes[key.name] += part.num_examples
        sentences.extend(
            f"the slices by {name} hold {size} examples and the split {self.num_examples}"
            for name, size in sorted(sizes.items())
            if size != self.num_examples
        )
        if self.champion is not None and not self.champion.problem and self.champion.num_examples != self.num_examples:
            sentences.append(f"the current release was scored on {self.champion.num_examples} examples")
        return tuple(sentences)


def _add(left: Any, right: Any) -> Any:
    if left is None or right is None:
        return left if right is None else right
    return left + right
