"""A load test ends with a result whatever the file does to the runtime."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from edgeproof_edge.errors import ModelFileError, SurroundingsError
from edgeproof_edge.examinations.load_test import LoadTest, load_test
from edgeproof_edge.interpreter import Kernels, TFLiteModel, runtime_version

from tests.edge.rewriting import MODELS, golden, rewritten


def test_a_sound_model_loads_and_its_partitions_are_counted() -> None:
    found = load_test(MODELS / "hard_swish_int8.tflite")
    assert (found.runtime, found.kernels, found.loads, found.reason) == (runtime_version(), Kernels.XNNPACK, True, None)
    assert found.partitions is not None
    assert found.partitions >= 1
    assert found.delegated_fraction == pytest.approx(2 / 3)
    assert found.builtin_operators == ("HARD_SWISH",)
    assert json.loads(json.dumps(found.to_json()))["kernels"] == "xnnpack"


def test_what_the_runtime_refuses_comes_with_its_reason() -> None:
    found = load_test(MODELS / "custom.tflite")
    assert not found.loads
    assert "Cumprod" in (found.reason or "")
    assert (found.partitions, found.delegated_fraction, found.builtin_operators) == (None, None, None)


def test_what_only_our_wrapper_refuses_loads(tmp_path: Path) -> None:
    def rows_of_three(model: Any) -> None:
        graph = model.subgraphs[0]
        x = graph.tensors[graph.inputs[1]]
        x.shape, x.shapeSignature = [3, *x.shape[1:]], None

    file = tmp_path / "model.tflite"
    file.write_bytes(rewritten("two_inputs", rows_of_three))
    with pytest.raises(ModelFileError, match="different batch sizes"):
        TFLiteModel.load(file)
    assert load_test(file).reason is None


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(None, "cannot be read", id="absent"),
        pytest.param(b"<html>", "HTML page", id="html"),
        pytest.param(golden("int8")[:600], "truncated or damaged", id="truncated"),
    ],
)
def test_damaged_files_are_errors_not_results(tmp_path: Path, content: bytes | None, words: str) -> None:
    file = tmp_path / "model.tflite"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ModelFileError, match=words) as caught:
        load_test(file)
    assert str(file) in str(caught.value)


def child_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, commands: str) -> None:
    """Puts a shell script in the place of the child's Python."""
    script = tmp_path / "python"
    script.write_text(f"#!/bin/sh\n{commands}\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))


@pytest.mark.parametrize(
    ("commands", "words"),
    [
        pytest.param("echo 'INFO: hello' >&2; echo 'Check failed: size' >&2; kill -ABRT $$", "SIGABRT: Check failed: size", id="abort"),
        pytest.param("kill -SEGV $$", "SIGSEGV", id="crash-without-a-word"),
        pytest.param("sleep 60", "did not end within 0.3 s", id="hang"),
    ],
)  # fmt: skip
def test_the_death_of_the_child_is_a_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, commands: str, words: str
) -> None:
    child_that(tmp_path, monkeypatch, commands)
    found = load_test(MODELS / "int8.tflite", timeout_seconds=0.3)
    assert not found.loads
    assert words in (found.reason or "")


def test_a_child_that_cannot_start_is_a_matter_of_the_surroundings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child_that(tmp_path, monkeypatch, "echo 'No module named edgeproof_edge' >&2; exit 1")
    with pytest.raises(SurroundingsError, match="No module named edgeproof_edge"):
        load_test(MODELS / "int8.tflite")


def test_modules_in_the_users_directory_are_not_taken_for_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "edgeproof_edge.py").write_text("raise SystemExit(7)")
    (tmp_path / "json.py").write_text("raise SystemExit(7)")
    (tmp_path / "model.tflite").write_bytes(golden("int8"))
    monkeypatch.chdir(tmp_path)
    assert load_test("model.tflite").loads


@pytest.mark.parametrize(
    ("kernels", "partitions", "looks_slow"),
    [
        pytest.param(Kernels.XNNPACK, 0, True, id="none-delegated"),
        pytest.param(Kernels.XNNPACK, 1, False, id="one-piece"),
        pytest.param(Kernels.XNNPACK, 3, False, id="three-pieces"),
        pytest.param(Kernels.XNNPACK, 4, True, id="four-pieces"),
        pytest.param(Kernels.XNNPACK, None, False, id="unknown"),
        pytest.param(Kernels.BUILTIN, 0, False, id="built-in-kernels-were-asked-for"),
    ],
)
def test_slow_partitionings_are_recognized(kernels: Kernels, partitions: int | None, looks_slow: bool) -> None:
    assert LoadTest("runtime", kernels, loads=True, partitions=partitions).looks_slow is looks_slow
