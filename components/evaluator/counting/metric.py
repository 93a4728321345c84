"""What the gate compares: the share of right answers unless the config says otherwise.

Each figure is one line here, so that a config and a command line know it without NumPy; how it is measured is its class in
``measurements/``.
"""

from __future__ import annotations

from enum import Enum


class LabelKind(str, Enum):
    """What a label is."""

    CLASS = "class"
    """The index of a class."""
    VALUE = "value"
    """Real numbers, as many as the model gives."""


class Metric(str, Enum):
    """Figures that both models are held to: name, kind of label, whether a confidence bound of its ratio is known."""

    labels: LabelKind
    has_bound: bool

    TOP1 = "top1", LabelKind.CLASS, True
    """Right answers: the class with the highest score is the label."""
    TOPK = "topk", LabelKind.CLASS, True
    """Right answers: the label is among the k classes with the highest scores."""
    F1 = "f1", LabelKind.CLASS, False
    """Two classes: 2 TP / (2 TP + FP + FN) of class 1."""
    AUC = "auc", LabelKind.CLASS, False
    """Two classes: the chance that an example of class 1 scores above one of class 0; ties count half."""
    MAE = "mae", LabelKind.VALUE, True
    """Real-valued labels: mean absolute error."""
    RMSE = "rmse", LabelKind.VALUE, True
    """Real-valued labels: root of the mean squared error."""

    def __new__(cls, name: str, labels: LabelKind, has_bound: bool) -> Metric:
        """Makes a member whose value is its name."""
        metric = str.__new__(cls, name)
        metric._value_ = name
        metric.labels = labels
        metric.has_bound = has_bound
        return metric
