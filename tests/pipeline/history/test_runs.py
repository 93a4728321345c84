"""Past runs, read from a real MLMD store as TFX writes it."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from click.testing import CliRunner

from components.data.data_summary import DataSummary
from components.evaluator.report.gate_report import write_report
from pipeline.errors import ConfigError
from pipeline.history.changes import Kind, changes, compare
from pipeline.history.runs import find_run, read_runs
from pipeline.mlmd import MetadataLocation, RunSource, RunStore
from pipeline.place import METADATA_FILE
from pipeline.running.local_runner import LOCK_FILE, is_running
from tests.components.evaluator.report.test_gate_report import INCIDENT, report_of

NODES = ("ImageExampleGen", "Trainer", "TFLiteConverter", "Evaluator", "Pusher")


class Recorder:
    """Writes runs into MLMD: executions with their settings, artifacts with their properties."""

    def __init__(self, workspace: Path) -> None:
        from ml_metadata.metadata_store import metadata_store
        from ml_metadata.proto import metadata_store_pb2 as proto

        workspace.mkdir(parents=True)
        self.workspace = workspace
        self._proto = proto
        connection = proto.ConnectionConfig()
        connection.sqlite.filename_uri = str(workspace / METADATA_FILE)
        connection.sqlite.connection_mode = 3
        self._store = metadata_store.MetadataStore(connection)
        self._num_runs = 0

    def run(
        self,
        settings: dict[str, dict[str, Any]],
        outputs: dict[str, tuple[str, dict[str, Any]]],
        cached: tuple[str, ...] = (),
        failed: str = "",
        reason: str | None = "by hand",
        failed_as: str = "FAILED",
        source: RunSource | None = None,
        folder: str = "",
    ) -> None:
        """``settings`` and ``outputs`` (artifact type, properties) by node, at ``folder``; a failed node ends the run."""
        self._num_runs += 1
        contexts = [self._context("pipeline_run", f"2026-0{self._num_runs}-01T10:00:00")]
        kept = vars(source or RunSource())
        _fill(contexts[0].custom_properties, kept if reason is None else {**kept, "reason": reason})
        for node in NODES:
            state = failed_as if node == failed else "CACHED" if node in cached else "COMPLETE"
            execution = self._proto.Execution(
                type_id=self._type("execution", node), last_known_state=self._proto.Execution.State.Value(state)
            )
            _fill(execution.custom_properties, settings.get(node, {}))
            artifacts = []
            if node in outputs and node != failed:
                kind, properties = outputs[node]
                artifact = self._proto.Artifact(
                    type_id=self._type("artifact", kind), uri=str(self.workspace / folder / node)
                )
                _fill(artifact.custom_properties, properties)
                event = self._proto.Event(type=self._proto.Event.OUTPUT)
                artifacts.append((artifact, event))
            self._store.put_execution(execution, artifacts, [*contexts, self._context("node", f"digits.{node}")])
            contexts = [self._store.get_context_by_type_and_name("pipeline_run", contexts[0].name)]
            if node == failed:
                return

    def _type(self, kind: str, name: str) -> int:
        made = getattr(self._proto, f"{kind.capitalize()}Type")(name=name)
        return int(getattr(self._store, f"put_{kind}_type")(made))

    def _context(self, kind: str, name: str) -> Any:
        found = self._store.get_context_by_type_and_name(kind, name) if self._num_runs > 1 or kind == "node" else None
        return found or self._proto.Context(type_id=self._type("context", kind), name=name)


def _fill(properties: Any, values: dict[str, Any]) -> None:
    kinds = {str: "string_value", int: "int_value", float: "double_value"}
    for name, value in values.items():
        setattr(properties[name], kinds[type(value)], value)


def settings_of(epochs: int) -> dict[str, dict[str, Any]]:
    training = json.dumps({"epochs": epochs, "code_version": "c"})
    return {
        "ImageExampleGen": {"shares": '{"train": 80}', "span": 1},
        "Trainer": {"custom_config": json.dumps({"training_spec": training})},
    }


def outputs_of(num_correct: int, *, blessed: int = 1, data: str = "a") -> dict[str, tuple[str, dict[str, Any]]]:
    evaluation = {"float_accuracy": 0.9, "candidate_accuracy": num_correct / 1000, "num_examples": 1000}
    return {
        "ImageExampleGen": ("Examples", {"span": 1, "input_fingerprint": data}),
        "Trainer": ("Model", {}),
        "TFLiteConverter": ("Model", {"format": "tflite", "recipe": "int8", "sha256": "ab", "size_bytes": 12}),
        "Evaluator": ("ModelEvaluation", evaluation),
        "Pusher": ("PushedModel", {"pushed": blessed, "pushed_version": "000001-ab" if blessed else ""}),
    }


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """Four runs: the first, one of the cache, a longer training, one that failed on new data."""
    recorder = Recorder(tmp_path / ".edgeproof" / "digits")
    recorder.run(settings_of(3), outputs_of(890))
    recorder.run(settings_of(3), outputs_of(890), cached=NODES, reason="nightly")
    recorder.run(settings_of(5), outputs_of(600, blessed=0), cached=("ImageExampleGen",))
    recorder.run(settings_of(5), outputs_of(890, data="b"), failed="Trainer", reason=None)
    return recorder.workspace


def test_a_run_that_nobody_is_at_was_killed(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / ".edgeproof" / "digits")
    for _ in range(2):
        recorder.run(settings_of(3), {}, failed="Trainer", reason=None, failed_as="RUNNING")
    assert [run.state for run in read_runs(recorder.workspace)] == ["killed at Trainer", "killed at Trainer"]
    (recorder.workspace / LOCK_FILE).write_text(str(os.getpid()))
    assert [run.state for run in read_runs(recorder.workspace)] == ["killed at Trainer", "running at Trainer"]


def test_a_run_that_ended_between_two_nodes_is_not_complete(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / ".edgeproof" / "digits")
    for _ in range(2):
        recorder.run(settings_of(3), {}, failed="ImageExampleGen", reason=None, failed_as="COMPLETE")
    stopped = "stopped after ImageExampleGen"
    assert [run.state for run in read_runs(recorder.workspace)] == [stopped, stopped]
    (recorder.workspace / LOCK_FILE).write_text(str(os.getpid()))
    assert [run.state for run in read_runs(recorder.workspace)] == [stopped, "running after ImageExampleGen"]


def test_a_run_of_another_user_is_running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / LOCK_FILE).write_text("1")
    monkeypatch.setattr(os, "kill", Mock(side_effect=PermissionError))
    assert is_running(tmp_path)
    monkeypatch.setattr(os, "kill", Mock(side_effect=ProcessLookupError))
    assert not is_running(tmp_path)


def test_runs_say_when_why_and_how_they_ended(workspace: Path) -> None:
    runs = read_runs(workspace)
    assert [run.number for run in runs] == [1, 2, 3, 4]
    assert [run.why for run in runs] == ["by hand", "nightly", "by hand", None]
    assert [run.changed for run in runs] == ["first run", "nothing changed", "Trainer: epochs", "new data"]
    assert [run.state for run in runs] == ["complete", "complete", "complete", "failed at Trainer"]
    assert [run.release for run in runs] == ["000001-ab", "000001-ab", None, None]
    assert (runs[0].pipeline, runs[0].data, runs[0].recipe) == ("digits", "span 1, holdout 1,000", "int8")
    assert runs[2].ratio == pytest.approx(600 / 900)
    assert runs[3].ratio is None


def test_the_ratio_is_the_gates_own_where_its_report_still_lies_there(workspace: Path) -> None:
    report = report_of(INCIDENT)
    assert report.ratio is not None
    ratio = report.ratio.model_copy(update={"decimal": "0.987654"})
    write_report(report.model_copy(update={"ratio": ratio}), workspace / "Evaluator")
    assert read_runs(workspace)[0].ratio == 0.987654


def test_compare_names_settings_and_results_that_differ(workspace: Path) -> None:
    runs = read_runs(workspace)
    assert compare(runs[0], runs[1]) == ()
    found = {difference.what: (difference.first, difference.second) for difference in compare(runs[0], runs[2])}
    assert found["Trainer.custom_config.training_spec.epochs"] == ("3", "5")
    assert found["release"] == ("000001-ab", None)
    assert found["candidate_accuracy"] == ("0.890000", "0.600000")
    assert set(found) == {"Trainer.custom_config.training_spec.epochs", "candidate_accuracy", "ratio", "release"}


@pytest.mark.parametrize(
    ("wanted", "number"),
    [
        pytest.param("2", 2, id="number"),
        pytest.param("-1", 4, id="from-the-end"),
        pytest.param("2026-03", 3, id="beginning-of-an-id"),
        pytest.param("000001-ab", 1, id="the-first-that-published-a-release"),
    ],
)
def test_a_run_is_found_by_number_or_id(workspace: Path, wanted: str, number: int) -> None:
    assert find_run(read_runs(workspace), wanted).number == number


@pytest.mark.parametrize("wanted", ["9", "2026", "x"])
def test_a_run_that_is_not_one_is_refused(workspace: Path, wanted: str) -> None:
    with pytest.raises(ConfigError, match="there are runs 1 to 4"):
        find_run(read_runs(workspace), wanted)


def test_the_commands_print_tables_and_json(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.commands.runs import command

    monkeypatch.chdir(workspace.parent.parent)
    table = CliRunner().invoke(command, [], catch_exceptions=False).output
    assert "66.66 %" in table  # rounded down
    assert "failed at Trainer" in table
    assert "nightly" in table
    runs = json.loads(CliRunner().invoke(command, ["--json"], catch_exceptions=False).output)
    assert runs[0]["nodes"][1]["settings"]["custom_config.training_spec.epochs"] == "3"
    compared = CliRunner().invoke(command, ["compare", "1", "-2"], catch_exceptions=False).output
    assert "training_spec.epochs" in compared
    found = json.loads(CliRunner().invoke(command, ["compare", "1", "2", "--json"], catch_exceptions=False).output)
    assert found["differences"] == []


def source_of_run(epochs: int, *, module: str = "aa", commit: str = "c" * 40) -> RunSource:
    stopping = None if epochs == 3 else {"patience": 2}
    train = {"epochs": epochs, "batch_size": 64, "early_stopping": stopping}
    config = json.dumps({"name": "digits", "train": train, "gate": {"slices": []}})
    return RunSource(git_commit=commit, config=config, files=json.dumps({"model.py": module, "layers.py": "ll"}))


def counted(num_correct: int, data: str, **sizes: int) -> dict[str, tuple[str, dict[str, Any]]]:
    outputs = outputs_of(num_correct, data=data)
    properties = {"span": 2 if data == "b" else 1, "input_fingerprint": data} | {
        f"num_examples_{split}": n for split, n in sizes.items()
    }
    return {**outputs, "ImageExampleGen": ("Examples", properties)}


@pytest.fixture
def kept_runs(tmp_path: Path) -> Path:
    """Three runs that kept what they started from: the first; module and epochs changed on cached data; more data on another commit."""
    recorder = Recorder(tmp_path / ".edgeproof" / "digits")
    first = counted(890, "a", train=700, calibration=200, eval=100)
    recorder.run(settings_of(3), first, source=source_of_run(3), folder="1")
    recorder.run(settings_of(5), first, ("ImageExampleGen",), source=source_of_run(5, module="bb"), folder="1")
    more = counted(900, "b", train=750, calibration=200, eval=100)
    recorder.run(
        settings_of(5), more, source=source_of_run(5, module="bb", commit="d" * 40 + " with changes"), folder="3"
    )
    for folder, num_train in (("1", (300, 400)), ("3", (350, 400))):
        examples = recorder.workspace / folder / "ImageExampleGen"
        examples.mkdir(parents=True)
        summary = DataSummary(
            num_examples={"train": sum(num_train)}, class_names=("cat", "dog"), num_per_class={"train": num_train}
        )
        summary.write(str(examples))
    return recorder.workspace


def test_everything_that_changed_is_named_and_counts_outlive_the_cache(kept_runs: Path) -> None:
    first, second, third = read_runs(kept_runs)
    assert first.data == second.data == "span 1, train 700, calibration 200, eval 100"
    assert second.changed == "train.epochs 3 -> 5; train.early_stopping.patience nothing -> 2; model.py"
    assert third.changed == "data: span 1 -> span 2, train 700 -> 750"
    assert third.git_commit == "d" * 40 + " with changes"


def test_compare_names_keys_files_data_and_commit(kept_runs: Path) -> None:
    first, second, third = read_runs(kept_runs)
    found = {(d.kind, d.what): (d.first, d.second) for d in compare(first, second)}
    assert found == {
        (Kind.CONFIG, "train.epochs"): ("3", "5"),
        (Kind.CONFIG, "train.early_stopping.patience"): (None, "2"),
        (Kind.FILE, "model.py"): ("aa", "bb"),
    }
    found = {(d.kind, d.what): (d.first, d.second) for d in compare(second, third)}
    assert found[Kind.DATA, "examples in train"] == ("700", "750")
    assert found[Kind.DATA, "span"] == ("span 1", "span 2")
    assert found[Kind.DATA, "cat in train"] == ("300", "350")
    assert (Kind.DATA, "dog in train") not in found
    assert found[Kind.CODE, "git commit"] == ("c" * 40, "d" * 40 + " with changes")
    assert found[Kind.RESULT, "candidate_accuracy"] == ("0.890000", "0.900000")


def test_compare_says_which_classes_moved_with_counts(kept_runs: Path) -> None:
    _, second, third = read_runs(kept_runs)
    report = report_of(INCIDENT)
    assert report.counts is not None
    right = list(report.counts.correct_candidate_by_label)
    better = [right[0], right[1] + 3, *right[2:]]
    counts = replace(report.counts, correct_candidate_by_label=tuple(better))
    write_report(report, kept_runs / "1" / "Evaluator")
    write_report(report.model_copy(update={"counts": counts}), kept_runs / "3" / "Evaluator")
    (moved,) = [difference for difference in compare(second, third) if difference.kind is Kind.CLASS]
    total = report.counts.examples_by_label[1]
    name = report.class_names[1] if report.class_names else "1"
    assert moved.what == f"{name}: right of {report.candidate.name}"
    assert (moved.first or "").startswith(f"{right[1]:,} / {total:,} (")
    assert (moved.second or "").startswith(f"{right[1] + 3:,} / {total:,} (")
    assert [d for d in compare(second, second) if d.kind is Kind.CLASS] == []


def test_tables_show_commits_split_sizes_and_kinds(kept_runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.commands.runs import command

    monkeypatch.chdir(kept_runs.parent.parent)
    table = CliRunner().invoke(command, [], catch_exceptions=False).output
    assert "span 2, train 750, calibration 200, eval 100" in table
    assert "dddddddddd+" in table
    assert "train.epochs 3 -> 5; train.early_stopping.patience nothing -> 2; model.py" in table
    compared = CliRunner().invoke(command, ["compare", "1", "3"], catch_exceptions=False).output
    rows = [" ".join(line.split()) for line in compared.splitlines()]
    assert "config train.epochs 3 5" in rows
    assert "data examples in train 700 750" in rows
    assert "cat in train 300 350" in rows
    listed = json.loads(CliRunner().invoke(command, ["--json"], catch_exceptions=False).output)
    assert listed[2]["num_examples"] == {"train": 750, "calibration": 200, "eval": 100}
    assert listed[2]["config"]["train.epochs"] == "5"
    found = json.loads(CliRunner().invoke(command, ["compare", "1", "2", "--json"], catch_exceptions=False).output)
    assert found["differences"][0] == {
        "kind": "config", "what": "train.epochs", "first": "3", "second": "5", "weight": 0.0
    }  # fmt: skip


def test_a_run_that_a_person_stopped_was_interrupted(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / ".edgeproof" / "digits")
    recorder.run(settings_of(3), {}, failed="Trainer", failed_as="RUNNING")
    RunStore(MetadataLocation.of_file(recorder.workspace / METADATA_FILE)).interrupt_running("2026-01-01T10:00:00")
    recorder.run(settings_of(3), outputs_of(890))
    interrupted, after = read_runs(recorder.workspace)
    assert interrupted.state == "interrupted at Trainer"
    assert changes(after, interrupted) == "after run 1 interrupted"


def test_no_runs_say_how_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="edgeproof run CONFIG"):
        read_runs(tmp_path)


def test_errors_stand_in_their_own_unit(tmp_path: Path) -> None:
    from pipeline.commands.runs import runs_table

    recorder = Recorder(tmp_path / "fares")
    outputs = outputs_of(0)
    errors = {"metric": "mae", "float_error": "1.5e-09", "candidate_error": "1.53001e-09", "num_examples": 1000}
    recorder.run(settings_of(3), {**outputs, "Evaluator": ("ModelEvaluation", errors)})
    (run,) = read_runs(recorder.workspace)
    assert (run.metric, run.float_accuracy) == ("mae", None)
    table = runs_table([run])
    assert "mae 1.5e-09 " in table
    assert "mae 1.53001e-09 int8" in table
    assert "x1.0201" in table  # rounded up: what was kept is never overstated
