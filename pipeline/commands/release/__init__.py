"""``edgeproof release``: the repository of signed releases, from the command line of a person or a cron job."""

from __future__ import annotations

import click

from pipeline.commands.release import keeping, moving, reading


@click.group(epilog="Example: edgeproof release promote config.yaml 000012-4b8aa8afd22f stable --rollout 10")
def command() -> None:
    """Publish, promote, roll back and prove signed releases.

    TARGET is a config file, or a repository: a directory, s3://bucket/path, gs:// or az://. RELEASE is a version, its number, or
    a channel whose release is meant.
    """


for _command in (
    keeping.init,
    reading.list_command,
    reading.show,
    moving.promote,
    moving.rollback,
    moving.retire,
    reading.verify,
    keeping.refresh,
    keeping.keys_group,
    reading.audit,
    moving.prune,
    keeping.serve,
):
    command.add_command(_command)
