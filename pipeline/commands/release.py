"""``edgeproof release``: the repository of signed releases, from the command line of a person or a cron job."""

from __future__ import annotations

import dataclasses
import getpass
import os
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.commands.options import json_option, print_json

if TYPE_CHECKING:
    from components.pusher.archive import Release
    from components.pusher.repository import ChannelState, Repository
    from components.pusher.store import Store


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
    """What TARGET names: a repository, where its keys are, and the model and channel that a config means."""

    location: str
    keys: Path
    model: str | None = None
    channel: str | None = None


@click.group(epilog="Example: edgeproof release promote config.yaml 000012-4b8aa8afd22f stable --rollout 10")
def command() -> None:
    """Publish, promote, roll back and prove signed releases.

    TARGET is a config file, or a repository: a directory, s3://bucket/path, gs:// or az://. RELEASE is a version, its number, or
    a channel whose release is meant.
    """


@command.command(epilog="Example: edgeproof release init releases --keys keys --channel dev --channel stable")
@target_argument
@keys_option
@click.option(
    "--channel", "channels", multiple=True, help="Name of a channel; repeatable.  [default: dev canary stable]"
)
@click.option(
    "--own-key", "own_keys", multiple=True, help="Channel with a key of its own; repeatable.  [default: stable]"
)
@click.option(
    "--key",
    "uris",
    multiple=True,
    metavar="NAME=URI",
    help="Key in a KMS, HSM or Vault (root, targets, online, or a channel): gcpkms:, awskms:, azurekms:, hv:, hsm:, file2:.",
)
@json_option
def init(
    target: str,
    keys: Path | None,
    channels: tuple[str, ...],
    own_keys: tuple[str, ...],
    uris: tuple[str, ...],
    as_json: bool,
) -> None:
    """Make a repository, complete one whose making was killed, or add channels.

    Keys that do not exist are made as ed25519 files, mode 0600, encrypted where EDGEPROOF_KEY_PASSPHRASE is set.
    """
    from components.pusher.keys import KeyRing
    from components.pusher.location import open_store
    from components.pusher.making import DEFAULT_CHANNELS, DEFAULT_OWN_KEYS, initialize

    found = find_target(target, keys)
    ring = KeyRing.create(found.keys, _ask)
    repository = initialize(
        open_store(found.location),
        ring,
        channels or DEFAULT_CHANNELS,
        own_keys or DEFAULT_OWN_KEYS,
        dict(_pair(uri) for uri in uris),
    )
    listing = repository.listing()
    if as_json:
        print_json({"repository": found.location, "channels": listing.channels, "root": str(ring.anchor_file)})
        return
    click.echo(
        f"repository  {found.location}, channels {', '.join(listing.channels)}\n"
        f"keys        {found.keys}: {', '.join(ring.names)}; move root and targets off this machine\n"
        f"root        {ring.anchor_file}: build it into your devices\n"
        f"next        run `edgeproof release refresh {target}` daily: the proof of freshness ends {_day(listing.fresh_until)}"
    )


@command.command("list", epilog="Example: edgeproof release list .edgeproof/digits/published")
@target_argument
@keys_option
@root_option
@model_option
@json_option
def list_command(target: str, keys: Path | None, root_file: Path | None, model: str | None, as_json: bool) -> None:
    """List releases, and what each channel offers."""
    found = find_target(target, keys)
    listing = _reader(found, root_file).listing()
    model = model or found.model
    releases = [release for release in listing.releases if model in (None, release.model)]
    pointers = [state for state in listing.pointers if model in (None, state.model)]
    if as_json:
        print_json(
            {
                "releases": [dataclasses.asdict(release) for release in releases],
                "channels": [{**dataclasses.asdict(state)} for state in pointers],
                "fresh_until": listing.fresh_until.isoformat(),
            }
        )
        return
    offered = _offering(pointers)
    for release in releases:
        note = f"  retired: {release.retired.reason}" if release.retired else ""
        channels = ", ".join(offered.get((release.model, release.version), ()))
        click.echo(f"{release.model}  {release.version}  {release.created}  {_kept(release)}  {channels}{note}")
    empty = [channel for channel in listing.channels if channel not in {state.channel for state in pointers}]
    click.echo(f"{len(releases)} releases; fresh until {_day(listing.fresh_until)}", err=True)
    if listing.is_aging:
        click.echo(f"warning: nobody refreshed it for days; run `edgeproof release refresh {target}` daily", err=True)
    if empty:
        click.echo(f"channels that offer nothing yet: {', '.join(empty)}", err=True)


