"""The one reader of ML Metadata: runs, their nodes, and the artifacts that these read and wrote, whatever keeps them.

A store is a SQLite file, MySQL, PostgreSQL or a server that speaks gRPC (Kubeflow's own, for one). Several pipelines may share it. What a
person asks for after a run is made of these records and of nothing else. ``ml_metadata`` loads with the first store that is opened.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field

from pipeline.errors import ConfigError, RunError
from pipeline.mlmd_backslashes import keep_backslashes

#: How a node may have ended well; anything else stopped the run.
DONE_STATES = ("complete", "cached")
#: TFX's names for what an execution belongs to.
_RUN, _NODE = "pipeline_run", "node"
_PURPOSE = ("reason", "trigger_key", "schedule_time", "data_span")
_SOURCE = ("git_commit", "config", "files")
_SCHEMES = ("sqlite", "mysql", "postgresql", "grpc")
#: Up to so many nodes, each is asked for its name; the nodes of all runs are cheaper to ask for once.
_FEW = 32
#: A store that does not answer is asked again after 0.2 to 0.4 s, then twice as long, 10 s in all.
_NUM_TRIES = 6
_WAIT_SECONDS = 0.2
_DEFAULT_PORTS = {"mysql": 3306, "postgresql": 5432, "grpc": 8080}


@dataclass(frozen=True)
class MetadataLocation:
    """Where ML Metadata is kept.

    Attributes:
        url: ``sqlite:///absolute/file``, ``mysql://user@host:3306/database``, ``postgresql://user@host:5432/database`` or ``grpc://host:8080``.
        password: Of the database's user; never part of the address, which is printed.
    """

    url: str
    password: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        is_complete = parts.path.strip("/") if parts.scheme == "sqlite" else parts.hostname
        needs_database = parts.scheme in ("mysql", "postgresql")
        if parts.scheme not in _SCHEMES or not is_complete or (needs_database and not parts.path.strip("/")):
            raise ConfigError(
                f"{self.url!r} is no address of ML Metadata. Write sqlite:///file, mysql://user@host:3306/database, "
                "postgresql://user@host:5432/database or grpc://host:8080."
            )
        if parts.password:
            raise ConfigError(
                f"the address of ML Metadata at {parts.hostname} holds a password, which would be printed. Give it as "
                "EDGEPROOF_METADATA_PASSWORD."
            )

    @classmethod
    def of_file(cls, file: Path) -> MetadataLocation:
        """SQLite in a file of this machine."""
        return cls(f"sqlite://{quote(str(file.absolute()))}")

    def connection(self, *, is_read_only: bool = False) -> Any:
        """The connection as TFX and ``ml_metadata`` take it: a ``ConnectionConfig``, or a ``MetadataStoreClientConfig`` for gRPC."""
        from ml_metadata.proto import metadata_store_pb2 as proto

        parts = urlsplit(self.url)
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme, 0)
        if parts.scheme == "grpc":
            return proto.MetadataStoreClientConfig(host=parts.hostname, port=port)
        connection = proto.ConnectionConfig()
        if parts.scheme == "sqlite":
            modes = proto.SqliteMetadataSourceConfig
            connection.sqlite.filename_uri = unquote(parts.path)
            connection.sqlite.connection_mode = modes.READONLY if is_read_only else modes.READWRITE_OPENCREATE
            return connection
        database, user = parts.path.strip("/"), unquote(parts.username or "")
        if parts.scheme == "mysql":
            connection.mysql.MergeFrom(
                proto.MySQLDatabaseConfig(
                    host=parts.hostname, port=port, database=database, user=user, password=self.password
                )
            )
            return connection
        keep_backslashes()
        connection.postgresql.MergeFrom(
            proto.PostgreSQLDatabaseConfig(
                host=parts.hostname, port=str(port), dbname=database, user=user, password=self.password
            )
        )
        return connection


@dataclass(frozen=True)
class RunPurpose:
    """Why a run was started.

    Attributes:
        reason: For people.
        trigger_key: Of the trigger that started it: one that fires twice for one thing starts one run.
        schedule_time: When the schedule fired, as an ISO time.
        data_span: Of the data that it is run for; where nobody named one, the span that was read.
    """

    reason: str
    trigger_key: str = ""
    schedule_time: str = ""
    data_span: str = ""


@dataclass(frozen=True)
class RunSource:
    """From what a run was started; empty where that was not kept: in a pod, or by versions of before.

    Attributes:
        git_commit: Of the project, as :attr:`pipeline.running.sources.CHANGED` says where files differed from it.
        config: The whole config, defaults and overrides in, as JSON.
        files: The model's own source files, as JSON: path -> digest.
    """

    git_commit: str = ""
    config: str = ""
    files: str = ""


@dataclass(frozen=True)
class Artifact:
    """One artifact; ``properties`` are its own and the type's, its own first."""

    id: int
    type: str
    uri: str
    properties: Mapping[str, Any]


