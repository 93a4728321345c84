"""What the documents show is what the code takes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from pipeline.cli import VERBS
from pipeline.config import validated

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *(ROOT / "docs" / f"{name}.md" for name in ("how-to", "telemetry", "triggers"))]
CONFIGS = [
    pytest.param(block, id=f"{page.name}-{number}")
    for page in PAGES
    for number, block in enumerate(re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL))
]


@pytest.mark.parametrize("block", CONFIGS)
def test_every_config_in_the_documents_is_valid(block: str) -> None:
    validated(yaml.safe_load(block), ROOT)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_in_the_documents_exists(page: Path) -> None:
    verbs = set(re.findall(r"edgeproof ([a-z]+)\b", page.read_text(encoding="utf-8")))
    assert verbs <= set(VERBS)


@pytest.mark.parametrize("page", [*PAGES, *(ROOT / "docs" / "adr").glob("*.md")], ids=lambda page: page.name)
def test_every_file_that_a_document_links_to_exists(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []
