"""The door to a Kubeflow Pipelines server: its REST API through ``kfp-server-api``, in the words of this project.

Rules, in order: 1. What passes by (no connection, 429, 5xx) is tried again where asking twice is the same as asking once; a POST that makes
something is looked for before it is sent again. 2. The server has two shapes of errors; both become one sentence. 3. A state that is None,
PENDING or CANCELING is not finished. 4. A token's file is read for every question: such tokens are renewed while a run goes on.
``kfp_server_api`` loads with the first client.
"""

from __future__ import annotations

import json
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode

from edgeproof_edge.addresses import is_address
from edgeproof_edge.errors import SurroundingsError

from pipeline.errors import ConfigError, RunError
from pipeline.kubeflow.pods import EXECUTOR, executor_ids, pod_names, without_try, workflow_of

T = TypeVar("T")
#: States of a run that will not change; anything else, None too, is on its way.
FINISHED = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")
_SECONDS_BETWEEN_TRIES = (1.0, 3.0, 10.0)
_PASSING = (429, 500, 502, 503, 504)
_TIMEOUT_SECONDS = 60
_PAGE_SIZE = 100
_LOGIN = "Give --token-file, or set KF_PIPELINES_SA_TOKEN_PATH to a token that the server accepts."
#: Kubeflow's own nodes among a run's tasks: the run, drivers, and the part of each task that runs its container.
_NO_TASKS = ("root", EXECUTOR)
_DRIVER = "-driver"


@dataclass(frozen=True)
class Server:
    """Where Kubeflow Pipelines answers, and who asks.

    Attributes:
        host: Address, such as ``http://localhost:8080``.
        token_file: File that holds a bearer token.
        namespace: Of experiments and runs, where several people share the server.
        ca_file: Certificate authority of the server.
    """

    host: str
    token_file: Path | None = None
    namespace: str | None = None
    ca_file: Path | None = None

    @property
    def address(self) -> str:
        """The host as an address; what names no scheme is a forwarded port."""
        return (self.host if is_address(self.host) else f"http://{self.host}").rstrip("/")


@dataclass(frozen=True)
class TaskState:
    """One task of a run; ``state`` is Kubeflow's, None where it has none yet; ``node_ids`` are of its containers, one per try."""

    name: str
    state: str | None
    seconds: float
    node_ids: tuple[str, ...] = ()


@dataclass(frozen=True)
class RunState:
    """A run as the server sees it."""

    run_id: str
    name: str
    state: str | None
    created: datetime | None
    error: str = ""
    schedule_id: str | None = None
    tasks: tuple[TaskState, ...] = ()

    @property
    def is_finished(self) -> bool:
        return self.state in FINISHED


@dataclass(frozen=True)
class ScheduleState:
    """A schedule as the server lists it."""

    schedule_id: str
    name: str
    cron: str
    is_enabled: bool
    pipeline_id: str
    updated: datetime | None = None
    parameters: dict[str, str] = field(default_factory=dict)
    service_account: str | None = None


