"""``edgeproof evaluate`` with its rules, on the demo's model: a verdict by slices, against a release, and by other figures."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.e2e.projects import Project

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def converted(project: Project, first_run: dict[str, Any]) -> Path:
    return next((project.workspace / "artifacts" / "TFLiteConverter" / "tflite_model").glob("*/model.tflite"))


@pytest.fixture(scope="module")
def holdout(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every third image, with a writer who is made up and a year."""
    paths = sorted((project.directory / "images").glob("*/*.png"))[::3]
    pixels = np.stack([np.asarray(Image.open(path), np.float32)[..., None] for path in paths])
    labels = np.array([int(path.parent.name) for path in paths])
    file = tmp_path_factory.mktemp("data") / "holdout.npz"
    writer = np.array(["ada", "bob"])[np.arange(len(labels)) % 2]
    np.savez(file, x=pixels, y=labels, writer=writer, year=1990 + np.arange(len(labels)) % 20)
    return file


def evaluate(project: Project, model: Path, tflite: Path, data: Path, *options: str) -> tuple[int, dict[str, Any]]:
    arguments = ("--saved-model", str(model), "--tflite", str(tflite), "--data", str(data), "--out", "verdict")
    result = project.edgeproof("evaluate", *arguments, "--json", *options)
    assert result.returncode in (0, 1), result.stderr
    return result.returncode, json.loads(result.stdout)


def test_every_rule_in_one_verdict(project: Project, trained_model: Path, converted: Path, holdout: Path) -> None:
    options = ("--slice", "label", "--slice", "brightness:64,80", "--slice", "writer", "--slice", "year:2000")
    rules = ("--slice-min-ratio", "0.9", "--class-min-ratio", "0.5", "--confidence", "0.95", "--max-size-ratio", "1")
    released = ("--champion", f"{project.config}#dev")
    exit_code, report = evaluate(project, trained_model, converted, holdout, *options, *rules, *released)
    assert report["champion"]["sha256"] == hashlib.sha256(converted.read_bytes()).hexdigest()
    assert (report["champion"]["version"] or "").startswith("0000")
    results = {rule["name"]: rule for rule in report["verdict"]["rules"]}
    assert {"slices_kept", "confidence_bound", "size_ratio", "no_worse_than_release", "slices_found"} <= set(results)
    assert results["no_worse_than_release"]["passed"]
    assert results["size_ratio"]["passed"]
    assert "no class holds 100 examples" in results["classes_kept"]["reason"]  # ten digits share 599 images
    assert exit_code == 1
    sizes = {part["value"]: part["num_examples"] for part in report["slices"] if part["name"] in ("writer", "year")}
    assert (
        sizes["ada"] + sizes["bob"] == sizes["[-inf, 2000)"] + sizes["[2000, inf)"] == report["counts"]["num_examples"]
    )


@pytest.mark.exhaustive
def test_top_k_of_ten_digits(project: Project, trained_model: Path, converted: Path, holdout: Path) -> None:
    exit_code, report = evaluate(project, trained_model, converted, holdout, "--metric", "topk", "--top-k", "3")
    assert exit_code == 0
    assert report["metric"]["name"] == "top3"
    assert report["counts"]["num_correct_float"] > 590


@pytest.mark.exhaustive
def test_a_metric_for_two_classes_refuses_ten(
    project: Project, trained_model: Path, converted: Path, holdout: Path
) -> None:
    exit_code, report = evaluate(project, trained_model, converted, holdout, "--metric", "f1")
    assert exit_code == 1
    assert "there is no F1 of both models to compare" in report["verdict"]["sentence"]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        pytest.param(
            ("--slice", "moon"),
            "need a feature of that name; found ['writer', 'year']",
            id="no-such-feature",
            marks=pytest.mark.exhaustive,
        ),
        pytest.param(("--slice", "year:soon"), "edges that are no numbers", id="edges"),
        pytest.param(("--metric", "auc"), "made for two classes", id="ten-classes", marks=pytest.mark.exhaustive),
        pytest.param(
            ("--metric", "auc", "--confidence", "0.95"),
            "there is no confidence bound for metric auc; remove confidence",
            id="no-bound",
        ),
    ],
)
def test_what_cannot_be_meant_is_one_message(
    project: Project, trained_model: Path, converted: Path, holdout: Path, options: tuple[str, ...], reason: str
) -> None:
    arguments = ("--saved-model", str(trained_model), "--tflite", str(converted), "--data", str(holdout), "--out", "v")
    result = project.edgeproof("evaluate", *arguments, *options)
    assert result.returncode == 2
    assert reason in result.stderr
    assert "Traceback" not in result.stderr
