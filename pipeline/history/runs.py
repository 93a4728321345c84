"""Past runs of a workspace: when, why, on which data, with which result, and what differs between two.

A view on what ``pipeline.mlmd`` reads. ML Metadata keeps what artifacts' files may not: a run is listed even where its files were cleared
away. Nothing here imports TensorFlow.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgeproof_edge.addresses import is_address

from components.artifacts import local_path
from components.data.data_summary import split_sizes
from components.errors import DataError
from components.evaluator.page.run_facts import data_text
from components.evaluator.report.gate_report import REPORT_FILE, read_report
from pipeline.errors import ConfigError
from pipeline.history.changes import DATA_KEY, changes
from pipeline.history.run_summary import RunSummary
from pipeline.mlmd import Artifact, MetadataLocation, Run, RunStore, flattened
from pipeline.place import METADATA_FILE
from pipeline.running.local_runner import is_running

#: The node that every run which went to its end has, a refused one, too.
LAST_NODE = "Pusher"


def find_workspaces(directory: Path) -> list[Path]:
    """Workspaces under ``directory/.edgeproof`` that hold runs, by name."""
    return sorted(path.parent for path in (directory / ".edgeproof").glob(f"*/{METADATA_FILE}"))


def read_runs(workspace: Path) -> tuple[RunSummary, ...]:
    """All runs of a workspace, oldest first.

    Raises:
        ConfigError: There are none.
    """
    file = workspace / METADATA_FILE
    if not file.is_file():
        raise ConfigError(f"{workspace} holds no runs. Start one with edgeproof run CONFIG.")
    runs = RunStore(MetadataLocation.of_file(file), is_read_only=True).runs()
    return summarized(runs, is_last_running=is_running(workspace))


def summarized(runs: Sequence[Run], *, is_last_running: bool) -> tuple[RunSummary, ...]:
    """The runs with their figures, numbered, each held against the one before.

    Args:
        runs: Oldest first.
        is_last_running: Whether somebody is still at the last one; an unfinished run that nobody is at was killed.
    """
    summaries: list[RunSummary] = []
    for number, run in enumerate(runs, start=1):
        summary = _summary(run, number)
        if not (number == len(runs) and is_last_running):
            summary = replace(summary, state=summary.state.replace("running at", "killed at"))
        summary = replace(summary, state=summary.state.replace("canceled at", "interrupted at"))
        if summary.state == "complete" and run.node(LAST_NODE) is None:  # it ended between two nodes
            is_running = number == len(runs) and is_last_running
            summary = replace(summary, state=f"{'running' if is_running else 'stopped'} after {run.nodes[-1].name}")
        summaries.append(replace(summary, changed=changes(summary, summaries[-1] if summaries else None)))
    return tuple(summaries)


def find_run(runs: Sequence[RunSummary], wanted: str) -> RunSummary:
    """The run of a number (``3``; ``-1`` is the last), of the beginning of an id, or the first that published a release.

    Raises:
        ConfigError: None, or several.
    """
    if wanted.lstrip("-").isdecimal() and len(wanted) <= 6:
        number = int(wanted) if int(wanted) > 0 else len(runs) + 1 + int(wanted)
        matches = [run for run in runs if run.number == number]
    else:
        published = [run for run in runs if run.release == wanted]
        matches = published[:1] or [run for run in runs if run.run_id.startswith(wanted)]
    if len(matches) == 1:
        return matches[0]
    known = f"runs 1 to {len(runs)}" if runs else "no run"
    raise ConfigError(f"{wanted!r} names {len(matches)} runs; there are {known}. Give a number of edgeproof runs.")


def _summary(run: Run, number: int) -> RunSummary:
    outputs = _outputs(run)
    evaluation, model = outputs.get("ModelEvaluation"), outputs.get("TFLite")
    pushed = outputs.get("PushedModel")
    return RunSummary(
        number=number,
        run_id=run.run_id,
        pipeline=run.pipeline,
        started=run.started,
        state=run.state,
        why=run.purpose.reason if run.purpose else None,
        changed="",
        data=_data(outputs.get("Examples"), evaluation),
        data_fingerprint=_fingerprint(run, outputs.get("Examples")),
        num_examples=_sizes(outputs.get("Examples")),
        git_commit=run.source.git_commit or None,
        recipe=_property(model, "recipe"),
        float_accuracy=_property(evaluation, "float_accuracy"),
        candidate_accuracy=_property(evaluation, "candidate_accuracy"),
        metric=_property(evaluation, "metric"),
        float_error=_error(evaluation, "float"),
        candidate_error=_error(evaluation, "candidate"),
        ratio=_ratio(evaluation),
        verdict=_verdict(outputs.get("ModelBlessing")),
        release=_property(pushed, "pushed_version") if _property(pushed, "pushed") else None,
        size_bytes=_property(model, "size_bytes"),
        model_sha256=_property(model, "sha256"),
        nodes=run.nodes,
        config=_config(run.source.config),
        files=_opened(run.source.files),
        span=data_text(outputs["Examples"].properties) if "Examples" in outputs else "",
        examples=outputs["Examples"].uri if "Examples" in outputs else None,
        evaluation=evaluation.uri if evaluation is not None else None,
        trigger_key=run.purpose.trigger_key if run.purpose else "",
        data_span=run.purpose.data_span if run.purpose else "",
    )


def _config(text: str) -> dict[str, str]:
    """Dotted keys; one that is not given is left out, whether as a value or as a section."""
    return {key: value for key, value in sorted(flattened(_opened(text).items())) if value != "null"}


def _opened(text: str) -> dict[str, Any]:
    return dict(json.loads(text)) if text else {}


def _sizes(examples: Artifact | None) -> dict[str, int]:
    return {} if examples is None else split_sizes(examples.properties)


def _outputs(run: Run) -> dict[str, Artifact]:
    """The run's artifacts by type; the edge model, which shares its type with the float one, as ``TFLite``."""
    written = sorted((artifact for node in run.nodes for artifact in node.outputs), key=lambda artifact: artifact.id)
    return {_kind(artifact): artifact for artifact in written}


