"""Reading what vela says; with a program that answers as vela 5.2.0 does, and with vela itself where it is installed."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from edgeproof_edge.errors import InputError
from edgeproof_edge.examinations.delegates import CpuOperator, Share
from edgeproof_edge.examinations.ethos_u import ethos_u_verdict

from tests.edge.rewriting import MODELS

SUMMARY = (
    "system_config,inference_time,sram_memory_used,dram_memory_used,on_chip_flash_memory_used,"
    "off_chip_flash_memory_used,inferences_per_second"
)
# What vela 5.2.0 prints about float_island.tflite, in excerpts.
PRINTED = """\
Warning: No system configuration specified. Using a default of Ethos_U55_High_End_Embedded.
Tensor 'edge_x:0' has a dynamic signature in axis 0. Setting shape axis 0 to 1 and proceeding.

Warning (supported operators) operator: QUANTIZE, ofm: 'tfl.quantize'
Reason: Operation has tensor with unsupported DataType Float32 (Sin)
Feature-map dataTypes must be one of {"INT16", "INT32", "INT64", "INT8", "UINT8"}

Warning (supported operators) operator: SIN, ofm: 'Sin'
Reason: Unsupported opType

Warning (supported operators) operator: SIN, ofm: 'Sin_1'
Reason: Unsupported opType

CPU operators = %d (60.0%%)
NPU operators = %d (40.0%%)
"""


def program(directory: Path, commands: str) -> Path:
    script = directory / "vela"
    script.write_text(f'#!/bin/sh\nif [ "$1" = --version ]; then echo 5.2.0; exit; fi\n{commands}\n')
    script.chmod(0o755)
    return script


def vela_that_prints(directory: Path, num_cpu: int, num_npu: int, row: str) -> Path:
    (directory / "printed.txt").write_text(PRINTED % (num_cpu, num_npu))
    (directory / "summary.csv").write_text(f"{SUMMARY}\n{row}\n")
    return program(
        directory,
        f'cat {directory}/printed.txt; test -s "$1" || exit 3; cp {directory}/summary.csv model_summary_Some_System.csv',
    )


def test_counts_memory_and_time_are_read(tmp_path: Path) -> None:
    vela = vela_that_prints(tmp_path, 3, 2, "Some_System,0.00064,37.25,0.0,1.0,32.5,1562.5")
    found = ethos_u_verdict(MODELS / "float_island.tflite", vela)
    assert (found.verdict, found.num_npu_operators, found.num_cpu_operators) == (Share.PART, 2, 3)
    assert (found.sram_kib, found.dram_kib, found.flash_kib) == (37.25, 0.0, 33.5)
    assert found.estimated_ms == pytest.approx(0.64)
    assert (found.vela, found.version, found.system_config) == (str(vela), "5.2.0", "Some_System")
    assert found.cpu_operators == (
        CpuOperator("QUANTIZE", 1, "Operation has tensor with unsupported DataType Float32 (Sin)"),
        CpuOperator("SIN", 2, "Unsupported opType"),
    )
    json.dumps(found.to_json(), allow_nan=False)


def test_an_npu_without_work_has_no_time(tmp_path: Path) -> None:
    found = ethos_u_verdict(MODELS / "float32.tflite", vela_that_prints(tmp_path, 5, 0, "S,0.0,0.0,0.0,0.0,0.0,nan"))
    assert (found.verdict, found.estimated_ms) == (Share.NONE, None)


def test_figures_that_are_missing_or_not_finite_are_unknown(tmp_path: Path) -> None:
    found = ethos_u_verdict(MODELS / "int8.tflite", vela_that_prints(tmp_path, 0, 1, "S,nan,inf"))
    assert found.verdict is Share.ALL
    assert (found.sram_kib, found.flash_kib, found.estimated_ms) == (None, None, None)


def test_vela_is_found_on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vela = vela_that_prints(tmp_path, 0, 1, "S,0.1,1,0,0,2,10")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert ethos_u_verdict(MODELS / "int8.tflite").vela == str(vela)


def test_without_vela_the_way_to_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found = ethos_u_verdict(MODELS / "int8.tflite")
    assert found.verdict is None
    assert found.reason.startswith("not installed: pip install ethos-u-vela in its own environment")


def test_a_named_program_that_is_none_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="absent is not a program"):
        ethos_u_verdict(MODELS / "int8.tflite", tmp_path / "absent")


@pytest.mark.parametrize(
    ("commands", "words"),
    [
        pytest.param("echo 'RuntimeError: no network'; exit 1", "exit code 1: RuntimeError: no network", id="fails"),
        pytest.param("exit 0", "no output", id="says-nothing"),
        pytest.param("echo 'CPU operators = 1 (100%)'", "vela failed", id="changed-its-output"),
        pytest.param("sleep 60", "did not end within 0.3 s", id="hangs"),
    ],
)
def test_a_vela_that_fails_is_a_verdict_without_a_share(tmp_path: Path, commands: str, words: str) -> None:
    found = ethos_u_verdict(MODELS / "int8.tflite", program(tmp_path, commands), timeout_seconds=0.3)
    assert found.verdict is None
    assert words in found.reason


@pytest.mark.skipif(shutil.which("vela") is None, reason="vela is not on PATH")
@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        pytest.param("int8", Share.ALL, id="int8"),
        pytest.param("float_island", Share.PART, id="float-island"),
        pytest.param("float32", Share.NONE, id="float32"),
    ],
)
def test_vela_itself(name: str, verdict: Share) -> None:
    found = ethos_u_verdict(MODELS / f"{name}.tflite")
    assert found.verdict is verdict
    assert found.sram_kib is not None
