"""From what a rule found to what is done: guards, in a fixed order, each with its own outcome. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from triggers.rule import Action, Finding, Mode, Patience
from triggers.settings import Guards

#: Hits count as in a row while they are no further apart than this many hours each.
HIT_SPACING = timedelta(hours=6)
WEEK = timedelta(days=7)


class Outcome(str, Enum):
    """What is done about a finding."""

    NO = "no"
    WAITING = "waiting"
    SAID = "said"
    ALERT = "alert"
    SUGGEST = "suggest"
    RUN = "run"
    OPEN_RUN = "open run"
    COOLDOWN = "cooldown"
    BUDGET = "budget"


@dataclass(frozen=True)
class PastDecision:
    """A row of the ledger about the same rule."""

    key: str
    outcome: Outcome
    subject: str
    first_at: datetime
    last_at: datetime


@dataclass(frozen=True)
class History:
    """What the ledger knows when a decision is made.

    Attributes:
        decisions: Of the same rule, the newest last.
        is_run_open: Whether a run of the model has not ended.
        run_starts: When runs of the model were started.
    """

    decisions: Sequence[PastDecision]
    is_run_open: bool
    run_starts: Sequence[datetime]


@dataclass(frozen=True)
class Verdict:
    """The outcome, and why in a few words."""

    outcome: Outcome
    because: str = ""


def decide(
    finding: Finding, key: str, mode: Mode, patience: Patience, guards: Guards, history: History, now: datetime
) -> Verdict:
    """What to do about a finding.

    Args:
        finding: What the rule says.
        key: Of its evidence.
        mode: What the rule may do by itself.
        patience: Of the rule.
        guards: Of the model.
        history: What was decided before.
        now: In UTC.
    """
    if not finding.has_fired:
        return Verdict(Outcome.NO)
    settled = next((past for past in history.decisions if past.key == key and _settles(past.outcome, mode)), None)
    if settled is not None:
        return Verdict(settled.outcome, f"decided at {settled.first_at:%Y-%m-%d %H:%M} UTC")
    num_hits = _hits_in_a_row(history.decisions, key, finding.subject, now)
    if num_hits < patience.num_hits:
        return Verdict(Outcome.WAITING, f"{num_hits} of {patience.num_hits} windows in a row")
    if patience.rearm_hours and _has_spoken(history.decisions, mode, finding.subject, patience.rearm_hours, now):
        return Verdict(
            Outcome.SAID, f"said of {finding.subject} already, and not quiet for {patience.rearm_hours:g} h since"
        )
    if finding.action is Action.ALERT:
        return Verdict(Outcome.ALERT)
    if mode is not Mode.AUTO:
        return Verdict(Outcome.SUGGEST)
    return _guarded(patience, guards, history, now)


def _guarded(patience: Patience, guards: Guards, history: History, now: datetime) -> Verdict:
    if history.is_run_open:
        return Verdict(Outcome.OPEN_RUN, "a run of this model has not ended")
    last = max(history.run_starts, default=None)
    if not patience.is_urgent and last is not None and now - last < timedelta(hours=guards.cooldown_hours):
        return Verdict(Outcome.COOLDOWN, f"the last run started at {last:%Y-%m-%d %H:%M} UTC")
    num_this_week = sum(now - start < WEEK for start in history.run_starts)
    if not patience.is_urgent and num_this_week >= guards.max_runs_per_week:
        return Verdict(Outcome.BUDGET, f"{num_this_week} runs in seven days")
    return Verdict(Outcome.RUN)


def _hits_in_a_row(decisions: Sequence[PastDecision], key: str, subject: str, now: datetime) -> int:
    """Different evidence that fired, up to and with this one, with no quiet one and no long gap between."""
    keys = {key}
    later = now
    for past in sorted(decisions, key=lambda past: past.first_at, reverse=True):
        if past.outcome is Outcome.NO or past.subject != subject or later - past.last_at > HIT_SPACING:
            break
        keys.add(past.key)
        later = past.first_at
    return len(keys)


def _settles(outcome: Outcome, mode: Mode) -> bool:
    """Whether a decision stands; a suggestion does not once the rule may act by itself."""
    return outcome in (Outcome.ALERT, Outcome.RUN) or (outcome is Outcome.SUGGEST and mode is not Mode.AUTO)


def _has_spoken(decisions: Sequence[PastDecision], mode: Mode, subject: str, rearm_hours: float, now: datetime) -> bool:
    """Whether it was acted on before, and has fired again and again since."""
    mine = [past for past in decisions if past.subject == subject and past.outcome is not Outcome.NO]
    if not any(_settles(past.outcome, mode) for past in mine):
        return False
    return now - max(past.last_at for past in mine) < timedelta(hours=rearm_hours)
