"""A server that answers like Kubeflow Pipelines 2.17: its rules, its two shapes of errors, its way to list runs; kept in memory.

What it answers was held against recordings of the real server (``recordings.json``, beside it).
"""

from __future__ import annotations

import json
import re
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlparse

import yaml

API = "/apis/v2beta1"
Json = dict[str, Any]


class Refusal(Exception):
    """An error as the gRPC endpoints give it."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.status, self.body = status, {"code": code, "message": message, "details": []}


class UploadRefusal(Refusal):
    """An error as the upload endpoints give it: a sentence, and a stack trace that begins with it."""

    def __init__(self, status: int, message: str, detail: str = "") -> None:
        super().__init__(status, 0, message)
        self.body = {
            "error_message": message,
            "error_details": f"{detail or message}\ngithub.com/kubeflow/pipelines/backend...",
        }


def invalid(message: str) -> Refusal:
    return Refusal(400, 3, message)


@dataclass
class Server:
    """What is stored, and how the server behaves.

    Attributes:
        token: Bearer token that every question must carry, or None.
        is_multi_user: Whether experiments need a namespace.
        failures: Statuses that the next questions get instead of an answer.
        states: For each run the states that it is asked for, one after the other; the last one stays.
        tasks: Of every run.
        logs: What the container of a task printed, by task; a pod that is not there has none.
    """

    host: str = ""
    token: str | None = None
    is_multi_user: bool = False
    failures: list[int] = field(default_factory=list)
    states: list[str | None] = field(default_factory=lambda: ["PENDING", None, "RUNNING", "SUCCEEDED"])
    tasks: tuple[str, ...] = ("trainer", "evaluator")
    logs: dict[str, str] = field(default_factory=dict)
    experiments: dict[str, Json] = field(default_factory=dict)
    pipelines: dict[str, Json] = field(default_factory=dict)
    versions: dict[str, Json] = field(default_factory=dict)
    schedules: dict[str, Json] = field(default_factory=dict)
    runs: dict[str, Json] = field(default_factory=dict)
    questions: list[tuple[str, str, Any]] = field(default_factory=list)

    def answer(self, method: str, target: str, body: bytes, headers: Any) -> tuple[int, Any]:
        url = urlparse(target)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        path, kind = unquote(url.path), headers.get("Content-Type", "")
        asked = json.loads(body) if body and "json" in kind else None
        self.questions.append((method, path, asked))
        if self.failures:
            return self.failures.pop(0), "<html><body>upstream connect error</body></html>"
        try:
            if self.token and headers.get("Authorization") != f"Bearer {self.token}" and not path.endswith("/healthz"):
                raise Refusal(401, 16, "Request header error: there is no user identity header")
            if match := re.fullmatch(r"/apis/v1alpha1/runs/([^/]+)/nodes/([^/]+)/log", path):
                return 200, self._log(*match.groups())
            return 200, self._route(method, path, query, asked, body, kind)
        except Refusal as refusal:
            return refusal.status, refusal.body

    def _route(self, method: str, path: str, query: dict[str, str], asked: Any, body: bytes, kind: str) -> Any:
        routes: list[tuple[str, str, Callable[..., Any]]] = [
            ("GET", "/healthz", lambda: self._health()),
            ("POST", "/experiments", lambda: self._make_experiment(asked)),
            ("GET", "/experiments", lambda: self._list("experiments", self.experiments, query)),
            ("POST", "/pipelines/upload", lambda: self._upload(query, _uploaded_file(body, kind))),
            ("POST", "/pipelines/upload_version", lambda: self._upload_version(query, _uploaded_file(body, kind))),
            ("GET", "/pipelines", lambda: self._list("pipelines", self.pipelines, query)),
            ("GET", "/pipelines/(?P<id>[^/]+)/versions", lambda id: self._list_versions(id, query)),
            ("POST", "/runs", lambda: self._make_run(asked)),
            ("GET", "/runs", lambda: self._list("runs", self.runs, query)),
            ("GET", "/runs/(?P<id>[^/:]+)", lambda id: self._run(id)),
            ("POST", "/recurringruns", lambda: self._make_schedule(asked)),
            ("GET", "/recurringruns", lambda: self._list("recurringRuns", self.schedules, query)),
            ("DELETE", "/recurringruns/(?P<id>[^/:]+)", lambda id: self._delete(self.schedules, id)),
            ("GET", "/recurringruns/(?P<id>[^/:]+)", lambda id: self._of(self.schedules, id)),
            ("POST", "/recurringruns/(?P<id>[^/:]+):(?P<mode>enable|disable)", lambda id, mode: self._switch(id, mode)),
        ]
        for known, pattern, handle in routes:
            match = re.fullmatch(API + pattern, path)
            if match and known == method:
                return handle(**match.groupdict())
        raise Refusal(404, 5, "Not Found")

    def _health(self) -> Json:
        return {
            "commit_sha": "unknown",
            "tag_name": "2.17.0",
            "multi_user": self.is_multi_user,
            "pipeline_store": "database",
        }

    def _list(self, what: str, stored: dict[str, Json], query: dict[str, str]) -> Json:
        found = list(stored.values())
        if "experiment_id" in query:
            found = [one for one in found if one.get("experiment_id") == query["experiment_id"]]
        if "filter" in query:
            (predicate,) = json.loads(query["filter"])["predicates"]
            found = [one for one in found if one[predicate["key"]] == predicate["stringValue"]]
        if what == "runs":
            found.reverse()
        size, start = int(query.get("page_size") or 20), int(query.get("page_token") or 0)
        page = {what: found[start : start + size], "total_size": len(found)}
        return page if start + size >= len(found) else {**page, "next_page_token": str(start + size)}

    def _make_experiment(self, asked: Json) -> Json:
        if self.is_multi_user and not asked.get("namespace"):
            raise invalid("Failed to create an experiment: Invalid input error: Experiment must have a namespace")
        return _store(self.experiments, "experiment_id", {**asked, "storage_state": "AVAILABLE"})

    def _upload(self, query: dict[str, str], documents: list[Json]) -> Json:
        check_specification(documents)
        name = query["name"]
        if any(known["name"] == name for known in self.pipelines.values()):
            raise UploadRefusal(409, "Failed to create a pipeline and a pipeline version")
        made = _store(self.pipelines, "pipeline_id", {"display_name": name, "name": name})
        self._add_version(made["pipeline_id"], name, documents)
        return made

    def _upload_version(self, query: dict[str, str], documents: list[Json]) -> Json:
        check_specification(documents)
        return self._add_version(query["pipelineid"], query["name"], documents)

    def _add_version(self, pipeline_id: str, name: str, documents: list[Json]) -> Json:
        specification = (
            documents[0] if len(documents) == 1 else {"pipeline_spec": documents[0], "platform_spec": documents[1]}
        )
        fields = {"pipeline_id": pipeline_id, "display_name": name, "name": name, "pipeline_spec": specification}
        return _store(self.versions, "pipeline_version_id", fields)

    def _list_versions(self, pipeline_id: str, query: dict[str, str]) -> Json:
        found = {key: version for key, version in self.versions.items() if version["pipeline_id"] == pipeline_id}
        return self._list("pipeline_versions", found, query)

    def _specification(self, asked: Json) -> Json:
        reference = asked.get("pipeline_version_reference") or {}
        versions = [one for one in self.versions.values() if one["pipeline_id"] == reference.get("pipeline_id")]
        if not versions:
            raise Refusal(404, 5, f"Pipeline {reference.get('pipeline_id')} not found")
        specification = versions[-1]["pipeline_spec"]
        return dict(specification.get("pipeline_spec", specification))

    def _make_run(self, asked: Json) -> Json:
        check_parameters(
            self._specification(asked), asked, "Failed to create a new run: Failed to generate the ExecutionSpec: "
        )
        fields = {
            **asked,
            "storage_state": "AVAILABLE",
            "state": "PENDING",
            "finished_at": "1970-01-01T00:00:00Z",
            "_asked": 0,
        }
        return _public(_store(self.runs, "run_id", fields))

    def _run(self, run_id: str) -> Json:
        run = self._of(self.runs, run_id)
        state = self.states[min(run["_asked"], len(self.states) - 1)]
        run["_asked"] += 1
        run["state"] = state
        details = [
            {
                "run_id": run_id,
                "task_id": str(number),
                "display_name": path.rpartition(".")[2],
                "create_time": f"2026-11-27T16:44:{number % 60:02}Z",
                "start_time": f"2026-11-27T16:44:{number % 60:02}Z",
                "end_time": "2026-11-27T16:45:30Z" if state == "SUCCEEDED" else "0001-01-01T00:00:00Z",
                "state": state if state in ("SUCCEEDED", "FAILED") else "RUNNING",
                **({"child_tasks": [{"pod_name": node_id(child)} for child in children]} if children else {}),
            }
            for number, (path, children) in enumerate(nodes_of(workflow_of(run), self.tasks).items())
        ]
        return _public({**run, "run_details": {"task_details": details}} if state is not None else run)

    def _log(self, run_id: str, pod: str) -> str:
        """The text of a pod of a task's own container; an error comes as a text, too, because the answer has begun with 200."""
        run = self._of(self.runs, run_id)
        for path in nodes_of(workflow_of(run), self.tasks):
            task, _, container = path.rpartition(".")
            name = task.rpartition(".")[2].partition("(")[0]
            if container == "executor(0)" and pod == node_id(path, "retry-system-container-impl") and name in self.logs:
                return self.logs[name]
        message = f"Failed to read logs for run {run_id}: pods {pod!r} not found"
        return json.dumps({"error_message": message, "error_details": message})

    def _make_schedule(self, asked: Json) -> Json:
        prefix = "Failed to create a recurring run"
        fields = asked["trigger"]["cron_schedule"]["cron"].split()
        if len(fields) not in (5, 6):
            raise invalid(
                f"{prefix} due to conversion error: Invalid input error: Schedule cron is not a supported "
                f"format(https://godoc.org/github.com/robfig/cron). Error: Expected 5 to 6 fields, found {len(fields)}"
            )
        if fields[0].isdecimal() and int(fields[0]) > 59:
            raise invalid(
                f"{prefix} due to conversion error: Invalid input error: Schedule cron is not a supported "
                f"format(https://godoc.org/github.com/robfig/cron). Error: End of range ({fields[0]}) above maximum (59): {fields[0]}"
            )
        if not 1 <= int(asked.get("max_concurrency") or 0) <= 10:
            raise invalid("The max_concurrency of the recurring run must be between 1 and 10")
        check_parameters(self._specification(asked), asked, f"{prefix}: {prefix} during scheduled workflow creation: ")
        status = "ENABLED" if asked.get("mode") == "ENABLE" else "DISABLED"
        return _store(
            self.schedules,
            "recurring_run_id",
            {**asked, "status": status, "namespace": "kubeflow", "updated_at": _now()},
        )

    def _switch(self, schedule_id: str, mode: str) -> Json:
        self._of(self.schedules, schedule_id).update(mode=mode.upper(), status=f"{mode.upper()}D")
        return {}

    def _of(self, stored: dict[str, Json], key: str) -> Json:
        if key not in stored:
            raise Refusal(404, 5, f"ResourceNotFound: {key} not found")
        return stored[key]

    def _delete(self, stored: dict[str, Json], key: str) -> Json:
        self._of(stored, key)
        del stored[key]
        return {}


