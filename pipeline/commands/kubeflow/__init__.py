"""``edgeproof kubeflow``: compile, upload, run, schedule and watch a pipeline on Kubeflow Pipelines."""

from __future__ import annotations

import click

from pipeline.commands.kubeflow import compiling, running, schedules


@click.group(
    epilog="Example: edgeproof kubeflow compile config.yaml -o pipeline.yaml --image registry/edgeproof@sha256:..."
)
def command() -> None:
    """Run and schedule a pipeline on Kubeflow Pipelines 2.5 or newer, or as a Kubernetes CronJob."""


for _command in (
    compiling.compile_command,
    compiling.cronjob_command,
    compiling.metadata_group,
    running.submit,
    schedules.schedule,
    schedules.unschedule,
    running.runs,
    running.status,
    running.logs,
):
    command.add_command(_command)
