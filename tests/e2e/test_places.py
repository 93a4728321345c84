"""One pipeline, compiled once or built each time, on a directory or in a bucket: the same release."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from pipeline.config_file import load_config
from tests.e2e.projects import make_project

pytestmark = pytest.mark.e2e


@pytest.mark.exhaustive
def test_a_pipeline_that_is_compiled_once_behaves_like_one_built_for_each_run(
    tmp_path: Path, first_run: dict[str, Any]
) -> None:
    from pipeline.dag import build_pipeline
    from pipeline.history.run_record import RunRecord
    from pipeline.place import local_place
    from pipeline.running import launching
    from pipeline.running.execution import execute_compiled
    from pipeline.running.world import DataPlace

    project = make_project(tmp_path / "project")
    config = load_config(project.config, (f"workspace={project.workspace}",))
    config.workspace_dir.mkdir(parents=True)
    place = local_place(config)
    ir = launching.compiled(build_pipeline(config, place))

    def run() -> tuple[RunRecord, set[str]]:
        record = execute_compiled(ir, place, DataPlace(config.data, config.workspace_dir), tmp_path / "log")
        assert record.release is not None
        return record, {node.name for node in record.nodes if node.state != "cached"}

    first, ran = run()
    assert "Trainer" in ran
    assert first.release is not None
    model = Path(first.release.path) / "model.tflite"
    assert model.read_bytes() == (Path(first_run["release"]["path"]) / "model.tflite").read_bytes()
    assert run()[1] <= {"Pusher"}  # once more: now it knows what was published
    assert run()[1] == set()
    shutil.rmtree(project.repository)
    _, ran = run()
    assert ran == {"Pusher"}
    assert project.commit_point.is_file()
    project_image = next((project.directory / "images" / "3").glob("*.png"))
    project_image.unlink()
    assert {"ImageExampleGen", "Trainer", "Evaluator"} <= run()[1]


@pytest.mark.exhaustive
def test_artifacts_in_a_bucket_give_the_same_release(
    tmp_path: Path, s3_endpoint: str, first_run: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import s3fs

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_endpoint)
    files = s3fs.S3FileSystem(endpoint_url=s3_endpoint, key="test", secret="test", skip_instance_cache=True)
    files.mkdir("runs")
    project = make_project(tmp_path / "project")

    bucket = "workspace=s3://runs/digits"
    exit_code, record = project.run("--set", bucket)
    assert exit_code == 0
    assert record["gate_report"].startswith("s3://runs/digits/artifacts/Evaluator/")
    report = json.loads(files.cat_file(record["gate_report"]))
    model = files.cat_file(f"{record['release']['path']}/model.tflite")
    assert report["candidate"]["sha256"] == hashlib.sha256(model).hexdigest()
    assert model == (Path(first_run["release"]["path"]) / "model.tflite").read_bytes()
    written = {path.parts[0] for path in _files(project.directory) if path.parts[0] not in ("images", ".edgeproof")}
    assert written == {"config.yaml", "model.py"}  # no folder called s3:
    assert "artifacts" not in os.listdir(project.workspace)
    assert not any("/.scratch-" in path for path in files.find("runs"))

    exit_code, again = project.run("--set", bucket)
    assert {node["name"] for node in again["nodes"] if node["state"] != "cached"} <= {"Pusher"}
    told = project.edgeproof("report", str(project.config), "--set", bucket)
    assert (told.returncode, "ACCEPTED" in told.stdout) == (0, True)


def test_a_bucket_that_is_not_there_is_told_before_work(
    tmp_path: Path, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_endpoint)
    project = make_project(tmp_path / "project")
    result = project.edgeproof("run", str(project.config), "--set", "workspace=s3://nowhere/digits")
    assert result.returncode == 3
    assert "s3://nowhere/digits/artifacts cannot be written" in result.stderr
    assert "Traceback" not in result.stderr


def _files(directory: Path) -> list[Path]:
    return [path.relative_to(directory) for path in directory.rglob("*") if path.is_file()]
