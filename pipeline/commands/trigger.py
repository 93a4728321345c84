"""``edgeproof trigger``: looks at evidence, decides about retraining, writes it down, and starts the run."""

from __future__ import annotations

import dataclasses
import signal
import threading
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.commands.options import json_option, print_json
from pipeline.commands.telemetry import open_address

if TYPE_CHECKING:
    from triggers.ledger import Entry, TriggeredRun
    from triggers.watch import Check, Watcher

file_argument = click.argument("file", type=click.Path(dir_okay=False, path_type=Path))


@click.group(epilog="Example: edgeproof trigger check triggers.yaml")
def command() -> None:
    """Decide, for a reason that is written down, whether to retrain.

    FILE names the model, the rules and how a run is started; docs/triggers.md shows one.
    """


@command.command(epilog="Example: edgeproof trigger check triggers.yaml --json")
@file_argument
@json_option
def check(file: Path, as_json: bool) -> None:
    """Look once: judge every rule, write every decision down, start what is decided."""
    done = _watcher(file).check(_now())
    if as_json:
        print_json(dataclasses.asdict(done), default=str)
    else:
        _print_check(done, is_whole=True)


@command.command(epilog="Example: edgeproof trigger watch triggers.yaml --minutes 10")
@file_argument
@click.option("--minutes", default=10.0, show_default=True, help="Between two looks.")
def watch(file: Path, minutes: float) -> None:
    """Look again and again until stopped; any number of watchers may run at once."""
    from edgeproof_edge.errors import SurroundingsError

    watcher = _watcher(file)
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    click.echo(f"watching every {minutes:g} minutes (stop with Ctrl-C)", err=True)
    while not stopping.is_set():
        try:
            _print_check(watcher.check(_now()), is_whole=False)
        except SurroundingsError as error:  # the database is away: the next look may find it
            click.echo(f"problem  {error}", err=True)
        stopping.wait(minutes * 60)


@command.command(epilog='Example: edgeproof trigger run triggers.yaml --reason "new camera housing"')
@file_argument
@click.option("--reason", required=True, help="Why; it goes into the ledger, MLMD and the release's provenance.")
@click.option("--by", help="Who asks.  [default: $EDGEPROOF_ACTOR, or your login]")
def run(file: Path, reason: str, by: str | None) -> None:
    """Start a run for a reason of yours; cooldown and budget do not hold it back. Exit code 1: another run is open."""
    from pipeline.commands.release.shared import actor
    from triggers.decision import Outcome
    from triggers.evidence import Request

    done = _watcher(file).check(_now(), Request(actor(by), reason))
    mine = done.decisions[0]
    click.echo(f"{mine.verdict.outcome.value}: {mine.finding.sentence}{_because(mine.verdict.because)}")
    _print_problems(done)
    raise click.exceptions.Exit(0 if mine.verdict.outcome is Outcome.RUN else 1)


@command.command(epilog="Example: edgeproof trigger log triggers.yaml --all")
@file_argument
@click.option("--all", "with_no", is_flag=True, help='Also the decisions that said "no".')
@click.option("--limit", default=50, show_default=True, help="Decisions to show, the newest.")
@json_option
def log(file: Path, with_no: bool, limit: int, as_json: bool) -> None:
    """Show what was decided and why, and the runs that came of it."""
    ledger = _watcher(file).ledger
    entries, runs = ledger.entries(limit, with_no=with_no), ledger.runs()
    if as_json:
        print_json(
            {"decisions": [dataclasses.asdict(e) for e in entries], "runs": [dataclasses.asdict(r) for r in runs]},
            default=str,
        )
        return
    for entry in entries:
        click.echo(_entry_line(entry))
    for triggered in runs:
        click.echo(_run_line(triggered))
    if not entries and not runs:
        click.echo("nothing was decided yet; edgeproof trigger check looks", err=True)


def _watcher(file: Path) -> Watcher:
    from triggers.settings import load_settings

    settings = load_settings(file)
    database = open_address(settings.database)
    from triggers.watch import Watcher

    return Watcher(settings, database)


def _print_check(done: Check, *, is_whole: bool) -> None:
    for triggered in done.closed:
        click.echo(_run_line(triggered))
    for decision in done.decisions:
        outcome = decision.verdict.outcome.value
        if is_whole or (decision.is_new and outcome != "no"):
            sentence = f"{decision.finding.sentence}{_because(decision.verdict.because)}"
            click.echo(f"{outcome:<9} {decision.finding.rule:<19} {sentence}")
    for triggered in done.launched:
        click.echo(f"started   {triggered.launcher} run {triggered.key}")
    _print_problems(done)


def _print_problems(done: Check) -> None:
    for problem in done.problems:
        click.echo(f"problem  {problem}", err=True)


def _because(text: str) -> str:
    return f" ({text})" if text else ""


def _entry_line(entry: Entry) -> str:
    times = f" x{entry.num_times}" if entry.num_times > 1 else ""
    return f"{entry.first_at:%Y-%m-%d %H:%M}  {entry.outcome.value:<9} {entry.rule:<19} {entry.sentence}{times}"


def _run_line(run: TriggeredRun) -> str:
    release = f", release {run.release_version}" if run.release_version else ""
    return f"{run.started_at:%Y-%m-%d %H:%M}  run {run.state.value:<9} {run.reason}{release}"


def _now() -> datetime:
    return datetime.now(timezone.utc)