class Client:
    """Asks one server."""

    def __init__(self, server: Server) -> None:
        """Opens nothing yet.

        Raises:
            SurroundingsError: The library is not installed.
            ConfigError: The token's file, or the certificate authority's, cannot be read.
        """
        try:
            import kfp_server_api
        except ImportError as error:
            raise SurroundingsError(
                "Kubeflow needs a library that is not installed. pip install 'edgeproof[kubeflow]'."
            ) from error
        self._api = kfp_server_api
        self._server = server
        configuration = kfp_server_api.Configuration(host=server.address)
        if server.ca_file is not None:
            if not server.ca_file.is_file():
                raise ConfigError(f"the certificate authority {server.ca_file} is no file.")
            configuration.ssl_ca_cert = str(server.ca_file)
        configuration.retries = False
        self._connection = kfp_server_api.ApiClient(configuration)
        rest = self._connection.rest_client
        rest.request = _with_timeout(rest.request)
        self._log_in()

    def _log_in(self) -> None:
        token = _token(self._server.token_file)
        if token:
            self._connection.set_default_header("Authorization", f"Bearer {token}")

    def check(self) -> str:
        """One sentence about the server.

        Raises:
            SurroundingsError: It does not answer.
            ConfigError: It needs a namespace, and none is given.
        """
        ask = self._api.HealthzServiceApi(self._connection).healthz_service_get_healthz
        health = self._ask_again(ask, _SECONDS_BETWEEN_TRIES, is_first_contact=True)
        if health.multi_user and not self._server.namespace:
            raise ConfigError(
                f"{self._server.host} is shared by several people: give kubeflow.namespace, or --namespace."
            )
        return f"Kubeflow Pipelines at {self._server.host}"

    def upload(self, name: str, text: str, version: str) -> str:
        """Uploads a pipeline, or a new version of it; the same version again changes nothing.

        Returns:
            The pipeline's id.
        """
        service = self._api.PipelineUploadServiceApi(self._connection)
        with tempfile.TemporaryDirectory() as directory:
            file = Path(directory) / f"{name}.yaml"
            file.write_text(text, encoding="utf-8")
            pipeline_id = self.find_pipeline(name)
            if pipeline_id is None:
                namespace = {"namespace": self._server.namespace} if self._server.namespace else {}
                made = self._ask(
                    lambda: service.upload_pipeline(str(file), name=name, **namespace), is_repeatable=False
                )
                return str(made.pipeline_id)
            if version not in self._versions(pipeline_id):
                self._ask(
                    lambda: service.upload_pipeline_version(str(file), name=version, pipelineid=pipeline_id),
                    is_repeatable=False,
                )
            return pipeline_id

    def find_pipeline(self, name: str) -> str | None:
        """The id of the pipeline of a name."""
        service = self._api.PipelineServiceApi(self._connection)
        options = {"namespace": self._server.namespace} if self._server.namespace else {}
        pages = self._pages(service.pipeline_service_list_pipelines, "pipelines", filter=_named(name), **options)
        return next((str(pipeline.pipeline_id) for pipeline in pages if pipeline.display_name == name), None)

    def _versions(self, pipeline_id: str) -> list[str]:
        service = self._api.PipelineServiceApi(self._connection)
        pages = self._pages(service.pipeline_service_list_pipeline_versions, "pipeline_versions", pipeline_id)
        return [str(version.display_name) for version in pages]

    def find_experiment(self, name: str) -> str | None:
        """The id of the experiment of a name."""
        service = self._api.ExperimentServiceApi(self._connection)
        options = {"namespace": self._server.namespace} if self._server.namespace else {}
        pages = self._pages(service.experiment_service_list_experiments, "experiments", filter=_named(name), **options)
        return next((str(experiment.experiment_id) for experiment in pages if experiment.display_name == name), None)

    def experiment(self, name: str) -> str:
        """The id of the experiment of a name, which is made where it is not there."""
        experiment_id = self.find_experiment(name)
        if experiment_id is not None:
            return experiment_id
        service = self._api.ExperimentServiceApi(self._connection)
        asked = self._api.V2beta1Experiment(display_name=name, namespace=self._server.namespace)
        made = self._ask(lambda: service.experiment_service_create_experiment(asked), is_repeatable=False)
        return str(made.experiment_id)

    def start(
        self,
        pipeline_id: str,
        experiment_id: str,
        name: str,
        parameters: dict[str, str],
        service_account: str | None = None,
    ) -> RunState:
        """Starts a run of the newest version, once per name: a trigger that fires again finds the run that it started."""
        running = next((run for run in self.runs(experiment_id, name) if run.name == name), None)
        if running is not None:
            return running
        asked = self._api.V2beta1Run(
            display_name=name,
            experiment_id=experiment_id,
            pipeline_version_reference=self._api.V2beta1PipelineVersionReference(pipeline_id=pipeline_id),
            runtime_config=self._api.V2beta1RuntimeConfig(parameters=parameters),
            service_account=service_account,
        )
        service = self._api.RunServiceApi(self._connection)
        try:
            return _run(self._ask(lambda: service.run_service_create_run(asked), is_repeatable=False))
        except SurroundingsError:
            # It may have been made before the answer was lost.
            made = next((run for run in self.runs(experiment_id, name) if run.name == name), None)
            if made is None:
                raise
            return made

    def run(self, run_id: str) -> RunState:
        """A run and its tasks."""
        service = self._api.RunServiceApi(self._connection)
        return _run(self._ask(lambda: service.run_service_get_run(run_id)))

    def runs(self, experiment_id: str, name: str | None = None) -> list[RunState]:
        """Runs of an experiment, newest first; those of a name, where it is given."""
        service = self._api.RunServiceApi(self._connection)
        options = {"filter": _named(name)} if name else {}
        pages = self._pages(
            service.run_service_list_runs, "runs", experiment_id=experiment_id, sort_by="created_at desc", **options
        )
        return [_run(run) for run in pages]

    def log(self, run_id: str, task: TaskState) -> str | None:
        """What the newest pod of a task printed so far; None where it has none, or none is kept.

        The server reads a pod that is there, and else what Argo archived of it.
        """
        for node_id in reversed(task.node_ids):
            for pod in pod_names(task.name, node_id):
                text = self._ask(lambda pod=pod: self._pod_log(run_id, pod))  # type: ignore[misc]
                if text is not None:
                    return str(text)
        return None

    def _pod_log(self, run_id: str, pod: str) -> str | None:
        """The API server begins with 200 and then notices that there is no such pod, so its error is the text."""
        text = self._text(f"/apis/v1alpha1/runs/{run_id}/nodes/{pod}/log")
        if text is not None and text.lstrip()[:9].lower() != "<!doctype":
            return None if _is_log_error(text) else text
        # The host is the server of Kubeflow's pages, which hands the API's questions on, but has a way of its own to logs.
        namespace = {"podnamespace": self._server.namespace} if self._server.namespace else {}
        return self._text(f"/k8s/pod/logs?{urlencode({'podname': pod, 'runid': run_id, **namespace})}", (404, 500))

    def _text(self, path: str, absent: tuple[int, ...] = (404,)) -> str | None:
        """What is at a path that the client library does not know; None where the server says so by a status."""
        address, headers = f"{self._server.address}{path}", dict(self._connection.default_headers)
        try:
            answer = self._connection.rest_client.GET(address, headers=headers, _preload_content=False)
        except self._api.ApiException as error:
            if error.status in absent:
                return None
            raise
        return str(answer.data.decode("utf-8", "replace"))

    def schedules(self, experiment_id: str) -> list[ScheduleState]:
        """Schedules of an experiment."""
        service = self._api.RecurringRunServiceApi(self._connection)
        pages = self._pages(
            service.recurring_run_service_list_recurring_runs, "recurring_runs", experiment_id=experiment_id
        )
        return [_schedule(schedule) for schedule in pages]

    def schedule(
        self,
        pipeline_id: str,
        experiment_id: str,
        name: str,
        cron: str,
        parameters: dict[str, str],
        service_account: str | None = None,
    ) -> ScheduleState:
        """Makes the schedule of a name what it should be: one that is so already stays, any other of that name goes.

        It starts the newest version of the pipeline, one run at a time, and does not catch up on what it missed.
        """
        wanted = (cron, True, pipeline_id, parameters)
        kept: ScheduleState | None = None
        for schedule in self.schedules(experiment_id):
            if schedule.name != name:
                continue
            is_so = (schedule.cron, schedule.is_enabled, schedule.pipeline_id, schedule.parameters) == wanted
            is_so = is_so and service_account in (None, schedule.service_account)
            if is_so and kept is None:
                kept = schedule
            else:
                self.unschedule(schedule.schedule_id)
        return kept or self._make_schedule(pipeline_id, experiment_id, name, cron, parameters, service_account)

    def _make_schedule(
        self,
        pipeline_id: str,
        experiment_id: str,
        name: str,
        cron: str,
        parameters: dict[str, str],
        service_account: str | None,
    ) -> ScheduleState:
        asked = self._api.V2beta1RecurringRun(
            display_name=name,
            experiment_id=experiment_id,
            pipeline_version_reference=self._api.V2beta1PipelineVersionReference(pipeline_id=pipeline_id),
            runtime_config=self._api.V2beta1RuntimeConfig(parameters=parameters),
            trigger=self._api.V2beta1Trigger(cron_schedule=self._api.V2beta1CronSchedule(cron=cron)),
            mode=self._api.RecurringRunMode.ENABLE,
            max_concurrency="1",
            no_catchup=True,
            service_account=service_account,
        )
        service = self._api.RecurringRunServiceApi(self._connection)
        made = self._ask(lambda: service.recurring_run_service_create_recurring_run(asked), is_repeatable=False)
        return _schedule(made)

    def unschedule(self, schedule_id: str) -> None:
        """Removes a schedule; its runs stay."""
        service = self._api.RecurringRunServiceApi(self._connection)
        self._ask(lambda: service.recurring_run_service_delete_recurring_run(schedule_id))

    def _pages(self, list_page: Callable[..., Any], what: str, *arguments: Any, **options: Any) -> Iterator[Any]:
        token = ""
        while True:
            asked = {**options, "page_size": _PAGE_SIZE, **({"page_token": token} if token else {})}
            page = self._ask(lambda asked=asked: list_page(*arguments, **asked))  # type: ignore[misc]
            yield from getattr(page, what) or []
            token = page.next_page_token or ""
            if not token:
                return

    def _ask(self, question: Callable[[], T], *, is_repeatable: bool = True) -> T:
        return self._ask_again(question, _SECONDS_BETWEEN_TRIES if is_repeatable else ())

    def _ask_again(self, question: Callable[[], T], waits: tuple[float, ...], *, is_first_contact: bool = False) -> T:
        """Asks until there is an answer; an address at which nobody has answered yet is told to be wrong at once."""
        import urllib3

        self._log_in()
        for wait in (*waits, None):
            try:
                return question()
            except self._api.ApiException as error:
                if wait is None or error.status not in _PASSING:
                    raise self._explained(error) from error
            except AttributeError as error:
                # Where TLS fails, the client library stumbles over its own error, which has no body.
                if not isinstance(error.__context__, self._api.ApiException):
                    raise
                raise self._explained(error.__context__) from error
            except urllib3.exceptions.HTTPError as error:
                if wait is None or is_first_contact:
                    raise SurroundingsError(
                        f"Kubeflow Pipelines at {self._server.host} does not answer: {_reason(error)}. Check --host, and whether "
                        "the port is forwarded: kubectl port-forward -n kubeflow svc/ml-pipeline 8888:8888"
                    ) from error
            time.sleep(wait)
        raise AssertionError("the last try returns or raises")

    def _explained(self, error: Any) -> Exception:
        message = _message(error)
        where = f"Kubeflow Pipelines at {self._server.host}"
        if not error.status:  # the client library's word for a connection that TLS refuses
            return SurroundingsError(
                f"{where} is not spoken to, because TLS fails: {_first_line(error.reason)}. Give --ca-file, or check whether --host begins "
                "with http:// or https://."
            )
        if error.status in (401, 403):
            return SurroundingsError(f"{where} refuses this login ({error.status}): {message}. {_LOGIN}")
        if error.status in _PASSING:
            return SurroundingsError(f"{where} answers {error.status}: {message}. Try again later.")
        if error.status in (400, 404, 409, 422):
            return ConfigError(f"{where} refuses what was asked ({error.status}): {message}.")
        return RunError(f"{where} answers {error.status}: {message}.")


