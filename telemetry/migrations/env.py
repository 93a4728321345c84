"""Alembic runs this file; the connection comes from :func:`telemetry.migrations.upgrade`, which owns the transaction."""

from __future__ import annotations

from alembic import context

context.configure(connection=context.config.attributes["connection"], transactional_ddl=False)
context.run_migrations()
