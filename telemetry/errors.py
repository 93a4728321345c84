"""Errors of the telemetry service and its database, one per cause."""

from __future__ import annotations

from edgeproof_edge.errors import InputError, SurroundingsError


class TelemetryError(InputError):
    """A command or a message cannot be carried out as it is."""


class EventError(InputError):
    """An event that no server can store: its time is out of bounds, or its histograms contradict themselves."""


class DatabaseError(SurroundingsError):
    """The database is away, refuses the login, or lacks the schema; the same request may succeed later."""
