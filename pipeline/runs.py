"""Past runs of a workspace, read from MLMD: when, why, on which data, with which result, and what differs between two.

MLMD keeps what artifacts' files may not: a run is listed even where its files were cleared away. Nothing here imports TensorFlow.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from components.errors import DataError
from components.evaluator.report.gate_report import read_report
from pipeline.errors import ConfigError
from pipeline.local_runner import is_running
from pipeline.run_record import REASON_PROPERTY

#: The SQLite file that TFX records runs in, under a workspace.
METADATA_FILE = "metadata.sqlite"
_DONE_STATES = ("complete", "cached")
#: What TFX looks up while it runs: not on the record of a node that was taken from the cache.
_LOOKED_UP = ("input_fingerprint", "span", "version")
#: Nodes whose settings follow from those of others.
_DERIVED_NODES = ("StatisticsGen", "ImportSchemaGen", "ExampleValidator", "Pusher")
_CHAMPION = "Champion"
#: What a changed setting means to a person, where its name does not say it.
_MEANINGS = {
    "content_sha256": "another model",
    "published_state": "the release directory changed",
    "channel_state": "the champion's channel moved",
}


@dataclass(frozen=True)
class NodeRun:
    """One node of a run: how it ended, how long it took, and its settings, flattened to dotted keys."""

    name: str
    state: str
    seconds: float
    settings: Mapping[str, str]


@dataclass(frozen=True)
class Run:
    """One run; a figure is None where the run did not get that far.

    Attributes:
        number: Counted from 1 in the order of starting.
        run_id: TFX's id.
        pipeline: Name of the pipeline.
        started: In UTC.
        state: ``complete``, or how and where it ended otherwise, such as ``failed at Trainer``.
        why: Why it was started, as whoever started it said; None where that was not kept (killed, or on another machine).
        changed: What differs from the run before.
        data: The data's span and version, and how many examples the holdout holds.
        data_fingerprint: Of the data's files; None where the ExampleGen records none.
        recipe: How the edge model was made.
        float_accuracy: Share of right answers of the float model on the holdout.
        candidate_accuracy: The same for the edge model.
        metric: Which error was compared, of real-valued labels; None where right answers were counted.
        float_error: That error of the float model, in the label's unit.
        candidate_error: The same for the edge model.
        ratio: Of the two accuracies, as the gate compared them; of errors how many times the float model's.
        verdict: ``accepted`` or ``refused``.
        release: Version that was published.
        size_bytes: Of the edge model.
        model_sha256: Of the edge model.
        nodes: In the order of starting.
    """

    number: int
    run_id: str
    pipeline: str
    started: datetime
    state: str
    why: str | None
    changed: str
    data: str
    data_fingerprint: str | None
    recipe: str | None
    float_accuracy: float | None
    candidate_accuracy: float | None
    metric: str | None
    float_error: float | None
    candidate_error: float | None
    ratio: float | None
    verdict: str | None
    release: str | None
    size_bytes: int | None
    model_sha256: str | None
    nodes: tuple[NodeRun, ...]

    def to_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            **vars(self),
            "started": self.started.isoformat(),
            "nodes": [{**vars(node), "settings": dict(node.settings)} for node in self.nodes],
        }


@dataclass(frozen=True)
class Difference:
    """One thing that differs between two runs; None where a run does not have it."""

    what: str
    first: str | None
    second: str | None


def find_workspaces(directory: Path) -> list[Path]:
    """Workspaces under ``directory/.edgeproof`` that hold runs, by name."""
    return sorted(path.parent for path in (directory / ".edgeproof").glob(f"*/{METADATA_FILE}"))


def read_runs(workspace: Path) -> tuple[Run, ...]:
    """All runs of a workspace, oldest first.

    Raises:
        ConfigError: There are none.
    """
    file = workspace / METADATA_FILE
    if not file.is_file():
        raise ConfigError(f"{workspace} holds no runs. Start one with edgeproof run CONFIG.")
    store = _open(file)
    contexts = sorted(store.get_contexts_by_type("pipeline_run"), key=lambda context: context.id)
    runs: list[Run] = []
    for number, context in enumerate(contexts, start=1):
        run = _read_run(store, context, number)
        if not (number == len(contexts) and is_running(workspace)):
            run = replace(run, state=run.state.replace("running at", "killed at"))
        runs.append(replace(run, changed=_changes(run, runs[-1] if runs else None)))
    return tuple(runs)


def find_run(runs: Sequence[Run], wanted: str) -> Run:
    """The run of a number (``3``; ``-1`` is the last), of the beginning of an id, or the first that published a release.

    Raises:
        ConfigError: None, or several.
    """
    if wanted.lstrip("-").isdecimal() and len(wanted) <= 6:
        number = int(wanted) if int(wanted) > 0 else len(runs) + 1 + int(wanted)
        found = [run for run in runs if run.number == number]
    else:
        published = [run for run in runs if run.release == wanted]
        found = published[:1] or [run for run in runs if run.run_id.startswith(wanted)]
    if len(found) == 1:
        return found[0]
    known = f"runs 1 to {len(runs)}" if runs else "no run"
    raise ConfigError(f"{wanted!r} names {len(found)} runs; there are {known}. Give a number of edgeproof runs.")


def compare(first: Run, second: Run) -> tuple[Difference, ...]:
    """What differs between two runs: settings of their nodes, then results."""
    names = list(dict.fromkeys(node.name for run in (first, second) for node in run.nodes))
    found: list[Difference] = []
    for name in names:
        before, after = _settings(first, name), _settings(second, name)
        found += [Difference(f"{name}.{key}", before.get(key), after.get(key)) for key in _changed(before, after)]
    results = (
        "data",
        "data_fingerprint",
        "recipe",
        "float_accuracy",
        "candidate_accuracy",
        "metric",
        "float_error",
        "candidate_error",
        "ratio",
        "size_bytes",
        "model_sha256",
    )
    for what in (*results, "verdict", "release", "state"):
        left, right = getattr(first, what), getattr(second, what)
        if left != right:
            found.append(Difference(what, _text(left), _text(right)))
    return tuple(found)


def _changed(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Keys that differ, sorted; what the cache left out is no difference."""
    differing = [key for key in sorted({*before, *after}) if before.get(key) != after.get(key)]
    return [key for key in differing if key not in _LOOKED_UP or (key in before and key in after)]


