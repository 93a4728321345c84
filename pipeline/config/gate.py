"""The section ``gate``: what a model must prove before it is published."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

from pydantic import Field, model_validator

from pipeline.config.section import ConfigPath, Section


class SliceConfig(Section):
    """One way to cut the holdout."""

    by: Literal["label", "brightness"] | None = Field(
        None,
        description="Built in: the label (a slice per class; of real-valued labels quarters, or buckets), or the mean brightness of an "
        "image in quarters of 0..255.",
    )
    feature: str | None = Field(
        None, description="Name of a feature of the examples; the model need not see it. Its first value counts."
    )
    buckets: tuple[float, ...] = Field(
        (), description="Rising edges for a number; an edge belongs to the bucket above it. Without: a slice per value."
    )

    @model_validator(mode="after")
    def _one_source(self) -> SliceConfig:
        if (self.by is None) == (self.feature is None):
            raise ValueError("give either by (label, brightness) or feature")
        if list(self.buckets) != sorted(set(self.buckets)):
            raise ValueError(f"buckets {list(self.buckets)} must rise")
        return self


#: Keys that mean nothing for the other kind of label. Refused, not skipped: a rule that never fires reads like a pass.
_RULES_FOR_CLASSES = {
    "top_k",
    "min_ratio",
    "min_float_accuracy",
    "decision_threshold",
    "slice_min_ratio",
    "class_min_ratio",
    "class_min_examples",
    "champion_channel",
    "champion_min_ratio",
    "min_kernel_agreement",
}
_RULES_FOR_ERRORS = {"max_error_factor", "slice_max_error_factor"}


def _them(names: list[str]) -> str:
    return "it" if len(names) == 1 else "them"


class GateConfig(Section):
    """What a model must prove before it is published. Rules without a default are off."""

    metric: Literal["top1", "topk", "f1", "auc", "mae", "rmse"] = Field(
        "top1",
        description="What is compared: right answers (top1, topk), F1 or AUC of two classes, or, where data.label_type is value, the mean "
        "absolute error (mae) or the root of the mean squared error (rmse).",
    )
    top_k: int = Field(5, gt=0, description="For topk: so many of the best scores may hold the label.")
    min_ratio: Decimal = Field(
        Decimal("0.97"),
        gt=0,
        le=1,
        description="Right answers (or F1, AUC) of the edge model / those of the float model, compared exactly.",
    )
    max_error_factor: Decimal = Field(
        Decimal("1.03"),
        ge=1,
        description="For mae and rmse: error of the edge model / that of the float model, compared exactly. Default: errors may grow by as "
        "much as right answers may shrink.",
    )
    min_float_accuracy: Decimal | None = Field(
        None,
        ge=0,
        le=1,
        description="Floor under the float model. Default: three standard errors above always naming the commonest class.",
    )
    min_examples: int = Field(
        500,
        gt=0,
        description="Size of the holdout below which nothing is judged; at 500 a model truly at 95 % passes in 7 % of runs.",
    )
    decision_threshold: float = Field(
        0.5, ge=0, le=1, description="Of a one-unit sigmoid output: at or above it, class 1."
    )
    confidence: Decimal | None = Field(
        None,
        ge=Decimal("0.5"),
        lt=1,
        description="One-sided level, such as 0.95, at which the bound of the ratio must keep the rule too (paired closed form).",
    )
    slices: tuple[SliceConfig, ...] | None = Field(
        None, description="How the holdout is cut. Default: by label, and by brightness for images."
    )
    slice_min_ratio: Decimal | None = Field(
        None, gt=0, le=2, description="Ratio that every slice must keep, other than by label."
    )
    slice_max_error_factor: Decimal | None = Field(
        None, ge=1, description="For mae and rmse: error factor that every slice must keep."
    )
    slice_min_examples: int = Field(100, gt=0, description="Smaller slices are reported and not judged.")
    class_min_ratio: Decimal | None = Field(None, gt=0, le=2, description="Ratio that every class must keep.")
    class_min_examples: int = Field(100, gt=0, description="Smaller classes are reported and not judged.")
    champion_min_ratio: Decimal | None = Field(
        None,
        gt=0,
        le=2,
        description="Right answers over those of the last model that was blessed (or of champion_channel's), on this holdout; 1 means no "
        "worse.",
    )
    champion_channel: str | None = Field(
        None,
        pattern=r"^[a-z][a-z0-9-]{0,62}$",
        description="Channel of release.path whose release champion_min_ratio compares with, as most of its devices run it when the gate "
        "looks. Default: the last model of this workspace that was blessed, released or not.",
    )
    max_size_ratio: Decimal | None = Field(None, gt=0, description="Bytes of the edge model / bytes of its float twin.")
    max_latency_ratio: Decimal | None = Field(
        None,
        gt=0,
        description="Milliseconds of the edge model / those of its float twin on this host, which says little about devices.",
    )
    min_kernel_agreement: Decimal | None = Field(
        None, gt=0, le=1, description="Share of same answers of built-in kernels and XNNPACK, on the sample."
    )
    kernel_sample: int = Field(
        1000, ge=0, description="Examples that built-in kernels score too, for the report; 0 switches that off."
    )
    eval_config: ConfigPath | None = Field(
        None,
        description="A TFMA EvalConfig (.pbtxt): metrics and plots that TFMA computes on the same predictions. No rule reads them.",
    )

    @model_validator(mode="after")
    def _rules_fit_the_metric(self) -> GateConfig:
        other = _RULES_FOR_CLASSES if self.judges_errors else _RULES_FOR_ERRORS
        meaningless = sorted(other & self.model_fields_set)
        if meaningless:
            raise ValueError(f"metric {self.metric} has no {', '.join(meaningless)}; remove {_them(meaningless)}")
        if self.confidence is not None and self.metric in ("f1", "auc"):
            raise ValueError(f"there is no confidence bound for metric {self.metric}")
        if self.champion_channel is not None and self.champion_min_ratio is None:
            raise ValueError(
                "champion_channel says what champion_min_ratio compares with; give both, as in champion_min_ratio: 1"
            )
        return self

    @property
    def judges_errors(self) -> bool:
        """Whether labels are real numbers and less is better."""
        return self.metric in ("mae", "rmse")
