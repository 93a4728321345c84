"""Runs TFX's LocalDagRunner and tells the truth about how it ended.

The runner returns normally when a node's inputs cannot be resolved: the node is FAILED in MLMD and nothing is raised. So MLMD is read
after every run, and a run is done only when every node is COMPLETE or CACHED.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgeproof_edge.errors import EdgeproofError
from ml_metadata.metadata_store import metadata_store
from ml_metadata.proto import metadata_store_pb2
from tfx.orchestration import pipeline as tfx_pipeline
from tfx.orchestration.local.local_dag_runner import LocalDagRunner

from components.compat import skip_autograph_conversion
from components.evaluator.report.gate_report import read_report
from components.pusher.provenance import REASON_VARIABLE
from pipeline.config import PipelineConfig
from pipeline.console import PROGRESS_LOGGER
from pipeline.dag import build_pipeline, metadata_file
from pipeline.errors import RunError
from pipeline.run_record import BY_HAND, REASON_PROPERTY, NodeRecord, ReleaseRecord, RunRecord

progress = logging.getLogger(PROGRESS_LOGGER)

_DONE_STATES = ("complete", "cached")


def execute(config: PipelineConfig, log_file: Path, reason: str = BY_HAND) -> RunRecord:
    """Builds and runs the pipeline.

    Args:
        config: A config that passed the preflight.
        log_file: Named where an error needs more than a line.
        reason: Why it is run; MLMD keeps it with the run, however that ends.

    Raises:
        EdgeproofError: A node explained why it cannot go on.
        RunError: A node failed for another reason.
    """
    pipeline = build_pipeline(config)
    with _store(config) as store:
        earlier_runs = {context.id for context in store.get_contexts_by_type("pipeline_run")}
    os.environ[REASON_VARIABLE] = reason  # the Pusher writes it into the provenance
    try:
        _launch(pipeline, log_file)
    finally:
        with _store(config) as store:
            _note_reason(store, earlier_runs, reason)
    with _store(config) as store:
        return _read_run(store, earlier_runs, config, log_file).model_copy(update={"reason": reason})


@contextlib.contextmanager
def _store(config: PipelineConfig) -> Iterator[metadata_store.MetadataStore]:
    connection = metadata_store_pb2.ConnectionConfig()
    connection.sqlite.filename_uri = str(metadata_file(config))
    connection.sqlite.connection_mode = metadata_store_pb2.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
    yield metadata_store.MetadataStore(connection)


def _note_reason(store: metadata_store.MetadataStore, earlier_runs: set[int], reason: str) -> None:
    """Writes why a run was started on its context, which TFX made."""
    for context in store.get_contexts_by_type("pipeline_run"):
        if context.id not in earlier_runs:
            context.custom_properties[REASON_PROPERTY].string_value = reason
            store.put_contexts([context])


class _NodeProgress(logging.Handler):
    """Turns the runner's "Component X is running." into "[3/8] X"."""

    def __init__(self, num_nodes: int) -> None:
        super().__init__(logging.INFO)
        self._num_nodes = num_nodes
        self._num_started = 0

    def emit(self, record: logging.LogRecord) -> None:
        words = record.getMessage().split()
        if words[:1] == ["Component"] and words[-2:] == ["is", "running."]:
            self._num_started += 1
            progress.info("[%d/%d] %s", self._num_started, self._num_nodes, words[1])


def _launch(pipeline: tfx_pipeline.Pipeline, log_file: Path) -> None:
    from absl import logging as absl_logging

    absl_logging.set_verbosity(absl_logging.INFO)
    skip_autograph_conversion()
    node_progress = _NodeProgress(len(pipeline.components))
    absl_logging.get_absl_logger().addHandler(node_progress)
    arguments, sys.argv = sys.argv, sys.argv[:1]  # TFX's executors parse sys.argv as Beam's flags
    try:
        LocalDagRunner().run(pipeline)
    except EdgeproofError:
        raise
    except Exception as error:
        logging.exception("the run failed")
        raise RunError(f"{type(error).__name__}: {_first_line(error)}. The whole story is in {log_file}") from error
    finally:
        sys.argv = arguments
        absl_logging.get_absl_logger().removeHandler(node_progress)


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "no message")[:300]


def _read_run(
    store: metadata_store.MetadataStore, earlier_runs: set[int], config: PipelineConfig, log_file: Path
) -> RunRecord:
    """Reads the run that was not there before; raises where a node of it is not done."""
    contexts = [context for context in store.get_contexts_by_type("pipeline_run") if context.id not in earlier_runs]
    if len(contexts) != 1:
        raise RunError(f"{len(contexts)} runs were recorded instead of one; see {log_file}")
    executions = {
        _node_name(store, e): e for e in sorted(store.get_executions_by_context(contexts[0].id), key=lambda e: e.id)
    }
    nodes = tuple(_node_record(name, execution) for name, execution in executions.items())
    for node in nodes:
        if node.state not in _DONE_STATES:
            raise RunError(f"{node.name} ended as {node.state}, though nothing was raised; the reason is in {log_file}")
    gate_report = Path(_output(store, executions["Evaluator"], "ModelEvaluation").uri) / "gate_report.json"
    conversion_report = Path(_output(store, executions["TFLiteConverter"], "Model").uri) / "conversion_report.json"
    return RunRecord(
        pipeline=config.name,
        run_id=contexts[0].name,
        nodes=nodes,
        is_accepted=read_report(gate_report).verdict.accepted,
        examples=_input(store, executions["Evaluator"], "Examples").uri,
        float_model=_input(store, executions["TFLiteConverter"], "Model").uri,
        gate_report=str(gate_report),
        conversion_report=str(conversion_report),
        release=_release(_output(store, executions["Pusher"], "PushedModel")),
        log=str(log_file),
    )


def _node_name(store: metadata_store.MetadataStore, execution: Any) -> str:
    """The node's id; its context is named ``<pipeline>.<node>``."""
    contexts = store.get_contexts_by_execution(execution.id)
    return next(str(context.name).split(".", 1)[1] for context in contexts if context.type == "node")


def _node_record(name: str, execution: Any) -> NodeRecord:
    state = metadata_store_pb2.Execution.State.Name(execution.last_known_state).lower()
    milliseconds = execution.last_update_time_since_epoch - execution.create_time_since_epoch
    return NodeRecord(name=name, state=state, seconds=round(milliseconds / 1000, 1))


def _output(store: metadata_store.MetadataStore, execution: Any, type_name: str) -> Any:
    """The execution's output artifact of a type; a cached execution points to the artifact of the one that made it."""
    return _artifact(store, execution, type_name, metadata_store_pb2.Event.OUTPUT)


def _input(store: metadata_store.MetadataStore, execution: Any, type_name: str) -> Any:
    """The execution's input artifact of a type."""
    return _artifact(store, execution, type_name, metadata_store_pb2.Event.INPUT)


def _artifact(store: metadata_store.MetadataStore, execution: Any, type_name: str, event_type: int) -> Any:
    events = store.get_events_by_execution_ids([execution.id])
    ids = [event.artifact_id for event in events if event.type == event_type]
    return next(artifact for artifact in store.get_artifacts_by_id(ids) if artifact.type == type_name)


def _release(pushed: Any) -> ReleaseRecord | None:
    if not pushed.custom_properties["pushed"].int_value:
        return None
    return ReleaseRecord(
        version=pushed.custom_properties["pushed_version"].string_value,
        path=pushed.uri,
        repository=pushed.custom_properties["pushed_destination"].string_value,
        channel=pushed.custom_properties["channel"].string_value,
        offered_version=pushed.custom_properties["offered_version"].string_value,
    )
