"""The section ``kubeflow``: what a cluster needs to know, and a laptop does not."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from pipeline.config.section import Section

#: What a node asks for where the config says nothing: imports alone take 0.8 GB.
DEFAULT_MEMORY_GB = 2.0
_Name = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$")]
_Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class ResourcesConfig(Section):
    """What one pod asks for; requests and limits are the same, so that a node is never killed for its neighbours."""

    cpu: float | None = Field(None, gt=0, description="Cores.")
    memory_gb: float = Field(
        DEFAULT_MEMORY_GB, gt=0, description="Memory in units of 10^9 bytes; nodes import 0.8 before they work."
    )
    gpu: int = Field(0, ge=0, description="Number of GPUs.")
    gpu_type: str = Field("nvidia.com/gpu", description="Name that the cluster gives its GPUs.")


class VolumeConfig(Section):
    """A persistent volume claim, and where the pods see it."""

    claim: _Name = Field(description="Name of the claim.")
    path: str = Field(pattern=r"^/[^:]*[^/]$", description="Absolute path in the pods.")


class SecretConfig(Section):
    """A key of a Kubernetes secret, as an environment variable."""

    name: _Name = Field(description="Name of the secret.")
    key: str = Field(description="Key in the secret.")
    variable: _Variable = Field(description="Environment variable in the pods, such as EDGEPROOF_METADATA_PASSWORD.")


class KubeflowConfig(Section):
    """What the pods of a Kubeflow pipeline are made of. Nothing here changes what a run gives."""

    image: str | None = Field(
        None,
        description="Image of the pods, best with its digest (name@sha256:...): it is part of the cache's key. --image overrides it.",
    )
    root: str | None = Field(
        None,
        description="Artifact root: a path on a volume, or s3://, gs://, az://. Default: workspace, where that is one of these.",
    )
    project: str | None = Field(
        None,
        pattern=r"^/.*[^/]$",
        description="Where the image holds the directory of this config, for model.module and other files beside it.",
    )
    metadata: str | None = Field(
        None,
        description="Address of ML Metadata: mysql://, postgresql://, grpc:// or sqlite:///file on a volume. Default: the cluster's own "
        "(KFP gives pods its address).",
    )
    volumes: tuple[VolumeConfig, ...] = Field((), description="Volumes of every pod.")
    secrets: tuple[SecretConfig, ...] = Field((), description="Secrets of every pod.")
    environment: dict[_Variable, str] = Field(default_factory=dict, description="Environment variables of every pod.")
    resources: ResourcesConfig = Field(ResourcesConfig(), description="What every pod asks for.")
    nodes: dict[str, ResourcesConfig] = Field(
        default_factory=dict, description="What the pod of one node asks for instead, such as Trainer."
    )
    node_selector: dict[str, str] = Field(
        default_factory=dict, description="Labels that the machines of the pods must have."
    )
    retries: int = Field(
        2, ge=0, le=10, description="How often a failed pod is started again; finished work is not repeated."
    )
    service_account: _Name | None = Field(None, description="Service account of the pods; by default the cluster's.")
    namespace: _Name | None = Field(
        None, description="Namespace of experiment and runs, where several people share Kubeflow."
    )
    experiment: str | None = Field(None, description="Experiment of the runs. Default: the pipeline's name.")

    @field_validator("image")
    @classmethod
    def _is_an_image(cls, image: str | None) -> str | None:
        if image is not None and (not image or any(character.isspace() for character in image)):
            raise ValueError("is no name of an image; write registry/name@sha256:... or registry/name:tag")
        return image