@command.command(epilog="Example: edgeproof release show config.yaml stable --extract model-on-stable")
@target_argument
@click.argument("release")
@keys_option
@root_option
@model_option
@click.option("--extract", type=click.Path(path_type=Path), help="Write the release's files to this new directory.")
@click.option(
    "--ml-bom", type=click.Path(dir_okay=False, path_type=Path), help="Write a CycloneDX 1.6 ML-BOM to this file."
)
@json_option
def show(
    target: str,
    release: str,
    keys: Path | None,
    root_file: Path | None,
    model: str | None,
    extract: Path | None,
    ml_bom: Path | None,
    as_json: bool,
) -> None:
    """Show one RELEASE: its manifest, checked against its signed hash."""
    from edgeproof_edge.bundle import open_bundle

    found = find_target(target, keys)
    repository = _reader(found, root_file)
    entry = repository.find(release, model or found.model)
    bundle = open_bundle(repository.read_bundle(entry))
    if extract is not None:
        _extract(extract, bundle.files)
    if ml_bom is not None:
        from components.pusher.bill_of_materials import bill_of_materials

        _write(ml_bom, bill_of_materials(entry, bundle).encode())
    if as_json:
        import json

        print_json({"release": dataclasses.asdict(entry), "manifest": json.loads(bundle.manifest.to_json())})
        return
    manifest = bundle.manifest
    golden = f"{manifest.golden.num_examples} golden vectors" if manifest.golden else "no golden vectors"
    lines = [
        f"{entry.model} {entry.version}, published {entry.created}, {entry.recipe}, {entry.size_bytes:,} bytes",
        f"verdict   {_kept(entry)}",
        f"bundle    sha256 {entry.bundle_sha256}",
        f"self-test {golden}",
        *(f"file      {file.name}  {file.size_bytes:,} bytes" for file in manifest.files),
    ]
    if entry.retired:
        lines.append(f"retired   {entry.retired.at} by {entry.retired.by}: {entry.retired.reason}")
    if extract is not None:
        lines.append(f"extracted {extract}")
    click.echo("\n".join(lines))


@command.command(epilog="Example: edgeproof release promote config.yaml dev stable --rollout 10")
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
    found = find_target(target, keys)
    repository = _writer(found)
    entry = repository.find(release, model or found.model)
    share = "all devices" if rollout == 100 else f"{rollout} % of the devices"
    _confirm(yes, f"Offer {entry.model} {entry.version} ({_kept(entry)}) to {share} of channel {channel}?")
    _print_channel(repository.point(entry.version, channel, rollout, _actor(by), entry.model), as_json)


@command.command(epilog="Example: edgeproof release rollback config.yaml stable --yes")
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
    found = find_target(target, keys)
    model = model or found.model
    repository = _writer(found)
    entry = repository.find(to, model) if to else repository.way_back(channel, model)
    undone = (
        None
        if to
        else next(
            (
                state.pointer.undone
                for state in repository.listing().pointers
                if (state.channel, state.model) == (channel, entry.model)
            ),
            None,
        )
    )
    if undone is not None:
        click.echo(f"channel {channel} was taken back from {undone} already; --to goes further back", err=True)
    _confirm(
        yes or undone is not None,
        f"Take all devices of channel {channel} back to {entry.model} {entry.version} ({_kept(entry)})?",
    )
    _print_channel(repository.roll_back(channel, _actor(by), entry.version, entry.model), as_json)


@command.command(epilog='Example: edgeproof release retire config.yaml 12 --reason "wrong labels" --yes')
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
    found = find_target(target, keys)
    repository = _writer(found)
    entry = repository.find(release, model or found.model)
    _confirm(yes, f"Retire {entry.model} {entry.version} for good?")
    retired = repository.retire(entry.version, reason, _actor(by), entry.model)
    if as_json:
        print_json(dataclasses.asdict(retired))
    else:
        click.echo(f"retired {retired.model} {retired.version}")


@command.command(epilog="Example: edgeproof release verify s3://bucket/releases --root root.json")
@target_argument
@keys_option
@root_option
@json_option
def verify(target: str, keys: Path | None, root_file: Path | None, as_json: bool) -> None:
    """Check the whole repository as a stranger's device would. Exit code 0: sound; 1: not."""
    from components.pusher.audit import verify as verify_repository
    from components.pusher.location import open_store

    found = find_target(target, keys)
    store = open_store(found.location)
    verification = verify_repository(store, _anchor(found, store, root_file))
    if as_json:
        print_json(dataclasses.asdict(verification))
    else:
        for warning in verification.warnings:
            click.echo(f"warning  {warning}")
        for problem in verification.problems:
            click.echo(f"PROBLEM  {problem}")
        click.echo(
            f"{'sound' if not verification.problems else 'not sound'}: {verification.num_bundles} of "
            f"{verification.num_releases} bundles, channels {', '.join(verification.channels) or 'none'}, fresh until "
            f"{verification.fresh_until or 'unknown'}, trusting root {verification.root_sha256[:16]}"
        )
    raise click.exceptions.Exit(1 if verification.problems else 0)


