"""The verbs, as a person types them: answers, exit codes, and one sentence where something is missing."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import pytest
import yaml
from edgeproof_edge.errors import SurroundingsError

from pipeline.commands.kubeflow import waiting
from pipeline.commands.kubeflow.following import Follower
from pipeline.commands.kubeflow.schedules import check_schedule
from pipeline.commands.kubeflow.waiting import show_run
from pipeline.config_file import load_config
from pipeline.errors import ConfigError
from pipeline.kubeflow import api
from pipeline.kubeflow.api import Client, TaskState
from pipeline.kubeflow.api import Server as Address
from tests.pipeline.kubeflow.fake_server import Server, serving
from tests.pipeline.kubeflow.test_api import SPECIFICATION
from tests.pipeline.kubeflow.test_compilation import config_of

ROOT = Path(__file__).parents[3]
#: What the pod of the Evaluator prints among other things.
LOG = 'x\nedgeproof-verdict {{"accepted": {accepted}, "text": "why, in words"}}\ny\n'


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
    server.states, server.logs = ["PENDING", None, "SUCCEEDED"], {"evaluator": LOG.format(accepted="true")}
    waited = kubeflow("status", str(config), "digits-1", "--wait", "--json", "--host", server.host)
    answer = json.loads(waited.stdout)
    assert (waited.returncode, answer["state"], answer["is_accepted"]) == (0, "succeeded", True)
    assert [node["name"] for node in answer["nodes"]] == ["trainer", "evaluator"]


@pytest.mark.parametrize(
    ("state", "logs", "exit_code", "shown"),
    [
        pytest.param(
            "SUCCEEDED", {"evaluator": '{accepted="true"}'}, 3, "verdict cannot be read", id="words-of-others"
        ),
        pytest.param("SUCCEEDED", {}, 3, "verdict cannot be read", id="no-log-is-no-acceptance"),
        pytest.param("SUCCEEDED", {"evaluator": LOG.format(accepted="false")}, 1, "why, in words", id="refused"),
        pytest.param("SUCCEEDED", {"evaluator": LOG.format(accepted="true")}, 0, "why, in words", id="accepted"),
        pytest.param("FAILED", {"trainer": "x\nerror: no memory\n"}, 3, "trainer: error: no memory", id="broken"),
    ],
)
def test_the_verdict_is_read_from_the_log(
    server: Server, capsys: pytest.CaptureFixture[str], state: str, logs: dict[str, str], exit_code: int, shown: str
) -> None:
    client, run_id = Client(Address(server.host)), started(server)
    server.states, server.logs = [state], logs
    (listed,) = client.runs(client.experiment("digits"))
    assert (listed.run_id, listed.tasks) == (run_id, ())
    assert show_run(client, listed, wait=True, metadata=None, as_json=False) == exit_code
    assert shown in capsys.readouterr().out


def test_a_wait_outlasts_a_server_that_is_away(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "_SECONDS_BETWEEN_TRIES", ())
    monkeypatch.setattr(waiting, "_FIRST_WAIT_SECONDS", 0.01)
    client, run_id = Client(Address(server.host)), started(server)
    server.states = ["RUNNING", "SUCCEEDED"]
    run = client.run(run_id)
    server.failures = [503, 503]
    assert [state.state for state in waiting.states(client, run)] == ["RUNNING", "RUNNING", "RUNNING", "SUCCEEDED"]
    monkeypatch.setattr(waiting, "_PATIENCE_SECONDS", -1.0)
    server.failures = [503]
    with pytest.raises(SurroundingsError, match="answers 503"):
        list(waiting.states(client, run))


def test_logs_are_printed_by_node_and_followed(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    client, run_id = Client(Address(server.host)), started(server)
    server.states, server.logs = ["RUNNING"], {"trainer": "epoch 1\n"}
    assert Follower(client, None, None).print_run(client.run(run_id), follow=False) == 0
    printed = capsys.readouterr()
    assert printed.out == "--- trainer (running)\nepoch 1\n"
    assert "kubectl logs -n kubeflow digits-1-" in printed.err
    with pytest.raises(ConfigError, match="it has trainer, evaluator"):
        Follower(client, "Tuner", None).print_run(client.run(run_id), follow=False)
    assert Follower(client, "Evaluator", None).print_run(client.run(run_id), follow=False) == 3


def test_what_is_new_of_a_log_is_printed_until_the_run_has_ended(
    server: Server, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "_FIRST_WAIT_SECONDS", 0.01)
    client, run_id = Client(Address(server.host)), started(server)
    server.states, server.logs = ["RUNNING", "RUNNING", "RUNNING", "SUCCEEDED"], {"trainer": "epoch 1\n"}
    asked = client.log

    def log(run_id: str, task: TaskState) -> str | None:
        text = asked(run_id, task)
        server.logs["trainer"] += "epoch 2\n" if text and "epoch 2" not in text else ""
        return text

    monkeypatch.setattr(client, "log", log)
    assert Follower(client, "Trainer", None).print_run(client.run(run_id), follow=True) == 0
    assert capsys.readouterr().out == "epoch 1\nepoch 2\n"


def test_logs_of_a_run_by_its_name(server: Server, config: Path) -> None:
    started(server)
    server.states, server.logs = ["SUCCEEDED"], {"evaluator": "x\n"}
    printed = kubeflow("logs", str(config), "digits-1", "--node", "Evaluator", "--host", server.host)
    assert (printed.returncode, printed.stdout) == (0, "x\n")
    missing = kubeflow("logs", str(config), "digits-2", "--host", server.host)
    assert (missing.returncode, "no run of digits is called 'digits-2'" in missing.stderr) == (2, True)


def test_a_schedule_is_looked_at_and_removed(server: Server, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    started(server)
    checked = kubeflow("schedule", str(config), "--check", "--host", server.host)
    assert (checked.returncode, "fires" in checked.stdout) == (0, True)
    (schedule,) = server.schedules.values()
    schedule["status"] = "DISABLED"
    client, loaded, now = Client(Address(server.host)), load_config(config), datetime.now(timezone.utc)
    assert check_schedule(client, loaded, now, as_json=False) == 1
    assert "is disabled" in capsys.readouterr().out
    removed = kubeflow("unschedule", str(config), "--host", server.host)
    assert (removed.returncode, removed.stdout) == (0, "removed 1 schedule of digits\n")
    assert server.schedules == {}
    assert check_schedule(client, loaded, now, as_json=True) == 1


def test_looking_makes_nothing(server: Server, config: Path) -> None:
    client, loaded = Client(Address(server.host)), load_config(config)
    assert check_schedule(client, loaded, datetime.now(timezone.utc), as_json=False) == 1
    assert kubeflow("runs", str(config), "--host", server.host).returncode == 0
    assert server.experiments == {}


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
