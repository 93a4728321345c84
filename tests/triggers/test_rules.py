"""Each rule on evidence that fires it, and on the nearest that does not."""

from __future__ import annotations

import dataclasses
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from telemetry.feedback import Accuracy
from telemetry.findings import Regression
from triggers.errors import TriggerConfigError
from triggers.evidence import Evidence, ReleaseFacts, Request, SpanFacts
from triggers.rule import Action
from triggers.rules import RULES
from triggers.rules.feedback_accuracy import FeedbackAccuracy, FeedbackAccuracySettings, wilson_upper
from triggers.rules.latency_regression import LatencyRegression, LatencyRegressionSettings
from triggers.rules.manual import Manual, ManualSettings
from triggers.rules.model_age import ModelAge, ModelAgeSettings
from triggers.rules.new_span import NewSpan, NewSpanSettings
from triggers.rules.schedule import Schedule, ScheduleSettings
from triggers.settings import load_settings
from triggers.spans import newest_span

NOW = datetime(2026, 3, 2, 12, tzinfo=timezone.utc)  # a Monday
RELEASE = ReleaseFacts("000001-0123456789ab", NOW - timedelta(days=10), {}, {}, 0.93, 0.97)
EVIDENCE = Evidence(NOW, "digits", RELEASE)
SPAN = SpanFacts(2, "abc", 10, NOW - timedelta(hours=1), True)


def test_every_rule_has_a_name_of_its_own_and_settings() -> None:
    assert len({rule.name for rule in RULES}) == len(RULES)
    assert all(issubclass(rule.settings_type, object) for rule in RULES)


@pytest.mark.parametrize(
    ("changes", "has_fired"),
    [
        pytest.param({}, True, id="new-content"),
        pytest.param({"known_spans": frozenset({"abc", "x"})}, False, id="known-content"),
        pytest.param({"known_spans": frozenset()}, False, id="first-look"),
        pytest.param(
            {"known_spans": frozenset(), "release": dataclasses.replace(RELEASE, span=1)},
            True,
            id="newer-than-the-release",
        ),
        pytest.param(
            {"span": dataclasses.replace(SPAN, newest_file=NOW - timedelta(minutes=4))}, False, id="still-being-written"
        ),
        pytest.param({"span": dataclasses.replace(SPAN, is_whole=False)}, False, id="not-marked"),
        pytest.param({"span": dataclasses.replace(SPAN, num_files=4)}, False, id="too-small"),
        pytest.param({"span": None}, False, id="no-span"),
    ],
)
def test_new_span(changes: dict[str, Any], has_fired: bool) -> None:
    rule = NewSpan(NewSpanSettings(path=Path("data"), min_files=5))
    evidence = dataclasses.replace(EVIDENCE, **{"span": SPAN, "known_spans": frozenset({"x"}), **changes})
    assert rule.judge(evidence).has_fired is has_fired


def test_a_span_is_its_content(tmp_path: Path) -> None:
    for number, content in ((1, "a"), (2, "b"), (10, "a")):
        (tmp_path / f"span-{number}" / "cat").mkdir(parents=True)
        (tmp_path / f"span-{number}" / "cat" / "1.png").write_text(content, encoding="utf-8")
    newest = newest_span(tmp_path, "span-{SPAN}")
    assert newest is not None
    assert newest.number == 10
    assert not newest_span(tmp_path, "span-{SPAN}", "_SUCCESS").is_whole  # type: ignore[union-attr]
    (tmp_path / "span-10" / "_SUCCESS").touch()
    marked = newest_span(tmp_path, "span-{SPAN}", "_SUCCESS")
    assert marked is not None
    assert marked.is_whole
    assert marked.fingerprint == newest.fingerprint
    (tmp_path / "span-10").rename(tmp_path / "old")
    assert newest_span(tmp_path, "span-{SPAN}").fingerprint != newest.fingerprint  # type: ignore[union-attr]
    (tmp_path / "span-2").rename(tmp_path / "older")
    assert newest_span(tmp_path, "span-{SPAN}").fingerprint == newest.fingerprint  # type: ignore[union-attr]
    assert newest_span(tmp_path / "nowhere", "span-{SPAN}") is None
    with pytest.raises(TriggerConfigError, match="SPAN"):
        newest_span(tmp_path, "span")


@pytest.mark.parametrize(
    ("cron", "zone", "changes", "has_fired"),
    [
        pytest.param("0 3 * * 1", "UTC", {}, True, id="due-this-morning"),
        pytest.param("0 3 * * 1", "UTC", {"last_run": NOW - timedelta(hours=1)}, False, id="ran-since"),
        pytest.param(
            "0 3 * * 1", "UTC", {"watched_since": NOW - timedelta(hours=1)}, False, id="due-before-the-watch-began"
        ),
        pytest.param("0 3 * * 1", "UTC", {"watched_since": None}, False, id="first-look"),
        pytest.param("0 13 * * 1", "Europe/Berlin", {"watched_since": NOW - timedelta(hours=1)}, True, id="local-time"),
        pytest.param(
            "1 13 * * 1", "Europe/Berlin", {"watched_since": NOW - timedelta(hours=1)}, False, id="a-minute-too-early"
        ),
    ],
)
def test_schedule(cron: str, zone: str, changes: dict[str, Any], has_fired: bool) -> None:
    rule = Schedule(ScheduleSettings(cron=cron, timezone=zone))
    evidence = dataclasses.replace(EVIDENCE, **{"watched_since": NOW - timedelta(days=2), **changes})
    assert rule.judge(evidence).has_fired is has_fired