def workflow_of(run: Json) -> str:
    """Argo's workflow of a run."""
    return f"{run['display_name'].lower()}-{run['run_id'][:5]}"


def nodes_of(workflow: str, tasks: tuple[str, ...]) -> dict[str, list[str]]:
    """Argo's nodes of a run by path, each with the paths of its children: stock settings of Kubeflow 2.17 wrap every node in its tries."""
    root = f"{workflow}(0).root"
    nodes: dict[str, list[str]] = {workflow: [f"{workflow}(0)"], f"{workflow}(0)": [f"{root}-driver"]}
    nodes |= {f"{root}-driver": [f"{root}-driver(0)"], f"{root}-driver(0)": [root], root: [f"{root}(0)"]}
    nodes[f"{root}(0)"] = [f"{root}(0).{task}-driver" for task in tasks]
    for path in (f"{root}(0).{task}" for task in tasks):
        nodes |= {f"{path}-driver": [f"{path}-driver(0)"], f"{path}-driver(0)": [path], path: [f"{path}(0)"]}
        container = f"{path}(0).executor"
        nodes |= {f"{path}(0)": [container], container: [f"{container}(0)"], f"{container}(0)": []}
    return nodes


def node_id(path: str, template: str = "") -> str:
    """Argo's id of a node, or with its template the name of its pod."""
    number = 0x811C9DC5
    for byte in path.encode():
        number = (number ^ byte) * 0x01000193 % 2**32
    return "-".join([path.partition("(")[0], *([template] if template else []), str(number)])


