"""history.json: what every epoch of a training came to, which epoch was kept and why it ended."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

HISTORY_FILE = "history.json"
#: Figures of which more is better; of every other (losses, errors) less is.
_RISING = ("accuracy", "auc", "precision", "recall", "f1")


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class Epoch(_Record):
    """One pass over the train split.

    Attributes:
        number: From 1.
        figures: Loss and metrics as Keras names them; ``val_`` in front where they are of the validation split.
        seconds: Wall time.
    """

    number: int
    figures: dict[str, float]
    seconds: float


class History(_Record):
    """A whole training.

    Attributes:
        epochs: In order, those before a kill included.
        monitor: The figure that early stopping and the best epoch go by.
        kept_epoch: The epoch whose weights the model has.
        stopped_early: Whether patience ended it.
        resumed_after: Epochs that were complete when a killed training went on.
        class_weights: Weight of an example by class number; empty where all count the same.
    """

    schema_version: Literal[1] = 1
    epochs: tuple[Epoch, ...]
    monitor: str
    kept_epoch: int
    stopped_early: bool = False
    resumed_after: tuple[int, ...] = ()
    class_weights: dict[int, float] = {}


def best_epoch(epochs: Sequence[Epoch], monitor: str, min_delta: float = 0.0) -> Epoch:
    """The first epoch whose ``monitor`` no later one improves by more than ``min_delta``; NaN improves nothing."""
    sign = -1.0 if is_rising(monitor) else 1.0
    best = epochs[0]
    for epoch in epochs[1:]:
        limit = sign * best.figures[monitor] - min_delta
        if math.isnan(limit) or sign * epoch.figures[monitor] < limit:
            best = epoch
    return best


def is_rising(monitor: str) -> bool:
    """Whether more of a figure is better."""
    return any(name in monitor for name in _RISING)
