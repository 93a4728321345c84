"""Five fields become Kubeflow's six, and the times that are told are the times it fires."""

from __future__ import annotations

from datetime import datetime

import pytest

from pipeline.errors import ConfigError
from pipeline.kubeflow.cron import Schedule

FRIDAY = datetime(2026, 11, 27, 12, 0)


@pytest.mark.parametrize(
    ("text", "for_kubeflow", "times"),
    [
        pytest.param("0 3 * * *", "0 0 3 * * *", ["2026-11-28 03:00", "2026-11-29 03:00"], id="every-night"),
        pytest.param("*/20 12 * * *", "0 */20 12 * * *", ["2026-11-27 12:20", "2026-11-27 12:40"], id="steps"),
        pytest.param("5/30 12 * * *", "0 5/30 12 * * *", ["2026-11-27 12:05", "2026-11-27 12:35"], id="steps-from"),
        pytest.param("0 0 1,15 * *", "0 0 0 1,15 * *", ["2026-12-01 00:00", "2026-12-15 00:00"], id="lists"),
        pytest.param("30 6 * * mon-fri", "0 30 6 * * 1,2,3,4,5", ["2026-11-30 06:30", "2026-12-01 06:30"], id="names"),
        pytest.param("0 0 * * 7", "0 0 0 * * 0", ["2026-11-29 00:00", "2026-12-06 00:00"], id="sunday-is-0"),
        pytest.param("0 0 * * 5-7", "0 0 0 * * 0,5,6", ["2026-11-28 00:00", "2026-11-29 00:00"], id="over-sunday"),
        pytest.param("0 0 13 * fri", "0 0 0 13 * 5", ["2026-12-04 00:00", "2026-12-11 00:00"], id="either-day"),
        pytest.param("0 0 29 feb *", "0 0 0 29 2 *", ["2028-02-29 00:00", "2032-02-29 00:00"], id="leap-day"),
    ],
)
def test_a_schedule_in_both_spellings(text: str, for_kubeflow: str, times: list[str]) -> None:
    schedule = Schedule.parse(text)
    assert schedule.for_kubeflow == for_kubeflow
    assert [f"{time:%Y-%m-%d %H:%M}" for time in schedule.next_times(FRIDAY, 2)] == times


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("0 0 3 * * *", "has 6 fields", id="seconds-first"),
        pytest.param("@daily", "has 1 fields", id="a-word"),
        pytest.param("61 * * * *", "'61' is no minute", id="no-minute"),
        pytest.param("0 3 * * 8", "'8' is no day of the week", id="no-weekday"),
        pytest.param("0 5-3 * * *", "'5-3' is no hour", id="backwards"),
        pytest.param("*/0 * * * *", "is no minute", id="no-step"),
        pytest.param("0 3 * monday *", "'monday' is no month", id="no-month"),
        pytest.param("0 3 -1 * *", "is no day of the month", id="negative"),
        pytest.param("0 3 30 2 *", "never fires", id="never"),
        pytest.param("", "has 0 fields", id="empty"),
    ],
)
def test_what_is_no_schedule_is_told(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Schedule.parse(text)
