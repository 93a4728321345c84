from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("script", "what"),
    [
        pytest.param("test-newest", "the newest stack was not tested here", id="newest"),
        pytest.param("test-arm", "nothing was tried on ARM", id="arm"),
    ],
)
@pytest.mark.parametrize(
    ("program", "answer", "reason"),
    [
        pytest.param("id", "echo 1000", "it needs root", id="no-root"),
        pytest.param("uname", "echo Darwin-arm64", "it needs x86_64 Linux", id="another-system"),
        pytest.param("unshare", "exit 1", "may not make mount namespaces", id="container-without-namespaces"),
    ],
)
def test_machine_that_cannot_make_a_debian_root_says_so_and_goes_on(
    tmp_path: Path, script: str, what: str, program: str, answer: str, reason: str
) -> None:
    for name, body in {"id": "echo 0", "unshare": "exit 0", program: answer}.items():
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
        path.chmod(0o755)
    done = subprocess.run(
        [str(REPOSITORY / "constraints" / script)],
        env={"HOME": str(tmp_path), "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{script}: SKIPPED, {what}: ")
    assert reason in done.stdout
    assert len(done.stdout.splitlines()) == 1


def test_ci_decides_by_tests_lint_and_the_newest_stack_and_reports_what_takes_long() -> None:
    lines = (REPOSITORY / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.startswith(("make ", "report "))] == [
        "make test",
        "make lint",
        "make test-newest",
        "report test-kfp 4m",
        "report test-flink 7m",
        "report test-android 4m",
        "report test-images 6m",
        "report test-exhaustive 40m",
    ]
    assert os.access(REPOSITORY / ".ci" / "run", os.X_OK)
