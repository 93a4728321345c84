"""The distribution `edgeproof-edge` stands alone, and its documents show what it does."""

from __future__ import annotations

import ast
import re
from importlib.metadata import metadata
from pathlib import Path

import pytest
from edgeproof_edge.commands import VERBS

ROOT = Path(__file__).parents[2]
EDGE = ROOT / "edge"
PAGES = [EDGE / "README.md", ROOT / "docs" / "devices.md"]


def test_the_license_and_the_types_go_with_the_package() -> None:
    assert (EDGE / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    assert (EDGE / "edgeproof_edge" / "py.typed").is_file()
    told = metadata("edgeproof-edge")
    assert told["License-Expression"] == "Apache-2.0"
    assert "Typing :: Typed" in (told.get_all("Classifier") or [])
    assert {"crypto", "images"} <= set(told.get_all("Provides-Extra") or [])


def test_the_readme_of_the_package_links_to_nothing_beside_it() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", (EDGE / "README.md").read_text(encoding="utf-8"))
    assert [link for link in links if not link.startswith("https://")] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_and_link_of_a_page_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    verbs = set(re.findall(r"edgeproof-edge ([a-z-]+)\b", text))
    assert verbs <= set(VERBS)
    links = re.findall(r"\]\(([^)#:]+)\)", text)
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_snippet_imports_what_there_is(page: Path) -> None:
    for snippet in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        for node in ast.walk(ast.parse(snippet)):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("edgeproof_edge"):
                module = __import__(node.module, fromlist=[alias.name for alias in node.names])
                assert all(hasattr(module, alias.name) for alias in node.names)


def test_only_the_room_of_the_runtime_knows_which_runtime_is_installed() -> None:
    importing = {
        str(path.relative_to(EDGE))
        for path in (EDGE / "edgeproof_edge").rglob("*.py")
        if re.search(
            r"^\s*(from|import) (ai_edge_litert|tflite_runtime)\b|import_module\(.ai_edge",
            path.read_text(encoding="utf-8"),
            re.MULTILINE,
        )
    }
    # The supervisor asks a device's Python for one, where nothing of this package is yet.
    asking = "edgeproof_edge/measuring/supervisor.py"
    assert importing == {"edgeproof_edge/litert.py", "edgeproof_edge/flatbuffer/reading.py", asking}


def test_the_service_runs_a_command_that_exists() -> None:
    unit = (EDGE / "systemd" / "edgeproof-edge.service").read_text(encoding="utf-8")
    command = re.search(r"ExecStart=\S*/edgeproof-edge (\S+)", unit)
    assert command is not None
    assert command[1] in VERBS
