"""Gathers what the gateway runs into one directory: an interpreter, a virtual environment, and the libraries that they load.

Runs in the image's build stage: `python3 runtime_root.py /opt/edgeproof /runtime`. Rules, in order: 1. What is never run goes first:
compilers, tests, headers, type stubs. 2. Then every remaining binary says which shared libraries it loads, and only these come along: no
shell, no package manager, nothing to patch that is not used. 3. Paths stay as they were, links are copied as links. 4. Licences stay.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Collection, Iterator
from pathlib import Path

USER_ID = 10001
#: Of the standard library: what a device never imports.
STDLIB_LEFT_OUT = (
    "config-*", "dbm", "dist-packages", "distutils", "ensurepip", "idlelib", "lib2to3", "pydoc_data", "site-packages", "test", "tkinter",
    "turtledemo", "lib-dynload/_test*", "lib-dynload/_ctypes_test*", "lib-dynload/_dbm*", "lib-dynload/_gdbm*",
    "lib-dynload/_tkinter*", "lib-dynload/xx*",
)  # fmt: skip
#: Of the installed packages, by what they are for.
PACKAGES_LEFT_OUT = (
    # Compilers for phones' chips, tools, and a GPU accelerator that needs a desktop's driver.
    "ai_edge_litert/aot", "ai_edge_litert/tools", "ai_edge_litert/vendors", "ai_edge_litert/libLiteRt.so",
    "ai_edge_litert/libLiteRtWebGpuAccelerator.so",
    # What builds extensions for NumPy, and what tests it.
    "numpy/_core/include", "numpy/_core/lib", "numpy/distutils", "numpy/f2py", "numpy/random",
    "numpy/_pyinstaller", "numpy/**/tests", "numpy/_core/_*_tests.*",
    # Fonts, colour management and screens: a device decodes pictures.
    "PIL/_avif.*", "PIL/_imagingft.*", "PIL/_imagingcms.*", "PIL/_imagingtk.*",
    "securesystemslib/_vendor/ed25519/test*", "setuptools*", "pkg_resources", "_distutils_hack", "pip", "pip-*", "**/*.pyi",
)  # fmt: skip
_LIBRARY = re.compile(r"(?:=> )?(/\S+) \(0x")
_ELF = b"\x7fELF"


def main() -> None:
    """Fills the directory."""
    venv, root = Path(sys.argv[1]), Path(sys.argv[2])
    packages = next(venv.glob("lib/python3*/site-packages"))
    root.mkdir()
    leave_out(packages, PACKAGES_LEFT_OUT)
    copy_tree(venv, root)
    interpreter = Path(sys._base_executable)  # type: ignore[attr-defined]
    for path in (interpreter, venv / "bin" / "python3"):
        copy(path, root)
    copy_tree(Path(sysconfig.get_path("stdlib")), root, STDLIB_LEFT_OUT)
    for library in sorted(libraries(root)):
        copy(library, root)
    leave_out_unloaded(root, packages)
    compile_bytecode(root)
    write_system_files(root)


def leave_out(directory: Path, patterns: tuple[str, ...]) -> None:
    """Removes what is never run."""
    for pattern in patterns:
        for path in sorted(directory.glob(pattern)):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def copy(path: Path, root: Path) -> None:
    """Copies a file to its own path under the root; links on the way, and at its end, stay links and are followed."""
    walked = Path("/")
    for part in path.parts[1:]:
        walked = walked / part
        target = root / walked.relative_to("/")
        if walked.is_symlink():
            if not target.is_symlink():
                target.symlink_to(walked.readlink())
            copy(Path(os.path.normpath(walked.parent / walked.readlink())), root)
        elif walked.is_dir():
            target.mkdir(exist_ok=True)
        elif not target.exists():
            shutil.copy2(walked, target)


def copy_tree(directory: Path, root: Path, left_out: tuple[str, ...] = ()) -> None:
    """Copies a directory to its own path under the root, without bytecode."""
    copy(directory, root)
    for path in directory.rglob("*"):
        if "__pycache__" not in path.parts:
            copy(path, root)
    leave_out(root / directory.relative_to("/"), left_out)


def libraries(root: Path, excepted: Collection[Path] = ()) -> set[Path]:
    """The shared libraries that binaries under the root load, but for those excepted, and the loader."""
    loaded: set[Path] = set()
    for binary in binaries(root):
        if binary in excepted:
            continue
        listed = subprocess.run(
            ["ldd", str(Path("/") / binary.relative_to(root))], capture_output=True, text=True, check=False
        )
        loaded |= {Path(path) for path in _LIBRARY.findall(listed.stdout)}
        if "not found" in listed.stdout:
            sys.exit(f"{binary}: a library that it loads is missing:\n{listed.stdout}")
    return loaded


def binaries(directory: Path) -> Iterator[Path]:
    """Executables and shared libraries, without following links."""
    for path in sorted(directory.rglob("*")):
        if path.is_file() and not path.is_symlink():
            with path.open("rb") as stream:
                if stream.read(4) == _ELF:
                    yield path


def leave_out_unloaded(root: Path, packages: Path) -> None:
    """Removes libraries that wheels bring and that nothing loads any more."""
    installed = root / packages.relative_to("/")
    brought = set(installed.glob("*.libs/*"))
    loaded = {path.resolve() for path in libraries(root, brought)}
    for path in brought:
        if (packages / path.relative_to(installed)).resolve() not in loaded:
            path.unlink()


def compile_bytecode(root: Path) -> None:
    """The root file system is read-only when the image runs: what is not compiled now is compiled at every start."""
    for directory in (root / "opt", root / sysconfig.get_path("stdlib")[1:]):
        command = [
            sys.executable,
            "-m",
            "compileall",
            "-q",
            "-s",
            str(root),
            "-p",
            "/",
            "--invalidation-mode",
            "unchecked-hash",
            str(directory),
        ]
        subprocess.run(
            command, check=False, stdout=subprocess.DEVNULL
        )  # the standard library has files that test for errors


def write_system_files(root: Path) -> None:
    """Names of users, who is trusted, how hosts are looked up, and where libraries are."""
    for path in (
        Path("/etc/ssl/certs/ca-certificates.crt"),
        Path("/etc/os-release"),
        Path("/etc/nsswitch.conf"),
        Path("/etc/ld.so.conf"),
    ):
        if path.exists():
            copy(path, root)
    copy_tree(Path("/etc/ld.so.conf.d"), root)
    (root / "etc/passwd").write_text(
        f"root:x:0:0::/:/nologin\nedgeproof:x:{USER_ID}:{USER_ID}::/var/lib/edgeproof:/nologin\n"
    )
    (root / "etc/group").write_text(f"root:x:0:\nedgeproof:x:{USER_ID}:\n")
    (root / "var/lib").mkdir(parents=True)
    (root / "tmp").mkdir()
    (root / "tmp").chmod(0o1777)
    subprocess.run(["ldconfig", "-r", str(root)], check=True)


if __name__ == "__main__":
    main()
