"""The story this product ends: calibrated on dark images, a 96 % model falls to some 70 %, and nothing is published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from pipeline.config_file import load_config
from pipeline.demo.incident import describe_replay, replay
from pipeline.description import describe_data
from pipeline.history.run_record import RunRecord
from tests.e2e.projects import Project

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def split_images(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders calibration, dark (the same at half brightness) and eval."""
    root = tmp_path_factory.mktemp("splits")
    for path in sorted((project.directory / "images").glob("*/*.png")):
        pixels = np.asarray(Image.open(path))
        if int(path.stem) % 2:
            save(pixels, root / "eval" / path.parent.name / path.name)
        else:
            save(pixels, root / "calibration" / path.parent.name / path.name)
            save(pixels // 2, root / "dark" / path.parent.name / path.name)
    return root


def save(pixels: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def config_for(directory: Path, images: Path, model: Path, calibration: str) -> Project:
    directory.mkdir()
    config = {
        "name": "digits",
        "data": {
            "format": "image_folder",
            "path": str(images),
            "image": {"height": 8, "width": 8, "channels": 1},
            "patterns": {"calibration": f"{calibration}/*/*", "eval": "eval/*/*"},
        },
        "model": {"saved_model": str(model)},
    }
    (directory / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    return Project(directory)


def test_dark_calibration_is_refused(tmp_path: Path, split_images: Path, trained_model: Path) -> None:
    project = config_for(tmp_path / "dark", split_images, trained_model, "dark")
    refused = project.edgeproof("run", str(project.config))
    assert refused.returncode == 1
    assert "REFUSED  int8 keeps" in refused.stdout
    assert "likely cause: calibration domain" in refused.stdout
    assert "nothing was published" in refused.stdout
    assert not project.commit_point.exists()
    report = json.loads(next(project.workspace.glob("artifacts/Evaluator/evaluation/*/gate_report.json")).read_text())
    kept = report["counts"]["num_correct_candidate"] / report["counts"]["num_correct_float"]
    assert kept < 0.95
    assert project.edgeproof("report", str(project.config)).returncode == 1


@pytest.mark.exhaustive
def test_right_calibration_is_accepted(tmp_path: Path, split_images: Path, trained_model: Path) -> None:
    project = config_for(tmp_path / "right", split_images, trained_model, "calibration")
    exit_code, record = project.run()
    assert exit_code == 0
    assert record["release"] is not None


def test_the_demo_replays_the_story(
    first_run: dict[str, Any], project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.directory)
    spec = describe_data(load_config(project.config)).examples
    told = replay(RunRecord.model_validate(first_run), spec, tmp_path)
    assert not told.usual.verdict.accepted
    assert told.repaired.verdict.accepted
    text = describe_replay(told)
    assert "likely cause: calibration domain" in text
    assert "found: calibration domain" in text
    assert len(text.splitlines()) <= 24
