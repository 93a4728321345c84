"""Launches the nodes of a compiled pipeline one by one: the same way in this process and in a pod of its own.

Rules, in order: 1. TFX's launcher returns normally where a node's inputs cannot be resolved, so the record is read after every node. 2. A
node whose predecessor did not run (a condition said no) is skipped, not failed. 3. What the world looks like, and why the run was started,
is read just before the node. 4. A run that nobody started for a span of the data is for the span that it reads.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable, Mapping
from typing import Any

from edgeproof_edge.progress import progress
from tfx.dsl.compiler import compiler, constants
from tfx.orchestration import metadata, pipeline
from tfx.orchestration.local import runner_utils
from tfx.orchestration.portable import launcher, runtime_parameter_utils

from components.pusher.provenance import REASON_VARIABLE, SPAN_VARIABLE, TRIGGER_VARIABLE
from pipeline.data.files import has_spans
from pipeline.errors import ConfigError
from pipeline.mlmd import MetadataLocation, NodeRun, Run, RunPurpose, RunStore
from pipeline.running.world import DataPlace, WorldState, read_states

SKIPPED = "skipped"
#: Stands for all nodes where a node may be named.
EVERY_NODE = "all"


def compiled(dag: pipeline.Pipeline) -> Any:
    """The pipeline as TFX's portable launcher takes it (IR)."""
    return compiler.Compiler().compile(dag)


def bound(ir: Any, run_id: str, parameters: Mapping[str, Any] | None = None) -> Any:
    """A copy for one run, with the run's id and its parameters filled in."""
    for_run = copy.deepcopy(ir)
    values = {constants.PIPELINE_RUN_ID_PARAMETER_NAME: run_id, **(parameters or {})}
    runtime_parameter_utils.substitute_runtime_parameter(for_run, values)
    return for_run


def announce(purpose: RunPurpose) -> None:
    """Tells the nodes of this process why they run: the Pusher writes it into the provenance, and no cache key holds it."""
    os.environ[REASON_VARIABLE] = purpose.reason
    os.environ[TRIGGER_VARIABLE] = purpose.trigger_key
    os.environ[SPAN_VARIABLE] = purpose.data_span


def without_cache(ir: Any, names: Iterable[str]) -> None:
    """Has nodes run although their outputs are at hand; those behind them follow, because their inputs are new.

    Args:
        ir: A compiled pipeline.
        names: Ids of nodes in any case, or :data:`EVERY_NODE`.

    Raises:
        ConfigError: The pipeline has no such node.
    """
    nodes = {node.pipeline_node.node_info.id: node.pipeline_node for node in ir.nodes}
    by_name = {node_id.lower(): node_id for node_id in nodes}
    for name in names:
        if name != EVERY_NODE and name.lower() not in by_name:
            raise ConfigError(
                f"--fresh {name!r} names no step; the steps are {', '.join(nodes)}. Without a name all are run."
            )
        for node_id in nodes if name == EVERY_NODE else (by_name[name.lower()],):
            nodes[node_id].execution_options.caching_options.enable_cache = False


def node_ids(ir: Any) -> tuple[str, ...]:
    """The nodes in the order of running."""
    return tuple(node.pipeline_node.node_info.id for node in ir.nodes)


def launch(ir: Any, node_id: str, location: MetadataLocation, data: DataPlace | None = None) -> NodeRun:
    """Runs one node, or takes it from the cache, or skips it.

    Args:
        ir: A pipeline of :func:`bound`.
        node_id: Which one.
        location: Where it is recorded.
        data: Needed for the node that reads the data.

    Returns:
        How it ended, as it is recorded; ``skipped`` where it was not to run.
    """
    node = next(node.pipeline_node for node in ir.nodes if node.pipeline_node.node_info.id == node_id)
    store, run_id = RunStore(location), ir.runtime_spec.pipeline_run_id.field_value.string_value
    before = store.run(run_id)
    if not _is_due(node, before):
        return NodeRun(name=node_id, state=SKIPPED, seconds=0.0)
    if before is not None and before.purpose is not None:
        announce(before.purpose)
    reads_data = any(
        value.runtime_parameter.name == WorldState.DATA.value for value in node.parameters.parameters.values()
    )
    runtime_parameter_utils.substitute_runtime_parameter(node, read_states(node, data))
    deployment = runner_utils.extract_local_deployment_config(ir)
    launcher.Launcher(
        pipeline_node=node,
        mlmd_connection=metadata.Metadata(location.connection()),
        pipeline_info=ir.pipeline_info,
        pipeline_runtime_spec=ir.runtime_spec,
        executor_spec=runner_utils.extract_executor_spec(deployment, node_id),
        custom_driver_spec=runner_utils.extract_custom_driver_spec(deployment, node_id),
    ).launch()
    run = store.run(run_id)
    recorded = run.node(node_id) if run is not None else None
    if run is not None and recorded is not None and recorded.is_done and reads_data and data is not None:
        _note_span(store, run, str(recorded.output("Examples").properties.get("span", "")), data)
    return recorded or NodeRun(name=node_id, state=SKIPPED, seconds=0.0)


def _note_span(store: RunStore, run: Run, span: str, data: DataPlace) -> None:
    if not has_spans(data.section):
        return
    asked_for = run.purpose.data_span if run.purpose is not None else ""
    if not asked_for:
        store.note_data_span(run.run_id, span)
    elif asked_for != span:
        progress.info("the run is for span %s; span %s is the newest, and it is what was read", asked_for, span)


def _is_due(node: Any, run: Run | None) -> bool:
    """Whether all nodes before it ran."""
    if not node.upstream_nodes:
        return True
    return run is not None and set(node.upstream_nodes) <= {recorded.name for recorded in run.nodes}
