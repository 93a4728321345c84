"""Makes `.venv` in this checkout: the right stack, the right Python, the pinned libraries, bytecode compiled.

Run as `python3 constraints/bootstrap.py` (the Makefile does) with any Python >= 3.8; standard library and pip only.

Rules, in order:
1. A finished `.venv` carries a stamp of everything it was made from. Same stamp: nothing to do, nothing printed.
2. The stamp is removed first and written last, so that a set-up killed at any moment is made again from the start.
3. What can be refused is refused before anything is downloaded: one sentence with what is wrong, what was found and
   what to do; exit code 3.
4. The installer (uv) is pinned by hash and lives in `.tools/`; neither it nor pip reads a configuration file of this
   machine. What the user's environment says about certificates, proxies, indexes and the cache is kept.
5. uv's own output is shown only when it fails.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Iterator, Mapping, Sequence

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from pipeline.machine import stack as stacks

NEEDED_DISK_BYTES = 4 * 1024**3  # measured: .venv 3.3 GB on either stack, plus build files
TOOLS = ".tools"
#: Debian, Fedora, SUSE, Alpine.
SYSTEM_CERTIFICATES = tuple(
    Path("/etc", file)
    for file in ("ssl/certs/ca-certificates.crt", "pki/tls/certs/ca-bundle.crt", "ssl/ca-bundle.pem", "ssl/cert.pem")
)
STAMP = "edgeproof-stamp.json"
HEADER = "Python.h"

PROBE = (
    "import json, os, platform, sys, sysconfig\n"
    "json.dump({'version': list(sys.version_info[:3]), 'executable': sys.executable,"
    " 'is_cpython': platform.python_implementation() == 'CPython',"
    " 'has_headers': os.path.exists(os.path.join(sysconfig.get_paths()['include'], 'Python.h'))}, sys.stdout)"
)

# Variables that would send an install elsewhere than into .venv, or change what is installed.
DROPPED_VARIABLES = frozenset(
    {
        "CONDA_PREFIX",
        "PYTHONDONTWRITEBYTECODE",
        "PYTHONHOME",
        "PYTHONPATH",
        "PYTHONSTARTUP",
        "VIRTUAL_ENV",
        "__PYVENV_LAUNCHER__",
    }
)
KEPT_PIP_VARIABLES = frozenset(
    {
        "PIP_CACHE_DIR",
        "PIP_CERT",
        "PIP_CLIENT_CERT",
        "PIP_DEFAULT_TIMEOUT",
        "PIP_EXTRA_INDEX_URL",
        "PIP_FIND_LINKS",
        "PIP_INDEX_URL",
        "PIP_NO_INDEX",
        "PIP_PROXY",
        "PIP_RETRIES",
        "PIP_TRUSTED_HOST",
    }
)
KEPT_UV_PREFIXES = (
    "UV_CACHE_DIR",
    "UV_CONCURRENT_",
    "UV_DEFAULT_INDEX",
    "UV_EXTRA_INDEX_URL",
    "UV_FIND_LINKS",
    "UV_HTTP_",
    "UV_INDEX",
    "UV_INSECURE_HOST",
    "UV_KEYRING_PROVIDER",
    "UV_LINK_MODE",
    "UV_NATIVE_TLS",
    "UV_NO_INDEX",
    "UV_OFFLINE",
    "UV_PYTHON_DOWNLOADS",
    "UV_PYTHON_INSTALL_MIRROR",
    "UV_SYSTEM_CERTS",
)


class SetUpError(Exception):
    """The set-up cannot go on. The message is one sentence; `output` is what a tool printed, shown before it."""

    def __init__(self, message: str, output: str = "") -> None:
        super().__init__(message)
        self.output = output


@dataclass(frozen=True)
class Python:
    """An interpreter that was run and answered."""

    executable: str
    version: stacks.Version
    has_headers: bool


@dataclass(frozen=True)
class Stamp:
    """What a finished `.venv` was made from."""

    stack: str
    override: str
    python: str
    version: str
    checkout: str
    sources: str

    @classmethod
    def read(cls, venv: Path) -> Stamp | None:
        """Returns the stamp of a finished environment; None where there is none, or an unreadable one."""
        try:
            return cls(**json.loads((venv / STAMP).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, venv: Path) -> None:
        """Marks the environment as finished, in one step."""
        draft = venv / (STAMP + ".draft")
        draft.write_text(json.dumps(asdict(self), indent=2, sort_keys=True) + "\n", encoding="utf-8")
        draft.replace(venv / STAMP)


def main(root: Path = ROOT) -> int:
    """Makes the environment where needed; returns the exit code."""
    try:
        if is_current(root, os.environ):
            return 0
        with only_one(root):
            if not is_current(root, os.environ):  # another set-up may have finished while this one waited
                set_up(root, os.environ)
    except (SetUpError, stacks.StackError) as error:
        output = getattr(error, "output", "")
        if output:
            print(output.rstrip(), file=sys.stderr)
        print(f"set-up: {error}", file=sys.stderr)
        return 3
    except KeyboardInterrupt:
        print("set-up: interrupted; the next call starts again.", file=sys.stderr)
        return 130
    return 0


def is_current(root: Path, environment: Mapping[str, str]) -> bool:
    """Whether `.venv` is finished and was made from the files of today, for this checkout and this wish."""
    venv = root / ".venv"
    stamp = Stamp.read(venv)
    return (
        stamp is not None
        and stamp.override == environment.get(stacks.OVERRIDE_VARIABLE, "")
        and stamp.checkout == str(root)
        and stamp.sources == hash_of_sources(root, stamp.stack)
        and (venv / "bin" / "python").exists()  # follows the link: false once the base Python is gone
    )


def hash_of_sources(root: Path, stack: str) -> str:
    """SHA-256 over the pins and what both pyproject.toml say about installing; '' if a file is missing."""
    digest = hashlib.sha256(stack.encode())
    try:
        digest.update((root / "constraints" / (stack + ".txt")).read_bytes())
        for project in (root, root / "edge"):
            digest.update(installed_part((project / "pyproject.toml").read_text(encoding="utf-8")).encode())
    except OSError:
        return ""
    return digest.hexdigest()


def installed_part(pyproject: str) -> str:
    """Drops the tables that only configure ruff, mypy and pytest: a new lint rule is no reason to install again."""
    kept, keeping = [], True
    for line in pyproject.splitlines():
        if line.startswith("["):
            keeping = not line.lstrip("[").startswith(("tool.ruff", "tool.mypy", "tool.pytest"))
        if keeping:
            kept.append(line)
    return "\n".join(kept)


class only_one:
    """Holds the checkout's set-up lock, so that `make test` and `make demo` side by side install once."""

    def __init__(self, root: Path) -> None:
        self._path = root / TOOLS / "lock"

    def __enter__(self) -> None:
        self._path.parent.mkdir(exist_ok=True)
        self._file = self._path.open("w", encoding="utf-8")
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def __exit__(self, *exception: object) -> None:
        self._file.close()


