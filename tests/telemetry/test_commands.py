"""``edgeproof telemetry``, ``trigger`` and ``feedback`` as their users call them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.telemetry.samples import event


def edgeproof(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipeline.cli", *arguments]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)


def test_init_says_what_it_did(address: str, tmp_path: Path) -> None:
    first, again = (edgeproof(tmp_path, "telemetry", "init", address) for _ in range(2))
    assert first.stdout.strip().endswith("went from nothing to revision 0001"), first.stderr
    assert again.stdout.strip().endswith("is up to date")


def test_tokens_are_issued_rotated_listed_and_revoked(tmp_path: Path) -> None:
    issued = edgeproof(tmp_path, "telemetry", "token", "issue", "device", "pi-1").stdout.strip()
    assert issued.startswith("ept_")
    assert edgeproof(tmp_path, "telemetry", "token", "rotate", "device", "pi-1").stdout.strip() != issued
    listed = json.loads(edgeproof(tmp_path, "telemetry", "token", "list", "--json").stdout)
    assert [(entry["subject"], entry["is_valid"]) for entry in listed] == [("pi-1", True)] * 2
    assert edgeproof(tmp_path, "telemetry", "token", "revoke", "pi-1").stdout == "revoked 2 of pi-1\n"
    assert edgeproof(tmp_path, "telemetry", "token", "revoke", "pi-1").returncode == 2


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        pytest.param(["telemetry", "report"], 2, "knows no model yet", id="a-report-of-nothing"),
        pytest.param(["telemetry", "serve", "--open-pages", "--host", "0.0.0.0"], 2, "--open-pages", id="open-to-everybody"),
        pytest.param(["telemetry", "init", "postgresql://x@127.0.0.1:1/y"], 3, "does not answer", id="a-database-that-is-away"),
        pytest.param(["telemetry", "token", "issue", "device", "-x y"], 2, "", id="no-id"),
        pytest.param(["trigger", "check", "missing.yaml"], 2, "missing.yaml does not exist", id="no-trigger-file"),
        pytest.param(["feedback", "export", "--to", "data"], 2, "knows no model yet", id="feedback-of-nothing"),
    ],
)  # fmt: skip
def test_wrong_use_is_one_message(tmp_path: Path, arguments: list[str], code: int, message: str) -> None:
    done = edgeproof(tmp_path, *arguments)
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_report_of_a_fleet_that_stands_out_ends_with_1(tmp_path: Path) -> None:
    from datetime import datetime, timedelta, timezone

    from telemetry.database import open_database
    from telemetry.database.rows import EventRows
    from telemetry.maintenance import maintain

    database = open_database(str(tmp_path / "telemetry.db"))
    database.write_events(EventRows.of([event("pi-1", delegate="builtin", delegated_fraction=0.0)]))
    maintain(database, datetime.now(timezone.utc), timedelta(days=30))
    database.close()
    done = edgeproof(tmp_path, "telemetry", "report", "--hours", "2")
    assert done.returncode == 1
    assert "FALLEN BACK  pi-1" in done.stdout
