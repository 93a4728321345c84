"""What is kept of a run before its first step: commit, config, the model's files."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from pipeline.config_file import load_config
from pipeline.running.sources import source_of

CONFIG = "name: pets\ndata: {format: image_folder, path: images, image: {height: 8, width: 8, channels: 1}}\nmodel: {module: model.py}\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    (tmp_path / "config.yaml").write_text(CONFIG)
    (tmp_path / "model.py").write_text("from layers import head\n")
    (tmp_path / "layers.py").write_text("head = 1\n")
    return tmp_path


def git(directory: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.com")
    command = ["git", "-C", str(directory), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_the_whole_config_and_the_files_of_the_module_are_kept(project: Path) -> None:
    source = source_of(load_config(project / "config.yaml", ("train.epochs=4",)))
    assert json.loads(source.config)["train"]["epochs"] == 4
    assert json.loads(source.config)["train"]["batch_size"] == 64
    before = json.loads(source.files)
    assert sorted(before) == ["layers.py", "model.py"]
    (project / "layers.py").write_text("head = 2\n")
    after = json.loads(source_of(load_config(project / "config.yaml")).files)
    assert {name for name in before if before[name] != after[name]} == {"layers.py"}


def test_the_commit_is_the_projects_and_says_whether_files_differ(
    project: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert source_of(load_config(project / "config.yaml")).git_commit == ""
    git(project, "init")
    git(project, "add", ".")
    git(project, "commit", "-m", "first")
    sha = git(project, "rev-parse", "HEAD")
    assert source_of(load_config(project / "config.yaml")).git_commit == sha
    (project / "model.py").write_text("head = 3\n")
    assert source_of(load_config(project / "config.yaml")).git_commit == f"{sha} with changes"
