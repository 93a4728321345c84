"""``edgeproof report``: the verdict of the last run, explained."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.commands.options import config_argument, json_option, print_json, set_option


@click.command(epilog="Example: edgeproof report examples/digits/config.yaml")
@config_argument
@set_option
@json_option
def command(config: str, overrides: tuple[str, ...], as_json: bool) -> None:
    """Explain the verdict of the last run of CONFIG that came to one, and draw its page. Exit code 0: accepted; 1: refused."""
    from edgeproof_edge.addresses import is_address

    from components.evaluator.report.advice import Invocation
    from pipeline.config_file import load_config
    from pipeline.history.outcome import describe_run, read_gate_report
    from pipeline.history.run_page import page_of
    from pipeline.history.run_record import previous_record, read_last_record, read_later_attempt

    loaded = load_config(Path(config), overrides)
    is_default = loaded.workspace is None or is_address(loaded.workspace)
    record = read_last_record(loaded.workspace_dir, is_default=is_default)
    later = read_later_attempt(loaded.workspace_dir, record)
    if later is not None:
        click.echo(
            f"warning: a later run, of {later.started}, came to no verdict (its log: {later.log}); this is the one before",
            err=True,
        )
    page = page_of(record, loaded.workspace_dir)
    if as_json:
        report = read_gate_report(record).model_dump(mode="json")
        print_json({"run": record.model_dump(), "page": page, "gate_report": report})
    else:
        earlier = previous_record(loaded.workspace_dir, record)
        click.echo(describe_run(record, Invocation(config, overrides), earlier, page))
    raise click.exceptions.Exit(0 if record.is_accepted else 1)
