"""Resolves both stacks again and rewrites constraints/tfx116.txt and constraints/tfx121.txt. Run: `make constraints`.

Each file is one list of `name==version`, without index addresses or paths. tfx121 serves Python 3.11, 3.12 and 3.13:
where those need different versions, the lines carry markers. Versions already pinned are kept unless
a requirement forbids them or `--upgrade` is given.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from constraints import bootstrap
from pipeline.machine import stack as stacks

# True on every machine a pin file is for (pyproject.toml, tool.uv.environments), so only noise in a line.
ALWAYS_TRUE = (
    "python_full_version < '3.14'",
    "implementation_name == 'cpython'",
    "platform_python_implementation != 'PyPy'",
    "platform_machine == 'x86_64'",
    "sys_platform == 'linux'",
)
LINE = re.compile(r"^(?P<pin>[A-Za-z0-9._-]+==[^ ;]+)(?: ; (?P<marker>.+))?$")


def main() -> int:
    """Rewrites both files; prints what changed in numbers."""
    parser = argparse.ArgumentParser(description="Resolve both stacks again and rewrite the pin files.")
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions that the requirements allow")
    upgrade = parser.parse_args().upgrade
    environment = bootstrap.environment_for_tools(os.environ, ROOT)
    (ROOT / bootstrap.TOOLS).mkdir(exist_ok=True)
    uv = bootstrap.install_uv(ROOT, environment)
    try:
        for stack in stacks.Stack:
            path = ROOT / "constraints" / (stack.value + ".txt")
            old = path.read_text(encoding="utf-8")
            new = resolve(stack, uv, "" if upgrade else old, environment)
            path.write_text(new, encoding="utf-8")
            changed = len(set(new.splitlines()) ^ set(old.splitlines()))
            print(f"{path.relative_to(ROOT)}: {len(new.splitlines())} pins, {changed} lines differ")
    except bootstrap.SetUpError as error:
        print(f"{error.output}\nconstraints: {error}", file=sys.stderr)
        return 3
    return 0


def resolve(stack: stacks.Stack, uv: Path, preferred: str, environment: dict[str, str]) -> str:
    """Returns the stack's pins, one per line, sorted. Raises SetUpError when there is no solution."""
    lowest = stacks.dotted(stack.python_versions[-1])
    with tempfile.TemporaryDirectory(dir=ROOT / bootstrap.TOOLS) as folder:
        # A copy, because the build backend may write beside pyproject.toml.
        shutil.copytree(ROOT / "edge", Path(folder, "edge"))
        for name in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(ROOT / name, folder)
        output = Path(folder, "pins.txt")
        output.write_text(preferred, encoding="utf-8")
        command = [str(uv), "pip", "compile", "--quiet", "--no-header", "--no-annotate", "--extra", "dev"]
        command += ["--python-version", lowest, "--output-file", str(output), str(Path(folder, "pyproject.toml"))]
        if len(stack.python_versions) > 1:
            command.append("--universal")
        done = bootstrap.run([*command, "--directory", folder], _reading_only_pyproject(environment, folder))
        if done.returncode != 0:
            raise bootstrap.SetUpError(f"{stack.value} has no solution (uv's words are above).", done.stdout)
        return "".join(line + "\n" for line in pins(output.read_text(encoding="utf-8")))


def _reading_only_pyproject(environment: dict[str, str], folder: str) -> dict[str, str]:
    """Uv takes tool.uv.environments from the pyproject.toml of its working directory, and from nowhere else."""
    kept = {name: value for name, value in environment.items() if name != "UV_NO_CONFIG"}
    return {**kept, "XDG_CONFIG_HOME": folder, "XDG_CONFIG_DIRS": folder}


def pins(output: str) -> list[str]:
    """Keeps the `name==version` lines of uv's output and shortens their markers."""
    matches = (LINE.match(line) for line in output.splitlines())
    return [shortened(match["pin"], match["marker"]) for match in matches if match]


def shortened(pin: str, marker: str | None) -> str:
    """Drops from a marker the clauses that hold on every machine a pin file is for."""
    if marker and " or " in marker:
        return f"{pin} ; {marker}"
    clauses = [clause for clause in (marker or "").split(" and ") if clause and clause not in ALWAYS_TRUE]
    return f"{pin} ; {' and '.join(clauses)}" if clauses else pin


if __name__ == "__main__":
    sys.exit(main())
