"""``edgeproof doctor``: is this machine, and this installation, able to run?"""

from __future__ import annotations

import dataclasses

import click

from pipeline.commands.options import finish, json_option, print_json


@click.command(epilog="Example: edgeproof doctor")
@json_option
def command(as_json: bool) -> None:
    """Check Python, glibc, compiler, platform and that every TFX component can be imported. Exit code 3: something is wrong."""
    from components.compat import quiet_libraries

    quiet_libraries()
    from pipeline.machine.doctor import diagnose, render

    findings = diagnose()
    if as_json:
        print_json([dataclasses.asdict(finding) for finding in findings])
    else:
        click.echo(render(findings))
    finish(0 if all(finding.ok for finding in findings) else 3)
