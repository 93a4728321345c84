"""What changed between two runs: data, config, the model's files, code, results, classes.

Rules: 1. Config and data are held against each other by what the runs kept of them, so a node that was taken from the cache hides nothing.
2. Where a run kept no config (in a pod, or of a version of before), the settings of its nodes stand in. 3. A class is told with counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from components.artifacts import join, local_copy
from components.data.data_summary import DataSummary
from components.errors import DataError
from components.evaluator.page.flips import class_name
from components.evaluator.report.gate_report import REPORT_FILE, GateReport, read_report
from pipeline.history.run_summary import RunSummary

#: The setting of an ExampleGen that holds the hash of its files.
DATA_KEY = "fingerprint"
#: What TFX looks up while it runs: not on the record of a node that was taken from the cache.
_LOOKED_UP = ("input_fingerprint", "span", "version")
#: Nodes whose settings follow from those of others.
_DERIVED_NODES = ("StatisticsGen", "SchemaGen", "ExampleValidator", "Pusher")
_CHAMPION = "Champion"
#: What a changed setting means to a person, where its name does not say it.
_MEANINGS = {"content_sha256": "another model", "channel_state": "the champion's channel moved"}
#: The hash of a node's code and libraries.
_CODE = "code_version"
#: Told otherwise: by the data's content, and by the releases, each of which changes what the next Pusher sees.
_SHOWN_ELSEWHERE = (DATA_KEY, "published_state")
#: Config keys, and files, that the list of runs names.
_NAMED = 4
#: Of a node, behind which its name stands.
NEW_CODE = "new code of"


class Kind(str, Enum):
    """What a difference is one of."""

    CONFIG = "config"
    FILE = "file"
    DATA = "data"
    CODE = "code"
    SETTING = "setting"
    RESULT = "result"
    CLASS = "class"


@dataclass(frozen=True)
class Difference:
    """One thing that differs between two runs; None where a run does not have it.

    Attributes:
        kind: What it is one of.
        what: Its name: a key of the config, a file, ``examples in train``, ``cat: right of int8``.
        first: In the first run.
        second: In the second.
        weight: How far a class moved, to sort by; 0 of everything else.
    """

    kind: Kind
    what: str
    first: str | None
    second: str | None
    weight: float = 0.0


def compare(first: RunSummary, second: RunSummary) -> tuple[Difference, ...]:
    """What differs between two runs: what went in, then results, then classes, those that moved most first."""
    inputs = [*_config(first, second), *_files(first, second), *_data(first, second), *_code(first, second)]
    return (*inputs, *_settings_of_nodes(first, second), *_results(first, second), *_classes(first, second))


def _different(kind: Kind, before: Mapping[str, Any], after: Mapping[str, Any], what: str = "{}") -> list[Difference]:
    names = list(dict.fromkeys([*before, *after]))
    return [
        Difference(kind, what.format(name), _text(before.get(name)), _text(after.get(name)))
        for name in names
        if before.get(name) != after.get(name)
    ]


def _text(value: Any) -> str | None:
    if not isinstance(value, float):
        return None if value is None else str(value)
    return f"{value:.6g}" if 0 < abs(value) < 1e-3 else f"{value:.6f}"  # errors have a unit of their own


def _config(first: RunSummary, second: RunSummary) -> list[Difference]:
    return _different(Kind.CONFIG, first.config, second.config) if first.config and second.config else []


def _files(first: RunSummary, second: RunSummary) -> list[Difference]:
    return _different(Kind.FILE, first.files, second.files) if first.config and second.config else []


def _data(first: RunSummary, second: RunSummary) -> list[Difference]:
    """Counts by split and class; and that contents differ, where counts may not show it."""
    differences = _different(Kind.DATA, first.num_examples, second.num_examples, "examples in {}")
    if first.span and second.span:
        differences += _different(Kind.DATA, {"span": first.span}, {"span": second.span})
    contents = {"content": first.data_fingerprint}, {"content": second.data_fingerprint}
    if None not in (first.data_fingerprint, second.data_fingerprint):
        differences += _different(Kind.DATA, *contents)
    if first.examples != second.examples:
        differences += _different(Kind.DATA, _counts_of_classes(first), _counts_of_classes(second))
    return differences


def _counts_of_classes(run: RunSummary) -> dict[str, int]:
    """``cat in train`` -> examples; empty where the artifact was cleared away."""
    try:
        summary = DataSummary.read(run.examples) if run.examples is not None else None
    except (OSError, ValueError):
        summary = None
    if summary is None:
        return {}
    return {
        f"{class_name(label, summary.class_names)} in {split}": number
        for split, numbers in summary.num_per_class.items()
        for label, number in enumerate(numbers)
    }


def _code(first: RunSummary, second: RunSummary) -> list[Difference]:
    commits = {"git commit": first.git_commit}, {"git commit": second.git_commit}
    return _different(Kind.CODE, *commits)


def _settings_of_nodes(first: RunSummary, second: RunSummary) -> Iterator[Difference]:
    """Settings that the config does not explain; all of them where a run kept none."""
    is_explained = bool(first.config and second.config)
    for name in dict.fromkeys(node.name for run in (first, second) for node in run.nodes):
        before, after = settings_of(first, name), settings_of(second, name)
        for key in _changed(before, after):
            leaf = key.rpartition(".")[2]
            if not is_explained or leaf in _MEANINGS or leaf == _CODE:
                kind = Kind.CODE if leaf == _CODE else Kind.SETTING
                yield Difference(kind, f"{name}.{key}", before.get(key), after.get(key))


def _changed(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Keys that differ, sorted; what the cache left out, and what a run did not come to, is no difference."""
    if not before or not after:
        return []
    differing = [
        key for key in sorted({*before, *after}) if before.get(key) != after.get(key) and key not in _SHOWN_ELSEWHERE
    ]
    return [key for key in differing if key not in _LOOKED_UP or (key in before and key in after)]


