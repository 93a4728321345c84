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
TFX_FILES = {"component.py", "executor.py", "scoring_pipeline.py", "tfma/pipeline.py", "bucket_filesystem.py"}
#: The files that may make a path of a URI: what it names as a whole, and a file of it.
URI_FILES = {"components/artifacts.py", "components/files.py"}


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


@pytest.mark.parametrize("room", ["components", "pipeline"])
def test_no_path_is_made_of_a_uri(room: str) -> None:
    files = [file for file in python_files(room) if file.relative_to(ROOT).as_posix() not in URI_FILES]
    calls = {str(file.relative_to(ROOT)): paths_of_uris(file.read_text(encoding="utf-8")) for file in files}
    assert {file: lines for file, lines in calls.items() if lines} == {}


@pytest.mark.parametrize(
    ("code", "is_one"),
    [
        pytest.param("Path(model.uri) / 'model.tflite'", True, id="attribute"),
        pytest.param("Path(artifact_utils.get_split_uri(examples, split))", True, id="split"),
        pytest.param("Path(split_uri).glob('*')", True, id="variable"),
        pytest.param("pathlib.Path(join(model.uri, 'x'))", True, id="made-of-one"),
        pytest.param("os.listdir(model.uri)", True, id="listdir"),
        pytest.param("open(join(uri, 'x'))", True, id="open"),
        pytest.param("glob.glob(f'{uri}/*')", True, id="glob"),
        pytest.param("Path(directory) / 'model.tflite'", False, id="directory"),
        pytest.param("local_copy(model.uri)", False, id="copied-first"),
    ],
)
def test_what_counts_as_a_path_of_a_uri(code: str, is_one: bool) -> None:
    assert bool(paths_of_uris(code)) == is_one


#: What opens a path of this machine, and nothing else.
OPENERS = {"Path", "PurePath", "open", "listdir", "scandir", "walk", "copytree", "rmtree", "glob", "iglob"}


def paths_of_uris(code: str) -> list[int]:
    """Lines that hand a URI to what takes a path: ``Path(model.uri)``, ``open(f"{uri}/x")``."""
    calls = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)]
    return [call.lineno for call in calls if _name(call.func) in OPENERS and any(map(_names_a_uri, call.args))]


def _name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return "" if isinstance(node.value, ast.Name) and node.value.id == "fileio" else node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _names_a_uri(argument: ast.expr) -> bool:
    names = [name for node in ast.walk(argument) if isinstance(node, ast.expr) and (name := _name(node))]
    return any("uri" in name.lower().split("_") or "uris" in name.lower().split("_") for name in names)


@pytest.mark.parametrize("text", ['"edgeproof.progress"', '"://" in', '"://" not in'])
def test_what_has_one_home_is_spelled_there_alone(text: str) -> None:
    rooms = ("edge/edgeproof_edge", "releases", "components", "pipeline", "telemetry", "triggers")
    homes = [
        str(file.relative_to(ROOT)) for room in rooms for file in python_files(room) if text in file.read_text("utf-8")
    ]
    assert len(homes) <= 1, homes


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
    stranger = "benchmarks/stock_trainer.py"  # what others write, to measure against
    assert users - {stranger} == {"components/data/tf_data.py"}
