"""Everything that can be said about one .tflite file on this machine: facts, tests and estimates, each marked as what it is.

The facts come first: a damaged file is refused by them, before any other process sees it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeproof_edge.errors import ModelFileError
from edgeproof_edge.examinations.delegates import Estimate, estimate
from edgeproof_edge.examinations.ethos_u import EthosUVerdict, ethos_u_verdict
from edgeproof_edge.examinations.load_test import LoadTest, load_test
from edgeproof_edge.flatbuffer import Inspection, inspect
from edgeproof_edge.interpreter import Kernels


@dataclass(frozen=True)
class Examination:
    """What was found out about a file.

    Attributes:
        inspection: What is in the bytes.
        load_tests: What the installed runtime does with it: with XNNPACK, and with built-in kernels where XNNPACK
            refuses it.
        estimates: What accelerators would probably run.
        ethos_u: What vela says; None where it was not asked.
    """

    inspection: Inspection
    load_tests: tuple[LoadTest, ...]
    estimates: tuple[Estimate, ...]
    ethos_u: EthosUVerdict | None

    def to_json(self) -> dict[str, Any]:
        """The facts at the top, the rest beside them, as JSON-ready values."""
        return {
            **self.inspection.to_json(),
            "load_tests": [test.to_json() for test in self.load_tests],
            "estimates": [estimate.to_json() for estimate in self.estimates],
            "ethos_u": None if self.ethos_u is None else self.ethos_u.to_json(),
        }


def examine(path: Path | str, ask_vela: bool = False, vela: Path | str | None = None) -> Examination:
    """Inspects a file, loads it in a child process and estimates what accelerators do with it.

    Args:
        path: A .tflite file.
        ask_vela: Whether to compile it for Ethos-U, which takes a second.
        vela: The program, where it is not on PATH.

    Raises:
        ModelFileError: The file cannot be read, is no TFLite file, or is damaged.
        InputError: `vela` is no program.
        SurroundingsError: No child process could be started.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read: {error.strerror}. Give the path of a .tflite file.") from error
    try:
        inspection, estimates = inspect(data), estimate(data)
    except ModelFileError as error:
        raise ModelFileError(f"{path}: {error}") from error
    return Examination(
        inspection=inspection,
        load_tests=_load_tests(path),
        estimates=estimates,
        ethos_u=ethos_u_verdict(path, vela) if ask_vela else None,
    )


def _load_tests(path: Path | str) -> tuple[LoadTest, ...]:
    with_xnnpack = load_test(path)
    if with_xnnpack.loads:
        return (with_xnnpack,)
    return (with_xnnpack, load_test(path, Kernels.BUILTIN))
