"""The first tables: events, tokens, feedback, the ledger of triggers."""

from __future__ import annotations

from telemetry.migrations import run_sql

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Runs ``schemas/telemetry/0001_*.sql``."""
    run_sql(revision)