class NodeRun(BaseModel):
    """One node of a run: how it ended (MLMD's state in lower case), how long it took, its artifacts, and its settings by dotted key."""

    model_config = ConfigDict(frozen=True)

    name: str
    state: str
    seconds: float
    settings: Mapping[str, str] = Field(default_factory=dict, exclude=True)
    inputs: tuple[Artifact, ...] = Field(default=(), exclude=True)
    outputs: tuple[Artifact, ...] = Field(default=(), exclude=True)

    @property
    def is_done(self) -> bool:
        return self.state in DONE_STATES

    def input(self, type_name: str) -> Artifact:
        """Its first input of a type."""
        return next(artifact for artifact in self.inputs if artifact.type == type_name)

    def output(self, type_name: str) -> Artifact:
        """Its first output of a type; a cached node's is of the run that made it."""
        return next(artifact for artifact in self.outputs if artifact.type == type_name)


@dataclass(frozen=True)
class Run:
    """One run of a pipeline.

    Attributes:
        run_id: As the runner named it.
        pipeline: Name of the pipeline; empty where no node was started.
        started: In UTC.
        purpose: None where it was not kept.
        source: From what it was started.
        nodes: In the order of starting.
    """

    run_id: str
    pipeline: str
    started: datetime
    purpose: RunPurpose | None
    nodes: tuple[NodeRun, ...]
    source: RunSource = RunSource()

    @property
    def unfinished(self) -> NodeRun | None:
        """The first node that is not done."""
        return next((node for node in self.nodes if not node.is_done), None)

    @property
    def state(self) -> str:
        """``complete``, ``empty``, or how and where it ended otherwise, such as ``failed at Trainer``."""
        if self.unfinished is not None:
            return f"{self.unfinished.state} at {self.unfinished.name}"
        return "complete" if self.nodes else "empty"

    def node(self, name: str) -> NodeRun | None:
        """The node of a name."""
        return next((node for node in self.nodes if node.name == name), None)


