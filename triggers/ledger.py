"""The ledger: every decision with its numbers, and every run, in the database of telemetry.

Rules, in order: 1. Deciding and writing are one transaction, one at a time per model over all processes. 2. One row per evidence and
outcome; the same again only counts. 3. A run is opened in that transaction, before it is launched: a unique index lets one be open.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any

from telemetry.database.database import Database, Transaction
from triggers.decision import History, Outcome, PastDecision, Verdict
from triggers.rule import Finding


class RunState(str, Enum):
    """How far a run is; the ledger never holds ``ENDED``."""

    OPEN = "open"
    PUBLISHED = "published"
    REFUSED = "refused"
    FAILED = "failed"
    LOST = "lost"
    ENDED = "ended"


@dataclass(frozen=True)
class TriggeredRun:
    """A run that a trigger started.

    Attributes:
        key: Of the evidence.
        rule: That found it.
        reason: For people, MLMD and the release's provenance.
        data_span: The span that was newest then.
        launcher: That started it.
        handle: By which the launcher knows it; empty until it was started.
        state: How far it is.
        release_version: What it published.
        started_at: When it was opened.
        finished_at: When it was seen to have ended.
    """

    key: str
    model_name: str
    rule: str
    reason: str
    data_span: int | None
    launcher: str
    handle: str
    state: RunState
    release_version: str | None
    started_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True)
class Entry:
    """A row of the ledger."""

    key: str
    rule: str
    outcome: Outcome
    sentence: str
    numbers: dict[str, Any]
    first_at: datetime
    last_at: datetime
    num_times: int


@dataclass(frozen=True)
class Decision:
    """What was decided about a finding, as it was written down; ``is_new`` where this evidence had no such outcome before."""

    finding: Finding
    key: str
    verdict: Verdict
    is_new: bool


_RUN_COLUMNS = (
    "key, model_name, rule, reason, data_span, launcher, handle, state, release_version, started_at, finished_at"
)


class Ledger:
    """The ledger of one model."""

    def __init__(self, database: Database, model_name: str) -> None:
        self._database = database
        self._model_name = model_name

    def decide(
        self,
        finding: Finding,
        judge: Callable[[str, History], Verdict],
        now: datetime,
        launcher: str,
        data_span: int | None = None,
    ) -> Decision:
        """Decides and writes it down; opens a run where that is the decision.

        Args:
            finding: What a rule says.
            judge: What to do about it, from its key and the history.
            now: In UTC.
            launcher: Of a run.
            data_span: The newest span.
        """
        key = finding.key(self._model_name)
        with self._database.transaction(lock=f"trigger {self._model_name}") as transaction:
            verdict = judge(key, self._history(transaction, finding.rule))
            is_new = self._write(transaction, finding, key, verdict, now)
            if is_new and verdict.outcome is Outcome.RUN:
                span = f", span {data_span}" if data_span is not None else ""
                reason = f"{finding.rule}: {finding.sentence} [trigger {key}{span}]"
                transaction.run(
                    f"insert into trigger_run ({_RUN_COLUMNS}) values (?, ?, ?, ?, ?, ?, '', 'open', null, ?, null)",
                    (key, self._model_name, finding.rule, reason, data_span, launcher, self._database.time_value(now)),
                )
        return Decision(finding, key, verdict, is_new)

    def _write(self, transaction: Transaction, finding: Finding, key: str, verdict: Verdict, now: datetime) -> bool:
        at = self._database.time_value(now)
        is_old = transaction.run(
            "update trigger_decision set last_at = ?, num_times = num_times + 1 where model_name = ? and key = ? and outcome = ?",
            (at, self._model_name, key, verdict.outcome.value),
        )
        if is_old:
            return False
        sentence = f"{finding.sentence}; {verdict.because}" if verdict.because else finding.sentence
        numbers = json.dumps({**finding.numbers, "subject": finding.subject}, sort_keys=True, default=str)
        transaction.run(
            "insert into trigger_decision values (?, ?, ?, ?, ?, ?, ?, ?, 1)",
            (self._model_name, key, verdict.outcome.value, finding.rule, sentence, numbers, at, at),
        )
        return True

    def _history(self, transaction: Transaction, rule: str) -> History:
        rows = transaction.query(
            "select key, outcome, numbers, first_at, last_at from trigger_decision where model_name = ? and rule = ?"
            " order by first_at desc limit 500",
            (self._model_name, rule),
        )
        starts = transaction.query(
            "select started_at, finished_at from trigger_run where model_name = ? order by started_at desc limit 500",
            (self._model_name,),
        )
        as_time = self._database.as_time
        past = [
            PastDecision(key, Outcome(outcome), _loaded(numbers)["subject"], as_time(first), as_time(last))
            for key, outcome, numbers, first, last in reversed(rows)
        ]
        return History(past, any(end is None for _, end in starts), [as_time(start) for start, _ in starts])

    def entries(self, limit: int = 100, *, with_no: bool = True) -> tuple[Entry, ...]:
        """Decisions, the newest last."""
        condition = "" if with_no else " and outcome <> 'no'"
        with self._database.transaction() as transaction:
            rows = transaction.query(
                "select key, rule, outcome, sentence, numbers, first_at, last_at, num_times from trigger_decision"
                f" where model_name = ?{condition} order by last_at desc, rule limit ?",
                (self._model_name, limit),
            )
        as_time = self._database.as_time
        return tuple(
            Entry(key, rule, Outcome(outcome), sentence, _loaded(numbers), as_time(first), as_time(last), times)
            for key, rule, outcome, sentence, numbers, first, last, times in reversed(rows)
        )

    def runs(self, *, only_open: bool = False) -> tuple[TriggeredRun, ...]:
        """Runs, the newest last."""
        condition = " and finished_at is null" if only_open else ""
        with self._database.transaction() as transaction:
            rows = transaction.query(
                f"select {_RUN_COLUMNS} from trigger_run where model_name = ?{condition} order by started_at",
                (self._model_name,),
            )
        return tuple(self._run(row) for row in rows)

    def note_launch(self, key: str, handle: str) -> None:
        """Keeps by what the launcher knows a run."""
        with self._database.transaction() as transaction:
            transaction.run("update trigger_run set handle = ? where key = ?", (handle, key))

    def close_run(self, key: str, state: RunState, release_version: str | None, now: datetime) -> None:
        """Notes how a run ended."""
        with self._database.transaction() as transaction:
            transaction.run(
                "update trigger_run set state = ?, release_version = ?, finished_at = ? where key = ? and finished_at is null",
                (state.value, release_version, self._database.time_value(now), key),
            )

    def watched_since(self) -> datetime | None:
        """When the first decision was written; None before."""
        with self._database.transaction() as transaction:
            rows = transaction.query(
                "select min(first_at) from trigger_decision where model_name = ?", (self._model_name,)
            )
        return None if rows[0][0] is None else self._database.as_time(rows[0][0])

    def known_spans(self) -> frozenset[str]:
        """Fingerprints of spans that were there when the watch began, or that a run was started or suggested for."""
        with self._database.transaction() as transaction:
            rows = transaction.query(
                "select numbers from trigger_decision where model_name = ? and rule = 'new_span' and outcome in ('run', 'suggest', 'no')",
                (self._model_name,),
            )
        numbers = (_loaded(stored) for (stored,) in rows)
        return frozenset(number["known"] for number in numbers if "known" in number)

    def _run(self, row: Sequence[Any]) -> TriggeredRun:
        as_time = self._database.as_time
        key, model_name, rule, reason, span, launcher, handle, state, version, started, finished = row
        end = None if finished is None else as_time(finished)
        return TriggeredRun(
            key, model_name, rule, reason, span, launcher, handle, RunState(state), version, as_time(started), end
        )


def _loaded(stored: Any) -> dict[str, Any]:
    """JSON as PostgreSQL gives it, or as SQLite keeps it."""
    content = json.loads(stored) if isinstance(stored, str) else stored
    assert isinstance(content, dict)
    return content
