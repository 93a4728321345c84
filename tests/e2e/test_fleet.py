"""The loop closes: a fleet drifts, the trigger names it, labels become a span, one run starts, its release reaches the fleet."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from edgeproof_edge.bundle import open_bundle

from pipeline.history.runs import read_runs
from releases.repository import Repository
from releases.stores.store import DirectoryStore
from releases.trust.keys import KeyRing
from telemetry.database import open_database
from triggers.ledger import Ledger
from triggers.settings import load_settings
from triggers.watch import Watcher

pytestmark = [pytest.mark.e2e, pytest.mark.exhaustive]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """``edgeproof demo --fleet``, and what it said."""
    directory = tmp_path_factory.mktemp("fleet")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    command = [sys.executable, "-m", "pipeline.cli", "demo", "--fleet", "--yes", "--json"]
    done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return directory / ".edgeproof" / "fleet", json.loads(done.stdout)


def test_drift_was_suggested_and_one_run_was_started_by_the_labelled_span(told: tuple[Path, dict[str, Any]]) -> None:
    directory, story = told
    assert story["suggested"].startswith("input_drift: inputs image mean: PSI")
    ledger = Ledger(open_database(str(directory / "telemetry.db")), "digits")
    (run,) = ledger.runs()
    assert (run.rule, run.data_span, run.state.value) == ("new_span", 2, "published")
    assert {(entry.rule, entry.outcome.value) for entry in ledger.entries(with_no=False)} >= {
        ("input_drift", "waiting"), ("input_drift", "suggest"), ("new_span", "run"),
    }  # fmt: skip


def test_the_reason_is_in_mlmd_and_in_the_release_s_provenance(told: tuple[Path, dict[str, Any]]) -> None:
    directory, story = told
    workspace = directory / ".edgeproof" / "digits"
    reason = story["run"]["reason"]
    assert f"[trigger {story['run']['key']}, span 2]" in reason
    last = read_runs(workspace)[-1]
    assert last.why == reason
    assert last.data.startswith("span 2")
    repository = Repository.of(DirectoryStore(workspace / "published"), KeyRing.open(workspace / "keys"))
    bundle = open_bundle(repository.read_bundle(repository.find("dev", "digits")))
    provenance = json.loads(bundle.files["provenance.intoto.json"])
    definition = provenance["predicate"]["buildDefinition"]
    assert definition["internalParameters"]["reason"] == reason
    spans = [m["annotations"].get("span") for m in definition["resolvedDependencies"] if m["name"] == "examples"]
    assert [int(span) for span in spans] == [2]
    assert bundle.manifest.version == last.release


def test_the_new_release_is_better_in_the_dark_and_the_fleet_is_quiet(told: tuple[Path, dict[str, Any]]) -> None:
    _, story = told
    assert story["dark_accuracy_after"] > story["dark_accuracy_before"] + 0.05
    assert story["is_quiet_after"]


def test_the_same_evidence_again_starts_nothing(told: tuple[Path, dict[str, Any]]) -> None:
    from datetime import datetime, timezone

    directory, _ = told
    settings = load_settings(directory / "triggers.yaml")
    watcher = Watcher(settings, open_database(settings.database))
    for _ in range(2):
        assert watcher.check(datetime.now(timezone.utc)).launched == ()
    assert len(watcher.ledger.runs()) == 1
