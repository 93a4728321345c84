"""Situations in which gates went wrong, as labels and a float model's outputs: seeded, small, without TensorFlow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Situation:
    """Labels of a holdout and what a good float model says of it.

    Attributes:
        metrics: Figures that its config may compare, each with what else the config says.
        labels: Class indices ``[n]``, or real numbers ``[n, ...]``.
        outputs: The float model's, ``[n, ...]``.
    """

    metrics: tuple[Mapping[str, Any], ...]
    labels: NDArray[Any]
    outputs: Floats

    @property
    def is_of_classes(self) -> bool:
        """Whether labels are class indices."""
        return self.labels.dtype.kind in "iu"


VALUES = ({"metric": "mae"}, {"metric": "rmse"})


def rare_alarm() -> Situation:
    """One sigmoid; 0.4 % of the rows are alarms, and the float model finds them all."""
    random = np.random.default_rng(1)
    labels = (np.arange(7500) < 30).astype(np.int64)
    outputs = np.where(labels == 1, 0.9, 0.05) + random.normal(0, 0.01, 7500)
    return Situation(({}, {"metric": "f1"}, {"metric": "auc"}), labels, outputs[:, None])


def balanced_classes() -> Situation:
    """Ten classes, right for nine rows of ten."""
    random = np.random.default_rng(2)
    labels = random.integers(0, 10, 1200)
    answers = np.where(random.random(1200) < 0.9, labels, random.integers(0, 10, 1200))
    return Situation(
        ({}, {"metric": "topk", "top_k": 2}), labels, np.eye(10)[answers] + random.normal(0, 0.1, (1200, 10))
    )


def one_hundred_classes() -> Situation:
    """A hundred classes of twelve rows: no class is rare among its like, and none can be judged by itself."""
    random = np.random.default_rng(3)
    labels = np.repeat(np.arange(100), 12)
    answers = np.where(random.random(1200) < 0.8, labels, random.integers(0, 100, 1200))
    return Situation(({}, {"metric": "topk"}), labels, np.eye(100)[answers] + random.normal(0, 0.1, (1200, 100)))


def spectra() -> Situation:
    """An autoencoder: every bin spreads widely, and the mean of a row hardly at all."""
    random = np.random.default_rng(4)
    labels = random.normal(0, 8, (800, 64))
    labels -= labels.mean(axis=1, keepdims=True)
    return Situation(VALUES, labels, labels + random.normal(0, 1.2, labels.shape))


def masks() -> Situation:
    """Three pixels of a hundred are foreground."""
    random = np.random.default_rng(5)
    labels = (random.random((600, 16, 16, 1)) < 0.03).astype(np.float64)
    return Situation(VALUES, labels, np.clip(labels + random.normal(0, 0.05, labels.shape), 0, 1))


def several_labels() -> Situation:
    """Six sigmoids, of which any may be on."""
    random = np.random.default_rng(6)
    labels = (random.random((900, 6)) < np.linspace(0.1, 0.6, 6)).astype(np.float64)
    return Situation(VALUES, labels, np.clip(0.9 * labels + 0.05 + random.normal(0, 0.03, labels.shape), 0, 1))


def fused_boxes(layout: str = "[4 + C, N]") -> Situation:
    """Boxes in pixels beside scores of 0 to 1, in one tensor."""
    random = np.random.default_rng(7)
    boxes, scores = random.normal(320, 100, (700, 4, 20)), (random.random((700, 6, 20)) < 0.3).astype(np.float64)
    labels = np.concatenate([boxes, scores], axis=1)
    errors = np.concatenate([random.normal(0, 8, boxes.shape), random.normal(0, 0.1, scores.shape)], axis=1)
    outputs = labels + errors
    if layout == "[N, 4 + C]":
        labels, outputs = labels.transpose(0, 2, 1), outputs.transpose(0, 2, 1)
    return Situation(VALUES, labels, outputs)


def one_number() -> Situation:
    """Pressures around 1013: far from zero, and near to each other."""
    random = np.random.default_rng(8)
    labels = random.normal(1013, 8, 900)
    return Situation(VALUES, labels, (labels + random.normal(0, 0.1, 900))[:, None])


def embeddings() -> Situation:
    """Vectors of which some numbers hardly move."""
    random = np.random.default_rng(9)
    labels = random.normal(0, 1, (700, 48)) * np.geomspace(0.3, 2, 48)
    return Situation(VALUES, labels, labels + random.normal(0, 0.05, labels.shape))


SITUATIONS: Mapping[str, Callable[[], Situation]] = {
    "rare-alarm": rare_alarm,
    "balanced-classes": balanced_classes,
    "one-hundred-classes": one_hundred_classes,
    "spectra": spectra,
    "masks": masks,
    "several-labels": several_labels,
    "fused-boxes": fused_boxes,
    "fused-boxes-last": lambda: fused_boxes("[N, 4 + C]"),
    "one-number": one_number,
    "embeddings": embeddings,
}


def shifted(situation: Situation) -> Floats:
    """Outputs that name the class beside the right one, or values that are off by their own spread."""
    outputs = situation.outputs
    if not situation.is_of_classes:
        return outputs + outputs.std(axis=0, keepdims=True)
    return 1 - outputs if outputs.shape[1] == 1 else np.roll(outputs, 1, axis=1)


def with_one_nan(situation: Situation) -> Floats:
    """One row of many holds no number."""
    outputs = situation.outputs.copy()
    outputs[5] = np.nan
    return outputs


SPOILT: Mapping[str, Callable[[Situation], Floats]] = {
    "permuted": lambda situation: np.roll(situation.outputs, 37, axis=0)[::-1],
    "constant": lambda situation: np.broadcast_to(situation.outputs[-1:], situation.outputs.shape),
    "zero": lambda situation: np.zeros_like(situation.outputs),
    "nan": with_one_nan,
    "shifted": shifted,
}