def check_specification(documents: list[Json]) -> None:
    """As the server's parser does at an upload."""
    specifications = [document for document in documents if document and "root" in document]
    if len(specifications) != 1:
        raise UploadRefusal(400, "unknown template format")
    (spec,) = specifications
    if spec.get("schemaVersion") != "2.1.0":
        raise UploadRefusal(
            400,
            f"KFP only supports schema version 2.1.0, but the pipeline spec has version {spec.get('schemaVersion')}",
        )
    executors, tasks = spec["deploymentSpec"]["executors"], spec["root"]["dag"]["tasks"]
    for task in tasks.values():
        label = spec["components"][task["componentRef"]["name"]]["executorLabel"]
        if "container" not in executors[label]:
            raise UploadRefusal(
                400, f"executor(label={label!r}): non-container and non-importer executor not implemented"
            )
        for before in task.get("dependentTasks", ()):
            if before not in tasks:
                raise UploadRefusal(400, f"unknown producer task {before!r} in DAG")


def check_parameters(spec: Json, asked: Json, prefix: str) -> None:
    """As the server does when a run or a schedule is made."""
    declared = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    given = (asked.get("runtime_config") or {}).get("parameters") or {}
    prefix += "invalid pipeline job inputs: Invalid input error: "
    for name, definition in declared.items():
        if name not in given and "defaultValue" not in definition:
            raise invalid(
                f"{prefix}parameter {name} is not optional, yet has neither default value nor user provided value"
            )
        if name in given and definition["parameterType"].startswith("NUMBER") and isinstance(given[name], str):
            raise invalid(
                f"{prefix}input parameter {name} requires type double or integer, but the parameter value is not of number "
                "value type"
            )
    unknown = sorted(set(given) - set(declared))
    if unknown:
        raise invalid(f"{prefix}parameter(s) provided are not required by pipeline: {', '.join(unknown)}")


