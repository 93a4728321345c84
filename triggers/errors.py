"""Errors of triggers, one per cause."""

from __future__ import annotations

from edgeproof_edge.errors import InputError, SurroundingsError


class TriggerConfigError(InputError):
    """The trigger file cannot be read, or a key in it is wrong."""


class LaunchError(SurroundingsError):
    """A run could not be started."""
