"""A run on Kubeflow Pipelines 2, over its HTTP API (v2beta1); the client package is not needed.

Rules, in order: 1. A run is named after the trigger's key; before one is created, that name is looked for, so a launch that was answered
too late is found and not repeated. 2. The reason goes into the run's description, and with key and span into
the runtime parameters of every pipeline that `edgeproof kubeflow` compiles, which takes them as text. 3. A run that ended well says
nothing of its model: the releases do.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

import urllib3

from triggers.errors import LaunchError
from triggers.ledger import RunState, TriggeredRun
from triggers.settings import KubeflowLauncherSettings

_STATES = {
    "SUCCEEDED": RunState.ENDED,  # a refused model ends green, too
    "FAILED": RunState.FAILED,
    "CANCELED": RunState.FAILED,
    "SKIPPED": RunState.FAILED,
}
TIMEOUT_SECONDS = 30.0


class KubeflowLauncher:
    """Creates runs of an uploaded pipeline."""

    def __init__(self, settings: KubeflowLauncherSettings) -> None:
        self._settings = settings
        self._pool = urllib3.PoolManager(timeout=TIMEOUT_SECONDS, retries=False)

    def launch(self, run: TriggeredRun) -> str:
        known = self._find(run)
        if known is not None:
            return known
        created = self._call("POST", "/apis/v2beta1/runs", self._body(run))
        return str(created["run_id"])

    def state(self, run: TriggeredRun) -> RunState:
        run_id = run.handle or self._find(run)
        if run_id is None:
            return RunState.LOST
        return _STATES.get(str(self._call("GET", f"/apis/v2beta1/runs/{run_id}").get("state")), RunState.OPEN)

    def _find(self, run: TriggeredRun) -> str | None:
        predicate = {"operation": "EQUALS", "key": "display_name", "string_value": self._name(run)}
        query = {"filter": json.dumps({"predicates": [predicate]}), "page_size": "2"}
        listed = self._call("GET", f"/apis/v2beta1/runs?{urlencode(query)}").get("runs") or []
        return str(listed[0]["run_id"]) if listed else None

    @staticmethod
    def _name(run: TriggeredRun) -> str:
        return f"{run.model_name}-{run.key}"

    def _body(self, run: TriggeredRun) -> dict[str, Any]:
        settings = self._settings
        parameters: dict[str, Any] = dict(settings.parameters)
        if settings.reason_parameter:
            parameters[settings.reason_parameter] = run.reason
        if settings.key_parameter:
            parameters[settings.key_parameter] = run.key
        if settings.span_parameter and run.data_span is not None:
            parameters[settings.span_parameter] = str(run.data_span)
        reference = {"pipeline_id": settings.pipeline_id}
        if settings.pipeline_version_id:
            reference["pipeline_version_id"] = settings.pipeline_version_id
        body: dict[str, Any] = {
            "display_name": self._name(run),
            "description": run.reason,
            "pipeline_version_reference": reference,
            "runtime_config": {"parameters": parameters},
        }
        return body | ({"experiment_id": settings.experiment_id} if settings.experiment_id else {})

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        headers = {"Content-Type": "application/json"}
        if self._settings.token_file is not None:
            headers["Authorization"] = f"Bearer {self._settings.token_file.read_text(encoding='utf-8').strip()}"
        content = None if body is None else json.dumps(body).encode()
        url = self._settings.host.rstrip("/") + path
        try:
            answer = self._pool.request(method, url, body=content, headers=headers)
        except urllib3.exceptions.HTTPError as error:
            raise LaunchError(
                f"Kubeflow at {self._settings.host} does not answer: {error}. Check launcher.host."
            ) from error
        if answer.status != 200:
            told = answer.data.decode("utf-8", "replace")[:300]
            raise LaunchError(f"Kubeflow at {self._settings.host} answered {answer.status}: {told}")
        content_json = json.loads(answer.data)
        assert isinstance(content_json, dict)
        return content_json