def settings_of(run: RunSummary, name: str) -> Mapping[str, str]:
    """Of a node; empty where the run did not come so far."""
    return next((node.settings for node in run.nodes if node.name == name), {})


_RESULTS = (
    *("recipe", "float_accuracy", "candidate_accuracy", "metric", "float_error", "candidate_error", "ratio"),
    *("size_bytes", "model_sha256", "verdict", "release", "state"),
)


def _results(first: RunSummary, second: RunSummary) -> list[Difference]:
    before, after = ({name: getattr(run, name) for name in _RESULTS} for run in (first, second))
    return _different(Kind.RESULT, before, after)


def _classes(first: RunSummary, second: RunSummary) -> list[Difference]:
    """Right answers of both models by class, with how many examples there were; the class that moved most first."""
    before, after = _report(first), _report(second)
    if before is None or after is None or first.evaluation == second.evaluation:
        return []
    of_first, of_second = _right_by_class(before), _right_by_class(after)
    moved = []
    for name in dict.fromkeys([*of_first, *of_second]):
        left, right = of_first.get(name), of_second.get(name)
        if left != right:
            moved.append(Difference(Kind.CLASS, name, _share(left), _share(right), _distance(left, right)))
    return sorted(moved, key=lambda difference: (-difference.weight, difference.what))


def _report(run: RunSummary) -> GateReport | None:
    """None where the run came to no verdict, or its files were cleared away."""
    if run.evaluation is None:
        return None
    try:
        with local_copy(join(run.evaluation, REPORT_FILE)) as file:
            return read_report(file)
    except (DataError, OSError):
        return None


def _right_by_class(report: GateReport) -> dict[str, tuple[int, int]]:
    """``cat: right of int8`` -> right answers, examples."""
    counts = report.counts
    if counts is None:
        return {}
    models = (("float", counts.correct_float_by_label), (report.candidate.name, counts.correct_candidate_by_label))
    return {
        f"{class_name(label, report.class_names)}: right of {model}": (right[label], total)
        for label, total in enumerate(counts.examples_by_label)
        for model, right in models
        if total
    }


def _share(right: tuple[int, int] | None) -> str | None:
    return None if right is None else f"{right[0]:,} / {right[1]:,} ({100 * right[0] / right[1]:.1f} %)"