@command.command(epilog="Example: edgeproof release refresh config.yaml")
@target_argument
@keys_option
@json_option
def refresh(target: str, keys: Path | None, as_json: bool) -> None:
    """Renew the proof of freshness; for cron, daily. Needs the key `online` only."""
    refreshed = _writer(find_target(target, keys)).refresh()
    if as_json:
        print_json({**dataclasses.asdict(refreshed), "fresh_until": refreshed.fresh_until.isoformat()})
        return
    for warning in refreshed.warnings:
        click.echo(f"warning: {warning}", err=True)
    click.echo(f"signed {', '.join(refreshed.signed)}; fresh until {_day(refreshed.fresh_until)}")


@command.group("keys", epilog="Example: edgeproof release keys rotate config.yaml online --yes")
def keys_group() -> None:
    """Replace keys."""


@keys_group.command(epilog="Example: edgeproof release keys rotate releases stable --key awskms:alias/stable --yes")
@target_argument
@click.argument("name")
@keys_option
@click.option("--key", "uri", help="Signer URI of the new key.  [default: a new ed25519 file]")
@yes_option
@json_option
def rotate(target: str, name: str, keys: Path | None, uri: str | None, yes: bool, as_json: bool) -> None:
    """Replace the key NAME (root, targets, online, or a channel with a key of its own); devices follow by themselves."""
    from components.pusher.rotation import rotate as rotate_key

    repository = _writer(find_target(target, keys))
    _confirm(
        yes, f"Replace the key {name!r} of {repository.store.location}? Publishers with the old key are locked out."
    )
    old = rotate_key(repository, name, uri)
    if as_json:
        print_json({"key": name, "old": old})
    else:
        click.echo(f"key {name} replaced; the old one, {old} in {repository.ring.location}, may now be destroyed")


@command.command(epilog="Example: edgeproof release audit config.yaml --channel stable")
@target_argument
@keys_option
@root_option
@click.option("--channel", help="Only this channel.")
@json_option
def audit(target: str, keys: Path | None, root_file: Path | None, channel: str | None, as_json: bool) -> None:
    """Print who pointed what where and when, from the signed past."""
    from components.pusher.audit import audit as audit_repository
    from components.pusher.location import open_store

    found = find_target(target, keys)
    store = open_store(found.location)
    events = audit_repository(store, _anchor(found, store, root_file))
    events = tuple(event for event in events if channel in (None, event.subject))
    if as_json:
        print_json([dataclasses.asdict(event) for event in events])
        return
    for event in events:
        signed = ", ".join(keyid[:8] for keyid in event.keyids)
        click.echo(f"{event.at}  {event.by or '-':<12}  {event.detail}  (key {signed})")


@command.command(epilog="Example: edgeproof release prune config.yaml --keep 20 --yes")
@target_argument
@click.option(
    "--keep", type=click.IntRange(min=1), default=20, show_default=True, help="Newest releases to keep, per model."
)
@keys_option
@yes_option
@json_option
def prune(target: str, keep: int, keys: Path | None, yes: bool, as_json: bool) -> None:
    """Remove old releases; the newest and those that a channel offers stay."""
    repository = _writer(find_target(target, keys))
    removed = repository.prunable(keep)
    if removed:
        names = ", ".join(release.version for release in removed[:3]) + (", ..." if len(removed) > 3 else "")
        _confirm(yes, f"Remove {len(removed)} releases ({names}) for good?")
    pruned = repository.prune(keep)
    if as_json:
        print_json({"releases": [release.version for release in pruned.releases], "num_files": pruned.num_files})
    else:
        click.echo(f"removed {len(pruned.releases)} releases, {pruned.num_files} files")


@command.command(epilog="Example: edgeproof release serve .edgeproof/digits/published --port 8765")
@target_argument
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at; 0.0.0.0 for the network.")
@click.option("--port", type=click.IntRange(0, 65535), default=8765, show_default=True, help="0 takes a free one.")
def serve(target: str, host: str, port: int) -> None:
    """Serve the repository over HTTP, for development; any static web server does in production."""
    from components.pusher.location import is_address, open_store
    from components.pusher.making import exists
    from components.pusher.metadata import MissingRepositoryError
    from components.pusher.server import make_server
    from pipeline.errors import ConfigError

    found = find_target(target, None)
    if is_address(found.location):
        raise ConfigError(f"{found.location} is served by its cloud; serve is for directories.")
    if not exists(open_store(found.location)):
        raise MissingRepositoryError(f"there is no release repository in {found.location}. Check the path.")
    with make_server(Path(found.location), host, port) as server:
        click.echo(f"serving {found.location} at http://{host}:{server.server_address[1]}; Ctrl+C ends it", err=True)
        server.serve_forever()


