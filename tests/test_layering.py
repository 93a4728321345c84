"""Imports go one way: edgeproof_edge -> releases -> components -> pipeline; telemetry and triggers stand beside components."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
#: Room -> the rooms it may import.
ALLOWED = {
    "edge/edgeproof_edge": {"edgeproof_edge"},
    "releases": {"releases", "edgeproof_edge"},
    "components": {"components", "releases", "edgeproof_edge"},
    "pipeline": {"pipeline", "components", "releases", "telemetry", "triggers", "edgeproof_edge", "examples"},
    "telemetry": {"telemetry", "releases", "edgeproof_edge"},
    "triggers": {"triggers", "telemetry", "releases", "edgeproof_edge"},
}
OURS = {"edgeproof_edge", "releases", "components", "pipeline", "telemetry", "triggers", "examples"}
HEAVY = {
    "tensorflow",
    "tf_keras",
    "tfx",
    "apache_beam",
    "ml_metadata",
    "tensorflow_model_analysis",
    "tensorflow_data_validation",
}
#: Files of a component that TFX or Beam itself loads; everything else beside them is a core.
TFX_FILES = {"component.py", "executor.py", "scoring_pipeline.py", "tfma/pipeline.py"}


def imported_packages(file: Path, *, at_module_level: bool = False) -> set[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    nodes = tree.body if at_module_level else list(ast.walk(tree))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module]
    return {name.split(".")[0] for name in names}


def python_files(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


@pytest.mark.parametrize("room", ALLOWED)
def test_no_import_goes_against_the_arrow(room: str) -> None:
    backwards = {str(f.relative_to(ROOT)): imported_packages(f) & OURS - ALLOWED[room] for f in python_files(room)}
    assert {file: names for file, names in backwards.items() if names} == {}


def test_the_device_library_imports_no_tensorflow_and_no_pipeline_library() -> None:
    assert {str(f): imported_packages(f) & HEAVY for f in python_files("edge") if imported_packages(f) & HEAVY} == {}


def test_cores_of_components_load_no_heavy_library() -> None:
    cores = [
        f for f in python_files("components") if not f.as_posix().endswith(tuple(f"/{name}" for name in TFX_FILES))
    ]
    heavy = {str(f.relative_to(ROOT)): imported_packages(f, at_module_level=True) & HEAVY for f in cores}
    assert {file: names for file, names in heavy.items() if names} == {}


def test_kubeflow_holds_assets_only() -> None:
    assert list((ROOT / "kubeflow").rglob("*.py")) == []


def uses_tf_data(file: Path) -> bool:
    """Whether a file names ``tf.data`` (or imports it) in code, docstrings and comments apart."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and node.attr == "data" and ast.unparse(node.value) in {"tf", "tensorflow"}:
            return True
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tensorflow.data"):
            return True
        if isinstance(node, (ast.Name, ast.Attribute)) and ast.unparse(node).endswith("TFRecordDataset"):
            return True
    return False


def test_every_tf_data_pipeline_goes_through_the_one_door() -> None:
    rooms = [*ALLOWED, "examples", "benchmarks"]
    users = {file.relative_to(ROOT).as_posix() for room in rooms for file in python_files(room) if uses_tf_data(file)}
    assert users == {"components/tf_data.py"}