def _with_timeout(request: Callable[..., T]) -> Callable[..., T]:
    """The client library waits for ever, unless every question says otherwise."""

    def within_time(*arguments: Any, **options: Any) -> T:
        return request(*arguments, **{**options, "_request_timeout": _TIMEOUT_SECONDS})

    return within_time


def _token(file: Path | None) -> str | None:
    if file is None:
        return None
    try:
        return file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the token's file {file} cannot be read: {error}.") from error


def _named(name: str) -> str:
    """Kubeflow's filter for one display name."""
    return json.dumps({"predicates": [{"operation": "EQUALS", "key": "display_name", "stringValue": name}]})


def _message(error: Any) -> str:
    """The server's own sentence: gRPC's shape has ``message``, uploads have ``error_message`` and a stack trace."""
    try:
        body = json.loads(error.body)
    except (TypeError, ValueError):
        text = (
            error.body.decode(errors="replace")
            if isinstance(error.body, bytes)
            else str(error.body or error.reason or "")
        )
        return " ".join(re.sub(r"<[^>]*>", " ", text).split())[:300] or "no message"
    message = str(body.get("message") or body.get("error_message") or body.get("error") or body)
    details = str(body.get("error_details") or "").partition("\n")[0]
    return (details if details.startswith(message) else message).rstrip(".")[:500]