def _store(stored: dict[str, Json], key: str, fields: Json) -> Json:
    made = {**fields, key: str(uuid.uuid4()), "created_at": _now()}
    stored[made[key]] = made
    return made


def _public(fields: Json) -> Json:
    return {name: value for name, value in fields.items() if not name.startswith("_")}


def _now() -> str:
    return f"{datetime.now(timezone.utc):%Y-%m-%dT%H:%M:%SZ}"


def _uploaded_file(body: bytes, kind: str) -> list[Json]:
    boundary = kind.partition("boundary=")[2].strip('"').encode()
    content = body.split(b"--" + boundary)[1].partition(b"\r\n\r\n")[2].rsplit(b"\r\n", 1)[0]
    try:
        return [document for document in yaml.safe_load_all(content) if isinstance(document, dict)]
    except yaml.YAMLError as error:
        raise UploadRefusal(400, "unknown template format") from error


@contextmanager
def serving(server: Server) -> Iterator[Server]:
    """The server over HTTP, on a free port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments: Any) -> None:
            """Nothing."""

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, answer = server.answer(self.command, self.path, body, self.headers)
            text = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/html" if isinstance(answer, str) else "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_DELETE = _answer

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    server.host = f"http://127.0.0.1:{http.server_address[1]}"
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
