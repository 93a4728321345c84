"""Options and outputs that several verbs share."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any

import click

config_argument = click.argument("config", type=click.Path(dir_okay=False))
set_option = click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key of the config; repeatable."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
log_level_option = click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    help="Also show the log lines of every library from this level on; the log file always has them from info on.",
)

#: Whoever starts runs on a person's behalf says why with this variable, or with --reason.
REASON_VARIABLE = "EDGEPROOF_RUN_REASON"
reason_option = click.option(
    "--reason",
    envvar=REASON_VARIABLE,
    metavar="TEXT",
    help=f"Why it is run, for `edgeproof runs`.  [default: ${REASON_VARIABLE}, or by hand]",
)
trigger_key_option = click.option(
    "--trigger-key",
    default="",
    metavar="KEY",
    help="Key of what it is run for, kept with the run and in the release's provenance; on Kubeflow it never starts a second run.",
)
data_span_option = click.option(
    "--data-span",
    default="",
    metavar="SPAN",
    help="Span of the data that it is run for, kept with the run and in the release's provenance.  [default: the span that is read]",
)


def print_json(value: Any, default: Callable[[Any], Any] | None = None) -> None:
    """Prints a result for machines, with sorted keys; ``default`` writes what JSON has no word for."""
    click.echo(json.dumps(value, indent=2, sort_keys=True, default=default))


def finish(exit_code: int) -> Callable[[], None]:
    """Ends the process at once, after flushing.

    TensorFlow's and Beam's threads can abort an interpreter that shuts down in the normal way; there is nothing left to clean up.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_code)
