"""The steps that stream the data, on a real Flink with two TaskManagers, through the config alone."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.e2e.projects import Project, make_project
from tests.flink.cluster import FlinkCluster, flink_cluster

pytestmark = [pytest.mark.flink, pytest.mark.xdist_group("flink")]

NODES_ON_BEAM = ("ImageExampleGen", "StatisticsGen", "Evaluator")
#: Seconds of work for the worker that is killed.
NUM_LARGE_IMAGES = 400


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlinkCluster]:
    home = os.environ.get("EDGEPROOF_FLINK")
    if not home:
        pytest.skip("EDGEPROOF_FLINK names no Flink: make test-flink fetches one")
    with flink_cluster(Path(home), tmp_path_factory.mktemp("flink"), num_task_managers=2) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def in_process(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, dict[str, Any]]:
    project = make_project(tmp_path_factory.mktemp("in_process"))
    exit_code, record = project.run()
    assert exit_code == 0
    return project, record


def on_flink(directory: Path, cluster: FlinkCluster) -> Project:
    project = make_project(directory)
    with project.config.open("a", encoding="utf-8") as config:
        config.write(f"beam:\n  args: {json.dumps(cluster.beam_args)}\n")
    return project


def outputs(project: Project) -> dict[str, str]:
    """Digest of every record file and of both models, by its path without the number of the execution."""
    artifacts = project.workspace / "artifacts"
    files = [*artifacts.glob("ImageExampleGen/examples/*/Split-*/*"), *artifacts.glob("TFLiteConverter/**/*.tflite")]
    assert files
    return {
        "/".join(p for p in path.relative_to(artifacts).parts if not p.isdecimal()): sha256(
            path.read_bytes()
        ).hexdigest()
        for path in files
    }


def counts(record: dict[str, Any]) -> dict[str, Any]:
    report = json.loads(Path(record["gate_report"]).read_text(encoding="utf-8"))
    return {key: report[key] for key in ("verdict", "counts", "slices", "rules") if key in report}


def test_flink_gives_what_this_process_gives(
    cluster: FlinkCluster, in_process: tuple[Project, dict[str, Any]], tmp_path: Path
) -> None:
    project = on_flink(tmp_path / "project", cluster)
    before = len(cluster.jobs())
    exit_code, record = project.run()
    assert exit_code == 0
    jobs = cluster.jobs()[before:] if before else cluster.jobs()
    assert len(jobs) >= len(NODES_ON_BEAM)
    assert {job["state"] for job in jobs} == {"FINISHED"}
    local_project, local_record = in_process
    assert outputs(project) == outputs(local_project)
    assert counts(record) == counts(local_record)
    assert record["num_examples"] == local_record["num_examples"]


def test_a_killed_worker_fails_the_node_and_the_next_run_finishes(
    cluster: FlinkCluster, in_process: tuple[Project, dict[str, Any]], tmp_path: Path
) -> None:
    project = on_flink(tmp_path / "project", cluster)
    slow_to_read = [project.directory / "images" / "0" / f"large-{number}.png" for number in range(NUM_LARGE_IMAGES)]
    for shade, file in enumerate(slow_to_read):
        Image.new("L", (3000, 3000), shade % 256).save(file)
    before = set(cluster.workers())
    resized = ("--set", "data.image.resize=area")
    process = project.start("run", str(project.config), "--json", *resized)
    while not (computing := [pid for pid in cluster.workers() if pid not in before and is_computing(pid)]):
        assert process.poll() is None, process.communicate()
        threading.Event().wait(0.05)
    for worker in computing:
        os.kill(worker, signal.SIGKILL)
    _, stderr = process.communicate(timeout=400)
    assert process.returncode == 3, stderr
    assert "ImageExampleGen failed: " in stderr
    assert not list(project.workspace.glob("artifacts/ImageExampleGen/examples/*/Split-*/*"))
    assert not project.commit_point.exists()
    for file in slow_to_read:
        file.unlink()
    exit_code, record = project.run(*resized)
    assert exit_code == 0
    assert record["num_examples"] == in_process[1]["num_examples"]


def is_computing(pid: int) -> bool:
    """Whether a worker has Pillow's decoder in its memory, which it loads for the first picture."""
    with contextlib.suppress(OSError):
        return "PIL/_imaging" in Path(f"/proc/{pid}/maps").read_text(encoding="utf-8", errors="replace")
    return False
