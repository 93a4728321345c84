"""Tells in one sentence each what is wrong with this machine or this installation, and what to do.

Rules, in order:
1. A finding never raises: what a check cannot find out is itself a finding that is not ok.
2. Whatever a run needs is tried, not guessed: libraries are imported, the interpreter loads a model.
3. TFX 1.21 turns a component whose import failed into None, and the run fails later with "'NoneType' object is not
   callable". So every name that tfx.components promises is looked at.
4. The compiler is needed only while installing; once the libraries are there, its absence is a note.

Heavy libraries are imported inside the checks.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import shutil
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline.machine import stack as stacks

GIB = 1024**3
# A MNIST run peaks at 1.2 GB in one process on tfx121; the converter's child process and the system need the rest.
NEEDED_MEMORY_BYTES = 3 * GIB
# Artifacts, metadata and temporary shuffles of a run of MNIST's size, with room to spare.
NEEDED_DISK_BYTES = 2 * GIB
SET_UP_AGAIN = "run `make clean` and then `make demo`, which installs the libraries again"


@dataclass(frozen=True)
class Finding:
    """One thing that was checked. `remedy` says what to do and is '' where `ok`."""

    name: str
    ok: bool
    detail: str
    remedy: str = ""


def diagnose() -> tuple[Finding, ...]:
    """Checks everything, in the order in which one would mend it. Takes about 10 s: it imports TensorFlow and TFX."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    return tuple(_safely(name, check) for name, check in CHECKS.items())


def render(findings: tuple[Finding, ...]) -> str:
    """One line per finding, and after a failed one what to do; the last line is the answer."""
    width = max((len(finding.name) for finding in findings), default=0)
    lines = []
    for finding in findings:
        lines.append(f"{'ok  ' if finding.ok else 'FAIL'}  {finding.name:<{width}}  {finding.detail}")
        if not finding.ok and finding.remedy:
            lines.append(f"{'':<{width + 8}}-> {finding.remedy}.")
    num_failed = sum(not finding.ok for finding in findings)
    lines.append(f"{num_failed} of {len(findings)} checks failed." if num_failed else "Everything a run needs is here.")
    return "\n".join(lines)


def check_platform(system: str | None = None, machine: str | None = None) -> Finding:
    """x86_64 Linux: TFX's own libraries have wheels for nothing else."""
    system, machine = system or platform.system(), machine or platform.machine()
    return Finding(
        name="platform",
        ok=(system, machine) == ("Linux", "x86_64"),
        detail=f"{machine} {system}",
        remedy="" if (system, machine) == ("Linux", "x86_64") else "use x86_64 Linux, or a linux/amd64 container",
    )


def check_glibc(version: stacks.Version | None) -> Finding:
    """Any glibc will do for tfx116; another C library will not."""
    if version is None:
        return Finding("glibc", False, "none (musl?)", "use a system with glibc: Debian 12+, Ubuntu 22.04+")
    newest = "tfx121 can run" if version >= stacks.MINIMUM_GLIBC_OF_TFX121 else "too old for tfx121"
    return Finding("glibc", True, f"{stacks.dotted(version)} ({newest})")


def check_python(version: stacks.Version) -> Finding:
    """Python 3.10-3.13."""
    known = stacks.of_python(version) is not None
    return Finding(
        name="python",
        ok=known,
        detail=stacks.dotted(version),
        remedy="" if known else "use Python 3.10, or 3.11-3.13 where glibc is 2.39 or newer; `make demo` finds one",
    )


def check_stack(version: stacks.Version, glibc: stacks.Version | None, override: str, tfx: str | None) -> Finding:
    """The installed TFX belongs to the stack of this Python, and to the one that was asked for."""
    expected = stacks.of_python(version)
    if tfx is None:
        return Finding("stack", False, "TFX is not installed", SET_UP_AGAIN)
    if expected is None or tfx != expected.tfx_version:
        wanted = f"{expected.value} has {expected.tfx_version}" if expected else "no stack runs on it"
        detail = f"TFX {tfx} with Python {stacks.dotted(version[:2])}; {wanted}"
        return Finding("stack", False, detail, SET_UP_AGAIN)
    try:
        choice = stacks.choose(glibc, [version], override)
    except stacks.StackError as error:
        return Finding("stack", False, str(error), f"correct or unset {stacks.OVERRIDE_VARIABLE}")
    if override and choice.stack is not expected:
        detail = f"{expected.value} is installed and {stacks.OVERRIDE_VARIABLE} asks for {choice.stack.value}"
        return Finding("stack", False, detail, "run `make venv` with the variable set as you want it")
    return Finding("stack", True, f"{expected.value} (TFX {tfx}): {_why(choice, expected)}")


def _why(choice: stacks.Choice, installed: stacks.Stack) -> str:
    return choice.reason if choice.stack is installed else "what this Python can run"