def _distance(first: tuple[int, int] | None, second: tuple[int, int] | None) -> float:
    if first is None or second is None:
        return 1.0
    return abs(first[0] / first[1] - second[0] / second[1])


def changes(run: RunSummary, before: RunSummary | None) -> str:
    """What made this run more than a repetition of the one before, in one line."""
    if before is None:
        return "first run"
    is_kept = bool(run.config and before.config)
    sentences = [*_data_sentences(run, before)]
    sentences += _config_sentences(run, before) if is_kept else []
    changed_nodes = {
        node.name: _changed(settings_of(before, node.name), node.settings)
        for node in run.nodes
        if settings_of(before, node.name)
    }
    sentences += _node_sentences(changed_nodes, is_kept, bool(sentences))
    return "; ".join(sentences) if sentences else _otherwise(run, before)


def _data_sentences(run: RunSummary, before: RunSummary) -> list[str]:
    sizes = _different(Kind.DATA, before.num_examples, run.num_examples) if run.num_examples else []
    spans = _different(Kind.DATA, {"": before.span}, {"": run.span}) if run.span and before.span else []
    moved = [f"{size.what} {size.first} -> {size.second}".strip() for size in (*spans, *sizes)]
    if moved and before.num_examples:
        return [f"data: {', '.join(moved)}"]
    fingerprints = {before.data_fingerprint, run.data_fingerprint}
    return ["new data"] if len(fingerprints) == 2 and None not in fingerprints else []


def _config_sentences(run: RunSummary, before: RunSummary) -> list[str]:
    keys = [f"{key.what} {key.first or 'nothing'} -> {key.second or 'nothing'}" for key in _config(before, run)]
    files = [f"{'new ' * (file.first is None)}{file.what}" for file in _files(before, run)]
    return [*_few(keys), *_few(files)]


def _few(texts: Sequence[str]) -> list[str]:
    more = [f"and {len(texts) - _NAMED} more"] if len(texts) > _NAMED else []
    return [*texts[:_NAMED], *more]


def _node_sentences(changed: Mapping[str, Sequence[str]], is_config_kept: bool, is_explained: bool) -> list[str]:
    """Of nodes whose settings do not just follow from others': what the world, the code or (where no config was kept) a key is now."""
    named = {name: _named_changes(name, keys, is_config_kept, is_explained) for name, keys in changed.items()}
    sentences = {name: sentence for name, sentence in named.items() if sentence}
    own = {name: sentence for name, sentence in sentences.items() if name not in _DERIVED_NODES}
    shown = own or ({} if is_explained else dict(list(sentences.items())[:1]))
    anew = [name for name, sentence in shown.items() if sentence is NEW_CODE]
    code = [f"{NEW_CODE} {', '.join(anew)}"] if anew else []
    return [*dict.fromkeys(sentence for sentence in shown.values() if sentence is not NEW_CODE), *code]


def _named_changes(node: str, changed: Sequence[str], is_config_kept: bool, is_explained: bool) -> str:
    leaves = [key.rpartition(".")[2] for key in changed]
    known = [_MEANINGS[leaf] for leaf in leaves if leaf in _MEANINGS]
    if known:
        return known[0]
    settings = [leaf for leaf in dict.fromkeys(leaves) if leaf != _CODE]
    if settings and not is_config_kept:
        more = f" and {len(settings) - _NAMED} more" if len(settings) > _NAMED else ""
        return f"{node}: {', '.join(settings[:_NAMED])}{more}"
    return NEW_CODE if _CODE in leaves and not is_explained and not settings else ""


def _otherwise(run: RunSummary, before: RunSummary) -> str:
    """Nothing that was kept differs."""
    if before.state != "complete":
        return f"after run {before.number} {before.state.partition(' at ')[0]}"
    anew = [node.name for node in run.nodes if node.state != "cached"]
    if anew and set(anew) <= {_CHAMPION, "Pusher"}:  # both look in every run, and may find the same
        return "another model to compare with" if run.evaluation != before.evaluation else "nothing changed"
    if not anew:
        return "nothing changed"
    return "another model to compare with" if anew[0] == _CHAMPION else f"{anew[0]} ran anew"