def _settings(run: Run, name: str) -> Mapping[str, str]:
    return next((node.settings for node in run.nodes if node.name == name), {})


def _text(value: Any) -> str | None:
    if not isinstance(value, float):
        return None if value is None else str(value)
    return f"{value:.6g}" if 0 < abs(value) < 1e-3 else f"{value:.6f}"  # errors have a unit of their own


def _open(file: Path) -> Any:
    from ml_metadata.metadata_store import metadata_store
    from ml_metadata.proto import metadata_store_pb2

    connection = metadata_store_pb2.ConnectionConfig()
    connection.sqlite.filename_uri = str(file)
    connection.sqlite.connection_mode = metadata_store_pb2.SqliteMetadataSourceConfig.READONLY
    return metadata_store.MetadataStore(connection)


def _read_run(store: Any, context: Any, number: int) -> Run:
    executions = sorted(store.get_executions_by_context(context.id), key=lambda execution: execution.id)
    nodes = tuple(_read_node(store, execution) for execution in executions)
    outputs = _outputs(store, executions)
    evaluation, model = outputs.get("ModelEvaluation"), outputs.get("TFLite")
    pushed = outputs.get("PushedModel")
    return Run(
        number=number,
        run_id=context.name,
        pipeline=_pipeline_name(store, executions),
        started=datetime.fromtimestamp(context.create_time_since_epoch / 1000, timezone.utc),
        state=_state(nodes),
        why=_reason(context),
        changed="",
        data=_data(outputs.get("Examples"), evaluation),
        data_fingerprint=_fingerprint(outputs.get("Examples")),
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
        nodes=nodes,
    )


def _read_node(store: Any, execution: Any) -> NodeRun:
    from ml_metadata.proto import metadata_store_pb2

    milliseconds = execution.last_update_time_since_epoch - execution.create_time_since_epoch
    settings = {**execution.properties, **execution.custom_properties}
    return NodeRun(
        name=_node_context(store, execution).partition(".")[2],
        state=metadata_store_pb2.Execution.State.Name(execution.last_known_state).lower(),
        seconds=round(milliseconds / 1000, 1),
        settings=dict(sorted(_flattened((name, _value(value)) for name, value in settings.items()))),
    )


def _node_context(store: Any, execution: Any) -> str:
    """``<pipeline>.<node>``."""
    contexts = store.get_contexts_by_execution(execution.id)
    return next((str(context.name) for context in contexts if context.type == "node"), f".{execution.type}")


def _pipeline_name(store: Any, executions: Sequence[Any]) -> str:
    return _node_context(store, executions[0]).partition(".")[0] if executions else ""


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    return getattr(value, kind) if kind in ("string_value", "int_value", "double_value") else None


def _flattened(settings: Iterable[tuple[str, Any]]) -> Iterable[tuple[str, str]]:
    """Dotted keys; a string that holds a JSON object is opened, however deep."""
    for name, value in settings:
        opened = _opened(value)
        if isinstance(opened, dict):
            yield from ((f"{name}.{key}", text) for key, text in _flattened(opened.items()))
        else:
            yield name, value if isinstance(value, str) else json.dumps(value)