class RunStore:
    """Reads runs, and notes why one was started."""

    def __init__(self, location: MetadataLocation, *, is_read_only: bool = False) -> None:
        """Remembers where; nothing is opened yet."""
        self._location = location
        self._is_read_only = is_read_only

    def runs(self, pipeline: str | None = None) -> tuple[Run, ...]:
        """All runs, oldest first; of one pipeline, where it is named.

        Raises:
            RunError: The store does not answer.
        """
        runs = self._read(sorted(self._contexts(_RUN), key=lambda context: int(context.id)))
        return tuple(run for run in runs if pipeline in (None, run.pipeline))

    def run(self, run_id: str) -> Run | None:
        """The run of an id, or None.

        Raises:
            RunError: The store does not answer.
        """
        return next(iter(self._read([context for context in self._contexts(_RUN) if context.name == run_id])), None)

    def prepare(self) -> int:
        """Makes the tables where there are none; returns how many runs are recorded.

        Raises:
            RunError: The store does not answer.
        """
        return len(self._contexts(_RUN))

    def begin(self, run_id: str, purpose: RunPurpose, source: RunSource | None = None) -> None:
        """Notes that a run starts, why and from what; where that is noted already, nothing changes."""
        from ml_metadata.errors import AlreadyExistsError
        from ml_metadata.proto import metadata_store_pb2 as proto

        store = self._store
        context = proto.Context(type_id=store.put_context_type(proto.ContextType(name=_RUN)), name=run_id)
        for name, value in {**vars(purpose), **vars(source or RunSource())}.items():
            if value:
                context.custom_properties[name].string_value = value
        try:
            store.put_contexts([context])
        except AlreadyExistsError:
            return

    def note_data_span(self, run_id: str, span: str) -> None:
        """Notes which span a run read, where nobody said before which it is for."""
        for context in self._contexts(_RUN):
            if context.name == run_id and not context.custom_properties["data_span"].string_value:
                context.custom_properties["data_span"].string_value = span
                self._store.put_contexts([context])

    def fail_running(self, run_id: str, node: str | None = None) -> None:
        """Records what is running of a run (of one of its nodes, where it is named) as failed: whoever ran it was stopped."""
        self._end_running(run_id, node, "FAILED")

    def interrupt_running(self, run_id: str) -> None:
        """Records what is running of a run as canceled: a person stopped it."""
        self._end_running(run_id, None, "CANCELED")

    def _end_running(self, run_id: str, node: str | None, state: str) -> None:
        from ml_metadata.proto import metadata_store_pb2 as proto

        for context in self._contexts(_RUN):
            if context.name != run_id:
                continue
            executions = self._store.get_executions_by_context(context.id)
            running = [execution for execution in executions if execution.last_known_state == proto.Execution.RUNNING]
            names = self._node_names({execution.id for execution in running})
            running = [execution for execution in running if node in (None, names[execution.id].partition(".")[2])]
            for execution in running:
                execution.last_known_state = proto.Execution.State.Value(state)
            if running:
                self._store.put_executions(running)

    @cached_property
    def _store(self) -> Any:
        return open_store(self._location, is_read_only=self._is_read_only)

    def _contexts(self, type_name: str) -> list[Any]:
        return list(self._store.get_contexts_by_type(type_name))

    def _read(self, contexts: Sequence[Any]) -> tuple[Run, ...]:
        executions = {
            context.id: sorted(
                self._store.get_executions_by_context(context.id), key=lambda execution: int(execution.id)
            )
            for context in contexts
        }
        names = self._node_names({execution.id for those in executions.values() for execution in those})
        artifacts = self._artifacts(sorted(names))
        return tuple(_run(context, executions[context.id], names, artifacts) for context in contexts)

    def _node_names(self, execution_ids: set[int]) -> dict[int, str]:
        """Execution -> ``<pipeline>.<node>``, which TFX calls the node's context."""
        if len(execution_ids) <= _FEW:
            contexts = {number: self._store.get_contexts_by_execution(number) for number in execution_ids}
            named = {
                number: [context.name for context in those if context.type == _NODE]
                for number, those in contexts.items()
            }
            return {number: names[0] if names else "." for number, names in named.items()}
        nodes = {
            int(execution.id): str(context.name)
            for context in self._contexts(_NODE)
            for execution in self._store.get_executions_by_context(context.id)
        }
        return {number: nodes.get(number, ".") for number in execution_ids}

    def _artifacts(self, execution_ids: Sequence[int]) -> dict[tuple[int, bool], list[Artifact]]:
        """Execution, and whether it wrote them -> artifacts by their number."""
        from ml_metadata.proto import metadata_store_pb2 as proto

        events = self._store.get_events_by_execution_ids(execution_ids) if execution_ids else []
        ids = sorted({int(event.artifact_id) for event in events})
        read = {int(artifact.id): _artifact(artifact) for artifact in self._store.get_artifacts_by_id(ids)}
        kinds = {proto.Event.INPUT: False, proto.Event.OUTPUT: True}
        artifacts: dict[tuple[int, bool], list[Artifact]] = {}
        for event in sorted(events, key=lambda event: int(event.artifact_id)):
            if event.type in kinds and event.artifact_id in read:
                artifacts.setdefault((event.execution_id, kinds[event.type]), []).append(read[event.artifact_id])
        return artifacts


