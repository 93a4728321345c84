"""Loads a model with the installed LiteRT in a child process, and counts what its delegate takes over.

A child, because a damaged file can end the process that loads it: its death is a result here, with a reason. Loading is
the only proof that a runtime takes a file: neither the converter's success nor the versions in the file say so.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgeproof_edge.errors import ModelFileError, SurroundingsError
from edgeproof_edge.interpreter import Kernels, RuntimeRefusal, try_loading
from edgeproof_edge.litert import runtime_version

TIMEOUT_SECONDS = 60.0
"""Loading takes milliseconds, and XNNPACK packs weights at gigabytes a second: what takes this long hangs."""

SLOW_PARTITIONS = 4
"""From this many pieces on, copying between them eats the gain: int8 and dynamic-range models that XNNPACK took in 4 to
20 pieces, or not at all, ran at 0.02 to 0.57 times the speed of float; those in 1 or 2 pieces at 1.3 to 3.3 times
(ai-edge-litert 2.3.0, x86-64)."""

_RESULT_FILE = "result.json"
_MAX_REASON = 400


@dataclass(frozen=True)
class LoadTest:
    """Whether the installed runtime loads a file, and how.

    Attributes:
        runtime: Name and version of the runtime.
        kernels: Which kernels were asked for.
        loads: Whether tensors could be allocated.
        reason: Why not, in the runtime's words where it has any; None where it loads.
        partitions: Pieces of the graph that the delegate runs; None where it does not load, or the runtime does not
            tell.
        delegated_fraction: Share of operators that the delegate runs, 0.0 to 1.0; None likewise.
        builtin_operators: Names of the operators left to built-in kernels, sorted; None likewise.
    """

    runtime: str
    kernels: Kernels
    loads: bool
    reason: str | None = None
    partitions: int | None = None
    delegated_fraction: float | None = None
    builtin_operators: tuple[str, ...] | None = None

    @property
    def looks_slow(self) -> bool:
        """Whether XNNPACK takes none of the graph, or so many pieces of it that copying eats the gain."""
        if self.kernels is not Kernels.XNNPACK or self.partitions is None:
            return False
        return self.partitions == 0 or self.partitions >= SLOW_PARTITIONS

    def to_json(self) -> dict[str, Any]:
        """The result as JSON-ready values."""
        return asdict(self)


def load_test(
    path: Path | str, kernels: Kernels = Kernels.XNNPACK, timeout_seconds: float = TIMEOUT_SECONDS
) -> LoadTest:
    """Loads a file in a child process.

    Args:
        path: A .tflite file.
        kernels: Which kernels are to compute.
        timeout_seconds: When the child is stopped.

    Returns:
        The result; that the runtime refuses the file, dies of it or hangs is a result, too.

    Raises:
        ModelFileError: The file cannot be read, or is no sound TFLite file.
        SurroundingsError: The child process did not get as far as loading.
    """
    with tempfile.TemporaryDirectory(prefix="edgeproof-load-") as directory:
        return _run_child(Path(directory), Path(path).absolute(), kernels, timeout_seconds)


def _run_child(directory: Path, path: Path, kernels: Kernels, timeout_seconds: float) -> LoadTest:
    # In an empty directory: `python -m` looks there first, and the user's own may hold anything.
    child = subprocess.Popen(
        [sys.executable, "-m", "edgeproof_edge.examinations.load_test", str(path), kernels.value],
        cwd=directory,
        env=_child_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        _, stderr = child.communicate(timeout=timeout_seconds)
    except subprocess.TimeoutExpired:
        return _failed(kernels, f"loading did not end within {timeout_seconds:g} s and was stopped")
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.communicate()
    if child.returncode < 0:
        name = signal.Signals(-child.returncode).name
        return _failed(kernels, f"loading ended the process with {name}{_quoted(stderr)}")
    return _read_result(directory / _RESULT_FILE, stderr)


def _child_environment() -> dict[str, str]:
    given = os.environ.get("PYTHONPATH")
    if not given:
        return dict(os.environ)
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(str(Path(entry).absolute()) for entry in given.split(os.pathsep)),
    }


def _failed(kernels: Kernels, reason: str) -> LoadTest:
    return LoadTest(runtime_version(), kernels, loads=False, reason=reason[:_MAX_REASON])


def _quoted(stderr: bytes) -> str:
    lines = [" ".join(line.split()) for line in stderr.decode(errors="replace").splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith("INFO")]
    return f": {telling[0]}" if telling else ""


def _read_result(file: Path, stderr: bytes) -> LoadTest:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SurroundingsError(
            f"the load test's child process ended without a result{_quoted(stderr)}. "
            f"Check that {sys.executable} can import edgeproof_edge."
        ) from error
    if "damaged" in content:
        raise ModelFileError(content["damaged"])
    operators = content.pop("builtin_operators")
    return LoadTest(
        kernels=Kernels(content.pop("kernels")),
        builtin_operators=None if operators is None else tuple(operators),
        **content,
    )


def _load(path: Path, kernels: Kernels) -> dict[str, Any]:
    """What the child does; the result as JSON-ready values, or {"damaged": message}."""
    try:
        result = try_loading(path.read_bytes(), kernels)
    except RuntimeRefusal as error:
        return _failed(kernels, str(error)).to_json()
    except ModelFileError as error:
        return {"damaged": f"{path}: {error}"}
    except OSError as error:
        return {"damaged": f"{path} cannot be read: {error.strerror}. Give the path of a .tflite file."}
    if result is None:
        return LoadTest(runtime_version(), kernels, loads=True).to_json()
    return LoadTest(
        runtime=runtime_version(),
        kernels=kernels,
        loads=True,
        partitions=result.partitions,
        delegated_fraction=result.delegated_fraction,
        builtin_operators=result.builtin_operators,
    ).to_json()


if __name__ == "__main__":
    Path(_RESULT_FILE).write_text(json.dumps(_load(Path(sys.argv[1]), Kernels(sys.argv[2]))), encoding="utf-8")
