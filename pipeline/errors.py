"""Errors of the command line and the runner."""

from __future__ import annotations

from edgeproof_edge.errors import InputError, SurroundingsError


class ConfigError(InputError):
    """The config file cannot be read, or a key in it is wrong; the message carries the key path."""


class RunError(SurroundingsError):
    """A node failed for a reason that is not the user's data, model or config."""
