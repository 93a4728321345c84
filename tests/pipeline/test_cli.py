"""The command line answers at once, and its exit codes tell scripts what happened."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.cli import VERBS

MODEL = Path(__file__).parent.parent / "edge" / "models" / "int8.tflite"


def edgeproof(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pipeline.cli", *arguments], capture_output=True, text=True, cwd=cwd, check=False
    )


def test_help_imports_no_heavy_library() -> None:
    code = """
import sys
sys.argv = ["edgeproof", "--help"]
from pipeline.cli import main
try:
    main()
except SystemExit:
    print(*sys.modules)
"""
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {"tensorflow", "tfx", "apache_beam", "numpy", "pydantic"} & set(modules) == set()


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_ends_its_help_with_an_example(verb: str) -> None:
    result = edgeproof(verb, "--help")
    assert result.returncode == 0
    assert f"Example: edgeproof {verb}" in result.stdout.strip().split("\n\n")[-1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["nonsense"], "No such command", id="unknown-verb"),
        pytest.param(["run", "missing.yaml"], "missing.yaml does not exist", id="missing-config"),
        pytest.param(["inspect", "missing.tflite"], "missing.tflite cannot be read", id="missing-model"),
        pytest.param(["convert", "--recipe", "int4"], "int4", id="unknown-recipe"),
    ],
)
def test_wrong_use_ends_with_2_and_one_message(arguments: list[str], message: str, tmp_path: Path) -> None:
    result = edgeproof(*arguments, cwd=tmp_path)
    assert result.returncode == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_inspect_shows_operators_and_types() -> None:
    result = edgeproof("inspect", str(MODEL))
    assert result.returncode == 0
    assert "int8" in result.stdout
    assert "FULLY_CONNECTED" in result.stdout


def test_inspect_speaks_json() -> None:
    assert json.loads(edgeproof("inspect", str(MODEL), "--json").stdout)["float_operators"] == []


def test_report_without_a_run_says_how_to_start_one(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(
        "name: d\ndata: {format: image_folder, path: d, image: {height: 8, width: 8, channels: 1}}\nmodel: {module: m.py}\n",
        encoding="utf-8",
    )
    result = edgeproof("report", str(config), cwd=tmp_path)
    assert result.returncode == 2
    assert "edgeproof run" in result.stderr
    assert "under the current directory" in result.stderr
    with config.open("a", encoding="utf-8") as file:
        file.write("workspace: here\n")
    assert "under the current directory" not in edgeproof("report", str(config), cwd=tmp_path).stderr
