"""What the release commands share: options, what TARGET names, who asks and who acts, and how a release is spoken of."""

from __future__ import annotations

import dataclasses
import getpass
import os
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click
from edgeproof_edge.addresses import is_address

from pipeline.commands.options import print_json

if TYPE_CHECKING:
    from releases.archive import Release
    from releases.repository import ChannelState, Repository
    from releases.stores.store import Store

#: Who is named in the audit, instead of the user's login.
ACTOR_VARIABLE = "EDGEPROOF_ACTOR"

target_argument = click.argument("target")
keys_option = click.option(
    "--keys",
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory of the keys.  [default: the config's; `keys` beside the repository]",
)
model_option = click.option("--model", help="Name of the model, where the repository has several.")
yes_option = click.option("--yes", is_flag=True, help="Do not ask.")
by_option = click.option("--by", help=f"Who does it, for the audit.  [default: ${ACTOR_VARIABLE}, or your login]")
root_option = click.option(
    "--root",
    "root_file",
    type=click.Path(dir_okay=False, exists=True, path_type=Path),
    help="Root metadata to trust, as in a device image.  [default: the keys', or the repository's own first]",
)


@dataclasses.dataclass(frozen=True)
class Target:
    """What TARGET names: a repository, where its keys are, and the model, its channel and its licence that a config means."""

    location: str
    keys: Path
    model: str | None = None
    channel: str | None = None
    license: str | None = None
    #: The config whose first accepted run makes the repository; None where somebody makes it with ``release init``.
    made_by_run_of: str | None = None


def find_target(target: str, keys: Path | None = None) -> Target:
    """Reads TARGET: a config file by its ending, a repository otherwise."""
    if target.endswith((".yaml", ".yml")):
        from pipeline.config_file import load_config

        config = load_config(Path(target))
        release = config.release
        made_by_run_of = target if config.makes_repository and not is_address(config.release_location) else None
        return Target(
            config.release_location,
            keys or config.keys_dir,
            config.name,
            release.channel,
            release.license,
            made_by_run_of,
        )
    if is_address(target):
        return Target(target, keys or Path("keys"))
    return Target(target, keys or Path(target).absolute().parent / "keys")


def writer(target: Target) -> Repository:
    """The repository, opened with its keys.

    Raises:
        MissingRepositoryError: There is none.
    """
    from releases.repository import Repository
    from releases.trust.keys import KeyRing

    store = open_existing(target)
    return Repository.of(store, KeyRing.open(target.keys, ask_passphrase))


def reader(target: Target, root_file: Path | None) -> Repository:
    """The repository, opened without keys."""
    from releases.repository import Repository

    store = open_existing(target)
    return Repository(store, anchor(target, store, root_file))


def open_existing(target: Target) -> Store:
    """The store of a repository that is there.

    Raises:
        MissingRepositoryError: There is none; says who makes it.
    """
    from releases.stores.location import open_store
    from releases.trust.initialization import exists
    from releases.trust.metadata import MissingRepositoryError

    store = open_store(target.location)
    if exists(store):
        return store
    if target.made_by_run_of is not None:
        raise MissingRepositoryError(
            f"there is no release repository in {target.location} yet: the first accepted run makes it. Run `edgeproof run "
            f"{target.made_by_run_of}`; `edgeproof runs {target.made_by_run_of}` says what became of earlier ones."
        )
    raise MissingRepositoryError(
        f"there is no release repository in {target.location}. Check the path, or make one with `edgeproof release init "
        f"{target.location}`."
    )


def anchor(target: Target, store: Store, root_file: Path | None) -> bytes:
    """The root to trust: the given one, the keys', or the repository's own first."""
    from releases.verification import trusted_root

    return root_file.read_bytes() if root_file else trusted_root(store, target.keys)


def ask_passphrase(name: str) -> str:
    """The passphrase of a key from the terminal; empty where nobody is there."""
    if not sys.stdin.isatty():
        return ""
    answer: str = click.prompt(f"passphrase of the key {name!r}", hide_input=True, err=True)
    return answer


def confirm(yes: bool, question: str) -> None:
    """Asks before a change; where nobody can answer, the change needs --yes."""
    from pipeline.errors import ConfigError

    if yes:
        return
    if not sys.stdin.isatty():
        raise ConfigError(f"this needs an answer, and nobody is at the terminal: {question} Run it with --yes.")
    click.confirm(question, abort=True, err=True)


def actor(by: str | None) -> str:
    """Who does it, for the audit."""
    return by or os.environ.get(ACTOR_VARIABLE) or getpass.getuser()


def kept(release: Release) -> str:
    """What a release was proved to keep, in a few words."""
    if release.candidate_value is not None:
        return f"{release.metric} {release.candidate_value}, float {release.float_value}, on {release.num_examples}"
    return f"keeps {release.num_correct_candidate} / {release.num_correct_float} right of {release.num_examples}"


def day(time: datetime) -> str:
    """A time to the minute, UTC."""
    return f"{time:%Y-%m-%d %H:%M} UTC"


def print_channel(state: ChannelState, as_json: bool) -> None:
    """What a channel offers now."""
    if as_json:
        print_json(dataclasses.asdict(state))
        return
    pointer = state.pointer
    rest = "" if pointer.otherwise is None else f"; the others run {pointer.otherwise.version}"
    share = "" if pointer.rollout == 100 else f" to {pointer.rollout} % of the devices{rest}"
    click.echo(f"channel {state.channel} offers {state.model} {pointer.release.version}{share}")
