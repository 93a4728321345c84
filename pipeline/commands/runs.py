"""``edgeproof runs``: what was run before, and what differs between two runs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.commands.options import json_option, print_json

if TYPE_CHECKING:
    from pipeline.history.changes import Difference
    from pipeline.history.run_summary import RunSummary

config_option = click.option(
    "--config",
    type=click.Path(dir_okay=False),
    help="Config of the pipeline. Default: every workspace under .edgeproof in the current directory.",
)
#: Longest value that a table of differences shows.
MAX_VALUE = 60
#: Classes, and counts of classes, that a table of differences shows; ``--json`` has all.
MAX_CLASSES = 20
#: Letters of a commit.
COMMIT_LENGTH = 10


@click.group(
    invoke_without_command=True,
    epilog="Example: edgeproof runs --config examples/digits/config.yaml",
)
@config_option
@json_option
@click.pass_context
def command(context: click.Context, config: str | None, as_json: bool) -> None:
    """List past runs: when, why, on which data and commit, both accuracies (or errors), their ratio, verdict, release, what changed."""
    context.obj = config
    if context.invoked_subcommand is not None:
        return
    from pipeline.history.runs import read_runs

    runs = [run for workspace in _workspaces(config) for run in read_runs(workspace)]
    if as_json:
        print_json([run.to_dict() for run in runs])
    else:
        click.echo(runs_table(runs))


@command.command(
    "compare",
    context_settings={"ignore_unknown_options": True},  # -1 is a number here
    epilog="Example: edgeproof runs compare 1 -1",
)
@click.argument("first")
@click.argument("second")
@config_option
@json_option
@click.pass_context
def compare_command(context: click.Context, first: str, second: str, config: str | None, as_json: bool) -> None:
    """Show what changed between runs FIRST and SECOND: config, files, data by split and class, code, results, accuracy by class.

    FIRST and SECOND are numbers of the list (-1 is the last), versions of releases, or beginnings of run ids.
    """
    from pipeline.errors import ConfigError
    from pipeline.history.changes import compare
    from pipeline.history.runs import find_run, read_runs

    workspaces = _workspaces(config or context.obj)
    if len(workspaces) > 1:
        listed = ", ".join(str(workspace) for workspace in workspaces)
        raise ConfigError(f"there are several workspaces: {listed}. Choose one with --config CONFIG.")
    runs = read_runs(workspaces[0])
    left, right = find_run(runs, first), find_run(runs, second)
    differences = compare(left, right)
    if as_json:
        print_json(
            {"runs": [left.to_dict(), right.to_dict()], "differences": [vars(difference) for difference in differences]}
        )
    else:
        click.echo(differences_table(left, right, differences))


def _workspaces(config: str | None) -> list[Path]:
    from pipeline.errors import ConfigError
    from pipeline.history.runs import find_workspaces

    if config is not None:
        from pipeline.config_file import load_config

        return [load_config(Path(config)).workspace_dir]
    workspaces = find_workspaces(Path.cwd())
    if not workspaces:
        raise ConfigError(
            f"no runs under {Path.cwd() / '.edgeproof'}. Start one with edgeproof run CONFIG, or give --config CONFIG."
        )
    return workspaces


def runs_table(runs: list[RunSummary]) -> str:
    """One line per run, newest last."""
    header = ("run", "when (UTC)", "pipeline", "float", "edge", "ratio", "verdict", "release", "data", "commit", "why")
    rows = [
        (
            str(run.number),
            f"{run.started:%Y-%m-%d %H:%M}",
            run.pipeline,
            _figure(run, run.float_accuracy, run.float_error),
            f"{_figure(run, run.candidate_accuracy, run.candidate_error)} {run.recipe or ''}".strip(),
            _percent(run.ratio) if run.metric is None else _factor(run.ratio),
            run.verdict or run.state,
            run.release or "-",
            run.data or "-",
            _commit(run.git_commit),
            _short(run.why),
            run.changed,
        )
        for run in runs
    ]
    return _aligned([(*header, "changed"), *rows])


def _commit(commit: str | None) -> str:
    """Its beginning; a plus where files differed from it."""
    if commit is None:
        return "-"
    sha, _, changed = commit.partition(" ")
    return f"{sha[:COMMIT_LENGTH]}{'+' if changed else ''}"


def differences_table(first: RunSummary, second: RunSummary, differences: tuple[Difference, ...]) -> str:
    """One line per difference; long values are cut, ``--json`` has them whole, and every class."""
    from pipeline.history.changes import Kind

    if not differences:
        return f"runs {first.number} and {second.number} are the same in every setting and result"
    rows: list[tuple[str, ...]] = [("", "", f"run {first.number}", f"run {second.number}")]
    for kind in Kind:
        those = [difference for difference in differences if difference.kind is kind]
        shown = those[:MAX_CLASSES] if kind in (Kind.DATA, Kind.CLASS) else those
        names = [kind.value] + [""] * len(shown)
        rows += [(name, d.what, _short(d.first), _short(d.second)) for name, d in zip(names, shown, strict=False)]
        if len(those) > len(shown):
            rows.append(("", f"and {len(those) - len(shown):,} more (--json)", "", ""))
    return _aligned(rows)


def _figure(run: RunSummary, accuracy: float | None, error: float | None) -> str:
    return _percent(accuracy) if error is None else f"{run.metric} {error:.6g}"


def _factor(factor: float | None) -> str:
    """Rounded up, as the gate does: 1.0301 is not 1.03."""
    return "-" if factor is None else f"x{math.ceil(10_000 * factor - 1e-6) / 10_000:.4f}"


def _percent(share: float | None) -> str:
    """Rounded down, as the gate does: 96.999 % is not 97 %."""
    return "-" if share is None else f"{math.floor(10_000 * share + 1e-6) / 100:.2f} %"


def _short(value: str | None) -> str:
    if value is None:
        return "-"
    line = " ".join(value.split())
    return line if len(line) <= MAX_VALUE else f"{line[: MAX_VALUE - 3]}..."


def _aligned(rows: list[tuple[str, ...]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