def open_store(location: MetadataLocation, *, is_read_only: bool = False) -> Any:
    """Opens a store; a new one gets its tables. Clients that come first at once are tried again: each makes the same tables.

    Raises:
        RunError: It does not answer.
    """
    from ml_metadata import errors
    from ml_metadata.metadata_store.metadata_store import MetadataStore

    connection = location.connection(is_read_only=is_read_only)
    for attempt in range(_NUM_TRIES):
        try:
            store = MetadataStore(connection)
            store.get_context_types()  # gRPC connects with the first question
            return store
        except (RuntimeError, errors.StatusError) as error:
            if attempt == _NUM_TRIES - 1:
                raise RunError(
                    f"ML Metadata at {location.url} does not answer: {_first_line(error)}. Check the address, the user and the "
                    "password (EDGEPROOF_METADATA_PASSWORD)."
                ) from error
            time.sleep(_WAIT_SECONDS * 2**attempt * (1 + random.random()))
    raise AssertionError("the last try returns or raises")


def flattened(settings: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, str]]:
    """Dotted keys; a string that holds a JSON object is opened, however deep."""
    for name, value in settings:
        opened = _opened(value)
        if isinstance(opened, dict):
            yield from ((f"{name}.{key}", text) for key, text in flattened(opened.items()))
        else:
            yield name, value if isinstance(value, str) else json.dumps(value)


def _opened(value: Any) -> Any:
    if not isinstance(value, str) or not value.lstrip().startswith("{"):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def _run(
    context: Any,
    executions: Sequence[Any],
    names: Mapping[int, str],
    artifacts: Mapping[tuple[int, bool], list[Artifact]],
) -> Run:
    properties = _properties(context)
    purpose = {key: str(properties.get(key) or "") for key in _PURPOSE}
    return Run(
        run_id=str(context.name),
        pipeline=names[executions[0].id].partition(".")[0] if executions else "",
        started=datetime.fromtimestamp(context.create_time_since_epoch / 1000, timezone.utc),
        purpose=RunPurpose(**purpose) if any(purpose.values()) else None,
        nodes=tuple(_node(execution, names[execution.id], artifacts) for execution in executions),
        source=RunSource(**{key: str(properties.get(key) or "") for key in _SOURCE}),
    )


def _node(execution: Any, name: str, artifacts: Mapping[tuple[int, bool], list[Artifact]]) -> NodeRun:
    from ml_metadata.proto import metadata_store_pb2 as proto

    milliseconds = execution.last_update_time_since_epoch - execution.create_time_since_epoch
    return NodeRun(
        name=name.partition(".")[2] or str(execution.type),
        state=proto.Execution.State.Name(execution.last_known_state).lower(),
        seconds=round(milliseconds / 1000, 1),
        settings=dict(sorted(flattened(_properties(execution).items()))),
        inputs=tuple(artifacts.get((execution.id, False), ())),
        outputs=tuple(artifacts.get((execution.id, True), ())),
    )


def _artifact(artifact: Any) -> Artifact:
    return Artifact(int(artifact.id), str(artifact.type), str(artifact.uri), _properties(artifact))


def _properties(record: Any) -> dict[str, Any]:
    return {name: _value(value) for name, value in [*record.properties.items(), *record.custom_properties.items()]}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    return getattr(value, kind) if kind in ("string_value", "int_value", "double_value") else None


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:300].rstrip(
        "."
    )
