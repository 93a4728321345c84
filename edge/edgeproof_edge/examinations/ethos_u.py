"""What Arm's own compiler `vela` makes of a model for an Ethos-U NPU: a verdict of the compiler, with its estimates.

Vela needs newer libraries than a pipeline or a device has, so it lives in an environment of its own and is run as a
program: `python3.12 -m venv vela && vela/bin/pip install ethos-u-vela`. It decomposes operators before it places them:
its counts are not those of the file. It compiles an open batch as 1.
"""

from __future__ import annotations

import csv
import math
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgeproof_edge.errors import InputError
from edgeproof_edge.examinations.delegates import Compiler, CpuOperator, Share, compiled_for
from edgeproof_edge.flatbuffer.reading import read_model

PROGRAM = "vela"
HOW_TO_INSTALL = "pip install ethos-u-vela in its own environment, and put its vela on PATH or name it"
DEFAULT_ACCELERATOR = "ethos-u55-256"
TIMEOUT_SECONDS = 300.0
"""Small models take half a second, MobileNetV2 about one; large ones are searched for minutes."""

_MAX_REASON = 300


@dataclass(frozen=True)
class EthosUVerdict:
    """What vela said about a model.

    Attributes:
        accelerator: The NPU it compiled for, as vela names it.
        verdict: How much of the model runs on the NPU; None where vela did not get that far.
        reason: The verdict in words, or why there is none.
        vela: Path of the program; None where it is not installed.
        version: Its version.
        system_config: The system it assumed.
        num_npu_operators: Operators on the NPU, after vela's own decomposition.
        num_cpu_operators: Operators left to the CPU, likewise.
        cpu_operators: What is left to the CPU and why, in vela's words.
        sram_kib: SRAM used.
        dram_kib: DRAM used.
        flash_kib: Flash used, on the chip and beside it.
        estimated_ms: Time of one inference in vela's estimate; None where nothing runs on the NPU.
    """

    accelerator: str
    verdict: Share | None
    reason: str
    vela: str | None = None
    version: str | None = None
    system_config: str | None = None
    num_npu_operators: int | None = None
    num_cpu_operators: int | None = None
    cpu_operators: tuple[CpuOperator, ...] = ()
    sram_kib: float | None = None
    dram_kib: float | None = None
    flash_kib: float | None = None
    estimated_ms: float | None = None

    def to_json(self) -> dict[str, Any]:
        """The verdict as JSON-ready values."""
        return asdict(self)


def ethos_u_verdict(
    path: Path | str,
    vela: Path | str | None = None,
    accelerator: str = DEFAULT_ACCELERATOR,
    timeout_seconds: float = TIMEOUT_SECONDS,
) -> EthosUVerdict:
    """Compiles a model with vela and reads its summary; the compiled model is thrown away.

    Args:
        path: A .tflite file that `inspect` could read.
        vela: The program; found on PATH where it is not given.
        accelerator: One of vela's `--accelerator-config` names.
        timeout_seconds: When vela is stopped.

    Returns:
        The verdict; that vela is not installed, fails or hangs is a verdict without a share.

    Raises:
        InputError: `vela` was given and is no program.
    """
    if compiled_for(read_model(Path(path).read_bytes()).graphs[0]) is Compiler.ETHOS_U:
        return EthosUVerdict(
            accelerator, None, "compiled for Ethos-U already; vela takes the file that it was made from"
        )
    program = _find(vela)
    if program is None:
        return EthosUVerdict(accelerator, None, f"not installed: {HOW_TO_INSTALL}")
    with tempfile.TemporaryDirectory(prefix="edgeproof-vela-") as directory:
        # Vela names its files after the model's: a fixed name finds them again, whatever the user's file is called.
        model = Path(directory) / "model.tflite"
        shutil.copyfile(path, model)
        return _compile(program, model, accelerator, timeout_seconds)


def _find(vela: Path | str | None) -> str | None:
    if vela is None:
        return shutil.which(PROGRAM)
    program = shutil.which(vela)
    if program is None:
        raise InputError(f"{vela} is not a program that can be run. Give the path of vela: {HOW_TO_INSTALL}.")
    return str(Path(program).absolute())


def _compile(program: str, model: Path, accelerator: str, timeout_seconds: float) -> EthosUVerdict:
    command = [
        program,
        str(model),
        f"--accelerator-config={accelerator}",
        f"--output-dir={model.parent}",
        "--show-cpu-operations",
    ]
    try:
        return_code, output = _run(command, model.parent, timeout_seconds)
        version = _run([program, "--version"], model.parent, timeout_seconds)[1].strip()
    except subprocess.TimeoutExpired:
        reason = f"vela did not end within {timeout_seconds:g} s and was stopped"
        return EthosUVerdict(accelerator, None, reason, vela=program)
    except OSError as error:
        return EthosUVerdict(accelerator, None, f"vela cannot be run: {error.strerror}", vela=program)
    summaries = sorted(model.parent.glob("*_summary_*.csv"))
    counts = {side: int(count) for side, count in _COUNTS.findall(output)}
    if return_code != 0 or not summaries or set(counts) != {"CPU", "NPU"}:
        reason = f"vela failed with exit code {return_code}: {_last_line(output)}"
        return EthosUVerdict(accelerator, None, reason[:_MAX_REASON], vela=program, version=version)
    return _verdict(program, version, accelerator, counts, output, summaries[0])


def _run(command: list[str], directory: Path, timeout_seconds: float) -> tuple[int, str]:
    process = subprocess.Popen(
        command,
        cwd=directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=timeout_seconds)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    return process.returncode, output


_COUNTS = re.compile(r"^(CPU|NPU) operators = (\d+)", re.MULTILINE)
_CPU_OPERATOR = re.compile(r"^Warning \(supported operators\) operator: (\S+), .*\n+Reason: (.*)$", re.MULTILINE)


def _verdict(
    program: str, version: str, accelerator: str, counts: dict[str, int], output: str, summary: Path
) -> EthosUVerdict:
    with summary.open(encoding="utf-8", newline="") as file:
        row = next(csv.DictReader(file), {})
    num_npu, num_cpu = counts["NPU"], counts["CPU"]
    seconds = _number(row, "inference_time")
    staying = Counter((name, reason.strip()) for name, reason in _CPU_OPERATOR.findall(output))
    return EthosUVerdict(
        accelerator=accelerator,
        verdict=Share.of(num_npu, num_npu + num_cpu),
        reason=f"{num_npu} of {num_npu + num_cpu} operators, as vela decomposes them, run on the NPU",
        vela=program,
        version=version,
        system_config=row.get("system_config"),
        num_npu_operators=num_npu,
        num_cpu_operators=num_cpu,
        cpu_operators=tuple(CpuOperator(name, count, reason) for (name, reason), count in staying.items()),
        sram_kib=_number(row, "sram_memory_used"),
        dram_kib=_number(row, "dram_memory_used"),
        flash_kib=_sum(_number(row, "on_chip_flash_memory_used"), _number(row, "off_chip_flash_memory_used")),
        estimated_ms=1000.0 * seconds if num_npu and seconds is not None else None,
    )


def _number(row: dict[str, str], key: str) -> float | None:
    """A figure of vela's summary; None where it is missing or not finite, as bandwidths of an unused NPU are."""
    try:
        value = float(row[key])
    except (KeyError, TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None


def _sum(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else first + second


def _last_line(output: str) -> str:
    lines = [" ".join(line.split()) for line in output.splitlines() if line.strip()]
    return lines[-1] if lines else "no output"