def test_clock_changes_neither_skip_nor_double_a_run() -> None:
    rule = Schedule(ScheduleSettings(cron="30 2 * * *", timezone="Europe/Berlin"))
    for first in (datetime(2026, 3, 28, tzinfo=timezone.utc), datetime(2026, 10, 24, tzinfo=timezone.utc)):
        due = {rule.last_due(first + timedelta(minutes=10 * step)) for step in range(6 * 24 * 3)}
        assert len(due) == 4  # the one before, and one per day


def test_missed_times_are_not_caught_up() -> None:
    rule = Schedule(ScheduleSettings(cron="*/5 * * * *"))
    evidence = dataclasses.replace(EVIDENCE, watched_since=NOW - timedelta(days=30))
    assert rule.judge(evidence).facts == {"due": NOW.isoformat()}


@pytest.mark.parametrize(
    ("accuracies", "has_fired", "part"),
    [
        pytest.param([Accuracy("field", 500, 410, 20)], True, "field", id="certainly-below"),
        pytest.param([Accuracy("field", 500, 440, 20)], False, "field", id="perhaps-below"),
        pytest.param([Accuracy("field", 99, 10, 20)], False, None, id="too-few-labels"),
        pytest.param([Accuracy("field", 500, 100, 4)], False, None, id="too-few-devices"),
        pytest.param([Accuracy("day", 5000, 4700, 20), Accuracy("dark", 200, 120, 20)], True, "dark", id="one-slice"),
        pytest.param([Accuracy("a", 60, 30, 9), Accuracy("b", 60, 30, 9)], True, "all", id="together"),
    ],
)
def test_feedback_accuracy(accuracies: list[Accuracy], has_fired: bool, part: str | None) -> None:
    rule = FeedbackAccuracy(FeedbackAccuracySettings())
    finding = rule.judge(dataclasses.replace(EVIDENCE, accuracies=tuple(accuracies)))
    assert finding.has_fired is has_fired
    assert finding.numbers.get("slice") == part


def test_wilson_s_upper_end_is_the_textbook_s() -> None:
    assert wilson_upper(81, 263) == pytest.approx(0.3662, abs=5e-4)  # Newcombe (1998), table I
    assert wilson_upper(0, 20) == pytest.approx(0.1611, abs=5e-4)


@pytest.mark.parametrize(("days", "has_fired"), [(9, True), (11, False)])
def test_model_age(days: float, has_fired: bool) -> None:
    assert ModelAge(ModelAgeSettings(max_days=days)).judge(EVIDENCE).has_fired is has_fired


def test_manual_carries_who_and_why() -> None:
    rule = Manual(ManualSettings())
    finding = rule.judge(dataclasses.replace(EVIDENCE, request=Request("jo", "new housing")))
    assert finding.has_fired
    assert finding.sentence == "jo: new housing"
    assert not rule.judge(EVIDENCE).has_fired


@pytest.mark.parametrize(("after_ms", "has_fired"), [(13.0, True), (12.0, False)])
def test_a_slower_version_alerts(after_ms: float, has_fired: bool) -> None:
    regression = Regression("Pi 4", "000001-0123456789ab", "000002-0123456789ab", 0.95, 10.0, after_ms, 9, 9)
    finding = LatencyRegression(LatencyRegressionSettings()).judge(
        dataclasses.replace(EVIDENCE, regressions=(regression,))
    )
    assert finding.has_fired is has_fired
    if has_fired:
        assert finding.action is Action.ALERT
        assert "rollback" in finding.sentence


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("rules: {surprise: {}}", "no rule is called 'surprise'", id="an-unknown-rule"),
        pytest.param("rules: {schedule: {cron: often}}", "no cron expression", id="no-cron"),
        pytest.param("rules: {schedule: {cron: 0 3 * * 1, timezone: Mars}}", "no time zone", id="no-zone"),
        pytest.param("rules: {model_age: {max_day: 3}}", "max_day", id="a-misspelt-key"),
        pytest.param("rules: {}\nsurprise: 1", "surprise", id="an-unknown-key"),
        pytest.param("rules: [", "cannot be read", id="no-yaml"),
    ],
)
def test_a_wrong_trigger_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "triggers.yaml"
    file.write_text(
        f"model: digits\nreleases: published\nlauncher: {{kind: local, config: c.yaml}}\n{text}\n", encoding="utf-8"
    )
    with pytest.raises(TriggerConfigError, match=message) as raised:
        load_settings(file)
    assert str(file) in str(raised.value)
