"""Uploads, runs and schedules against a server that answers like the real one, over HTTP, with Kubeflow's own client library."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from edgeproof_edge.errors import SurroundingsError

from pipeline.errors import ConfigError
from pipeline.kubeflow import api
from pipeline.kubeflow.api import Client, RunState, ScheduleState
from pipeline.kubeflow.watch import silent_schedules
from tests.pipeline.kubeflow.fake_server import Server, serving

pytest.importorskip("kfp_server_api", reason="the kubeflow extra brings it")

SPECIFICATION = """
pipelineInfo: {name: digits}
schemaVersion: 2.1.0
components: {comp-a: {executorLabel: exec-a}}
deploymentSpec: {executors: {exec-a: {container: {image: example.org/edgeproof:1}}}}
root:
  dag: {tasks: {a: {componentRef: {name: comp-a}}}}
  inputDefinitions: {parameters: {reason: {parameterType: STRING, defaultValue: kubeflow, isOptional: true}}}
"""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(api, "_SECONDS_BETWEEN_TRIES", (0.0, 0.0, 0.0))
    with serving(Server()) as server:
        yield server


def client_of(server: Server, token_file: Path | None = None, namespace: str | None = None) -> Client:
    return Client(api.Server(server.host, token_file, namespace))


@pytest.fixture
def client(server: Server) -> Client:
    return client_of(server)


def test_a_pipeline_is_uploaded_once_and_a_changed_one_as_a_new_version(server: Server, client: Client) -> None:
    first = client.upload("digits", SPECIFICATION, "digits-1")
    assert client.upload("digits", SPECIFICATION, "digits-2") == first
    assert client.upload("digits", SPECIFICATION, "digits-2") == first
    assert [version["name"] for version in server.versions.values()] == ["digits", "digits-2"]


def test_a_trigger_that_fires_again_finds_the_run_that_it_started(server: Server, client: Client) -> None:
    pipeline, experiment = client.upload("digits", SPECIFICATION, "1"), client.experiment("digits")
    first = client.start(pipeline, experiment, "digits-drift-7", {"reason": "drift"})
    assert client.start(pipeline, experiment, "digits-drift-7", {"reason": "drift"}).run_id == first.run_id
    assert client.start(pipeline, experiment, "digits-drift-8", {"reason": "drift"}).run_id != first.run_id
    assert len(server.runs) == 2
    assert client.experiment("digits") == experiment


def test_a_run_is_not_finished_while_its_state_is_none_or_canceling(server: Server, client: Client) -> None:
    server.states = ["PENDING", None, "CANCELING", "CANCELED"]
    pipeline, experiment = client.upload("digits", SPECIFICATION, "1"), client.experiment("digits")
    run = client.start(pipeline, experiment, "r", {})
    seen = [client.run(run.run_id) for _ in range(4)]
    assert [state.state for state in seen] == ["PENDING", None, "CANCELING", "CANCELED"]
    assert [state.is_finished for state in seen] == [False, False, False, True]


def test_each_task_is_listed_once_whatever_number_of_tries_it_carries(server: Server, client: Client) -> None:
    server.states = ["SUCCEEDED"]
    run = client.start(client.upload("digits", SPECIFICATION, "1"), client.experiment("digits"), "r", {})
    tasks = client.run(run.run_id).tasks
    assert [task.name for task in tasks] == ["trainer", "evaluator"]
    assert all(task.seconds > 0 and len(task.node_ids) == 1 for task in tasks)


def test_a_schedule_is_made_once_changed_where_it_differs_and_removed(server: Server, client: Client) -> None:
    pipeline, experiment = client.upload("digits", SPECIFICATION, "1"), client.experiment("digits")
    first = client.schedule(pipeline, experiment, "digits", "0 0 3 * * *", {"reason": "night"})
    assert client.schedule(pipeline, experiment, "digits", "0 0 3 * * *", {"reason": "night"}) == first
    (stored,) = server.schedules.values()
    assert (stored["max_concurrency"], stored["no_catchup"], stored["status"]) == ("1", True, "ENABLED")
    assert stored["pipeline_version_reference"] == {"pipeline_id": pipeline}  # the newest version, whichever that is
    changed = client.schedule(pipeline, experiment, "digits", "0 0 4 * * *", {"reason": "night"})
    assert [(schedule.name, schedule.cron) for schedule in client.schedules(experiment)] == [("digits", "0 0 4 * * *")]
    server.answer("POST", f"/apis/v2beta1/recurringruns/{changed.schedule_id}:disable", b"", {})
    assert client.schedule(pipeline, experiment, "digits", "0 0 4 * * *", {"reason": "night"}) != changed
    (left,) = client.schedules(experiment)
    client.unschedule(left.schedule_id)
    assert client.schedules(experiment) == []


@pytest.mark.parametrize(
    ("parameters", "cron", "message"),
    [
        pytest.param(
            {"nosuch": "1"}, "0 0 3 * * *", "provided are not required by pipeline: nosuch", id="unknown-parameter"
        ),
        pytest.param({}, "0 0 0 3 * * *", "Expected 5 to 6 fields, found 7", id="bad-cron"),
    ],
)
def test_what_the_server_refuses_is_one_sentence(
    client: Client, parameters: dict[str, str], cron: str, message: str
) -> None:
    pipeline, experiment = client.upload("digits", SPECIFICATION, "1"), client.experiment("digits")
    with pytest.raises(ConfigError, match=message) as refused:
        client.schedule(pipeline, experiment, "digits", cron, parameters)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(
            "kind: Deployment\n",
            r"refuses what was asked \(400\): unknown template format\.$",
            id="another-kind-of-yaml",
        ),
        pytest.param(
            SPECIFICATION.replace("2.1.0", "2.0.0"),
            "only supports schema version 2.1.0",
            id="another-version-of-the-schema",
        ),
    ],
)
def test_errors_of_uploads_have_another_shape_and_no_stack_trace(client: Client, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as refused:
        client.upload("digits", text, "1")
    assert "github.com" not in str(refused.value)


def test_a_taken_name_is_told(server: Server, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    client.upload("digits", SPECIFICATION, "1")
    monkeypatch.setattr(client, "find_pipeline", lambda _: None)  # another's, made since it was looked for
    with pytest.raises(ConfigError, match=r"409\): Failed to create a pipeline"):
        client.upload("digits", SPECIFICATION, "1")


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_what_passes_by_is_asked_again(server: Server, client: Client, status: int) -> None:
    server.failures = [status, status]
    assert client.check() == f"Kubeflow Pipelines at {server.host}"
    server.failures = [status] * 4
    with pytest.raises(SurroundingsError, match=f"answers {status}: upstream connect error. Try again later"):
        client.check()


def test_a_run_whose_answer_was_lost_is_not_started_twice(
    server: Server, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline, experiment = client.upload("digits", SPECIFICATION, "1"), client.experiment("digits")
    answer = server.answer

    def lose(method: str, target: str, body: bytes, headers: object) -> tuple[int, object]:
        status, made = answer(method, target, body, headers)
        return (
            (504, "gateway timeout") if method == "POST" and target.startswith("/apis/v2beta1/runs") else (status, made)
        )

    monkeypatch.setattr(server, "answer", lose)
    run = client.start(pipeline, experiment, "digits-1", {})
    assert list(server.runs) == [run.run_id]


def test_a_wrong_login_is_told_with_what_to_set(server: Server, tmp_path: Path) -> None:
    server.token = "right"
    (tmp_path / "token").write_text("wrong\n", encoding="ascii")
    with pytest.raises(SurroundingsError, match=r"refuses this login \(401\): .*KF_PIPELINES_SA_TOKEN_PATH"):
        client_of(server, tmp_path / "token").experiment("digits")
    (tmp_path / "token").write_text("right\n", encoding="ascii")
    assert client_of(server, tmp_path / "token").experiment("digits")
    with pytest.raises(ConfigError, match=r"token's file .* cannot be read"):
        client_of(server, tmp_path / "nothing")


def test_a_shared_server_needs_a_namespace(server: Server) -> None:
    server.is_multi_user = True
    with pytest.raises(ConfigError, match=r"give kubeflow\.namespace"):
        client_of(server).check()
    client = client_of(server, namespace="team")
    client.check()
    assert server.experiments[client.experiment("digits")]["namespace"] == "team"


def test_no_server_is_told_with_how_to_reach_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "_SECONDS_BETWEEN_TRIES", (0.0, 0.0, 0.0))
    with serving(Server()) as gone:
        host = gone.host
    with pytest.raises(SurroundingsError, match=r"does not answer: .*Connection refused.*kubectl port-forward"):
        Client(api.Server(host)).start("p", "e", "n", {})


def test_tls_that_fails_is_told(server: Server) -> None:
    with pytest.raises(SurroundingsError, match=r"TLS fails: SSLError.*Give --ca-file, or check whether --host begins"):
        Client(api.Server(server.host.replace("http://", "https://"))).check()
    with pytest.raises(ConfigError, match="the certificate authority absent is no file"):
        Client(api.Server(server.host, ca_file=Path("absent")))


def test_a_host_without_a_scheme_is_a_forwarded_port(server: Server) -> None:
    assert Client(api.Server(server.host.removeprefix("http://"))).check()


def test_more_runs_than_a_page_holds_are_listed(
    server: Server, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "_PAGE_SIZE", 2)
    pipeline, experiment = client.upload("digits", SPECIFICATION, "1"), client.experiment("digits")
    for number in range(5):
        client.start(pipeline, experiment, f"r{number}", {})
    assert [run.name for run in client.runs(experiment)] == ["r4", "r3", "r2", "r1", "r0"]


NOW = datetime(2026, 11, 27, 12, 0, tzinfo=timezone.utc)


def run_before(hours: int, state: str = "SUCCEEDED") -> RunState:
    return RunState("r", "r", state, NOW - timedelta(hours=hours), schedule_id="s")


@pytest.mark.parametrize(
    ("hours_since_change", "run", "is_silent"),
    [
        pytest.param(1, None, False, id="not-due-yet"),
        pytest.param(48, None, True, id="due-and-nothing-happened"),
        pytest.param(200, run_before(9), False, id="fired"),
        pytest.param(200, run_before(72), True, id="fired-and-then-no-more"),
        pytest.param(200, run_before(72, "RUNNING"), False, id="still-at-it"),
    ],
)
def test_a_schedule_that_does_not_fire_is_found(hours_since_change: int, run: RunState | None, is_silent: bool) -> None:
    schedule = ScheduleState("s", "digits", "0 0 3 * * *", True, "p", NOW - timedelta(hours=hours_since_change))
    assert silent_schedules([schedule], [run] if run else [], NOW) == ([schedule] if is_silent else [])
