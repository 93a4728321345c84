"""What a candidate must keep of the float model, per output, and which of two candidates keeps more.

Rules, in order:

1. The float model's own outputs tell what an output is: scores of classes or ids of classes (the answer counts), or
   values (the distance counts). The config can say otherwise. Each kind is a class that scores a candidate.
2. Rows with fault codes never decide: what lies far outside the rest of an input is set aside, as long as it is rare.
3. Two candidates are compared on the same rows; a difference within one standard error is a tie.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.repair.goal.classes import ClassGoal, IdGoal, OutputKind, class_kind, rows_to_score
from components.repair.goal.scores import OutputGoal, OutputScore, Score, is_better
from components.repair.goal.sound_rows import MAX_FAULT_SHARE, finite_rows, ordinary_rows
from components.repair.goal.values import ValueGoal
from components.repair.settings import GoalSettings

__all__ = [
    "MAX_FAULT_SHARE",
    "Goal",
    "OutputGoal",
    "OutputKind",
    "OutputScore",
    "Score",
    "find_goal",
    "is_better",
    "ordinary_rows",
    "rows_to_score",
]

Array = NDArray[Any]


@dataclass(frozen=True)
class Goal:
    """The goal for one model on one set of selection rows.

    Attributes:
        outputs: Per output, what it is judged by.
        decides: ``[n]``: rows that decide.
    """

    outputs: tuple[OutputGoal, ...]
    decides: NDArray[np.bool_] = field(repr=False)

    @property
    def num_set_aside(self) -> int:
        """Rows with fault codes."""
        return int((~self.decides).sum())

    def score(self, arrays: Mapping[str, Array]) -> Score:
        """Scores a candidate's outputs (arrays ``[n, ...]`` over all selection rows, real-world units)."""
        return Score(tuple(output.score(np.asarray(arrays[output.name])[self.decides]) for output in self.outputs))

    def divergence(self, arrays: Mapping[str, Array]) -> float:
        """How far outputs are from float's, as one smooth, bounded number: it ranks culprits, where answers change too rarely."""
        return sum(output.divergence(np.asarray(arrays[output.name])[self.decides]) for output in self.outputs)


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
        labels: Class ids ``[n]``, used for the only output that names classes, or true values, used for the only output
            of values that has their shape; or None.
        settings: Limits, and kinds of outputs that are given.
    """
    settings = settings or GoalSettings()
    decides = ordinary_rows(inputs) & finite_rows(reference)
    if not decides.any():
        decides = np.ones_like(decides)
    labels = None if labels is None else np.asarray(labels)[decides]
    rows = {name: np.asarray(array)[decides] for name, array in sorted(reference.items())}
    kinds = {name: class_kind(name, array, labels, settings) for name, array in rows.items()}
    return Goal(
        tuple(
            _output_goal(name, array, *kinds[name], labels if _is_only(name, kinds) else None, settings)
            for name, array in rows.items()
        ),
        decides,
    )


def _is_only(name: str, kinds: Mapping[str, tuple[OutputKind, str]]) -> bool:
    """Whether no other output is of that output's sort: labels then speak of it."""
    is_value = kinds[name][0] is OutputKind.VALUES
    return sum((kind is OutputKind.VALUES) is is_value for kind, _ in kinds.values()) == 1


def _output_goal(
    name: str, reference: Array, kind: OutputKind, reason: str, labels: Array | None, settings: GoalSettings
) -> OutputGoal:
    if kind is OutputKind.IDS:
        return IdGoal(name, reason, reference)
    if kind is OutputKind.VALUES:
        return ValueGoal.of(name, reason, reference, labels, settings.max_relative_error)
    return ClassGoal.of(name, reason, reference, labels, settings.max_accuracy_loss)
