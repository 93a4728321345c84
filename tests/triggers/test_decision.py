"""Guards in their order, each with its outcome."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone

import pytest

from triggers.decision import History, Outcome, PastDecision, decide
from triggers.rule import Action, Finding, Mode, Patience
from triggers.settings import Guards

NOW = datetime(2026, 3, 2, 12, tzinfo=timezone.utc)
FIRED = Finding("input_drift", True, {"window": 1}, "drift", subject="000001-0123456789ab")
QUIET = Finding("input_drift", False, {"window": 1}, "no drift")
ALERT = Finding("latency_regression", True, {}, "slow", action=Action.ALERT)


def past(key: str, outcome: Outcome, hours_ago: float, subject: str = FIRED.subject) -> PastDecision:
    at = NOW - timedelta(hours=hours_ago)
    return PastDecision(key, outcome, subject, at, at)


@pytest.mark.parametrize(
    ("finding", "mode", "patience", "decisions", "run_starts", "is_open", "expected"),
    [
        pytest.param(QUIET, Mode.AUTO, Patience(), [], [], False, Outcome.NO, id="nothing-fired"),
        pytest.param(FIRED, Mode.SUGGEST, Patience(), [], [], False, Outcome.SUGGEST, id="suggests"),
        pytest.param(FIRED, Mode.AUTO, Patience(), [], [], False, Outcome.RUN, id="runs"),
        pytest.param(ALERT, Mode.AUTO, Patience(), [], [], False, Outcome.ALERT, id="a-regression-alerts-even-in-auto"),
        pytest.param(FIRED, Mode.AUTO, Patience(), [past("now", Outcome.RUN, 1)], [1], False, Outcome.RUN, id="the-same-evidence-stands"),
        pytest.param(
            FIRED, Mode.AUTO, Patience(), [past("now", Outcome.SUGGEST, 1)], [], False, Outcome.RUN,
            id="auto-takes-up-a-suggestion",
        ),
        pytest.param(FIRED, Mode.AUTO, Patience(), [past("now", Outcome.COOLDOWN, 1)], [], False, Outcome.RUN, id="a-wait-ends"),
        pytest.param(FIRED, Mode.AUTO, Patience(3), [past("b", Outcome.WAITING, 1)], [], False, Outcome.WAITING, id="two-hits-of-three"),
        pytest.param(
            FIRED, Mode.AUTO, Patience(3), [past("a", Outcome.WAITING, 2), past("b", Outcome.WAITING, 1)], [], False, Outcome.RUN,
            id="three-hits-of-three",
        ),
        pytest.param(
            FIRED, Mode.AUTO, Patience(3), [past("a", Outcome.WAITING, 2), past("b", Outcome.NO, 1)], [], False, Outcome.WAITING,
            id="a-quiet-window-starts-the-count-again",
        ),
        pytest.param(
            FIRED, Mode.AUTO, Patience(2), [past("a", Outcome.WAITING, 7)], [], False, Outcome.WAITING,
            id="a-hit-of-yesterday-is-not-in-a-row",
        ),
        pytest.param(
            FIRED, Mode.AUTO, Patience(2), [past("a", Outcome.WAITING, 1, "000000-000000000000")], [], False, Outcome.WAITING,
            id="a-hit-of-another-release-does-not-count",
        ),
        pytest.param(
            FIRED, Mode.SUGGEST, Patience(1, 24), [past("a", Outcome.SUGGEST, 30), past("b", Outcome.SAID, 1)], [], False, Outcome.SAID,
            id="said-and-never-quiet-since",
        ),
        pytest.param(
            FIRED, Mode.SUGGEST, Patience(1, 24), [past("a", Outcome.SUGGEST, 30)], [], False, Outcome.SUGGEST,
            id="armed-after-quiet",
        ),
        pytest.param(
            FIRED, Mode.SUGGEST, Patience(1, 24), [past("a", Outcome.SUGGEST, 2, "000000-000000000000")], [], False, Outcome.SUGGEST,
            id="a-new-release-starts-afresh",
        ),
        pytest.param(FIRED, Mode.AUTO, Patience(), [], [100], True, Outcome.OPEN_RUN, id="one-open-run"),
        pytest.param(FIRED, Mode.AUTO, Patience(), [], [5], False, Outcome.COOLDOWN, id="cooldown"),
        pytest.param(FIRED, Mode.AUTO, Patience(), [], [7, 30, 60], False, Outcome.BUDGET, id="budget-of-the-week"),
        pytest.param(FIRED, Mode.AUTO, Patience(), [], [7, 30, 169], False, Outcome.RUN, id="last-week-is-over"),
        pytest.param(FIRED, Mode.AUTO, Patience(is_urgent=True), [], [1, 2, 3, 4], False, Outcome.RUN, id="a-person-is-not-held-back"),
        pytest.param(FIRED, Mode.AUTO, Patience(is_urgent=True), [], [1], True, Outcome.OPEN_RUN, id="but-by-an-open-run"),
    ],
)  # fmt: skip
def test_what_is_done(
    finding: Finding,
    mode: Mode,
    patience: Patience,
    decisions: Sequence[PastDecision],
    run_starts: Sequence[float],
    is_open: bool,
    expected: Outcome,
) -> None:
    history = History(decisions, is_open, [NOW - timedelta(hours=hours) for hours in run_starts])
    verdict = decide(finding, "now", mode, patience, Guards(max_runs_per_week=3), history, NOW)
    assert verdict.outcome is expected
