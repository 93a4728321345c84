"""The set-up script, run as a user runs it where that needs no network: own HOME, own PATH, own checkout."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest

from pipeline.machine import stack as stacks

REPOSITORY = Path(__file__).resolve().parents[2]


def load_script(name: str) -> types.ModuleType:
    """Imports a script of constraints/, which is no package that gets installed."""
    spec = importlib.util.spec_from_file_location(name, REPOSITORY / "constraints" / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


bootstrap = load_script("bootstrap")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with only what the set-up reads."""
    root = tmp_path / "checkout"
    for name in ("constraints", "pipeline"):
        shutil.copytree(REPOSITORY / name, root / name, ignore=shutil.ignore_patterns("__pycache__", "commands"))
    (root / "edge").mkdir()
    for name in ("pyproject.toml", "edge/pyproject.toml"):
        shutil.copy(REPOSITORY / name, root / name)
    return root


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder for PATH with no Python of either stack and a compiler that is never called."""
    folder = tmp_path / "programs"
    folder.mkdir()
    write_program(folder / "g++", "exit 1")
    return folder


def write_program(path: Path, body: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
    path.chmod(0o755)


def write_python(path: Path, version: tuple[int, int, int], has_headers: bool = True) -> None:
    """A Python that answers the probe and does nothing else."""
    answer = {"version": version, "executable": str(path), "is_cpython": True, "has_headers": has_headers}
    write_program(path, f"echo '{json.dumps(answer)}'")


def write_uv(checkout: Path, body: str) -> None:
    """The pinned uv as a script, where bootstrap.py looks for it; then pip is not asked for it."""
    (checkout / ".tools").mkdir(exist_ok=True)
    home = bootstrap.uv_home(checkout)
    write_program(home / "bin" / "uv", body)


# `uv venv ... PATH` (the last argument) makes a folder with a python in it; `uv pip install` is noted in a log.
WORKING_UV = """
PATH=/usr/bin:/bin
for last; do :; done
echo "$1 $2" >> "$HOME/uv.log"
if [ "$1" = venv ]; then rm -rf "$last"; mkdir -p "$last/bin"; ln -s /bin/true "$last/bin/python"; fi
"""


def start(checkout: Path, programs: Path, **environment: str) -> subprocess.Popen[str]:
    home = checkout.parent / "home"
    home.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, str(checkout / "constraints" / "bootstrap.py")],
        env={"HOME": str(home), "PATH": f"{programs}:/usr/bin/nowhere", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def run(checkout: Path, programs: Path, **environment: str) -> tuple[int, str, str]:
    process = start(checkout, programs, **environment)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def uv_log(checkout: Path) -> list[str]:
    path = checkout.parent / "home" / "uv.log"
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def write_every_python(programs: Path) -> None:
    for minor in (10, 13):
        write_python(programs / f"python3.{minor}", (3, minor, 1))


def test_no_compiler_is_one_sentence_and_exit_3(checkout: Path, programs: Path) -> None:
    (programs / "g++").unlink()
    write_every_python(programs)
    code, out, err = run(checkout, programs)
    assert (code, out) == (3, "")
    assert err.startswith("set-up: no C++ compiler")
    assert "apt-get install g++" in err
    assert len(err.splitlines()) == 1
    assert not (checkout / ".venv").exists()


def test_unknown_override_is_one_sentence_and_exit_3(checkout: Path, programs: Path) -> None:
    code, out, err = run(checkout, programs, EDGEPROOF_STACK="tfx99")
    assert (code, out) == (3, "")
    assert err == "set-up: EDGEPROOF_STACK is 'tfx99'; set it to tfx121 or tfx116, or unset it.\n"


def test_no_suitable_python_that_uv_cannot_fetch_either(checkout: Path, programs: Path) -> None:
    write_uv(checkout, "echo 'error: download refused'; exit 2")
    code, out, err = run(checkout, programs, EDGEPROOF_STACK="tfx116")
    assert code == 3
    assert "fetching Python 3.10" in out
    assert err.splitlines()[0] == "error: download refused"
    assert "no Python 3.10 was found on PATH or under ~/.pyenv/versions" in err
    assert "pyenv install 3.10" in err.splitlines()[-1]


def test_python_without_headers_is_named_when_uv_cannot_fetch_one(checkout: Path, programs: Path) -> None:
    write_uv(checkout, "exit 2")
    write_python(programs / "python3.10", (3, 10, 12), has_headers=False)
    code, _, err = run(checkout, programs, EDGEPROOF_STACK="tfx116")
    assert code == 3
    assert "has no headers (Python.h)" in err
    assert "apt-get install python3-dev" in err


def test_python_without_pip_is_one_sentence(
    checkout: Path, programs: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_program(tmp_path / "python-without-pip", "echo 'python: No module named pip'; exit 1")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python-without-pip"))
    (checkout / ".tools").mkdir()
    with pytest.raises(bootstrap.SetUpError, match="has no pip: install it"):
        bootstrap.install_uv(checkout, {})
    assert not list((checkout / ".tools").iterdir())


def test_platform_that_has_no_wheels_is_refused() -> None:
    for system, machine in (("Linux", "aarch64"), ("Darwin", "arm64")):
        with pytest.raises(bootstrap.SetUpError, match=f"this is {machine} {system}"):
            bootstrap.check_platform(system, machine)


def test_full_disk_is_refused_before_anything_is_downloaded(tmp_path: Path) -> None:
    with pytest.raises(bootstrap.SetUpError, match=r"has 1\.0 GiB free and the libraries need 4 GiB"):
        bootstrap.check_disk(tmp_path, 1024**3)
    bootstrap.check_disk(tmp_path, 5 * 1024**3)


def test_installing_is_quiet_and_happens_once(checkout: Path, programs: Path) -> None:
    write_uv(checkout, WORKING_UV)
    write_every_python(programs)
    code, out, err = run(checkout, programs)
    assert (code, err) == (0, "")
    assert len(out.splitlines()) == 3
    assert uv_log(checkout) == ["venv --quiet", "pip install"]
    started = time.perf_counter()
    assert run(checkout, programs) == (0, "", "")
    assert time.perf_counter() - started < 2  # a tenth of a second on a quiet machine
    assert len(uv_log(checkout)) == 2


@pytest.mark.parametrize(
    ("path", "text", "is_installed_again"),
    [
        pytest.param("pyproject.toml", "[project.urls]\n", True, id="project-metadata"),
        pytest.param("edge/pyproject.toml", "[project.urls]\n", True, id="edge-metadata"),
        pytest.param("pyproject.toml", "[tool.ruff.format]\n", False, id="lint-rules"),
    ],
)
def test_changed_file_installs_again_only_where_it_matters(
    checkout: Path, programs: Path, path: str, text: str, is_installed_again: bool
) -> None:
    write_uv(checkout, WORKING_UV)
    write_every_python(programs)
    run(checkout, programs)
    with (checkout / path).open("a", encoding="utf-8") as file:
        file.write("\n" + text)
    assert run(checkout, programs)[0] == 0
    assert len(uv_log(checkout)) == (4 if is_installed_again else 2)


def test_changed_pins_install_again(checkout: Path, programs: Path) -> None:
    write_uv(checkout, WORKING_UV)
    write_every_python(programs)
    run(checkout, programs)
    for stack in stacks.Stack:
        with (checkout / "constraints" / f"{stack.value}.txt").open("a", encoding="utf-8") as file:
            file.write("zzz==1\n")
    run(checkout, programs)
    assert len(uv_log(checkout)) == 4


def test_moved_checkout_installs_again(checkout: Path, programs: Path) -> None:
    write_uv(checkout, WORKING_UV)
    write_every_python(programs)
    run(checkout, programs)
    moved = checkout.rename(checkout.parent / "moved")
    run(moved, programs)
    assert len(uv_log(moved)) == 4


def test_failed_install_shows_what_uv_said_and_leaves_no_stamp(checkout: Path, programs: Path) -> None:
    write_uv(checkout, WORKING_UV + "\nif [ $1 = pip ]; then echo 'error: no route to host'; exit 2; fi")
    write_every_python(programs)
    code, _, err = run(checkout, programs)
    assert code == 3
    assert err.splitlines()[0] == "error: no route to host"
    assert "check the network" in err.splitlines()[-1]
    assert bootstrap.Stamp.read(checkout / ".venv") is None


def test_set_up_killed_in_the_middle_is_made_again(checkout: Path, programs: Path) -> None:
    write_uv(checkout, WORKING_UV + "\nif [ $1 = pip ]; then exec /bin/sleep 60; fi")
    write_every_python(programs)
    process = start(checkout, programs)
    deadline = time.monotonic() + 30
    while uv_log(checkout)[-1:] != ["pip install"] and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert (checkout / ".venv" / "bin" / "python").exists()
    assert not bootstrap.is_current(checkout, {})

    write_uv(checkout, WORKING_UV)
    code, out, _ = run(checkout, programs)
    assert code == 0
    assert out.splitlines()[-1].startswith("set-up: done")


def test_pyenv_shim_that_fails_is_passed_over(checkout: Path, programs: Path) -> None:
    write_program(programs / "python3.10", "echo 'pyenv: python3.10: command not found' >&2; exit 127")
    pyenv = checkout.parent / "home" / ".pyenv" / "versions"
    for version in ((3, 10, 9), (3, 10, 13)):
        dotted = stacks.dotted(version)
        write_python(pyenv / dotted / "bin" / "python3.10", version)
    environment = {"HOME": str(checkout.parent / "home"), "PATH": str(programs)}
    python = bootstrap.select_python(stacks.Stack.TFX116, list(bootstrap.find_pythons(environment)))
    assert python.version == (3, 10, 13)


def test_python_on_path_comes_before_pyenv(checkout: Path, programs: Path) -> None:
    write_python(programs / "python3", (3, 10, 4))
    write_python(checkout.parent / "home" / ".pyenv" / "versions" / "3.10.13" / "bin" / "python3.10", (3, 10, 13))
    environment = {"HOME": str(checkout.parent / "home"), "PATH": str(programs)}
    python = bootstrap.select_python(stacks.Stack.TFX116, list(bootstrap.find_pythons(environment)))
    assert python.executable == str(programs / "python3")


def test_newest_python_of_the_stack_with_headers_is_taken() -> None:
    pythons = [
        bootstrap.Python("a", (3, 11, 9), True),
        bootstrap.Python("b", (3, 13, 1), False),
        bootstrap.Python("c", (3, 12, 3), True),
        bootstrap.Python("d", (3, 10, 1), True),
    ]
    assert bootstrap.select_python(stacks.Stack.TFX121, pythons).executable == "c"
    assert bootstrap.select_python(stacks.Stack.TFX116, pythons).executable == "d"
    assert bootstrap.select_python(stacks.Stack.TFX116, pythons[:3]) is None


def test_tools_see_the_user_s_certificates_and_index_but_no_redirection(tmp_path: Path) -> None:
    environment = bootstrap.environment_for_tools(
        {
            "HOME": "/home/u",
            "HTTPS_PROXY": "http://proxy.example",
            "PIP_CERT": "/c.pem",
            "PIP_INDEX_URL": "https://index.example/simple",
            "PIP_TARGET": "/elsewhere",
            "PIP_USER": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": "/elsewhere",
            "SSL_CERT_FILE": "/c.pem",
            "UV_CACHE_DIR": "/cache",
            "UV_SYSTEM_PYTHON": "1",
            "VIRTUAL_ENV": "/elsewhere",
        },
        tmp_path,
    )
    assert environment["PIP_CERT"] == environment["SSL_CERT_FILE"] == "/c.pem"
    assert environment["UV_DEFAULT_INDEX"] == "https://index.example/simple"
    assert environment["UV_CACHE_DIR"] == "/cache"
    assert environment["PIP_CONFIG_FILE"] == os.devnull
    assert environment["UV_NO_CONFIG"] == "1"
    assert "/elsewhere" not in environment.values()
    assert not {"PIP_USER", "PYTHONDONTWRITEBYTECODE", "UV_SYSTEM_PYTHON"} & environment.keys()


@pytest.mark.parametrize("has_store", [True, False])
def test_the_authorities_of_the_system_are_trusted_where_it_has_any(tmp_path: Path, has_store: bool) -> None:
    store = tmp_path / "ca-certificates.crt"
    if has_store:
        store.write_text("-----BEGIN CERTIFICATE-----\n", encoding="ascii")
    environment = bootstrap.environment_for_tools({}, tmp_path, (tmp_path / "none", store))
    assert ("UV_SYSTEM_CERTS" in environment) == has_store


def test_pin_files_name_versions_and_nothing_else() -> None:
    recompile = load_script("recompile")
    for stack in stacks.Stack:
        for line in (REPOSITORY / "constraints" / f"{stack.value}.txt").read_text(encoding="utf-8").splitlines():
            assert recompile.LINE.match(line), line


@pytest.mark.parametrize(
    ("marker", "line"),
    [
        pytest.param(None, "scipy==1.17.1", id="no-marker"),
        pytest.param("python_full_version < '3.14' and sys_platform == 'linux'", "scipy==1.17.1", id="always-true"),
        pytest.param(
            "python_full_version < '3.12' and sys_platform == 'linux'",
            "scipy==1.17.1 ; python_full_version < '3.12'",
            id="by-python",
        ),
        pytest.param("a == 'b' or c == 'd' and e == 'f'", "scipy==1.17.1 ; a == 'b' or c == 'd' and e == 'f'", id="or"),
    ],
)
def test_markers_keep_only_what_decides(marker: str | None, line: str) -> None:
    assert load_script("recompile").shortened("scipy==1.17.1", marker) == line