def set_up(root: Path, environment: Mapping[str, str]) -> None:
    """Chooses, checks and installs. Raises SetUpError or stacks.StackError with one sentence."""
    started = time.monotonic()
    check_platform(platform.system(), platform.machine())
    pythons = list(find_pythons(environment))
    override = environment.get(stacks.OVERRIDE_VARIABLE, "")
    choice = stacks.choose(stacks.glibc_version(), [python.version for python in pythons], override)
    check_compiler(environment)
    check_disk(root, shutil.disk_usage(root).free)

    tool_environment = environment_for_tools(environment, root)
    uv = install_uv(root, tool_environment)
    python = select_python(choice.stack, pythons) or fetch_python(choice.stack, pythons, uv, tool_environment)
    print(
        f"set-up: {choice.stack.value} (TFX {choice.stack.tfx_version}), because {choice.reason}; "
        f"Python {stacks.dotted(python.version)} at {python.executable}",
        flush=True,
    )
    print("set-up: installing about 250 packages (3.3 GB) into .venv; usually one to five minutes", flush=True)
    install(root, uv, choice.stack, python, tool_environment)
    Stamp(
        stack=choice.stack.value,
        override=override,
        python=python.executable,
        version=stacks.dotted(python.version),
        checkout=str(root),
        sources=hash_of_sources(root, choice.stack.value),
    ).write(root / ".venv")
    print(f"set-up: done in {time.monotonic() - started:.0f} s", flush=True)


def check_platform(system: str, machine: str) -> None:
    """Raises SetUpError unless this is x86_64 Linux: TFX's own libraries have wheels for nothing else."""
    if system != "Linux" or machine not in ("x86_64", "AMD64"):
        raise SetUpError(
            f"Edgeproof runs on x86_64 Linux, and this is {machine} {system}: TFX has no wheels for it; "
            "use an x86_64 Linux machine or a linux/amd64 container."
        )


