"""One check: look after open runs, gather evidence, let every rule judge, decide and write down, launch what was decided.

A check may be killed anywhere and run again: what was decided is in the ledger, and a launch that was decided but not made is made.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from telemetry.database.database import Database
from triggers.decision import History, Outcome, Verdict, decide
from triggers.errors import LaunchError
from triggers.evidence import Evidence, Request
from triggers.gathering import gather, newest_release, release_of
from triggers.launchers import LAUNCHERS, Launcher
from triggers.ledger import Decision, Ledger, RunState, TriggeredRun
from triggers.rule import Finding, Rule
from triggers.settings import TriggerSettings

logger = logging.getLogger("edgeproof.triggers")

#: A run that was decided and not launched is launched by the next check after this.
LAUNCH_GRACE = timedelta(minutes=2)
#: After this, a run that could never be launched counts as failed.
GIVE_UP = timedelta(days=1)


@dataclass(frozen=True)
class Check:
    """What a check did."""

    decisions: tuple[Decision, ...]
    launched: tuple[TriggeredRun, ...]
    closed: tuple[TriggeredRun, ...]
    problems: tuple[str, ...]


class Watcher:
    """Watches one model."""

    def __init__(self, settings: TriggerSettings, database: Database, launcher: Launcher | None = None) -> None:
        self._settings = settings
        self._database = database
        self._launcher = launcher or LAUNCHERS[settings.launcher.kind](settings.launcher)
        self.ledger = Ledger(database, settings.model)

    def check(self, now: datetime, request: Request | None = None) -> Check:
        """One check.

        Args:
            now: In UTC.
            request: A person's wish for a run.

        Raises:
            DatabaseError: The database is away.
            ReleaseError: The release repository cannot be read.
        """
        closed, problems = self._look_after_runs(now)
        evidence = gather(self._settings, self._database, self.ledger, now, request)
        decisions = [self._decide(rule, rule.judge(evidence), evidence) for rule in self._settings.active_rules()]
        launched, more = self._launch(decisions, now)
        return Check(tuple(decisions), launched, closed, (*problems, *more))

    def _decide(self, rule: Rule[Any], finding: Finding, evidence: Evidence) -> Decision:
        def judge(key: str, history: History) -> Verdict:
            return decide(finding, key, rule.settings.mode, rule.patience, self._settings.guards, history, evidence.now)

        span = evidence.span.number if evidence.span else None
        return self.ledger.decide(finding, judge, evidence.now, self._settings.launcher.kind, span)

    def _look_after_runs(self, now: datetime) -> tuple[tuple[TriggeredRun, ...], tuple[str, ...]]:
        """Closes runs that have ended; launches one that was decided by a check that was killed."""
        closed: list[TriggeredRun] = []
        problems: list[str] = []
        for run in self.ledger.runs(only_open=True):
            try:
                state = self._state(run, now)
            except LaunchError as error:
                problems.append(str(error))
                state = RunState.FAILED if not run.handle and now - run.started_at > GIVE_UP else RunState.OPEN
            if state is not RunState.OPEN:
                state, version = self._released(run, state)
                self.ledger.close_run(run.key, state, version, now)
                closed.append(next(other for other in self.ledger.runs() if other.key == run.key))
        return tuple(closed), tuple(problems)

    def _released(self, run: TriggeredRun, state: RunState) -> tuple[RunState, str | None]:
        if state is RunState.ENDED:
            version = release_of(self._settings, run)
            return RunState.REFUSED if version is None else RunState.PUBLISHED, version
        return state, newest_release(self._settings) if state is RunState.PUBLISHED else None

    def _state(self, run: TriggeredRun, now: datetime) -> RunState:
        if run.handle:
            return self._launcher.state(run)
        if now - run.started_at >= LAUNCH_GRACE:
            self.ledger.note_launch(run.key, self._launcher.launch(run))
        return RunState.OPEN

    def _launch(self, decisions: Sequence[Decision], now: datetime) -> tuple[tuple[TriggeredRun, ...], tuple[str, ...]]:
        keys = {decision.key for decision in decisions if decision.is_new and decision.verdict.outcome is Outcome.RUN}
        launched: list[TriggeredRun] = []
        problems: list[str] = []
        for run in self.ledger.runs(only_open=True):
            if run.key in keys:
                try:
                    self.ledger.note_launch(run.key, self._launcher.launch(run))
                    launched.append(run)
                except LaunchError as error:  # it stays open, and the next check tries again
                    problems.append(str(error))
        return tuple(launched), tuple(problems)
