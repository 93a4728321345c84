"""Commands that move channels and take releases out of use: promote, rollback, retire, prune."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.commands.options import json_option, print_json
from pipeline.commands.release.shared import (
    actor,
    by_option,
    confirm,
    find_target,
    kept,
    keys_option,
    model_option,
    print_channel,
    target_argument,
    writer,
    yes_option,
)

if TYPE_CHECKING:
    from releases.repository import Repository


@click.command(epilog="Example: edgeproof release promote config.yaml dev stable --rollout 10")
@target_argument
@click.argument("release")
@click.argument("channel")
@keys_option
@model_option
@click.option(
    "--rollout",
    type=click.IntRange(0, 100),
    default=100,
    show_default=True,
    help="Percent of the devices; stable per device. The others keep what the channel offered to all.",
)
@by_option
@yes_option
@json_option
def promote(
    target: str,
    release: str,
    channel: str,
    keys: Path | None,
    model: str | None,
    rollout: int,
    by: str | None,
    yes: bool,
    as_json: bool,
) -> None:
    """Point CHANNEL at RELEASE."""
    place = find_target(target, keys)
    repository = writer(place)
    entry = repository.find(release, model or place.model)
    share = "all devices" if rollout == 100 else f"{rollout} % of the devices"
    confirm(yes, f"Offer {entry.model} {entry.version} ({kept(entry)}) to {share} of channel {channel}?")
    print_channel(repository.point(entry.version, channel, rollout, actor(by), entry.model), as_json)


@click.command(epilog="Example: edgeproof release rollback config.yaml stable --yes")
@target_argument
@click.argument("channel")
@click.option("--to", help="The release to go back to.  [default: the one the channel offered before]")
@keys_option
@model_option
@by_option
@yes_option
@json_option
def rollback(
    target: str,
    channel: str,
    to: str | None,
    keys: Path | None,
    model: str | None,
    by: str | None,
    yes: bool,
    as_json: bool,
) -> None:
    """Point CHANNEL back at an earlier release, for all its devices.

    Without --to it undoes the last promotion; run again, it changes nothing.
    """
    place = find_target(target, keys)
    model = model or place.model
    repository = writer(place)
    entry = repository.find(to, model) if to else repository.way_back(channel, model)
    undone = None if to else _undone(repository, channel, entry.model)
    if undone is not None:
        click.echo(f"channel {channel} was taken back from {undone} already; --to goes further back", err=True)
    confirm(
        yes or undone is not None,
        f"Take all devices of channel {channel} back to {entry.model} {entry.version} ({kept(entry)})?",
    )
    print_channel(repository.roll_back(channel, actor(by), entry.version, entry.model), as_json)


def _undone(repository: Repository, channel: str, model: str) -> str | None:
    """The release that the channel was taken back from already."""
    pointers = repository.listing().pointers
    states = (state for state in pointers if (state.channel, state.model) == (channel, model))
    return next((state.pointer.undone for state in states), None)


@click.command(epilog='Example: edgeproof release retire config.yaml 12 --reason "wrong labels" --yes')
@target_argument
@click.argument("release")
@click.option("--reason", required=True, help="Why, for whoever wants to promote it.")
@keys_option
@model_option
@by_option
@yes_option
@json_option
def retire(
    target: str,
    release: str,
    reason: str,
    keys: Path | None,
    model: str | None,
    by: str | None,
    yes: bool,
    as_json: bool,
) -> None:
    """Mark RELEASE so that no channel can offer it again."""
    place = find_target(target, keys)
    repository = writer(place)
    entry = repository.find(release, model or place.model)
    confirm(yes, f"Retire {entry.model} {entry.version} for good?")
    retired = repository.retire(entry.version, reason, actor(by), entry.model)
    if as_json:
        print_json(dataclasses.asdict(retired))
    else:
        click.echo(f"retired {retired.model} {retired.version}")


@click.command(epilog="Example: edgeproof release prune config.yaml --keep 20 --yes")
@target_argument
@click.option(
    "--keep", type=click.IntRange(min=1), default=20, show_default=True, help="Newest releases to keep, per model."
)
@keys_option
@yes_option
@json_option
def prune(target: str, keep: int, keys: Path | None, yes: bool, as_json: bool) -> None:
    """Remove old releases; the newest and those that a channel offers stay."""
    repository = writer(find_target(target, keys))
    removed = repository.prunable(keep)
    if removed:
        names = ", ".join(release.version for release in removed[:3]) + (", ..." if len(removed) > 3 else "")
        confirm(yes, f"Remove {len(removed)} releases ({names}) for good?")
    pruned = repository.prune(keep)
    if as_json:
        print_json({"releases": [release.version for release in pruned.releases], "num_files": pruned.num_files})
    else:
        click.echo(f"removed {len(pruned.releases)} releases, {pruned.num_files} files")
