"""The typed config: one YAML file becomes frozen models, or one error per wrong key.

Rules, in order: 1. an unknown key is refused. 2. A path in the file is relative to the file; a path given by ``--set`` is relative
to the current directory, as a shell user expects. 3. Every default says its unit and where it comes from.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeproof_edge.addresses import is_address
from pydantic import Field, model_validator

from components.evaluator.counting.metric import LabelKind
from pipeline.config.beam import BeamConfig
from pipeline.config.convert import ConvertConfig
from pipeline.config.data import DataConfig, LabelType
from pipeline.config.gate import GateConfig
from pipeline.config.kubeflow import KubeflowConfig
from pipeline.config.model import ModelConfig, QatMode, TrainConfig
from pipeline.config.release import ReleaseConfig
from pipeline.config.section import Location, Section

#: The folder in the current directory that holds a workspace per pipeline.
WORKSPACES = ".edgeproof"


class PipelineConfig(Section):
    """One pipeline: data in, a judged and published edge model out."""

    name: str = Field(
        pattern=r"^[a-z][a-z0-9-]{0,62}$", description="Name of the pipeline and of its model: a-z, 0-9 and hyphens."
    )
    workspace: Location | None = Field(
        None,
        description="Directory of artifacts, metadata and logs. Default: .edgeproof/<name> in the current directory. An address (s3://, "
        "gs://, az://) takes the artifacts; metadata, logs, keys and releases then stay in that default directory.",
    )
    data: DataConfig
    model: ModelConfig
    train: TrainConfig = TrainConfig()
    convert: ConvertConfig = ConvertConfig()
    gate: GateConfig = GateConfig()
    release: ReleaseConfig = ReleaseConfig()
    beam: BeamConfig = BeamConfig()
    kubeflow: KubeflowConfig = KubeflowConfig()

    @model_validator(mode="after")
    def _qat_needs_a_module(self) -> PipelineConfig:
        if self.train.qat.mode is QatMode.ON and self.model.module is None:
            raise ValueError(
                "train.qat is on, but it fine-tunes the model of model.module; a run_fn or a SavedModel brings its own training"
            )
        return self

    @model_validator(mode="after")
    def _gate_fits_the_label(self) -> PipelineConfig:
        is_value = self.data.label_type is LabelType.VALUE
        metric, is_of_values = self.gate.metric.value, self.gate.metric.labels is LabelKind.VALUE
        if is_value and not is_of_values:
            raise ValueError(
                f"data.label_type is value, and gate.metric {metric} is for classes; set gate.metric to mae (mean absolute "
                "error) or rmse"
            )
        if is_of_values and not is_value:
            raise ValueError(
                f"gate.metric {metric} is for real-valued labels, and data.label_type is class; set data.label_type to value, "
                "or another metric"
            )
        if not is_value and any(part.by == "label" and part.buckets for part in self.gate.slices or ()):
            raise ValueError(
                "gate.slices has buckets of the label, which is a class; buckets are for data.label_type value"
            )
        if is_value and self.train.qat.mode is QatMode.ON:
            raise ValueError("train.qat counts right answers, and data.label_type is value; turn it off")
        return self

    @property
    def workspace_dir(self) -> Path:
        """Directory of this machine for what a bucket cannot keep: metadata, logs, the lock, keys."""
        if self.workspace is None or is_address(self.workspace):
            return Path.cwd() / WORKSPACES / self.name
        return Path(self.workspace)

    @property
    def artifact_root(self) -> str:
        """URI under which runs write their artifacts."""
        return f"{(self.workspace or str(self.workspace_dir)).rstrip('/')}/artifacts"

    @property
    def release_location(self) -> str:
        """Directory or address of the release repository."""
        return self.release.path or str(self.workspace_dir / "published")

    @property
    def keys_dir(self) -> Path:
        """Directory of the repository's keys."""
        return self.release.keys or self.workspace_dir / "keys"

    @property
    def makes_repository(self) -> bool:
        """Whether a missing repository is made: not where a person has made keys for one."""
        return self.release.keys is None


def validated(values: Mapping[str, Any], base: Path) -> PipelineConfig:
    """Builds the config; relative paths start at ``base``.

    Raises:
        pydantic.ValidationError: A key is unknown, missing or wrong.
    """
    return PipelineConfig.model_validate(values, context={"base": base})
