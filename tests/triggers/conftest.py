"""A project folder to watch, in both kinds of database."""

from __future__ import annotations

from pathlib import Path

import pytest

from telemetry.database import Database
from tests.telemetry.conftest import address, database, postgresql
from tests.triggers.samples import World

__all__ = ["address", "database", "postgresql"]


@pytest.fixture
def world(tmp_path: Path, database: Database, address: str, no_sync: None) -> World:
    """A release on ``stable``, and no telemetry yet."""
    return World(tmp_path, database, address)
