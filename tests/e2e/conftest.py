"""Runs as a user starts them: a project folder, the command, its exit code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.projects import Project, make_project
from tests.releases.conftest import s3_endpoint  # noqa: F401 - a fixture

EVAL_CONFIG = 'metrics_specs { metrics { class_name: "AUC" } binarize { class_ids { values: 3 } } }'


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project that every test may run again, but must leave accepted."""
    return make_project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="session")
def first_run(project: Project) -> dict[str, Any]:
    """The record of the project's first run."""
    exit_code, record = project.run()
    assert exit_code == 0
    return record


@pytest.fixture(scope="session")
def trained_model(first_run: dict[str, Any], project: Project) -> Path:
    """The SavedModel that the first run trained."""
    return next((project.workspace / "artifacts" / "Trainer" / "model").glob("*/Format-Serving"))


@pytest.fixture(scope="session")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, dict[str, Any]]:
    """A project that was run once, with quantization-aware training and a metric of TFMA, and its record."""
    project = make_project(tmp_path_factory.mktemp("tuned"))
    (project.directory / "more.pbtxt").write_text(EVAL_CONFIG, encoding="utf-8")
    settings = (
        "train.epochs=8",
        "train.qat.mode=on",
        "train.qat.epochs=1",
        "convert.recipe=int8-qat",
        "gate.eval_config=more.pbtxt",
    )
    changes = [argument for setting in settings for argument in ("--set", setting)]
    exit_code, record = project.run(*changes, "--reason", "a new model")
    assert exit_code == 0
    return project, record


@pytest.fixture
def states() -> Callable[[dict[str, Any]], dict[str, str]]:
    """Node -> state of a record."""
    return lambda record: {node["name"]: node["state"] for node in record["nodes"]}
