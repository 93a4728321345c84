"""Checks over a real database, a real release repository and real processes."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import sys
import threading
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from telemetry.database import open_database
from tests.triggers.samples import NOW, World, release_draft
from triggers.decision import Outcome
from triggers.evidence import Request
from triggers.launchers import LocalLauncher
from triggers.ledger import RunState, TriggeredRun
from triggers.settings import load_settings
from triggers.watch import Check, Watcher

HOUR = timedelta(hours=1)
DRIFT = {"mode": "auto", "min_devices": 20}


class FakeRun(LocalLauncher):
    """Starts real processes that do something short instead of training."""

    code = "raise SystemExit(0)"

    def command(self, run: TriggeredRun) -> list[str]:
        return [sys.executable, "-c", self.code, *super().command(run)]


class Refused(FakeRun):
    code = "raise SystemExit(1)"


class Waiting(FakeRun):
    code = "import time; time.sleep(60)"


def watcher(world: World, file: Path, launcher: type[LocalLauncher] = FakeRun) -> Watcher:
    settings = load_settings(file)
    return Watcher(settings, world.database, launcher(settings.launcher))  # type: ignore[arg-type]


def outcomes(check: Check) -> dict[str, str]:
    return {decision.finding.rule: decision.verdict.outcome.value for decision in check.decisions}


def until_closed(watch: Watcher, now: datetime) -> tuple[TriggeredRun, ...]:
    deadline = time.monotonic() + 30
    while True:
        closed = watch.check(now).closed
        if closed:
            return closed
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_drift_is_suggested_once_and_in_auto_mode_run_once(world: World) -> None:
    suggesting = watcher(world, world.trigger_file(input_drift=DRIFT | {"mode": "suggest"}))
    seen = []
    for hour in range(6):
        now = NOW + hour * HOUR
        world.report(1.0, until=now)
        seen += [outcomes(suggesting.check(now))["input_drift"] for _ in range(2)]
    assert seen == ["waiting"] * 4 + ["suggest"] * 2 + ["said"] * 6
    assert suggesting.ledger.runs() == ()

    acting = watcher(world, world.trigger_file(input_drift=DRIFT))
    now = NOW + 6 * HOUR
    world.report(1.0, until=now)
    assert outcomes(acting.check(now))["input_drift"] == "run"
    (run,) = acting.ledger.runs()
    assert run.reason.startswith("input_drift: inputs image mean: PSI ")
    assert f"[trigger {run.key}]" in run.reason
    until_closed(acting, now)
    for hour in range(7, 12):
        now = NOW + hour * HOUR
        world.report(1.0, until=now)
        assert outcomes(acting.check(now))["input_drift"] == "said"
    assert len(acting.ledger.runs()) == 1


def test_a_fleet_without_drift_is_quiet_and_its_numbers_are_kept(world: World) -> None:
    watch = watcher(world, world.trigger_file(input_drift=DRIFT, prediction_drift=DRIFT, confidence_drift=DRIFT))
    world.report(0.0)
    assert set(outcomes(watch.check(NOW)).values()) == {"no"}
    entry = next(entry for entry in watch.ledger.entries() if entry.rule == "input_drift")
    assert entry.numbers["inputs image mean"]["num_devices"] == 30
    assert entry.numbers["inputs image mean"]["psi"] < 0.1


def test_few_devices_start_nothing_however_far_they_drift(world: World) -> None:
    watch = watcher(world, world.trigger_file(input_drift=DRIFT | {"hits": 1}))
    world.report(3.0, num_devices=19)
    assert outcomes(watch.check(NOW))["input_drift"] == "no"


def test_devices_of_another_version_are_no_evidence(world: World) -> None:
    watch = watcher(world, world.trigger_file(input_drift=DRIFT | {"hits": 1}))
    world.report(3.0)
    assert outcomes(watch.check(NOW))["input_drift"] == "run"
    world.repository.publish(release_draft("newer"), "stable", "test")
    assert outcomes(watch.check(NOW + HOUR))["input_drift"] == "no"


def test_a_new_span_starts_one_run_however_often_and_by_whomever_it_is_seen(world: World) -> None:
    file = world.trigger_file(new_span={"path": "data"}, guards={"cooldown_hours": 0})
    world.write_span(1)
    watch = watcher(world, file)
    assert outcomes(watch.check(NOW))["new_span"] == "no"
    world.write_span(2)
    assert outcomes(watch.check(NOW))["new_span"] == "run"
    assert outcomes(watch.check(NOW))["new_span"] == "no"
    restarted = watcher(world, file)  # nothing is kept in a process
    assert outcomes(restarted.check(NOW + HOUR))["new_span"] == "no"
    world.write_span(3, "span 2")  # the same data under another number
    assert outcomes(restarted.check(NOW + HOUR))["new_span"] == "no"
    (run,) = restarted.ledger.runs()
    assert run.data_span == 2
    assert "span 2" in run.reason


def test_two_watchers_at_once_start_one_run(world: World) -> None:
    file = world.trigger_file(new_span={"path": "data"})
    world.write_span(1)
    watcher(world, file).check(NOW)
    world.write_span(2)
    barrier = threading.Barrier(4)
    checks: list[Check] = []

    def check() -> None:
        database = open_database(world.address)
        settings = load_settings(file)
        mine = Watcher(settings, database, Waiting(settings.launcher))  # type: ignore[arg-type]
        barrier.wait()
        checks.append(mine.check(NOW))
        database.close()

    threads = [threading.Thread(target=check) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(checks) == 4
    assert sum(len(check.launched) for check in checks) == 1
    (run,) = watcher(world, file).ledger.runs()
    end_process(world, run)


def end_process(world: World, run: TriggeredRun) -> None:
    """Ends the process group of a run that waits."""
    directory = world.directory / ".edgeproof" / "triggered" / run.key
    os.killpg(int((directory / "process").read_text(encoding="utf-8")), 9)


def test_a_run_ends_as_its_process_does(world: World) -> None:
    file = world.trigger_file()
    for launcher, reason, state in ((FakeRun, "first", RunState.PUBLISHED), (Refused, "second", RunState.REFUSED)):
        watch = watcher(world, file, launcher)
        check = watch.check(NOW, Request("jo", reason))
        assert [run.reason.split(" [")[0] for run in check.launched] == [f"manual: jo: {reason}"]
        (closed,) = until_closed(watch, NOW + HOUR)
        assert closed.state is state
        assert closed.release_version == (world.version if state is RunState.PUBLISHED else None)
    log = world.directory / ".edgeproof" / "triggered" / closed.key / "log"
    assert log.exists()


class Elsewhere:
    """A launcher that only knows that its runs have ended, as Kubeflow's."""

    def launch(self, run: TriggeredRun) -> str:
        return f"run of {run.key}"

    def state(self, run: TriggeredRun) -> RunState:
        return RunState.ENDED


