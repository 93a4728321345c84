"""The section ``gate``: what a model must prove before it is published."""

from __future__ import annotations

from typing import Annotated, Literal

from edgeproof_edge.answers import DEFAULT_DECISION_THRESHOLD
from pydantic import Field, model_validator

from components.evaluator.counting.metric import LabelKind
from components.evaluator.gate.thresholds import DeviceRules, GateRules, Only
from components.evaluator.scoring.kernels import DEFAULT_SAMPLE_SIZE
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


class DeviceConfig(Section, DeviceRules):
    """A device that the model is measured on before it is published, and what it must keep there."""

    ssh_config: ConfigPath | None = Field(None, description="Another ssh config than the user's own.")


class GateConfig(Section, GateRules):
    """What a model must prove before it is published. Rules without a default are off."""

    device: DeviceConfig | None = Field(
        None, description="A device that the model is measured on: its speed, and whether it answers as was judged."
    )
    decision_threshold: Annotated[float, Only(LabelKind.CLASS)] = Field(
        DEFAULT_DECISION_THRESHOLD, ge=0, le=1, description="Of a one-unit sigmoid output: at or above it, class 1."
    )
    output: str = Field(
        "", description="Name of the output that is judged, where the models have several; the others are reported."
    )
    slices: tuple[SliceConfig, ...] | None = Field(
        None, description="How the holdout is cut. Default: by label, and by brightness for images."
    )
    champion_channel: Annotated[str | None, Only(LabelKind.CLASS)] = Field(
        None,
        pattern=r"^[a-z][a-z0-9-]{0,62}$",
        description="Channel of release.path whose release champion_min_ratio compares with, as most of its devices run it when the gate "
        "looks. Default: the last model of this workspace that was blessed, released or not.",
    )
    kernel_sample: int = Field(
        DEFAULT_SAMPLE_SIZE,
        ge=0,
        description="Examples that built-in kernels score too, for the report; 0 switches that off.",
    )
    eval_config: ConfigPath | None = Field(
        None,
        description="A TFMA EvalConfig (.pbtxt): metrics and plots that TFMA computes on the same predictions. No rule reads them.",
    )

    @model_validator(mode="after")
    def _has_what_it_compares_with(self) -> GateConfig:
        if self.champion_channel is not None and self.champion_min_ratio is None:
            raise ValueError(
                "champion_channel says what champion_min_ratio compares with; give both, as in champion_min_ratio: 1"
            )
        return self

    def _given(self) -> set[str]:
        """Every key that stands in the config, be it at its default."""
        return self.model_fields_set

    @property
    def rules(self) -> GateRules:
        """The thresholds, as the Evaluator reads them."""
        fields = {name: getattr(self, name) for name in GateRules.model_fields}
        device = self.device and DeviceRules.model_validate(dict(self.device))
        return GateRules.model_validate({**fields, "device": device})
