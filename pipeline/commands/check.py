"""``edgeproof check``: refuses what can be refused before work starts."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.commands.options import config_argument, finish, json_option, print_json, set_option


@click.command(epilog="Example: edgeproof check config.yaml")
@config_argument
@set_option
@json_option
def command(config: str, overrides: tuple[str, ...], as_json: bool) -> None:
    """Check CONFIG, the files it names and the model it builds; nothing is trained or written."""
    from components.compat import quiet_libraries
    from pipeline.config_file import load_config

    checked = load_config(Path(config), overrides)
    quiet_libraries()
    from pipeline.preflight import check

    findings = check(checked)
    if as_json:
        print_json({"config": checked.model_dump(mode="json"), "findings": findings})
    else:
        click.echo("\n".join(f"ok  {finding}" for finding in findings))
    finish(0)
