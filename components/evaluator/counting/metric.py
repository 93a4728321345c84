"""What the gate compares: the share of right answers unless the config says otherwise."""

from __future__ import annotations

from enum import Enum


class Metric(str, Enum):
    """Figures that both models are held to. The first four: more is better; the last two are errors."""

    TOP1 = "top1"
    """Right answers: the class with the highest score is the label."""
    TOPK = "topk"
    """Right answers: the label is among the k classes with the highest scores."""
    F1 = "f1"
    """Two classes: 2 TP / (2 TP + FP + FN) of class 1."""
    AUC = "auc"
    """Two classes: the chance that an example of class 1 scores above one of class 0; ties count half."""
    MAE = "mae"
    """Real-valued labels: mean absolute error."""
    RMSE = "rmse"
    """Real-valued labels: root of the mean squared error."""

    @property
    def is_regression(self) -> bool:
        """Whether labels are real numbers and less is better."""
        return self in (Metric.MAE, Metric.RMSE)

    @property
    def counts_right_answers(self) -> bool:
        """Whether the figure is a share of right answers, so that the paired table decides."""
        return self in (Metric.TOP1, Metric.TOPK)

    @property
    def is_binary(self) -> bool:
        """Whether the figure is made for two classes."""
        return self in (Metric.F1, Metric.AUC)
