"""What a model answers: one definition for the gate, the holdout's histograms, the trainer and the device.

Rules, in order: 1. Of several scores the largest is the answer; a tie goes to the lower class. 2. One unit at or above its
threshold is class 1: 0.5 is an ordinary code of an int8 sigmoid. 3. The output that is judged is the only one, or the one
that was named. 4. Arrays meet inputs by name; a single array fits a single input, whatever either is called.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from edgeproof_edge.errors import InputError

#: A one-unit output at or above it is class 1. 0.5 fits a sigmoid; a model that gives logits needs 0.
DEFAULT_DECISION_THRESHOLD = 0.5

_Value = TypeVar("_Value")


def answered_classes(scores: NDArray[Any], decision_threshold: float = DEFAULT_DECISION_THRESHOLD) -> NDArray[np.int64]:
    """The class that every row of scores ``[n, classes]`` or ``[n, 1]`` answers, ``[n]``."""
    if scores.shape[1] == 1:
        return np.asarray(scores[:, 0] >= decision_threshold, np.int64)
    return np.asarray(scores.argmax(axis=1), np.int64)


def leads(scores: NDArray[Any], decision_threshold: float = DEFAULT_DECISION_THRESHOLD) -> NDArray[Any]:
    """How far every row's answer is ahead of the next: of the runner-up, or of the threshold of a one-unit output; ``[n]``."""
    if scores.shape[1] == 1:
        return np.asarray(np.abs(scores[:, 0] - decision_threshold))
    ordered = np.sort(scores, axis=1)
    return np.asarray(ordered[:, -1] - ordered[:, -2])


def judged_output(outputs: Collection[str], name: str = "") -> str | None:
    """The output that holds the answer; None where there are several and none was named.

    Args:
        outputs: Names of the model's outputs.
        name: The output that was named; empty where none was.

    Raises:
        InputError: The model has no output of that name.
    """
    if name and name not in outputs:
        raise InputError(f"the model has no output {name!r}; it has {sorted(outputs)}. Name one of these.")
    return name or (next(iter(outputs)) if len(outputs) == 1 else None)


def named_inputs(arrays: Mapping[str, _Value], names: Sequence[str]) -> dict[str, _Value]:
    """Arrays (or what else is kept per input) under a model's own input names; arrays of other names are left out.

    Raises:
        InputError: An input has no array.
    """
    if len(arrays) == len(names) == 1:
        return {names[0]: next(iter(arrays.values()))}
    if missing := [name for name in names if name not in arrays]:
        raise InputError(
            f"the model's inputs {list(names)} need arrays of those names; found {sorted(arrays)}, without {missing}."
        )
    return {name: arrays[name] for name in names}
