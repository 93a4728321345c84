"""``edgeproof kubeflow schedule|unschedule``: runs by the clock."""

from __future__ import annotations

from datetime import datetime, timezone, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import click

from pipeline.commands.kubeflow.access import Access, access_options, experiment_of
from pipeline.commands.kubeflow.compiling import compiled, granularity_option, image_option, uploaded
from pipeline.commands.options import config_argument, finish, json_option, print_json, set_option

if TYPE_CHECKING:
    from pipeline.config import PipelineConfig
    from pipeline.kubeflow.api import Client, ScheduleState


@click.command("schedule", epilog="Example: edgeproof kubeflow schedule config.yaml --cron '0 3 * * *'")
@config_argument
@set_option
@click.option("--cron", help="Five fields: minute, hour, day of the month, month, day of the week.")
@click.option(
    "--check",
    "is_check",
    is_flag=True,
    help="Change nothing; exit code 1 where a schedule is listed and does not fire, or none is listed.",
)
@click.option(
    "--zone",
    default="UTC",
    show_default=True,
    help="Time zone in which the cluster reads schedules: CRON_SCHEDULE_TIMEZONE of Kubeflow's controllers.",
)
@image_option
@granularity_option
@access_options
@json_option
def schedule(
    config: str,
    overrides: tuple[str, ...],
    cron: str | None,
    is_check: bool,
    zone: str,
    image: str | None,
    granularity: str,
    access: Access,
    as_json: bool,
) -> None:
    """Compile and upload CONFIG, and have Kubeflow run its newest version by the clock: one run at a time, nothing caught up."""
    from pipeline.config_file import load_config
    from pipeline.errors import ConfigError
    from pipeline.kubeflow.cron import Schedule

    now = datetime.now(_zone(zone))
    if is_check:
        loaded = load_config(Path(config), overrides)
        finish(check_schedule(access.client(loaded), loaded, now, as_json=as_json))
    if cron is None:
        raise ConfigError("--cron is missing: say when, such as --cron '0 3 * * *' for three o'clock every night.")
    parsed = Schedule.parse(cron)
    loaded, text = compiled(config, overrides, image, granularity)
    client = access.client(loaded)
    pipeline_id, _ = uploaded(client, loaded, text)
    made = client.schedule(
        pipeline_id,
        experiment_of(client, loaded),
        loaded.name,
        parsed.for_kubeflow,
        {"reason": f"schedule {cron}"},
        loaded.kubeflow.service_account,
    )
    times = parsed.next_times(now, 3)
    if as_json:
        next_utc = [f"{fires.astimezone(timezone.utc):%Y-%m-%d %H:%M}" for fires in times]
        print_json({"schedule_id": made.schedule_id, "name": made.name, "cron": made.cron, "next_utc": next_utc})
    else:
        fires_at = ", ".join(f"{fires:%Y-%m-%d %H:%M}" for fires in times)
        click.echo(
            f"schedule {made.name}: {cron} (Kubeflow: {made.cron}), next {fires_at} ({zone}, if the cluster is set to it)"
        )
    finish(0)


@click.command("unschedule", epilog="Example: edgeproof kubeflow unschedule config.yaml")
@config_argument
@set_option
@access_options
def unschedule(config: str, overrides: tuple[str, ...], access: Access) -> None:
    """Remove the schedules of CONFIG; its runs stay."""
    from pipeline.config_file import load_config

    loaded = load_config(Path(config), overrides)
    client = access.client(loaded)
    removed = _schedules_of(client, loaded, client.find_experiment(loaded.kubeflow.experiment or loaded.name))
    for schedule in removed:
        client.unschedule(schedule.schedule_id)
    click.echo(f"removed {len(removed)} schedule{'s' * (len(removed) != 1)} of {loaded.name}")


def _zone(name: str) -> tzinfo:
    from pipeline.errors import ConfigError

    if name == "UTC":  # also where no table of zones is installed
        return timezone.utc
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigError(f"--zone {name} is no time zone; write it as in Europe/Berlin, or UTC.") from None


def _schedules_of(client: Client, config: PipelineConfig, experiment: str | None) -> list[ScheduleState]:
    if experiment is None:
        return []
    return [schedule for schedule in client.schedules(experiment) if schedule.name == config.name]


def check_schedule(client: Client, config: PipelineConfig, now: datetime, *, as_json: bool) -> int:
    """Prints the config's schedules; 1 where none fires, or a listed one has not: a cluster that lost its records lists it still."""
    from pipeline.kubeflow.watch import silent_schedules

    experiment = client.find_experiment(config.kubeflow.experiment or config.name)
    schedules = _schedules_of(client, config, experiment)
    runs = client.runs(experiment) if experiment is not None and schedules else []
    silent = silent_schedules(schedules, runs, now)
    if as_json:
        print_json(
            {
                "schedules": [vars(schedule) for schedule in schedules],
                "silent": [schedule.schedule_id for schedule in silent],
            },
            default=str,
        )
    else:
        click.echo(_schedule_lines(schedules, silent) or f"no schedule of {config.name}")
    fires = [schedule for schedule in schedules if schedule.is_enabled and schedule not in silent]
    return 0 if schedules and len(fires) == len(schedules) else 1


def _schedule_lines(schedules: list[ScheduleState], silent: list[ScheduleState]) -> str:
    lines = []
    for schedule in schedules:
        state = "fires"
        if schedule in silent:
            state = "is listed and does not fire: run edgeproof kubeflow schedule again after unschedule"
        elif not schedule.is_enabled:
            state = "is disabled: edgeproof kubeflow schedule enables it again"
        lines.append(f"{schedule.schedule_id}  {schedule.cron}  {state}")
    return "\n".join(lines)
