"""The self-test of a release in a child process: a file that takes its process down takes no updater with it.

The child holds the files against the manifest, loads the model as the device will run it, proves the delegation and runs
the golden vectors. Rules, in order: 1. Whatever the child does not say is a "no". 2. What the release did wrong is told
from what this machine did (no child could be started): the release is not to blame for that.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from edgeproof_edge.errors import EdgeproofError, SurroundingsError
from edgeproof_edge.manifest import Manifest

#: Loading and 32 examples: milliseconds for most models, a minute for a large one on a slow device.
TIMEOUT_SECONDS = 120.0

_RESULT_FILE = "result.json"
_MAX_REASON = 400


@dataclass(frozen=True)
class SelfTestOptions:
    """How the device runs models; see `runtime.RuntimeOptions`."""

    kernels: str = "xnnpack"
    num_threads: int = 1
    delegate: str | None = None
    require_delegate: bool = False
    minimum_delegated_fraction: float = 0.0


@dataclass(frozen=True)
class SelfTestResult:
    """What a release showed.

    Attributes:
        passed: Whether it may run here.
        reason: Why not; empty where it may.
        is_machine_at_fault: Whether that says nothing of the release: a driver is missing, or time ran out.
        num_examples: Golden vectors that were run.
        largest_difference: Of any number of the output from where it was judged.
        tolerance: What was allowed.
        delegated_fraction: Share of the operators that the delegate computes; None where the runtime does not tell.
        milliseconds: Of the golden examples, the median.
        warning: What is not wrong and should be known: a silent fallback to slow kernels.
    """

    passed: bool
    reason: str = ""
    is_machine_at_fault: bool = False
    num_examples: int = 0
    largest_difference: float = 0.0
    tolerance: float = 0.0
    delegated_fraction: float | None = None
    milliseconds: float | None = None
    warning: str | None = None


class SelfTestFailed(EdgeproofError):
    """A release does not run here as it was judged."""


def run_self_test(
    directory: Path, options: SelfTestOptions | None = None, timeout_seconds: float = TIMEOUT_SECONDS
) -> SelfTestResult:
    """Tests an unpacked release in a child process.

    Raises:
        SurroundingsError: The child could not be started, or ended without a word and not by a signal.
    """
    with tempfile.TemporaryDirectory(prefix="edgeproof-test-") as place:
        arguments = json.dumps(asdict(options or SelfTestOptions()))
        child = subprocess.Popen(
            [sys.executable, "-m", "edgeproof_edge.self_test", str(directory.absolute()), arguments],
            cwd=place,  # `python -m` looks there first
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            _, stderr = child.communicate(timeout=timeout_seconds)
        except subprocess.TimeoutExpired:
            return SelfTestResult(False, f"it did not end within {timeout_seconds:g} s and was stopped", True)
        finally:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
                child.communicate()
        if child.returncode < 0:
            return SelfTestResult(False, f"it ended the process with {signal.Signals(-child.returncode).name}")
        return _read(Path(place) / _RESULT_FILE, stderr)


def self_test(options: SelfTestOptions | None = None) -> Callable[[Path, Manifest], bool]:
    """The self-test for `Updater.update`."""

    def test(directory: Path, manifest: Manifest) -> bool:
        result = run_self_test(directory, options)
        if result.is_machine_at_fault:
            raise SurroundingsError(f"the self-test of release {manifest.version} cannot be run: {result.reason}")
        if not result.passed:
            raise SelfTestFailed(result.reason)
        return True

    return test


def _read(file: Path, stderr: bytes) -> SelfTestResult:
    try:
        return SelfTestResult(**json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        lines = [line for line in stderr.decode(errors="replace").splitlines() if line.strip()]
        raise SurroundingsError(
            f"the self-test's child process ended without a result{': ' + lines[-1] if lines else ''}. "
            f"Check that {sys.executable} can import edgeproof_edge."
        ) from error


def _run(directory: Path, options: SelfTestOptions) -> SelfTestResult:
    """What the child does."""
    from edgeproof_edge.golden_test import check_golden_vectors
    from edgeproof_edge.interpreter import Kernels
    from edgeproof_edge.runtime import EdgeModel, RuntimeOptions

    try:
        model = EdgeModel.open(
            directory,
            RuntimeOptions(
                kernels=Kernels(options.kernels),
                num_threads=options.num_threads,
                delegate=options.delegate,
                require_delegate=options.require_delegate,
                minimum_delegated_fraction=options.minimum_delegated_fraction,
            ),
        )
        golden = check_golden_vectors(model)
    except EdgeproofError as error:
        return SelfTestResult(False, str(error)[:_MAX_REASON], isinstance(error, SurroundingsError))
    return SelfTestResult(
        passed=True,
        num_examples=golden.num_examples,
        largest_difference=golden.largest_difference,
        tolerance=golden.tolerance,
        delegated_fraction=model.delegation.fraction,
        milliseconds=model.latency.percentile(0.5),
        warning=model.delegation.warning,
    )


if __name__ == "__main__":
    outcome = _run(Path(sys.argv[1]), SelfTestOptions(**json.loads(sys.argv[2])))
    Path(_RESULT_FILE).write_text(json.dumps(asdict(outcome)), encoding="utf-8")
