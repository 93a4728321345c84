"""Brings a database's schema up to date, by Alembic: one numbered file of SQL per step and kind of database (``schemas/telemetry``)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import schemas

DIRECTORY = Path(__file__).parent
SQL_DIRECTORY = Path(next(iter(schemas.__path__))) / "telemetry"
#: The newest revision.
NEWEST = max(file.name.partition("_")[0] for file in SQL_DIRECTORY.glob("*.sql"))
#: Two that start at once: the second waits for the first.
_LOCK_NUMBER = 0x6564676570726F6F


def upgrade(address: str, schema: str | None) -> str:
    """Runs the steps that are missing; all of them or none.

    Args:
        address: As SQLAlchemy writes it.
        schema: The PostgreSQL schema to make; None for SQLite.

    Returns:
        The newest revision.
    """
    import sqlalchemy
    from alembic import command

    config = _config(address)
    engine = sqlalchemy.create_engine(
        address.split("?")[0] if schema is None else address, poolclass=sqlalchemy.NullPool
    )
    with engine.begin() as connection:
        if schema is not None:
            connection.exec_driver_sql(f"select pg_advisory_xact_lock({_LOCK_NUMBER})")
            connection.exec_driver_sql(f'create schema if not exists "{schema}"')
        else:
            connection.exec_driver_sql("begin immediate")
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    engine.dispose()
    return NEWEST


def run_sql(revision: str) -> None:
    """Runs the statements of one step for this kind of database."""
    from alembic import op

    connection = op.get_bind()
    text = (SQL_DIRECTORY / f"{revision}_{connection.dialect.name}.sql").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("--")]
    for statement in "\n".join(lines).split(";\n"):
        if statement.strip(" \n;"):
            connection.exec_driver_sql(statement.strip(" \n;"))


def _config(address: str) -> Any:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(DIRECTORY))
    config.set_main_option("path_separator", "os")
    return config
