"""What can go wrong with releases, for a person to mend; it ends a command with exit code 2."""

from __future__ import annotations

from edgeproof_edge.errors import InputError


class ReleaseError(InputError):
    """A release cannot be published or read."""
