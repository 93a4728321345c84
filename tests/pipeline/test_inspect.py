"""``edgeproof inspect``: one screen, one JSON, and one line about a file that is no model."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from edgeproof_edge.errors import ModelFileError
from edgeproof_edge.examinations import examination
from edgeproof_edge.examinations.load_test import LoadTest
from edgeproof_edge.flatbuffer import inspect
from edgeproof_edge.interpreter import Kernels

from pipeline.commands.inspect import command
from tests.edge.rewriting import MODELS, damaged, golden, rewritten, with_requantization_scale

NAMES = sorted(path.stem for path in MODELS.glob("*.tflite"))
NUM_FUZZED_PER_MODEL = 12
NUM_LOADED = 6


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    command.main(list(arguments), standalone_mode=False)
    return capsys.readouterr().out


def rows(screen: str, label: str) -> list[str]:
    """What stands behind a label, its continued lines included."""
    found: list[str] = []
    for line in screen.splitlines():
        if line.startswith(label):
            found.append(line[len(label) :].strip())
        elif found and line.startswith(" " * 16):
            found[-1] += " " + line.strip()
        elif found:
            break
    return found


def test_a_float_island_is_shown_with_its_crossings_and_estimates(capsys: pytest.CaptureFixture[str]) -> None:
    screen = shown(capsys, str(MODELS / "float_island.tflite"))
    assert rows(screen, "input") == ["x [-1, 8] int8, scale 0.0235294, zero point -1"]
    assert rows(screen, "float islands") == ["1: 1 x SIN around tfl.dequantize, Sin"]
    assert rows(screen, "crossings")[0].startswith("2: DEQUANTIZE MatMul;add -> tfl.dequantize; QUANTIZE Sin")
    assert rows(screen, "requantization") == ["every scale is in XNNPACK's range, [2^-32, 256)"]
    assert "loads; delegated 100 % of the operators in 1 partition" in rows(screen, "load test")[0]
    assert rows(screen, "Edge TPU")[0].startswith("estimate: part; 4 of 5 operators stay on the CPU")
    for target in ("NNAPI", "GPU delegate", "Core ML"):
        assert rows(screen, target)[0].startswith("estimate: ")
    assert rows(screen, "Ethos-U") == ["not asked; --ethos-u compiles the file with Arm's vela"]


def test_operators_come_as_a_table_with_weights(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys, str(MODELS / "hard_swish_int8.tflite")).splitlines()
    start = next(row for row, line in enumerate(lines) if line.startswith("count"))
    assert lines[start].split() == ["count", "operator", "version", "weight", "bytes", "types"]
    assert lines[start + 1].split() == ["1", "CONV_2D", "3", "124", "int8", "int8", "int32", "->", "int8"]
    assert lines[start + 4].split() == ["3", "in", "all", "132"]


def test_a_scale_that_xnnpack_refuses_is_named_and_built_in_kernels_are_tried(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "model.tflite"
    file.write_bytes(with_requantization_scale("int8", 300.0))
    screen = shown(capsys, str(file))
    assert "FULLY_CONNECTED PartitionedCall:0 300 (XNNPACK refuses the model)" in rows(screen, "requantization")[0]
    assert "xnnpack kernels: REFUSED: failed to create XNNPACK runtime" in screen
    assert "builtin kernels: loads" in screen


def test_a_model_that_no_kernel_takes_gives_the_reason_once(capsys: pytest.CaptureFixture[str]) -> None:
    screen = shown(capsys, str(MODELS / "custom.tflite"))
    assert rows(screen, "custom")[0] == "1: Cumprod"
    assert screen.count("unresolved custom op") == 1
    assert "built-in kernels refuse it likewise" in screen


def test_json_has_everything(capsys: pytest.CaptureFixture[str]) -> None:
    content = json.loads(shown(capsys, str(MODELS / "float_island.tflite"), "--json"))
    assert content["float_islands"] == [{"operators": ["SIN"], "tensors": ["tfl.dequantize", "Sin"]}]
    assert content["refused_requantizations"] == []
    assert content["load_tests"][0]["partitions"] == 1
    assert {estimate["target"] for estimate in content["estimates"]} == {"Edge TPU", "NNAPI", "GPU delegate", "Core ML"}
    assert all(estimate["is_estimate"] for estimate in content["estimates"])
    assert content["ethos_u"] is None


def test_ethos_u_without_vela_names_the_way_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    screen = shown(capsys, str(MODELS / "int8.tflite"), "--ethos-u")
    assert rows(screen, "Ethos-U")[0].startswith("not installed: pip install ethos-u-vela")


def skip_loading(monkeypatch: pytest.MonkeyPatch) -> None:
    """Takes the child process, a quarter of a second each, out of the way."""

    def loads(path: Path | str, kernels: Kernels = Kernels.XNNPACK) -> LoadTest:
        return LoadTest("runtime", kernels, loads=True)

    monkeypatch.setattr(examination, "load_test", loads)


@pytest.mark.parametrize("name", NAMES)
def test_every_golden_file_has_a_screen_of_bounded_size(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    skip_loading(monkeypatch)
    lines = shown(capsys, str(MODELS / f"{name}.tflite")).splitlines()
    assert len(lines) <= 40
    assert max(len(line) for line in lines) <= 120


def test_names_from_the_file_cannot_break_the_screen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def rename(model: object) -> None:
        model.signatureDefs = []  # type: ignore[attr-defined]
        model.subgraphs[0].tensors[0].name = "line\nbreak \x1b[31m" + "x" * 500  # type: ignore[attr-defined]

    skip_loading(monkeypatch)
    file = tmp_path / "model.tflite"
    file.write_bytes(rewritten("int8", rename))
    screen = shown(capsys, str(file))
    assert "\x1b" not in screen
    assert rows(screen, "input")[0].startswith("...xxx")


@pytest.mark.parametrize("name", NAMES)
def test_malformed_files_are_shown_or_refused_in_one_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    skip_loading(monkeypatch)
    draw = random.Random(f"inspect {name}")
    file = tmp_path / "model.tflite"
    refusals: list[ModelFileError] = []
    for number in range(NUM_FUZZED_PER_MODEL):
        file.write_bytes(damaged(golden(name), draw))
        try:
            assert shown(capsys, str(file), *(["--json"] if number % 2 else []))
        except ModelFileError as error:
            refusals.append(error)
    assert refusals
    assert {error.exit_code for error in refusals} == {2}
    assert [str(error) for error in refusals if len(str(error).splitlines()) != 1] == []
    assert [str(error) for error in refusals if not str(error).startswith(str(file))] == []


def test_there_are_more_than_two_hundred_malformed_files() -> None:
    assert NUM_FUZZED_PER_MODEL * len(NAMES) > 200


def test_malformed_files_that_can_be_read_do_not_take_the_command_down_when_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw = random.Random("loaded")
    file = tmp_path / "model.tflite"
    num_loaded = 0
    while num_loaded < NUM_LOADED:
        data = damaged(golden(draw.choice(NAMES)), draw)
        try:
            inspect(data)
        except ModelFileError:
            continue
        file.write_bytes(data)
        assert "load test" in shown(capsys, str(file))
        num_loaded += 1


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(b"", "it is empty", id="empty"),
        pytest.param(b"<!doctype html><title>Sign in</title>", "HTML page", id="html"),
        pytest.param(golden("int8")[:700], "truncated or damaged", id="truncated"),
    ],
)
def test_the_command_ends_with_2_and_one_line(tmp_path: Path, content: bytes, words: str) -> None:
    file = tmp_path / "model.tflite"
    file.write_bytes(content)
    result = subprocess.run(
        [sys.executable, "-m", "pipeline.cli", "inspect", str(file)], capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert words in result.stderr
    assert str(file) in result.stderr


def test_a_vela_that_is_no_program_ends_with_2() -> None:
    arguments = ["inspect", str(MODELS / "int8.tflite"), "--vela", "/absent/vela"]
    result = subprocess.run(
        [sys.executable, "-m", "pipeline.cli", *arguments], capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert "/absent/vela is not a program" in result.stderr