def check_compiler(environment: Mapping[str, str]) -> None:
    """Raises SetUpError without a C++ compiler: pyfarmhash, a dependency of TFX, is published as source only."""
    if shutil.which("g++", path=environment.get("PATH", os.defpath)) is None:
        raise SetUpError(
            "no C++ compiler: TFX needs pyfarmhash, which is built from source, and g++ is not on PATH; "
            "install it (Debian, Ubuntu: apt-get install g++)."
        )


def check_disk(root: Path, free_bytes: int) -> None:
    """Raises SetUpError when the libraries will not fit."""
    if free_bytes < NEEDED_DISK_BYTES:
        raise SetUpError(
            f"{root} has {free_bytes / 1024**3:.1f} GiB free and the libraries need "
            f"{NEEDED_DISK_BYTES / 1024**3:.0f} GiB: free some space or move the checkout to a larger disk."
        )


def find_pythons(environment: Mapping[str, str]) -> Iterator[Python]:
    """Yields the interpreters of PATH, then pyenv's, that a stack can use. Each was run: a pyenv shim may fail."""
    versions = [version for stack in stacks.Stack for version in stack.python_versions]
    seen = set()
    for path in candidate_paths(environment, versions):
        python = probe(path, environment)
        if python and python.version[:2] in versions and python.executable not in seen:
            seen.add(python.executable)
            yield python


def candidate_paths(environment: Mapping[str, str], versions: Sequence[stacks.Version]) -> Iterator[Path]:
    """Yields executables named python3 or python3.N: PATH's, then those of ~/.pyenv/versions (or $PYENV_ROOT)."""
    names = ["python3", *("python" + stacks.dotted(version) for version in versions)]
    for folder in environment.get("PATH", os.defpath).split(os.pathsep):
        for name in names:
            path = Path(folder, name)
            if folder and os.access(path, os.X_OK):
                yield path
    pyenv = Path(environment.get("PYENV_ROOT") or Path(environment.get("HOME", "/nonexistent"), ".pyenv"))
    for version in versions:
        dotted = stacks.dotted(version)
        installed = pyenv.glob(f"versions/{dotted}.*/bin/python{dotted}")
        yield from sorted(installed, key=lambda path: stacks.parse(path.parts[-3]), reverse=True)


def probe(path: Path, environment: Mapping[str, str]) -> Python | None:
    """Runs an interpreter and returns what it says; None if it fails, is slow or is not CPython."""
    try:
        answer = subprocess.run(
            [str(path), "-I", "-c", PROBE],
            capture_output=True,
            check=True,
            timeout=30,
            env={name: value for name, value in environment.items() if name not in DROPPED_VARIABLES},
        ).stdout
        found = json.loads(answer)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return Python(found["executable"], tuple(found["version"]), found["has_headers"]) if found["is_cpython"] else None


def select_python(stack: stacks.Stack, pythons: Sequence[Python]) -> Python | None:
    """Returns the first interpreter, in the stack's order of preference, that can also build pyfarmhash."""
    usable = [python for python in pythons if python.has_headers]
    for version in stack.python_versions:
        for python in usable:
            if python.version[:2] == version:
                return python
    return None


def fetch_python(
    stack: stacks.Stack, pythons: Sequence[Python], uv: Path, tool_environment: Mapping[str, str]
) -> Python:
    """Lets uv install the stack's preferred Python into .tools/. Raises SetUpError when it cannot."""
    wanted = stacks.dotted(stack.python_versions[0])
    print(f"set-up: no Python {stack.python_names} with headers here; fetching Python {wanted} with uv", flush=True)
    install_dir = tool_environment["UV_PYTHON_INSTALL_DIR"]
    fetched = run([str(uv), "python", "install", "--no-bin", wanted], tool_environment)
    executables = sorted(Path(install_dir).glob(f"cpython-{wanted}*/bin/python{wanted}"))
    python = probe(executables[-1], tool_environment) if executables else None
    if fetched.returncode == 0 and python is not None:
        return python
    bare = next((python for python in pythons if python.version[:2] in stack.python_versions), None)
    if bare:
        have = f"{bare.executable} (Python {stacks.dotted(bare.version)}) has no headers ({HEADER})"
        remedy = "install them (Debian, Ubuntu: apt-get install python3-dev)"
    else:
        have = f"no Python {stack.python_names} was found on PATH or under ~/.pyenv/versions"
        remedy = f"install one (for example: pyenv install {wanted})"
    raise SetUpError(
        f"{stack.value} needs Python {stack.python_names} with headers, {have}, and uv could not fetch one: {remedy}.",
        fetched.stdout,
    )


