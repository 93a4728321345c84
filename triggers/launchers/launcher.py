"""What a launcher does: starts a run once, and says later how far it is."""

from __future__ import annotations

from typing import Protocol

from triggers.ledger import RunState, TriggeredRun


class Launcher(Protocol):
    """Starts runs somewhere."""

    def launch(self, run: TriggeredRun) -> str:
        """Starts a run; the same run again is found, not started again.

        Returns:
            The handle by which it is known.

        Raises:
            LaunchError: It could not be started.
        """

    def state(self, run: TriggeredRun) -> RunState:
        """How far a run is; ``PUBLISHED`` where its model was let through, ``ENDED`` where only its release can say that.

        Raises:
            LaunchError: It cannot be said now.
        """
