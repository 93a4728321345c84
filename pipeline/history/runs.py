"""Past runs of a workspace: when, why, on which data, with which result, and what differs between two.

A view on what ``pipeline.mlmd`` reads. ML Metadata keeps what artifacts' files may not: a run is listed even where its files were cleared
away. Nothing here imports TensorFlow.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from edgeproof_edge.addresses import is_address

from components.artifacts import local_path
from components.errors import DataError
from components.evaluator.report.gate_report import REPORT_FILE, read_report
from pipeline.errors import ConfigError
from pipeline.mlmd import Artifact, MetadataLocation, NodeRun, Run, RunStore
from pipeline.place import METADATA_FILE
from pipeline.running.local_runner import is_running

#: What TFX looks up while it runs: not on the record of a node that was taken from the cache.
_LOOKED_UP = ("input_fingerprint", "span", "version")
#: Nodes whose settings follow from those of others.
_DERIVED_NODES = ("StatisticsGen", "SchemaGen", "ExampleValidator", "Pusher")
_CHAMPION = "Champion"
#: What a changed setting means to a person, where its name does not say it.
_MEANINGS = {
    "content_sha256": "another model",
    "published_state": "the release directory changed",
    "channel_state": "the champion's channel moved",
}


@dataclass(frozen=True)
class RunSummary:
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
            "nodes": [{**node.model_dump(), "settings": dict(node.settings)} for node in self.nodes],
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
        summaries.append(replace(summary, changed=_changes(summary, summaries[-1] if summaries else None)))
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


def compare(first: RunSummary, second: RunSummary) -> tuple[Difference, ...]:
    """What differs between two runs: settings of their nodes, then results."""
    names = list(dict.fromkeys(node.name for run in (first, second) for node in run.nodes))
    differences: list[Difference] = []
    for name in names:
        before, after = _settings(first, name), _settings(second, name)
        differences += [Difference(f"{name}.{key}", before.get(key), after.get(key)) for key in _changed(before, after)]
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
            differences.append(Difference(what, _text(left), _text(right)))
    return tuple(differences)


def _changed(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Keys that differ, sorted; what the cache left out is no difference."""
    differing = [key for key in sorted({*before, *after}) if before.get(key) != after.get(key)]
    return [key for key in differing if key not in _LOOKED_UP or (key in before and key in after)]


def _settings(run: RunSummary, name: str) -> Mapping[str, str]:
    return next((node.settings for node in run.nodes if node.name == name), {})


def _text(value: Any) -> str | None:
    if not isinstance(value, float):
        return None if value is None else str(value)
    return f"{value:.6g}" if 0 < abs(value) < 1e-3 else f"{value:.6f}"  # errors have a unit of their own


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
        nodes=run.nodes,
    )


def _outputs(run: Run) -> dict[str, Artifact]:
    """The run's artifacts by type; the edge model, which shares its type with the float one, as ``TFLite``."""
    written = sorted((artifact for node in run.nodes for artifact in node.outputs), key=lambda artifact: artifact.id)
    return {_kind(artifact): artifact for artifact in written}


def _kind(artifact: Artifact) -> str:
    return "TFLite" if artifact.type == "Model" and _property(artifact, "format") == "tflite" else artifact.type


def _property(artifact: Artifact | None, name: str) -> Any:
    return None if artifact is None else artifact.properties.get(name)


def _data(examples: Artifact | None, evaluation: Artifact | None) -> str:
    parts = [f"{name} {value}" for name in ("span", "version") if (value := _property(examples, name)) is not None]
    num_examples = _property(evaluation, "num_examples")
    if num_examples is not None:
        parts.append(f"holdout {num_examples}")
    return ", ".join(parts)


def _fingerprint(examples: Artifact | None) -> str | None:
    given = _property(examples, "input_fingerprint")
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


def _changes(run: RunSummary, before: RunSummary | None) -> str:
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
