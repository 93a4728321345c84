"""Runs a compiled pipeline as Kubeflow does: every task's own command as a process, in the order of the DAG, placeholders filled in."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.e2e.sandbox import Sandbox

_PARAMETER = re.compile(r"\{\{\$\.inputs\.parameters\['(\w+)'\]\}\}")


@dataclass
class Cluster:
    """Runs tasks; ``directory`` is where Kubeflow's launcher would take outputs from. In a sandbox, it is on the volume."""

    specification: dict[str, Any]
    directory: Path
    run_id: str
    environment: dict[str, str] = field(default_factory=dict)
    sandbox: Sandbox | None = None
    parameters: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of_file(cls, file: Path, directory: Path, run_id: str) -> Cluster:
        documents = list(yaml.safe_load_all(file.read_text(encoding="utf-8")))
        return cls(documents[0], directory, run_id)

    @property
    def tasks(self) -> dict[str, dict[str, Any]]:
        tasks: dict[str, dict[str, Any]] = self.specification["root"]["dag"]["tasks"]
        return tasks

    def in_order(self) -> Iterator[str]:
        """Tasks, each after those that it waits for."""
        done: list[str] = []
        while len(done) < len(self.tasks):
            ready = [
                name
                for name, task in self.tasks.items()
                if name not in done and set(task.get("dependentTasks", ())) <= set(done)
            ]
            assert ready, "the DAG has a circle"
            yield ready[0]
            done.append(ready[0])

    def start(self, task: str) -> subprocess.Popen[str]:
        container = self._container(task)
        inputs = dict(self._inputs(task))
        arguments = [
            _PARAMETER.sub(lambda match: inputs[match[1]], argument).replace(
                "{{$}}", json.dumps(self._executor_input(task))
            )
            for argument in container["args"]
        ]
        environment = {entry["name"]: entry["value"] for entry in container.get("env", ())} | self.environment
        return start_container([*container["command"], *arguments], environment, self.sandbox)

    def run(self, task: str) -> subprocess.CompletedProcess[str]:
        return ended(self.start(task))

    def outputs(self, task: str) -> dict[str, Any]:
        """What the task lists for Kubeflow's pages."""
        text = (self.directory / f"{task}.json").read_text(encoding="utf-8")
        artifacts: dict[str, Any] = json.loads(text)["artifacts"]
        return artifacts

    def memory_request(self, task: str) -> float:
        """What its pod asks for, in units of 10^9 bytes."""
        return float(self._container(task)["resources"]["memoryRequest"])

    def _container(self, task: str) -> dict[str, Any]:
        component = self.specification["components"][self.tasks[task]["componentRef"]["name"]]
        container: dict[str, Any] = self.specification["deploymentSpec"]["executors"][component["executorLabel"]][
            "container"
        ]
        return container

    def _inputs(self, task: str) -> Iterator[tuple[str, str]]:
        constants = {
            "{{$.pipeline_job_uuid}}": self.run_id,
            "{{$.pipeline_job_schedule_time_utc}}": "2026-11-27T03:00:00Z",
        }
        declared = self.specification["root"]["inputDefinitions"]["parameters"]
        for name, value in self.tasks[task]["inputs"]["parameters"].items():
            if "runtimeValue" in value:
                yield name, constants[value["runtimeValue"]["constant"]]
            else:
                given = value["componentInputParameter"]
                yield name, self.parameters.get(given, declared[given]["defaultValue"])

    def _executor_input(self, task: str) -> dict[str, Any]:
        component = self.specification["components"][self.tasks[task]["componentRef"]["name"]]
        declared = component.get("outputDefinitions", {}).get("artifacts", {})
        artifacts = {
            name: {"artifacts": [{"name": name, "uri": f"{self._seen_directory}/{task}/{name}"}]} for name in declared
        }
        return {"outputs": {"artifacts": artifacts, "outputFile": f"{self._seen_directory}/{task}.json"}}

    @property
    def _seen_directory(self) -> str:
        """The directory as a pod sees it."""
        if self.sandbox is None:
            return str(self.directory)
        return f"{self.sandbox.mounted}/{self.directory.relative_to(self.sandbox.volume)}"


def start_container(
    command: list[str], environment: dict[str, str], sandbox: Sandbox | None = None
) -> subprocess.Popen[str]:
    """Starts what a container would, in this machine's environment without what pytest and a person's shell add."""
    assert command[0] == "python"
    given = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    given |= {**(sandbox.environment() if sandbox is not None else {}), **environment}
    command = [sys.executable, *command[1:]]
    pipe = subprocess.PIPE
    return subprocess.Popen(
        sandbox.command(command) if sandbox is not None else command,
        cwd=Path(__file__).parents[2],
        env=given,
        stdout=pipe,
        stderr=pipe,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
    """A container after its end."""
    stdout, stderr = process.communicate(timeout=1200)
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)
