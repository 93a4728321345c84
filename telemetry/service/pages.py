"""Pages for people."""

from __future__ import annotations

from fastapi import FastAPI

from telemetry.database.database import Database
from telemetry.service.settings import Settings


def add_pages(app: FastAPI, database: Database, settings: Settings) -> None:
    """Adds the pages."""
