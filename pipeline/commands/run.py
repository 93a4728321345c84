"""``edgeproof run``: the pipeline of a config file, locally."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.commands.options import (
    config_argument,
    data_span_option,
    finish,
    json_option,
    log_level_option,
    print_json,
    reason_option,
    set_option,
    trigger_key_option,
)

if TYPE_CHECKING:
    from components.evaluator.report.advice import Invocation


@click.command(epilog="Example: edgeproof run examples/mnist/config.yaml --set data.path=$HOME/mnist")
@config_argument
@set_option
@reason_option
@trigger_key_option
@data_span_option
@log_level_option
@json_option
@click.option(
    "--fresh",
    is_flag=False,
    flag_value="all",
    multiple=True,
    metavar="[NODE]",
    help="Run NODE again, such as Trainer, although nothing changed, and what depends on it; last on the line and without NODE: every "
    "step. Releases and keys stay. Repeatable.",
)
def command(
    config: str,
    overrides: tuple[str, ...],
    reason: str | None,
    trigger_key: str,
    data_span: str,
    log_level: str | None,
    as_json: bool,
    fresh: tuple[str, ...],
) -> None:
    """Run the pipeline of CONFIG, from data to a published release.

    Steps whose inputs, code and settings did not change are taken from the cache. Exit code 0: published; 1: refused by the gate.
    """
    from components.evaluator.report.advice import Invocation

    invocation = Invocation(config, overrides)
    run_config(Path(config), overrides, log_level, as_json, invocation, reason, fresh, trigger_key, data_span)


def run_config(
    config_file: Path,
    overrides: tuple[str, ...],
    log_level: str | None,
    as_json: bool,
    invocation: Invocation,
    reason: str | None = None,
    fresh: tuple[str, ...] = (),
    trigger_key: str = "",
    data_span: str = "",
) -> None:
    """Runs a config file, prints the outcome and ends the process; ``invocation`` is what a person would type again."""
    from components.compat import quiet_libraries
    from pipeline.config_file import load_config

    config = load_config(config_file, overrides)
    quiet_libraries()
    from pipeline.history.outcome import describe_run
    from pipeline.history.run_page import page_of
    from pipeline.history.run_record import BY_HAND, previous_record
    from pipeline.running.local_runner import run

    record = run(config, log_level, reason or BY_HAND, fresh, trigger_key, data_span)
    page = page_of(record, config.workspace_dir)
    if as_json:
        print_json({**record.model_dump(), "page": page})
    else:
        click.echo(describe_run(record, invocation, previous_record(config.workspace_dir, record), page))
    finish(0 if record.is_accepted else 1)
