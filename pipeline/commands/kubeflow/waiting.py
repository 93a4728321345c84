"""Waits for a run on a server, and shows it as a run on this machine is shown: nodes, verdict, exit code.

Rules, in order: 1. A server that is away for minutes does not end the wait: the run goes on without it. 2. The verdict is read, never
concluded from a run that ended green: a refusal does so, too. 3. A verdict that cannot be read is not an acceptance.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click
from edgeproof_edge.errors import SurroundingsError

from pipeline.commands.options import print_json
from pipeline.kubeflow.verdict import Verdict, verdict_in

if TYPE_CHECKING:
    from pipeline.kubeflow.api import Client, RunState, TaskState

EXIT_ACCEPTED, EXIT_REFUSED, EXIT_BROKEN = 0, 1, 3
#: Seconds between two looks: soon at first, because a run may end at once.
_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 1.0, 5.0
#: Longest that a server may be away while a run is waited for.
_PATIENCE_SECONDS = 600.0
#: Tasks that judge: the Evaluator's, or the one that runs all nodes.
_JUDGES = ("evaluator", "pipeline")
_NO_VERDICT = (
    "the run ended well, but its verdict cannot be read: the log of its pods is not kept, or Kubeflow may not read it. The run's page "
    "shows it as metrics of the Evaluator; --metadata URL reads it from ML Metadata."
)


def states(client: Client, run: RunState) -> Iterator[RunState]:
    """A run again and again, the last time after its end.

    Raises:
        SurroundingsError: The server has been away for ten minutes.
    """
    wait, away_since = _FIRST_WAIT_SECONDS, None
    while True:
        yield run
        if run.is_finished:
            return
        time.sleep(wait)
        wait = min(wait * 1.5, _LONGEST_WAIT_SECONDS)
        try:
            run, away_since = client.run(run.run_id), None
        except SurroundingsError as error:
            if away_since is None:
                away_since = time.monotonic()
                click.echo(f"{error} Waiting for it.", err=True)
            if time.monotonic() - away_since > _PATIENCE_SECONDS:
                raise


def show_run(client: Client, run: RunState, *, wait: bool, metadata: str | None, as_json: bool) -> int:
    """Prints a run, after its end where that is waited for; returns the exit code."""
    run = client.run(run.run_id)  # a list of runs says nothing of their tasks
    if wait:
        run = _waited_for(client, run)
    verdict = _verdict(client, run, metadata) if run.state == "SUCCEEDED" else None
    if as_json:
        print_json({**run_dict(run), **_verdict_dict(verdict)})
    else:
        click.echo(_table(run))
        click.echo(_conclusion(client, run, verdict))
    return _exit_code(run, verdict) if wait else 0


def word(state: str | None) -> str:
    """A state for people."""
    return (state or "pending").lower()


def run_dict(run: RunState) -> dict[str, Any]:
    """A run for machines."""
    return {
        "run_id": run.run_id,
        "name": run.name,
        "state": word(run.state),
        "error": run.error,
        "nodes": [{"name": task.name, "state": word(task.state), "seconds": task.seconds} for task in run.tasks],
    }


def _waited_for(client: Client, run: RunState) -> RunState:
    shown: set[tuple[str, str]] = set()
    for state in states(client, run):
        run = state
        for task in run.tasks:
            if (task.name, word(task.state)) not in shown:
                shown.add((task.name, word(task.state)))
                click.echo(f"{task.name}: {word(task.state)}", err=True)
    return run


def _verdict(client: Client, run: RunState, metadata: str | None) -> Verdict | None:
    if metadata is not None:
        return _recorded_verdict(run, metadata)
    judge = next((task for task in run.tasks if task.name.lower() in _JUDGES), None)
    log = client.log(run.run_id, judge) if judge is not None else None
    return None if log is None else verdict_in(log)


def _recorded_verdict(run: RunState, metadata: str) -> Verdict | None:
    """The gate's verdict, as ML Metadata keeps it; None where it does not know the run."""
    from pipeline.mlmd import MetadataLocation, RunStore
    from pipeline.node_entrypoint import PASSWORD_VARIABLE

    location = MetadataLocation(metadata, os.environ.get(PASSWORD_VARIABLE, ""))
    recorded = RunStore(location, is_read_only=True).run(run.run_id)
    evaluator = recorded.node("Evaluator") if recorded is not None else None
    if evaluator is None or not evaluator.is_done:
        return None
    is_accepted = evaluator.output("ModelBlessing").properties.get("blessed") == 1
    return Verdict(is_accepted, "ACCEPTED" if is_accepted else "REFUSED")


def _verdict_dict(verdict: Verdict | None) -> dict[str, Any]:
    if verdict is None:
        return {"is_accepted": None, "verdict": None}
    return {"is_accepted": verdict.is_accepted, "verdict": verdict.text}


def _table(run: RunState) -> str:
    width = max((len(task.name) for task in run.tasks), default=0)
    rows = [f"{task.name:<{width}}  {word(task.state):<10}  {task.seconds:7.1f} s" for task in run.tasks]
    error = [f"error: {run.error}"] if run.error else []
    return "\n".join([*rows, f"run {run.run_id} ({run.name}): {word(run.state)}", *error])


def _conclusion(client: Client, run: RunState, verdict: Verdict | None) -> str:
    if run.state == "SUCCEEDED":
        return _NO_VERDICT if verdict is None else verdict.text
    if not run.is_finished:
        return "the run has not ended yet; --wait waits for it"
    reasons = [f"{task.name}: {reason}" for task in run.tasks if (reason := _reason(client, run, task))]
    return "\n".join([*reasons, f"edgeproof kubeflow logs CONFIG {run.run_id} prints what its pods printed"])


def _reason(client: Client, run: RunState, task: TaskState) -> str | None:
    """Why a task failed, as its pod said last; None where nothing tells it."""
    if task.state != "FAILED":
        return None
    lines = (client.log(run.run_id, task) or "").splitlines()
    return next((line for line in reversed(lines) if line.startswith("error: ")), None)


def _exit_code(run: RunState, verdict: Verdict | None) -> int:
    """A refusal ends green on Kubeflow: the run did what it should."""
    if run.state != "SUCCEEDED" or verdict is None:
        return EXIT_BROKEN
    return EXIT_ACCEPTED if verdict.is_accepted else EXIT_REFUSED
