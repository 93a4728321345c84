"""Runs a pipeline on this machine, node by node, and tells the truth about how it ended.

A run is done only when ML Metadata says so of every node: TFX's launcher returns normally where a node's inputs cannot be resolved.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from edgeproof_edge.errors import EdgeproofError
from edgeproof_edge.progress import progress

from components.artifacts import join, local_copy
from components.compat import skip_autograph_conversion
from components.data.data_summary import split_sizes
from components.evaluator.page.run_facts import JUDGED_AT, JUDGED_BY, data_text
from components.evaluator.report.gate_report import REPORT_FILE, read_report
from components.tflite_converter.report import REPORT_FILE as CONVERSION_REPORT_FILE
from pipeline.config import PipelineConfig
from pipeline.dag import build_pipeline
from pipeline.errors import RunError
from pipeline.history.run_record import BY_HAND, NodeUsage, ReleaseRecord, RunRecord
from pipeline.mlmd import Artifact, NodeRun, Run, RunPurpose, RunSource, RunStore
from pipeline.place import Place, local_place
from pipeline.running import launching
from pipeline.running.failures import explained
from pipeline.running.sources import source_of
from pipeline.running.usage import measured
from pipeline.running.world import DataPlace

#: The purpose of a run that nobody gave another.
FOR_A_PERSON = RunPurpose(BY_HAND)


def execute(
    config: PipelineConfig,
    log_file: Path,
    purpose: RunPurpose = FOR_A_PERSON,
    place: Place | None = None,
    fresh: Sequence[str] = (),
) -> RunRecord:
    """Builds and runs the pipeline.

    Args:
        config: A config that passed the preflight.
        log_file: Named where an error needs more than a line.
        purpose: Why it is run; ML Metadata keeps it with the run, however that ends.
        place: Where it runs; by default this machine.
        fresh: Nodes that are not taken from the cache; see :func:`pipeline.running.launching.without_cache`.

    Raises:
        EdgeproofError: A node explained why it cannot go on.
        RunError: A node failed for another reason.
    """
    place = place or local_place(config)
    data = DataPlace(config.data, config.workspace_dir)
    ir = launching.compiled(build_pipeline(config, place))
    launching.without_cache(ir, fresh)
    return execute_compiled(ir, place, data, log_file, purpose, source_of(config))


def execute_compiled(
    ir: Any,
    place: Place,
    data: DataPlace,
    log_file: Path,
    purpose: RunPurpose = FOR_A_PERSON,
    source: RunSource | None = None,
) -> RunRecord:
    """Runs a compiled pipeline once; it may be run again.

    Args:
        ir: The compiled pipeline.
        place: Where it runs.
        data: Where its data is.
        log_file: Named where an error needs more than a line.
        purpose: Why it is run.
        source: From what it is started.

    Raises:
        EdgeproofError: As :func:`execute`.
    """
    run_id = datetime.now().isoformat()
    store = RunStore(place.metadata)
    store.begin(run_id, purpose, source)
    try:
        usage = _launch_all(launching.bound(ir, run_id), place, data, log_file)
    except KeyboardInterrupt:
        store.interrupt_running(run_id)
        raise
    run = store.run(run_id)
    if run is None:
        raise RunError(f"ML Metadata does not know the run {run_id}; the whole story is in {log_file}")
    return record_of(run, log_file, store.prepare()).model_copy(update={"usage": usage})


def _launch_all(ir: Any, place: Place, data: DataPlace, log_file: Path) -> dict[str, NodeUsage]:
    """Runs every node, and says what each cost."""
    nodes, usage = launching.node_ids(ir), {}
    with _surroundings():
        for number, node_id in enumerate(nodes, start=1):
            progress.info("[%d/%d] %s", number, len(nodes), node_id)
            with measured() as meter, _failures_explained(node_id, log_file):
                node = launching.launch(ir, node_id, place.metadata, data)
            if meter.usage is not None:
                usage[node_id] = meter.usage
            if node.state != launching.SKIPPED and not node.is_done:
                raise RunError(
                    f"{node_id} ended as {node.state}, though nothing was raised; the reason is in {log_file}"
                )
    return usage


@contextmanager
def _surroundings() -> Iterator[None]:
    """What TFX's nodes need around them in this process."""
    from absl import logging as absl_logging

    absl_logging.set_verbosity(absl_logging.INFO)
    skip_autograph_conversion()
    arguments, sys.argv = sys.argv, sys.argv[:1]  # TFX's executors parse sys.argv as Beam's flags
    try:
        yield
    finally:
        sys.argv = arguments


@contextmanager
def _failures_explained(node_id: str, log_file: Path) -> Iterator[None]:
    try:
        yield
    except EdgeproofError:
        raise
    except Exception as error:
        raise explained(error, node_id, log_file) from error


def record_of(run: Run, log_file: Path, number: int | None = None) -> RunRecord:
    """What a person asks for after a run that went to its end."""
    evaluator, converter, pusher = (_node(run, name) for name in ("Evaluator", "TFLiteConverter", "Pusher"))
    examples, evaluation = evaluator.input("Examples"), evaluator.output("ModelEvaluation")
    gate_report = join(evaluation.uri, REPORT_FILE)
    with local_copy(gate_report) as file:
        is_accepted = read_report(file).verdict.accepted
    return RunRecord(
        pipeline=run.pipeline,
        run_id=run.run_id,
        reason=run.purpose.reason if run.purpose else BY_HAND,
        nodes=run.nodes,
        is_accepted=is_accepted,
        number=number,
        git_commit=run.source.git_commit,
        judged_by=str(evaluation.properties.get(JUDGED_BY, "")),
        judged_at=str(evaluation.properties.get(JUDGED_AT, "")),
        data=data_text(examples.properties),
        num_examples=split_sizes(examples.properties),
        examples=examples.uri,
        float_model=converter.input("Model").uri,
        gate_report=gate_report,
        conversion_report=join(converter.output("Model").uri, CONVERSION_REPORT_FILE),
        release=_release(pusher.output("PushedModel")),
        log=str(log_file),
    )


def _node(run: Run, name: str) -> NodeRun:
    node = run.node(name)
    if node is None or not node.is_done:
        raise RunError(
            f"{name} of run {run.run_id} is {'missing' if node is None else node.state}, so there is no verdict"
        )
    return node


def _release(pushed: Artifact) -> ReleaseRecord | None:
    if not pushed.properties["pushed"]:
        return None
    return ReleaseRecord(
        version=pushed.properties["pushed_version"],
        path=pushed.uri,
        repository=pushed.properties["pushed_destination"],
        channel=pushed.properties["channel"],
        offered_version=pushed.properties["offered_version"],
    )