def _kind(artifact: Artifact) -> str:
    return "TFLite" if artifact.type == "Model" and _property(artifact, "format") == "tflite" else artifact.type


def _property(artifact: Artifact | None, name: str) -> Any:
    return None if artifact is None else artifact.properties.get(name)


def _data(examples: Artifact | None, evaluation: Artifact | None) -> str:
    text, sizes = "" if examples is None else data_text(examples.properties), _sizes(examples)
    num_examples = _property(evaluation, "num_examples")
    if not sizes and num_examples is not None:
        sizes = {"holdout": num_examples}
    return ", ".join(part for part in (text, *(f"{split} {number:,}" for split, number in sizes.items())) if part)


def _fingerprint(run: Run, examples: Artifact | None) -> str | None:
    """Of contents, which the ExampleGen is given and the cache's key holds; of TFX's own where it is not ours."""
    given = next((node.settings[DATA_KEY] for node in run.nodes if DATA_KEY in node.settings), None)
    given = given or _property(examples, "input_fingerprint")
    return None if given is None else hashlib.sha256(str(given).encode()).hexdigest()[:12]


def _ratio(evaluation: Artifact | None) -> float | None:
    """The gate's own figure where its report still lies there; otherwise from the figures that MLMD keeps."""
    if evaluation is None:
        return None
    reported = _reported_ratio(evaluation.uri)
    if reported is not None:
        return reported
    if _property(evaluation, "metric") is not None:
        of_float, of_candidate = _error(evaluation, "float"), _error(evaluation, "candidate")
    else:
        of_float, of_candidate = _property(evaluation, "float_accuracy"), _property(evaluation, "candidate_accuracy")
    return of_candidate / of_float if of_float and of_candidate is not None else None


def _reported_ratio(uri: str) -> float | None:
    """What a report of this version says; a bucket is not asked for every run of a list."""
    if is_address(uri):
        return None
    try:
        ratio = read_report(local_path(uri) / REPORT_FILE).ratio
    except DataError:
        return None
    return None if ratio is None else float(ratio.decimal)


def _error(evaluation: Artifact | None, of: str) -> float | None:
    """An error in the label's unit; it is kept as text, because MLMD keeps six decimals of a number."""
    text = _property(evaluation, f"{of}_error")
    return None if text is None else float(text)


def _verdict(blessing: Artifact | None) -> str | None:
    blessed = _property(blessing, "blessed")
    return None if blessed is None else "accepted" if blessed == 1 else "refused"
