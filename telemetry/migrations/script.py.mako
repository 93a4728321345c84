"""${message}."""

from __future__ import annotations

from telemetry.migrations import run_sql

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}


def upgrade() -> None:
    """Runs ``schemas/telemetry/${up_revision}_*.sql``."""
    run_sql(revision)