def test_a_run_that_ended_is_published_where_a_release_carries_its_key(world: World) -> None:
    watch = Watcher(load_settings(world.trigger_file()), world.database, Elsewhere())
    states = []
    for reason in ("a better model", "a worse model"):
        (run,) = watch.check(NOW, Request("jo", reason)).launched
        if reason == "a better model":
            made = world.repository.publish(release_draft("better", run.key), "dev", "test")
            world.repository.publish(release_draft("of somebody else"), "dev", "test")
        (closed,) = watch.check(NOW).closed
        states.append((closed.state, closed.release_version))
    assert states == [(RunState.PUBLISHED, made.version), (RunState.REFUSED, None)]


def test_a_run_that_ended_before_there_was_a_repository_was_refused(world: World) -> None:
    watch = Watcher(load_settings(world.trigger_file()), world.database, Elsewhere())
    for directory in ("published", "keys"):
        shutil.rmtree(world.directory / directory)
    assert len(watch.check(NOW, Request("jo", "a first model")).launched) == 1
    (closed,) = watch.check(NOW).closed
    assert (closed.state, closed.release_version) == (RunState.REFUSED, None)


def test_a_run_whose_processes_vanish_is_lost_and_frees_the_model(world: World) -> None:
    watch = watcher(world, world.trigger_file(), Waiting)
    (run,) = watch.check(NOW, Request("jo", "a try")).launched
    assert outcomes(watch.check(NOW, Request("jo", "another")))["manual"] == "open run"
    end_process(world, run)
    (closed,) = until_closed(watch, NOW)
    assert closed.state is RunState.LOST
    check = watch.check(NOW, Request("jo", "another"))
    assert outcomes(check)["manual"] == "run"
    end_process(world, check.launched[0])


def test_the_reason_reaches_the_command_line(world: World) -> None:
    file = world.trigger_file(launcher={"kind": "local", "config": "config.yaml", "overrides": ["train.epochs=3"]})
    watch = watcher(world, file)
    (run,) = watch.check(NOW, Request("jo", "why not")).launched
    settings = load_settings(file)
    command = LocalLauncher(settings.launcher).command(run)  # type: ignore[arg-type]
    assert command[1:] == [
        "-m", "pipeline.cli", "run", str(world.directory / "config.yaml"), "--set", "train.epochs=3", "--reason", run.reason,
        "--trigger-key", run.key,
    ]  # fmt: skip
    with_span = dataclasses.replace(run, data_span=7)
    assert LocalLauncher(settings.launcher).command(with_span)[-2:] == ["--data-span", "7"]  # type: ignore[arg-type]
    until_closed(watch, NOW)


def test_a_check_that_dies_between_decision_and_launch_is_made_up_for(world: World, monkeypatch: Any) -> None:
    file = world.trigger_file()
    watch = watcher(world, file)
    monkeypatch.setattr(watch, "_launch", lambda *_: ((), ()))  # as if the process had been killed there
    watch.check(NOW, Request("jo", "a try"))
    again = watcher(world, file)
    assert not again.check(NOW).closed
    (closed,) = until_closed(again, NOW + timedelta(minutes=3))
    assert closed.state is RunState.PUBLISHED


def test_every_decision_is_written_once_and_counted(world: World) -> None:
    watch = watcher(world, world.trigger_file(model_age={"max_days": 1}, schedule={"cron": "0 3 * * 1"}))
    for _ in range(3):
        watch.check(NOW)
    entries = watch.ledger.entries()
    assert {(entry.rule, entry.outcome, entry.num_times) for entry in entries} == {
        ("manual", Outcome.NO, 3), ("model_age", Outcome.NO, 3), ("schedule", Outcome.NO, 3),
    }  # fmt: skip
    assert json.dumps([entry.numbers for entry in entries])
