"""Prints the logs of a run's pods, once or until the run has ended.

Kubeflow's API takes ``follow`` and does not heed it, so the log is asked for again and what is new of it is printed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from pipeline.commands.kubeflow.waiting import EXIT_BROKEN, states, word
from pipeline.errors import ConfigError
from pipeline.kubeflow.pods import pod_names
from pipeline.kubeflow.specification import task_key

if TYPE_CHECKING:
    from pipeline.kubeflow.api import Client, RunState, TaskState


class Follower:
    """Prints what it has not printed yet."""

    def __init__(self, client: Client, node: str | None, namespace: str | None) -> None:
        """Prints the logs of one node, or of all where none is named."""
        self._client = client
        self._node = task_key(node) if node is not None else None
        self._namespace = namespace or "kubeflow"
        self._printed: dict[str, str] = {}
        self._done: set[str] = set()
        self._last: str | None = None

    def print_run(self, run: RunState, *, follow: bool) -> int:
        """Prints the logs of a run; returns the exit code.

        Raises:
            ConfigError: The run has no such node.
        """
        for state in states(self._client, run) if follow else (run,):
            run = state
            for task in self._asked_for(run, is_last=run.is_finished or not follow):
                self._print(run, task)
        silent = [task for task in self._asked_for(run, is_last=True) if task.name not in self._printed]
        for task in silent:
            click.echo(self._where_to_look(task), err=True)
        return 0 if self._printed else EXIT_BROKEN

    def _asked_for(self, run: RunState, *, is_last: bool) -> list[TaskState]:
        if self._node is None:
            return list(run.tasks)
        asked_for = [task for task in run.tasks if task_key(task.name) == self._node]
        if not asked_for and is_last:
            raise ConfigError(
                f"the run {run.name} has no node {self._node}; it has {', '.join(task.name for task in run.tasks) or 'none yet'}."
            )
        return asked_for

    def _print(self, run: RunState, task: TaskState) -> None:
        if task.name in self._done or not task.node_ids:
            return
        text = self._client.log(run.run_id, task)
        if text is None:
            return
        before = self._printed.get(task.name, "")
        new = text[len(before) :] if text.startswith(before) else text  # another try begins anew
        self._printed[task.name] = text
        if new and self._node is None and self._last != task.name:
            click.echo(f"--- {task.name} ({word(task.state)})")
        if new:
            self._last = task.name
            click.echo(new, nl=False)
        if run.is_finished or task.state == "SUCCEEDED":
            self._done.add(task.name)

    def _where_to_look(self, task: TaskState) -> str:
        if not task.node_ids:
            return f"{task.name}: {word(task.state)}, no pod was started"
        pod = pod_names(task.name, task.node_ids[-1])[0]
        return (
            f"{task.name}: no log is kept, or Kubeflow may not read it; try kubectl logs -n {self._namespace} {pod} -c main "
            "(pods go an hour after a run, and what Argo archived with them where archiveLogs is on stays)"
        )
