"""The same chain as a Kubernetes CronJob, for clusters without Kubeflow Pipelines: one pod per run, ML Metadata in a file on a volume.

One run at a time (``concurrencyPolicy: Forbid``); a pod that is started again goes on with the run that it began, because the run is
named by its Job.
"""

from __future__ import annotations

from typing import Any

import yaml

from pipeline.config import PipelineConfig
from pipeline.config.kubeflow import ResourcesConfig
from pipeline.errors import ConfigError
from pipeline.kubeflow.cron import Schedule
from pipeline.kubeflow.node_ir import encode
from pipeline.kubeflow.specification import ENTRYPOINT, METADATA_VARIABLE, resources_of_all, visible_gpus

#: Longest that a run that was due may start late; Kubernetes counts what it missed and gives up above a hundred.
_STARTING_DEADLINE_SECONDS = 3600
_RUN_VARIABLE = "EDGEPROOF_RUN"
#: Group of the image's files.
_USER, _GROUP = 10001, 0


def cronjob(ir: Any, config: PipelineConfig, image: str, schedule: Schedule, data_section: str) -> str:
    """The manifest as YAML.

    Args:
        ir: The compiled pipeline of :func:`pipeline.kubeflow.compilation.compiled_for_pods`.
        config: The pipeline's config.
        image: Image of the pods.
        schedule: When.
        data_section: The config's section ``data`` as the pod reads it.

    Raises:
        ConfigError: Nothing says where ML Metadata is kept.
    """
    kubeflow = config.kubeflow
    if kubeflow.metadata is None:
        raise ConfigError(
            "kubeflow.metadata is missing: without Kubeflow Pipelines there is none to use. Give sqlite:///file on a volume, mysql:// or "
            "postgresql://."
        )
    asked = resources_of_all(kubeflow)
    environment: list[dict[str, Any]] = [
        {"name": _RUN_VARIABLE, "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['job-name']"}}},
        {"name": METADATA_VARIABLE, "value": kubeflow.metadata},
        *(
            {"name": name, "value": value}
            for name, value in sorted({**visible_gpus(asked.gpu), **kubeflow.environment}.items())
        ),
        *(
            {"name": secret.variable, "valueFrom": {"secretKeyRef": {"name": secret.name, "key": secret.key}}}
            for secret in kubeflow.secrets
        ),
    ]
    container = {
        "name": "pipeline",
        "image": image,
        "command": list(ENTRYPOINT),
        "args": [
            *("--ir", encode(ir), "--run-id", f"$({_RUN_VARIABLE})", "--reason", f"schedule {schedule.text}"),
            *("--data-section", data_section),
        ],
        "env": environment,
        "resources": _resources(asked),
        "volumeMounts": [
            {"name": f"volume-{number}", "mountPath": volume.path} for number, volume in enumerate(kubeflow.volumes)
        ]
        + [{"name": "tmp", "mountPath": "/tmp"}],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    pod: dict[str, Any] = {
        "restartPolicy": "Never",
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _GROUP,
            "fsGroup": _GROUP,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [
            {"name": f"volume-{number}", "persistentVolumeClaim": {"claimName": volume.claim}}
            for number, volume in enumerate(kubeflow.volumes)
        ]
        + [{"name": "tmp", "emptyDir": {}}],
    }
    if kubeflow.service_account is not None:
        pod["serviceAccountName"] = kubeflow.service_account
    if kubeflow.node_selector:
        pod["nodeSelector"] = dict(kubeflow.node_selector)
    manifest = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {
            "name": f"edgeproof-{config.name}"[:52].rstrip("-"),  # Kubernetes adds eleven characters for each Job
            **({"namespace": kubeflow.namespace} if kubeflow.namespace else {}),
            "labels": {"app.kubernetes.io/name": "edgeproof", "app.kubernetes.io/instance": config.name},
        },
        "spec": {
            "schedule": schedule.text,
            "concurrencyPolicy": "Forbid",
            "startingDeadlineSeconds": _STARTING_DEADLINE_SECONDS,
            "successfulJobsHistoryLimit": 3,
            "failedJobsHistoryLimit": 3,
            "jobTemplate": {"spec": {"backoffLimit": kubeflow.retries, "template": {"spec": pod}}},
        },
    }
    return yaml.safe_dump(manifest, sort_keys=True, width=1 << 20)


def _resources(asked: ResourcesConfig) -> dict[str, Any]:
    amounts = {"memory": f"{asked.memory_gb:g}G"}
    if asked.cpu is not None:
        amounts["cpu"] = f"{asked.cpu:g}"
    if asked.gpu:
        amounts[asked.gpu_type] = str(asked.gpu)
    return {"requests": amounts, "limits": dict(amounts)}
