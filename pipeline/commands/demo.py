"""``edgeproof demo``: the whole chain on embedded data, and the incident that it exists to prevent."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.commands.options import finish, json_option, log_level_option, print_json, set_option
from pipeline.commands.run import run_config


@click.command(epilog="Example: edgeproof demo")
@click.option(
    "--incident",
    is_flag=True,
    help="Replay the story: calibrated on bright scans only, refused, repaired; trains nothing new.",
)
@click.option(
    "--fleet",
    is_flag=True,
    help="Play the story in a fleet: 50 simulated devices, the light goes out for a third, and the loop closes.",
)
@click.option("--yes", is_flag=True, help="With --fleet: promote to stable without asking.")
@set_option
@log_level_option
@json_option
def command(
    incident: bool, fleet: bool, yes: bool, overrides: tuple[str, ...], log_level: str | None, as_json: bool
) -> None:
    """Train on 1,797 real 8x8 images of digits, quantize, judge on the holdout and publish: examples/digits, start to end.

    The second run is served from the cache.
    """
    if fleet:
        play_fleet(yes, as_json)
    from components.evaluator.report.advice import Invocation
    from pipeline.demo.digits import CONFIG, write_images

    given = overrides
    images = write_images(Path.cwd() / ".edgeproof" / "digits" / "images")
    overrides = (f"data.path={images}", *overrides)
    if incident:
        replay_incident(CONFIG, overrides, log_level, as_json)
    else:
        again = Invocation(str(CONFIG), given, "edgeproof demo")
        run_config(CONFIG, overrides, log_level, as_json, again)


def play_fleet(is_confirmed: bool, as_json: bool) -> None:
    """Plays the story in a fleet, prints it and ends the process."""
    import dataclasses
    import sys

    from pipeline.commands.telemetry import open_address
    from pipeline.demo.fleet import describe, tell

    open_address("telemetry.db").close()  # says what is not installed
    told = tell(Path.cwd() / ".edgeproof" / "fleet", is_confirmed or not sys.stdin.isatty())
    if as_json:
        print_json(dataclasses.asdict(told), default=str)
    else:
        click.echo(describe(told))
    finish(0 if told.is_told else 1)


def replay_incident(config_file: Path, overrides: tuple[str, ...], log_level: str | None, as_json: bool) -> None:
    """Runs the demo where it has not been run, replays the incident on its model, prints it and ends the process."""
    from components.compat import quiet_libraries
    from pipeline.config_file import load_config
    from pipeline.console import quiet_libraries_output
    from pipeline.history.run_record import LAST_RUN, read_last_record
    from pipeline.running.local_runner import run

    config = load_config(config_file, overrides)
    quiet_libraries()
    has_run = (config.workspace_dir / LAST_RUN).is_file()
    record = read_last_record(config.workspace_dir) if has_run else run(config, log_level)
    with quiet_libraries_output():
        from pipeline.demo.incident import describe_replay, replay
        from pipeline.description import describe_data

        incident = replay(record, describe_data(config).examples, config.workspace_dir)
    if as_json:
        print_json({"usual": incident.usual.model_dump(mode="json"), "auto": incident.repaired.model_dump(mode="json")})
    else:
        click.echo(describe_replay(incident))
    finish(0 if incident.is_told else 1)