def check_compiler(path: str | None, is_installed: bool) -> Finding:
    """g++, for pyfarmhash, which TFX needs and which is published as source only."""
    if path:
        return Finding("compiler", True, path)
    detail = "no g++; needed only to install the libraries"
    if is_installed:
        return Finding("compiler", True, detail)
    return Finding("compiler", False, detail, "install it (Debian, Ubuntu: apt-get install g++)")


def check_disk(free_bytes: int, folder: Path) -> Finding:
    """Room for the artifacts of a run in the working folder."""
    ok = free_bytes >= NEEDED_DISK_BYTES
    detail = f"{free_bytes / GIB:.1f} GiB free in {folder}, {NEEDED_DISK_BYTES / GIB:.0f} GiB needed"
    return Finding("disk", ok, detail, "" if ok else "free some space, or run in a folder on a larger disk")


def check_memory(available_bytes: int | None) -> Finding:
    """Memory that a run can have. None: unknown, which is not a failure."""
    if available_bytes is None:
        return Finding("memory", True, "unknown on this system")
    ok = available_bytes >= NEEDED_MEMORY_BYTES
    detail = f"{available_bytes / GIB:.1f} GiB available, {NEEDED_MEMORY_BYTES / GIB:.0f} GiB needed"
    return Finding("memory", ok, detail, "" if ok else "close other programs or use a larger machine")


def check_components(components: object) -> Finding:
    """Every component that tfx.components names is there.

    Args:
        components: the module tfx.components, or anything shaped like it.
    """
    names = sorted(getattr(components, "__all__", None) or (name for name in dir(components) if name[:1].isupper()))
    missing = [name for name in names if getattr(components, name, None) is None]
    if missing or not names:
        detail = f"TFX hid a failed import of {', '.join(missing) or 'all its components'}"
        return Finding("tfx components", False, detail, SET_UP_AGAIN)
    return Finding("tfx components", True, f"{len(names)} imported")


def check_pickling() -> Finding:
    """Beam pickles functions to its workers; tfx-bsl imports dill, which newer Beam releases no longer bring along."""
    importlib.import_module("dill")
    pickler = importlib.import_module("apache_beam.internal.pickler")
    three = pickler.loads(pickler.dumps(lambda: 3))()
    beam = importlib.metadata.version("apache-beam")
    return Finding("beam", three == 3, f"apache-beam {beam}, functions survive pickling")


def check_interpreter() -> Finding:
    """The LiteRT interpreter, the one that judges and the one that devices run, loads its native library."""
    interpreter = importlib.import_module("ai_edge_litert.interpreter")
    try:
        interpreter.Interpreter(model_content=b"not a model")
    except ValueError:  # its own words about the bytes: the native library is there and works
        return Finding("litert", True, f"ai-edge-litert {importlib.metadata.version('ai-edge-litert')}")
    return Finding("litert", False, "the interpreter accepted bytes that are no model", SET_UP_AGAIN)


def available_memory() -> int | None:
    """Bytes a new process can have: MemAvailable, or less where a control group limits it; None where unknown."""
    limits = [_meminfo("MemAvailable"), _cgroup_limit()]
    return min((limit for limit in limits if limit is not None), default=None)


def _meminfo(field: str) -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field + ":"))
    except (OSError, StopIteration, ValueError, IndexError):
        return None


def _cgroup_limit() -> int | None:
    try:
        return int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii"))
    except (OSError, ValueError):  # no control groups v2, or "max"
        return None


def _installed_tfx() -> str | None:
    try:
        return importlib.metadata.version("tfx")
    except importlib.metadata.PackageNotFoundError:
        return None


def _python_version() -> stacks.Version:
    return tuple(sys.version_info[:3])


CHECKS: dict[str, Callable[[], Finding]] = {
    "platform": check_platform,
    "glibc": lambda: check_glibc(stacks.glibc_version()),
    "python": lambda: check_python(_python_version()),
    "stack": lambda: check_stack(
        _python_version(), stacks.glibc_version(), os.environ.get(stacks.OVERRIDE_VARIABLE, ""), _installed_tfx()
    ),
    "compiler": lambda: check_compiler(shutil.which("g++"), _installed_tfx() is not None),
    "disk": lambda: check_disk(shutil.disk_usage(Path.cwd()).free, Path.cwd()),
    "memory": lambda: check_memory(available_memory()),
    "beam": check_pickling,
    "tfx components": lambda: check_components(importlib.import_module("tfx.components")),
    "litert": check_interpreter,
}


def _safely(name: str, check: Callable[[], Finding]) -> Finding:
    """Turns whatever a check raises into a finding; a library may fail to import in any way."""
    try:
        with warnings.catch_warnings():  # third parties warn while they are imported; the doctor speaks for itself
            warnings.simplefilter("ignore")
            return check()
    except Exception as error:
        first_line = (str(error).splitlines() or [""])[0]
        return Finding(name, False, f"{type(error).__name__}: {first_line}", SET_UP_AGAIN)