def _opened(value: Any) -> Any:
    if not isinstance(value, str) or not value.lstrip().startswith("{"):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def _outputs(store: Any, executions: Sequence[Any]) -> dict[str, Any]:
    """The run's artifacts by type; the edge model, which shares its type with the float one, as ``TFLite``."""
    from ml_metadata.proto import metadata_store_pb2

    events = store.get_events_by_execution_ids([execution.id for execution in executions]) if executions else []
    ids = {event.artifact_id for event in events if event.type == metadata_store_pb2.Event.OUTPUT}
    found: dict[str, Any] = {}
    for artifact in sorted(store.get_artifacts_by_id(list(ids)), key=lambda artifact: artifact.id):
        is_edge_model = artifact.type == "Model" and _property(artifact, "format") == "tflite"
        found["TFLite" if is_edge_model else artifact.type] = artifact
    return found


def _property(artifact: Any, name: str) -> Any:
    if artifact is None:
        return None
    for properties in (artifact.custom_properties, artifact.properties):
        if name in properties:
            return _value(properties[name])
    return None


def _state(nodes: Sequence[NodeRun]) -> str:
    unfinished = next((node for node in nodes if node.state not in _DONE_STATES), None)
    if unfinished is not None:
        return f"{unfinished.state} at {unfinished.name}"
    return "complete" if nodes else "empty"


def _data(examples: Any, evaluation: Any) -> str:
    parts = [f"{name} {value}" for name in ("span", "version") if (value := _property(examples, name)) is not None]
    num_examples = _property(evaluation, "num_examples")
    if num_examples is not None:
        parts.append(f"holdout {num_examples}")
    return ", ".join(parts)


def _fingerprint(examples: Any) -> str | None:
    given = _property(examples, "input_fingerprint")
    return None if given is None else hashlib.sha256(str(given).encode()).hexdigest()[:12]


def _ratio(evaluation: Any) -> float | None:
    """The gate's own figure where its report still lies there; otherwise from the figures that MLMD keeps."""
    if evaluation is not None:
        try:
            ratio = read_report(Path(evaluation.uri)).ratio
        except DataError:  # it was cleared away, or is of another version
            ratio = None
        if ratio is not None:
            return float(ratio.decimal)
    if _property(evaluation, "metric") is not None:
        of_float, of_candidate = _error(evaluation, "float"), _error(evaluation, "candidate")
    else:
        of_float, of_candidate = _property(evaluation, "float_accuracy"), _property(evaluation, "candidate_accuracy")
    return of_candidate / of_float if of_float and of_candidate is not None else None


def _error(evaluation: Any, of: str) -> float | None:
    """An error in the label's unit; it is kept as text, because MLMD keeps six decimals of a number."""
    text = _property(evaluation, f"{of}_error")
    return None if text is None else float(text)


def _verdict(blessing: Any) -> str | None:
    blessed = _property(blessing, "blessed")
    return None if blessed is None else "accepted" if blessed == 1 else "refused"


def _reason(context: Any) -> str | None:
    found = context.custom_properties.get(REASON_PROPERTY)
    return None if found is None else str(found.string_value)


def _changes(run: Run, before: Run | None) -> str:
    """What made this run more than a repetition of the one before: settings, data, another model to compare with."""
    if before is None:
        return "first run"
    anew = [node.name for node in run.nodes if node.state != "cached"]
    if run.data_fingerprint != before.data_fingerprint:
        return "new data"
    changed = {
        node.name: _changed(_settings(before, node.name), node.settings)
        for node in run.nodes
        if _settings(before, node.name)
    }
    named = {name: _named_changes(name, keys) for name, keys in changed.items() if keys}
    if named:
        own = [sentence for name, sentence in named.items() if name not in _DERIVED_NODES]
        return "; ".join((own or list(named.values()))[:2])
    if before.state != "complete":
        return f"after run {before.number} {before.state.partition(' at ')[0]}"
    if anew in ([], [_CHAMPION]):  # a resolver looks in every run, and may find the same
        return "nothing changed"
    return "another model to compare with" if anew[0] == _CHAMPION else f"{anew[0]} ran anew"


def _named_changes(node: str, changed: Sequence[str]) -> str:
    leaves = [key.rpartition(".")[2] for key in changed]
    known = [_MEANINGS[leaf] for leaf in leaves if leaf in _MEANINGS]
    if known:
        return known[0]
    settings = list(dict.fromkeys(leaf for leaf in leaves if leaf != "code_version"))
    if not settings:
        return f"new code of {node}"
    more = f" and {len(settings) - 2} more" if len(settings) > 2 else ""
    return f"{node}: {', '.join(settings[:2])}{more}"