def environment_for_tools(
    environment: Mapping[str, str], root: Path, certificates: Sequence[Path] = SYSTEM_CERTIFICATES
) -> dict[str, str]:
    """Returns the user's environment without what would redirect the install; configuration files are switched off.

    Args:
        environment: The user's.
        root: The checkout.
        certificates: Where systems keep the authorities that they trust; uv brings a list of its own for those that have none.
    """
    kept = {name: value for name, value in environment.items() if _is_kept(name)}
    if "PIP_INDEX_URL" in kept:
        kept.setdefault("UV_DEFAULT_INDEX", kept["PIP_INDEX_URL"])
    if any(file.is_file() for file in certificates):
        kept["UV_SYSTEM_CERTS"] = "true"  # a company's own authority is there, and not among those that uv brings
    return {
        **kept,
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_INPUT": "1",
        "PIP_ROOT_USER_ACTION": "ignore",
        "UV_NO_CONFIG": "1",
        "UV_NO_PROGRESS": "1",
        "UV_PYTHON_INSTALL_DIR": str(root / TOOLS / "python"),
    }


def _is_kept(name: str) -> bool:
    if name.startswith("PIP_"):
        return name in KEPT_PIP_VARIABLES
    if name.startswith("UV_"):
        return name.startswith(KEPT_UV_PREFIXES)
    return name not in DROPPED_VARIABLES


def uv_home(root: Path) -> Path:
    """Where the pinned uv lives; another pin, another folder."""
    pin = (root / "constraints" / "uv.txt").read_bytes()
    return root / TOOLS / ("uv-" + hashlib.sha256(pin).hexdigest()[:12])


def install_uv(root: Path, tool_environment: Mapping[str, str]) -> Path:
    """Returns the pinned uv, put into .tools/ by pip when it is not there yet. Raises SetUpError."""
    pin, home = root / "constraints" / "uv.txt", uv_home(root)
    if not home.exists():
        # Into a temporary folder first: a killed pip leaves no half installer behind under the final name.
        with tempfile.TemporaryDirectory(dir=home.parent) as draft:
            target = Path(draft, "uv")
            command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:"]
            command += ["--require-hashes", "--target", str(target), "-r", str(pin)]
            done = run(command, tool_environment)
            if done.returncode != 0:
                raise SetUpError(_why_pip_failed(done.stdout), done.stdout)
            target.rename(home)
    return home / "bin" / "uv"


def _why_pip_failed(output: str) -> str:
    if "No module named pip" in output:
        return f"{sys.executable} has no pip: install it (Debian, Ubuntu: apt-get install python3-pip)."
    return (
        "pip could not install uv (its words are above): check the network, the proxy (HTTPS_PROXY) "
        "and the certificates (PIP_CERT, SSL_CERT_FILE), then run the command again."
    )


def install(root: Path, uv: Path, stack: stacks.Stack, python: Python, tool_environment: Mapping[str, str]) -> None:
    """Makes `.venv` anew and installs the pinned libraries, this checkout and edge/ into it. Raises SetUpError."""
    venv, pins = root / ".venv", root / "constraints" / (stack.value + ".txt")
    with contextlib.suppress(FileNotFoundError):
        (venv / STAMP).unlink()
    commands = [
        [str(uv), "venv", "--quiet", "--no-project", "--clear", "--python", python.executable, str(venv)],
        [
            *(str(uv), "pip", "install", "--python", str(venv / "bin" / "python"), "--compile-bytecode"),
            *("--constraints", str(pins), "--build-constraints", str(pins)),
            *("--editable", f"{root}[dev]", "--editable", str(root / "edge")),
        ],
    ]
    for command in commands:
        done = run(command, tool_environment)
        if done.returncode != 0:
            raise SetUpError(
                f"uv could not install {stack.value} (its words are above): check the network, the proxy "
                "(HTTPS_PROXY), the certificates (SSL_CERT_FILE) and the compiler, then run the command again.",
                done.stdout,
            )


def run(command: Sequence[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Runs a tool and keeps what it prints, both streams in one."""
    return subprocess.run(
        list(command),
        env=dict(environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        check=False,
    )


if __name__ == "__main__":
    sys.exit(main())