# --- What the commands share ------------------------------------------------------------------------------------------


def find_target(target: str, keys: Path | None = None) -> Target:
    """Reads TARGET: a config file by its ending, a repository otherwise."""
    if target.endswith((".yaml", ".yml")):
        from pipeline.config_file import load_config

        config = load_config(Path(target))
        return Target(config.release_location, keys or config.keys_dir, config.name, config.release.channel)
    if "://" in target:
        return Target(target, keys or Path("keys"))
    return Target(target, keys or Path(target).absolute().parent / "keys")


def _writer(target: Target) -> Repository:
    from components.pusher.keys import KeyRing
    from components.pusher.location import open_store
    from components.pusher.making import exists
    from components.pusher.metadata import MissingRepositoryError
    from components.pusher.repository import Repository

    store = open_store(target.location)
    if not exists(store):
        raise MissingRepositoryError(
            f"there is no release repository in {target.location}. Check the path, or make one with "
            f"`edgeproof release init {target.location}`."
        )
    return Repository.of(store, KeyRing.open(target.keys, _ask))


def _reader(target: Target, root_file: Path | None) -> Repository:
    from components.pusher.location import open_store
    from components.pusher.repository import Repository

    store = open_store(target.location)
    return Repository(store, _anchor(target, store, root_file))


def _anchor(target: Target, store: Store, root_file: Path | None) -> bytes:
    """The root to trust: the given one, the keys', or the repository's own first."""
    from components.pusher.audit import trusted_root

    return root_file.read_bytes() if root_file else trusted_root(store, target.keys)


def _ask(name: str) -> str:
    if not sys.stdin.isatty():
        return ""
    answer: str = click.prompt(f"passphrase of the key {name!r}", hide_input=True, err=True)
    return answer


def _confirm(yes: bool, question: str) -> None:
    """Asks before a change; where nobody can answer, the change needs --yes."""
    from pipeline.errors import ConfigError

    if yes:
        return
    if not sys.stdin.isatty():
        raise ConfigError(f"this needs an answer, and nobody is at the terminal: {question} Run it with --yes.")
    click.confirm(question, abort=True, err=True)


def _actor(by: str | None) -> str:
    return by or os.environ.get(ACTOR_VARIABLE) or getpass.getuser()


def _pair(text: str) -> tuple[str, str]:
    name, equals, uri = text.partition("=")
    if not equals or not uri:
        raise click.UsageError(f"--key {text!r} must look like NAME=URI, as in stable=awskms:alias/stable.")
    return name, uri


def _kept(release: Release) -> str:
    return f"keeps {release.num_correct_candidate} / {release.num_correct_float} right of {release.num_examples}"


def _day(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M} UTC"


def _offering(pointers: list[ChannelState]) -> dict[tuple[str, str], list[str]]:
    offered: dict[tuple[str, str], list[str]] = {}
    for state in pointers:
        pointer = state.pointer
        share = state.channel if pointer.rollout == 100 else f"{state.channel} {pointer.rollout} %"
        offered.setdefault((state.model, pointer.release.version), []).append(share)
        if pointer.otherwise is not None:
            rest = f"{state.channel} {100 - pointer.rollout} %"
            offered.setdefault((state.model, pointer.otherwise.version), []).append(rest)
    return offered


def _print_channel(state: ChannelState, as_json: bool) -> None:
    if as_json:
        print_json(dataclasses.asdict(state))
        return
    pointer = state.pointer
    rest = "" if pointer.otherwise is None else f"; the others run {pointer.otherwise.version}"
    share = "" if pointer.rollout == 100 else f" to {pointer.rollout} % of the devices{rest}"
    click.echo(f"channel {state.channel} offers {state.model} {pointer.release.version}{share}")


def _write(file: Path, data: bytes) -> None:
    from edgeproof_edge.errors import SurroundingsError

    try:
        file.write_bytes(data)
    except OSError as error:
        raise SurroundingsError(f"{file} cannot be written: {error.strerror}. Give another path.") from error


def _extract(directory: Path, files: Mapping[str, bytes]) -> None:
    from edgeproof_edge.errors import SurroundingsError

    try:
        directory.mkdir(parents=True)
        for name, data in files.items():
            (directory / name).write_bytes(data)
    except OSError as error:
        raise SurroundingsError(
            f"{directory} cannot be written: {error.strerror}. Give a directory that is not there."
        ) from error
