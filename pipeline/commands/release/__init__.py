"""``edgeproof release``: the repository of signed releases, from the command line of a person or a cron job."""

from __future__ import annotations

import click

from pipeline.commands.release import changes, export, queries, upkeep


@click.group(epilog="Example: edgeproof release promote config.yaml 000012-4b8aa8afd22f stable --rollout 10")
def command() -> None:
    """Publish, promote, roll back and prove signed releases.

    TARGET is a config file, or a repository: a directory, s3://bucket/path, gs:// or az://. RELEASE is a version, its number, or
    a channel whose release is meant.
    """


for _command in (
    upkeep.init,
    queries.list_command,
    queries.show,
    changes.promote,
    changes.rollback,
    changes.retire,
    queries.verify,
    upkeep.refresh,
    upkeep.keys_group,
    queries.audit,
    export.export,
    changes.prune,
    upkeep.serve,
):
    command.add_command(_command)
