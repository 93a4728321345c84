"""The Kubeflow launcher against a server that speaks the part of v2beta1 that it uses."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from pipeline.kubeflow.specification import RUN_PARAMETERS
from triggers.errors import LaunchError
from triggers.launchers import KubeflowLauncher
from triggers.ledger import RunState, TriggeredRun
from triggers.settings import KubeflowLauncherSettings

RUN = TriggeredRun(
    "abc", "digits", "new_span", "new_span: span 7 is new [trigger abc, span 7]", 7, "kubeflow", "", RunState.OPEN, None,
    datetime(2026, 3, 2, tzinfo=timezone.utc), None,
)  # fmt: skip


class Api(ThreadingHTTPServer):
    """Runs in memory."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.runs: list[dict[str, Any]] = []
        self.tokens: list[str | None] = []
        self.is_broken = False
        self.forgets_answers = False


class Handler(BaseHTTPRequestHandler):
    server: Api

    def do_GET(self) -> None:
        path = urlsplit(self.path)
        self.server.tokens.append(self.headers.get("Authorization"))
        if path.path == "/apis/v2beta1/runs":
            (predicate,) = json.loads(parse_qs(path.query)["filter"][0])["predicates"]
            assert predicate["operation"] == "EQUALS"
            found = [run for run in self.server.runs if run[predicate["key"]] == predicate["string_value"]]
            return self._answer({"runs": found} if found else {})
        run_id = path.path.rsplit("/", 1)[-1]
        return self._answer(next(run for run in self.server.runs if run["run_id"] == run_id))

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        run = {**body, "run_id": f"id-{len(self.server.runs)}", "state": "PENDING"}
        self.server.runs.append(run)
        if self.server.forgets_answers:
            self.close_connection = True
            return None
        return self._answer(run)

    def _answer(self, content: dict[str, Any]) -> None:
        body = json.dumps({"message": "no"} if self.server.is_broken else content).encode()
        self.send_response(500 if self.server.is_broken else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def api() -> Iterator[Api]:
    server = Api()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def launcher(api: Api, **settings: Any) -> KubeflowLauncher:
    return KubeflowLauncher(
        KubeflowLauncherSettings(host=f"http://127.0.0.1:{api.server_address[1]}", pipeline_id="p1", **settings)
    )


def test_a_run_is_created_once_with_reason_and_span(api: Api, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret\n", encoding="utf-8")
    kubeflow = launcher(
        api, parameters={"epochs": 3}, experiment_id="e1", pipeline_version_id="v1", token_file=tmp_path / "token",
    )  # fmt: skip
    assert [kubeflow.launch(RUN) for _ in range(2)] == ["id-0", "id-0"]
    (run,) = api.runs
    assert run["display_name"] == "digits-abc"
    assert run["description"] == RUN.reason
    assert run["experiment_id"] == "e1"
    assert run["pipeline_version_reference"] == {"pipeline_id": "p1", "pipeline_version_id": "v1"}
    assert run["runtime_config"] == {
        "parameters": {"epochs": 3, "reason": RUN.reason, "trigger_key": "abc", "data_span": "7"}
    }
    assert set(api.tokens) == {"Bearer secret"}


def test_a_pipeline_of_somebody_else_gets_what_it_has_a_parameter_for(api: Api) -> None:
    launcher(api, reason_parameter="why", key_parameter=None, span_parameter=None).launch(RUN)
    assert api.runs[0]["runtime_config"] == {"parameters": {"why": RUN.reason}}


def test_the_parameters_are_those_of_a_compiled_pipeline() -> None:
    settings = KubeflowLauncherSettings(host="http://kubeflow", pipeline_id="p1")
    assert {settings.reason_parameter, settings.key_parameter, settings.span_parameter} == set(RUN_PARAMETERS)


def test_a_run_whose_creation_was_never_answered_is_found(api: Api) -> None:
    kubeflow = launcher(api)
    api.forgets_answers = True
    with pytest.raises(LaunchError, match="does not answer"):
        kubeflow.launch(RUN)
    api.forgets_answers = False
    assert kubeflow.launch(RUN) == "id-0"
    assert len(api.runs) == 1


@pytest.mark.parametrize(
    ("told", "state"),
    [
        ("PENDING", RunState.OPEN),
        ("RUNNING", RunState.OPEN),
        ("SUCCEEDED", RunState.ENDED),
        ("FAILED", RunState.FAILED),
    ],
)
def test_states_are_read(api: Api, told: str, state: RunState) -> None:
    kubeflow = launcher(api)
    kubeflow.launch(RUN)
    api.runs[0]["state"] = told
    assert kubeflow.state(RUN) is state


def test_an_error_of_the_server_is_said(api: Api) -> None:
    api.is_broken = True
    with pytest.raises(LaunchError, match="answered 500"):
        launcher(api).launch(RUN)
