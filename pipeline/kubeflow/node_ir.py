"""A node's part of a compiled pipeline as text, small enough to be an argument of its container.

Kubeflow hands a container's whole description over as one argument, and Linux takes 128 KiB for one. Base64 keeps ``{{`` out of it, which
Kubeflow and Argo would take for placeholders. The same part gives the same text.
"""

from __future__ import annotations

import base64
import copy
import gzip
from typing import Any

from pipeline.errors import ConfigError

MAX_BYTES = 96 * 1024


def encode(ir: Any, node_id: str | None = None) -> str:
    """One node's part of a compiled pipeline, or the whole of it.

    Raises:
        ConfigError: It is too large for an argument.
    """
    part = _part(ir, node_id)
    text = base64.urlsafe_b64encode(gzip.compress(part.SerializeToString(deterministic=True), mtime=0)).decode()
    if len(text) > MAX_BYTES:
        what = f"node {node_id}" if node_id else "the pipeline"
        raise ConfigError(
            f"{what} takes {len(text):,} bytes as an argument of its container; Kubeflow takes {MAX_BYTES:,}. Shorten what the config "
            "holds: class_names, gate.eval_config or data.schema_file."
        )
    return text


def decode(text: str) -> Any:
    """The compiled pipeline of :func:`encode`."""
    from tfx.proto.orchestration import pipeline_pb2

    return pipeline_pb2.Pipeline.FromString(gzip.decompress(base64.urlsafe_b64decode(text)))


def _part(ir: Any, node_id: str | None) -> Any:
    """The pipeline with this node and what deploys it, and nothing of the others; what is packed in it is packed in the order of names."""
    from tfx.proto.orchestration import pipeline_pb2

    part = copy.deepcopy(ir)
    kept = [node for node in part.nodes if node_id in (None, node.pipeline_node.node_info.id)]
    del part.nodes[:]
    part.nodes.extend(kept)
    deployment = pipeline_pb2.IntermediateDeploymentConfig()
    part.deployment_config.Unpack(deployment)
    for specs in (deployment.executor_specs, deployment.custom_driver_specs, deployment.node_level_platform_configs):
        for unused in [name for name in specs if node_id not in (None, name)]:
            del specs[unused]
    part.deployment_config.Clear()
    part.deployment_config.type_url = f"type.googleapis.com/{deployment.DESCRIPTOR.full_name}"
    part.deployment_config.value = deployment.SerializeToString(deterministic=True)
    return part
