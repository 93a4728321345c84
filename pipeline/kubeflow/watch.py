"""Finds schedules that are listed as enabled and do not fire: a cluster that lost its records lists them still."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone

from pipeline.errors import ConfigError
from pipeline.kubeflow.api import RunState, ScheduleState
from pipeline.kubeflow.cron import Schedule

#: Kubeflow fires up to 20 s late; a busy cluster needs minutes to list a run.
_GRACE = timedelta(minutes=10)


def silent_schedules(
    schedules: Sequence[ScheduleState], runs: Sequence[RunState], now: datetime
) -> list[ScheduleState]:
    """Schedules whose last due time has passed without a run.

    Args:
        schedules: As the server lists them; a disabled one is meant to be silent.
        runs: Of the same experiment.
        now: With a time zone; due times are reckoned in it.
    """
    return [schedule for schedule in schedules if schedule.is_enabled and _is_silent(schedule, runs, now)]


def _is_silent(schedule: ScheduleState, runs: Sequence[RunState], now: datetime) -> bool:
    started = [run.created for run in runs if run.schedule_id == schedule.schedule_id and run.created is not None]
    since = max([*started, *([schedule.updated] if schedule.updated else [])], default=None)
    if since is None:
        return False
    if any(run.schedule_id == schedule.schedule_id and not run.is_finished for run in runs):
        return False  # one at a time: the next waits for it
    try:
        due = Schedule.parse(" ".join(schedule.cron.split()[1:])).next_times(
            since.astimezone(now.tzinfo or timezone.utc), 1
        )
    except ConfigError:  # a schedule that somebody else made, in words of Kubeflow's own
        return False
    return bool(due) and due[0] + _GRACE < now