def _first_line(text: Any) -> str:
    return " ".join(str(text).split())[:200]


def _reason(error: BaseException) -> str:
    while getattr(error, "reason", None) is not None and isinstance(error.reason, BaseException):  # type: ignore[attr-defined]
        error = error.reason  # type: ignore[attr-defined]
    return " ".join(str(error).split())[:200]


def _run(run: Any) -> RunState:
    details = run.run_details.task_details if run.run_details is not None else None
    return RunState(
        run_id=str(run.run_id),
        name=str(run.display_name),
        state=run.state,
        created=run.created_at,
        error=_error_of(run.error),
        schedule_id=run.recurring_run_id,
        tasks=tuple(_tasks(details or [])),
    )


def _tasks(details: list[Any]) -> Iterator[TaskState]:
    """The tasks in the order of starting: Kubeflow lists a task again for each try, and as tasks what it is made of and the run itself."""
    names = {str(task.display_name) for task in details}
    ids = {str(child.pod_name) for task in details for child in task.child_tasks or () if child.pod_name}
    executors = executor_ids(names, ids)
    newest: dict[str, Any] = {}
    for task in sorted(details, key=lambda task: task.start_time or task.create_time):
        newest[without_try(str(task.display_name))] = task
    for name, task in newest.items():
        if name not in (*_NO_TASKS, workflow_of(ids)) and not name.endswith(_DRIVER):
            yield TaskState(name, task.state, _seconds(task), executors.get(name, ()))


