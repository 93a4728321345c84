"""The verbs, as a person types them: answers, exit codes, and one sentence where something is missing."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from pipeline.config_file import load_config
from pipeline.kubeflow.api import Client
from pipeline.kubeflow.api import Server as Address
from tests.pipeline.kubeflow.fake_server import Server, serving
from tests.pipeline.kubeflow.test_api import SPECIFICATION
from tests.pipeline.kubeflow.test_compilation import config_of

ROOT = Path(__file__).parents[3]


@pytest.fixture
def server() -> Iterator[Server]:
    pytest.importorskip("kfp_server_api", reason="the kubeflow extra brings it")
    with serving(Server()) as server:
        yield server


@pytest.fixture
def config(tmp_path: Path) -> Path:
    config_of(tmp_path)
    return tmp_path / "config.yaml"


def kubeflow(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipeline.cli", "kubeflow", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def started(server: Server) -> str:
    """A run of the config's pipeline."""
    client = Client(Address(server.host))
    pipeline, experiment = client.upload("digits", SPECIFICATION, "1"), client.experiment("digits")
    client.schedule(pipeline, experiment, "digits", "0 0 3 * * *", {})
    return client.start(pipeline, experiment, "digits-1", {}).run_id


def test_the_example_of_a_cluster_is_a_valid_config() -> None:
    example = load_config(ROOT / "kubeflow" / "examples" / "config.yaml")
    assert example.kubeflow.nodes["Trainer"].memory_gb == 8
    for file in (ROOT / "kubeflow" / "examples").glob("*.yaml"):
        assert list(yaml.safe_load_all(file.read_text(encoding="utf-8")))


def test_runs_are_listed_and_waited_for(server: Server, config: Path) -> None:
    run_id = started(server)
    listed = kubeflow("runs", str(config), "--host", server.host)
    assert (listed.returncode, run_id in listed.stdout, "digits-1" in listed.stdout) == (0, True, True)
    server.states = ["PENDING", "SUCCEEDED"]
    waited = kubeflow("status", str(config), run_id, "--wait", "--json", "--host", server.host)
    answer = json.loads(waited.stdout)
    assert (waited.returncode, answer["state"]) == (0, "succeeded")
    assert [node["name"] for node in answer["nodes"]] == ["Trainer", "Evaluator"]
    server.states = ["FAILED"]
    broken = kubeflow("status", str(config), run_id, "--wait", "--host", server.host)
    assert (broken.returncode, "failed" in broken.stdout) == (3, True)


def test_a_schedule_is_looked_at_and_removed(server: Server, config: Path) -> None:
    started(server)
    checked = kubeflow("schedule", str(config), "--check", "--host", server.host)
    assert (checked.returncode, "fires" in checked.stdout) == (0, True)
    removed = kubeflow("unschedule", str(config), "--host", server.host)
    assert (removed.returncode, removed.stdout) == (0, "removed 1 schedule of digits\n")
    assert server.schedules == {}
    assert kubeflow("schedule", str(config), "--check", "--host", server.host).returncode == 1


def test_metadata_is_prepared(tmp_path: Path) -> None:
    url = f"sqlite://{tmp_path}/metadata.sqlite"
    assert kubeflow("metadata", "init", url).stdout == f"ML Metadata at {url} is ready and holds 0 runs\n"
    told = kubeflow("metadata", "init", "mysql://root:secret@db/mlmd")
    assert (told.returncode, "secret" in told.stderr) == (2, False)


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        pytest.param(("runs", "CONFIG"), 2, "no server: give --host", id="no-server"),
        pytest.param(("schedule", "CONFIG"), 2, "--cron is missing", id="no-time"),
        pytest.param(("schedule", "CONFIG", "--cron", "0 0 3 * * *"), 2, "has 6 fields", id="seconds-first"),
        pytest.param(("runs", "CONFIG", "--host", "http://127.0.0.1:9"), 3, "does not answer", id="nobody-there"),
        pytest.param(
            ("compile", "CONFIG", "--set", "kubeflow.image=null"), 2, "kubeflow.image is missing", id="no-image"
        ),
        pytest.param(("compile", "CONFIG", "--set", "data.path=/var/images"), 2, "of this machine", id="local-path"),
    ],
)
def test_what_is_missing_is_one_sentence(
    config: Path, arguments: tuple[str, ...], exit_code: int, message: str
) -> None:
    told = kubeflow(*(str(config) if argument == "CONFIG" else argument for argument in arguments))
    assert (told.returncode, told.stderr.count("\n")) == (exit_code, 1), told.stderr
    assert message in told.stderr
