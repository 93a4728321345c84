"""Tasks of :mod:`components.light_workers` on Beam, where the config names a runner of other machines."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from typing import Any

from components import files
from components.light_workers import resolve

#: Runners that compute in this process.
_LOCAL_RUNNERS = {"FnApiRunner", "DirectRunner", "BundleBasedDirectRunner", "SwitchingDirectRunner"}
_RUNNER = "--runner="


def is_local_runner(beam_args: Sequence[str]) -> bool:
    """Whether Beam's arguments leave the work on this machine."""
    runners = [argument.removeprefix(_RUNNER) for argument in beam_args if argument.startswith(_RUNNER)]
    return not runners or runners[-1] in _LOCAL_RUNNERS


def run_on_beam(make_pipeline: Callable[[], Any], function: str, tasks: Sequence[Any], scratch: str) -> list[Any]:
    """Calls ``module:function`` with each task, as :func:`components.light_workers.run_tasks` does.

    Beam carries file names only: task and answer lie beside each other under ``scratch``, which every worker can reach.
    """
    import apache_beam as beam

    name = function.rpartition(":")[2]
    paths = [os.path.join(scratch, f"{name}-{number:05d}") for number, _ in enumerate(tasks)]
    for path, task in zip(paths, tasks, strict=True):
        files.write_bytes(path, json.dumps(task).encode())
    with make_pipeline() as pipeline:
        spread = pipeline | "Tasks" >> beam.Create(paths) | "Spread" >> beam.Reshuffle()
        _ = spread | name >> beam.Map(_call, function)
    return [json.loads(files.read_bytes(f"{path}.result")) for path in paths]


def _call(path: str, function: str) -> None:
    result = resolve(function)(json.loads(files.read_bytes(path)))
    files.write_bytes(f"{path}.result", json.dumps(result).encode())