def _is_log_error(text: str) -> bool:
    if not text.startswith("{"):
        return False
    try:
        return "error_message" in json.loads(text)
    except ValueError:
        return False


def _seconds(task: Any) -> float:
    """An end of before the start is Kubeflow's "not yet"."""
    if task.start_time is None or task.end_time is None or task.end_time < task.start_time:
        return 0.0
    return float((task.end_time - task.start_time).total_seconds())


def _error_of(error: Any) -> str:
    return "" if error is None else str(getattr(error, "message", None) or error)


def _schedule(schedule: Any) -> ScheduleState:
    trigger = schedule.trigger
    cron = trigger.cron_schedule.cron if trigger is not None and trigger.cron_schedule is not None else ""
    reference = schedule.pipeline_version_reference
    is_latest = reference is not None and not reference.pipeline_version_id
    parameters = (schedule.runtime_config.parameters if schedule.runtime_config is not None else None) or {}
    return ScheduleState(
        schedule_id=str(schedule.recurring_run_id),
        name=str(schedule.display_name),
        cron=str(cron),
        is_enabled=schedule.status == "ENABLED",
        pipeline_id=str(reference.pipeline_id) if is_latest else "",
        updated=schedule.updated_at,
        parameters={str(name): str(value) for name, value in parameters.items()},
        service_account=schedule.service_account,
    )
