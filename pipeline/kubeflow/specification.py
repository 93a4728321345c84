"""A compiled pipeline as Kubeflow's PipelineSpec 2.1.0 and platform spec: plain data, written without Kubeflow's SDK.

Rules, in order: 1. One container task per node, or one for all of them; its command is ``pipeline.node_entrypoint``. 2. The same config and
image give the same bytes. 3. Kubeflow's cache stays off: TFX's decides, and its key holds the image. 4. Nothing of this machine goes in.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

import yaml

from pipeline.config.kubeflow import KubeflowConfig, ResourcesConfig
from pipeline.errors import ConfigError
from pipeline.kubeflow.node_ir import encode

Spec = dict[str, Any]
ENTRYPOINT = ("python", "-m", "pipeline.node_entrypoint")
#: The variable that names ML Metadata to the entrypoint.
METADATA_VARIABLE = "EDGEPROOF_METADATA"
#: Parameters that a run may be started with, and their defaults: why it is run, and on which span of the data.
RUN_PARAMETERS: Mapping[str, str] = {"reason": "kubeflow", "trigger_key": "", "data_span": ""}
#: Task inputs that Kubeflow fills in; macros in double square brackets reach pods of this version of its pipelines as they stand.
_FILLED_IN = {"run_id": "{{$.pipeline_job_uuid}}", "schedule_time": "{{$.pipeline_job_schedule_time_utc}}"}
#: What the Evaluator shows in Kubeflow's pages.
_SHOWN = {"metrics": "system.Metrics", "report": "system.HTML"}
_JUDGING_NODE = "Evaluator"
_WHOLE_PIPELINE = "pipeline"


class Granularity(str, Enum):
    """How many pods a run takes."""

    NODE = "node"
    PIPELINE = "pipeline"


def specification(
    ir: Any, config: KubeflowConfig, image: str, granularity: Granularity, data_section: str
) -> tuple[Spec, Spec]:
    """PipelineSpec and platform spec.

    Args:
        ir: The compiled pipeline.
        config: What pods are made of.
        image: Their image.
        granularity: A pod per node, or one.
        data_section: The config's section ``data`` as JSON, for the node that reads the data.

    Raises:
        ConfigError: A node is too large for an argument of its container.
    """
    if granularity is Granularity.PIPELINE:
        arguments = {_WHOLE_PIPELINE: ["--ir", encode(ir), "--data-section", data_section]}
        upstream: dict[str, list[str]] = {_WHOLE_PIPELINE: []}
    else:
        nodes = [node.pipeline_node for node in ir.nodes]
        arguments = {
            node.node_info.id: ["--node", node.node_info.id, "--ir", encode(ir, node.node_info.id)] for node in nodes
        }
        for node in nodes:
            if not node.upstream_nodes and "input_config" in node.parameters.parameters:
                arguments[node.node_info.id] += ["--data-section", data_section]
        upstream = {node.node_info.id: sorted(node.upstream_nodes) for node in nodes}
    deployment = {
        _executor(node): {"container": _container(node, arguments[node], config, image)} for node in arguments
    }
    spec = {
        "pipelineInfo": {"name": ir.pipeline_info.id},
        "schemaVersion": "2.1.0",
        "sdkVersion": "kfp-2.17.0",
        "components": {f"comp-{task_key(node)}": _component(node) for node in arguments},
        "deploymentSpec": {"executors": deployment},
        "root": {
            "dag": {"tasks": {task_key(node): _task(node, upstream[node], config.retries) for node in arguments}},
            "inputDefinitions": {
                "parameters": {
                    name: {"parameterType": "STRING", "defaultValue": default, "isOptional": True}
                    for name, default in RUN_PARAMETERS.items()
                }
            },
        },
    }
    return spec, _platform(list(arguments), config)


def to_yaml(spec: Spec, platform: Spec) -> str:
    """Both as the two documents of one YAML file; the same specs give the same text."""
    documents = [spec, platform] if platform else [spec]
    return yaml.dump_all(documents, Dumper=_Dumper, sort_keys=True, width=1 << 20)


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def task_key(node: str) -> str:
    """Kubeflow's name of a node's task."""
    return node.lower().replace("_", "-").replace(".", "-")


def _executor(node: str) -> str:
    return f"exec-{task_key(node)}"


def _judges(node: str) -> bool:
    return node in (_JUDGING_NODE, _WHOLE_PIPELINE)


def _container(node: str, arguments: list[str], config: KubeflowConfig, image: str) -> Spec:
    for name in (*_FILLED_IN, *RUN_PARAMETERS):
        # In one word with its flag, a reason may begin with a dash.
        arguments = [*arguments, f"--{name.replace('_', '-')}={{{{$.inputs.parameters['{name}']}}}}"]
    if _judges(node):
        arguments = [*arguments, "--executor-input", "{{$}}"]
    asked = resources_of_all(config) if node == _WHOLE_PIPELINE else config.nodes.get(node, config.resources)
    environment = {**visible_gpus(asked.gpu), **config.environment}
    if config.metadata is not None:
        environment[METADATA_VARIABLE] = config.metadata
    return {
        "image": image,
        "command": list(ENTRYPOINT),
        "args": arguments,
        "resources": _resources(asked),
        **(
            {"env": [{"name": name, "value": value} for name, value in sorted(environment.items())]}
            if environment
            else {}
        ),
    }


def resources_of_all(config: KubeflowConfig) -> ResourcesConfig:
    """What a pod asks for that does the work of all nodes: the most that any of them does."""
    asked = [config.resources, *config.nodes.values()]
    gpus = max(asked, key=lambda resources: resources.gpu)
    return ResourcesConfig(
        cpu=max((resources.cpu for resources in asked if resources.cpu is not None), default=None),
        memory_gb=max(resources.memory_gb for resources in asked),
        gpu=gpus.gpu,
        gpu_type=gpus.gpu_type,
    )


def check_nodes(ir: Any, config: KubeflowConfig) -> None:
    """Refuses resources of a node that is not there.

    Raises:
        ConfigError: ``kubeflow.nodes`` names one.
    """
    nodes = [node.pipeline_node.node_info.id for node in ir.nodes]
    for name in config.nodes:
        if name not in nodes:
            raise ConfigError(f"kubeflow.nodes.{name} is no node of this pipeline; it has {', '.join(nodes)}.")


def visible_gpus(count: int) -> dict[str, str]:
    """The variable that shows TensorFlow the GPUs of a pod; without it, the entrypoint hides them as the command line does."""
    return {"CUDA_VISIBLE_DEVICES": ",".join(map(str, range(count)))} if count else {}


def _resources(asked: ResourcesConfig) -> Spec:
    resources: Spec = {"memoryRequest": asked.memory_gb, "memoryLimit": asked.memory_gb}
    if asked.cpu is not None:
        resources |= {"cpuRequest": asked.cpu, "cpuLimit": asked.cpu}
    if asked.gpu:
        resources["accelerator"] = {"type": asked.gpu_type, "count": str(asked.gpu)}
    return resources


def _component(node: str) -> Spec:
    parameters = {name: {"parameterType": "STRING"} for name in (*_FILLED_IN, *RUN_PARAMETERS)}
    component: Spec = {"executorLabel": _executor(node), "inputDefinitions": {"parameters": parameters}}
    if _judges(node):
        shown = {
            name: {"artifactType": {"schemaTitle": title, "schemaVersion": "0.0.1"}} for name, title in _SHOWN.items()
        }
        component["outputDefinitions"] = {"artifacts": shown}
    return component


def _task(node: str, upstream: list[str], retries: int) -> Spec:
    inputs: Spec = {name: {"runtimeValue": {"constant": placeholder}} for name, placeholder in _FILLED_IN.items()}
    inputs |= {name: {"componentInputParameter": name} for name in RUN_PARAMETERS}
    task: Spec = {
        "taskInfo": {"name": node},
        "componentRef": {"name": f"comp-{task_key(node)}"},
        "cachingOptions": {},
        "inputs": {"parameters": inputs},
    }
    if upstream:
        task["dependentTasks"] = sorted(task_key(name) for name in upstream)
    if retries:
        task["retryPolicy"] = {
            "maxRetryCount": retries,
            "backoffDuration": "30s",
            "backoffFactor": 2.0,
            "backoffMaxDuration": "600s",
        }
    return task


def _platform(nodes: list[str], config: KubeflowConfig) -> Spec:
    pod: Spec = {}
    if config.volumes:
        pod["pvcMount"] = [
            {
                "mountPath": volume.path,
                "constant": volume.claim,
                "pvcNameParameter": {"runtimeValue": {"constant": volume.claim}},
            }
            for volume in config.volumes
        ]
    if config.secrets:
        pod["secretAsEnv"] = [
            {"secretName": secret.name, "keyToEnv": [{"secretKey": secret.key, "envVar": secret.variable}]}
            for secret in config.secrets
        ]
    if config.node_selector:
        pod["nodeSelector"] = {"labels": dict(config.node_selector)}
    if not pod:
        return {}
    return {"platforms": {"kubernetes": {"deploymentSpec": {"executors": {_executor(node): pod for node in nodes}}}}}
