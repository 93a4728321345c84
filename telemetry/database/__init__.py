"""The database of telemetry and triggers: one address, two kinds."""

from __future__ import annotations

from pathlib import Path

from telemetry.database.database import Database

#: Where a command keeps its data when nobody says where.
DEFAULT_ADDRESS = "telemetry.db"
#: The PostgreSQL schema of our tables, unless the address says otherwise (``?options=-csearch_path%3Dmine``).
SCHEMA = "edgeproof"
ADDRESS_VARIABLE = "EDGEPROOF_TELEMETRY"


def open_database(address: str) -> Database:
    """Opens a database; nothing is connected before the first transaction.

    Args:
        address: ``postgresql://user@host/name``, or the path of an SQLite file.
    """
    if address.startswith(("postgresql://", "postgres://")):
        from telemetry.database.postgresql import PostgresqlDatabase

        return PostgresqlDatabase(address)
    from telemetry.database.sqlite import SqliteDatabase

    return SqliteDatabase(Path(address))


__all__ = ["ADDRESS_VARIABLE", "DEFAULT_ADDRESS", "SCHEMA", "Database", "open_database"]
