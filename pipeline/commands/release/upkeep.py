"""Commands that make a repository and keep it trusted and reachable: init, refresh, keys rotate, serve."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from pipeline.commands.options import json_option, print_json
from pipeline.commands.release.shared import (
    ask_passphrase,
    confirm,
    day,
    find_target,
    keys_option,
    open_existing,
    target_argument,
    writer,
    yes_option,
)

any_key_type_option = click.option(
    "--any-key-type",
    is_flag=True,
    help="Take EC and RSA keys, too. Devices verify them only with the library cryptography: pip install 'edgeproof-edge[crypto]' there.",
)


@click.command(epilog="Example: edgeproof release init releases --keys keys --channel dev --channel stable")
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
@any_key_type_option
@json_option
def init(
    target: str,
    keys: Path | None,
    channels: tuple[str, ...],
    own_keys: tuple[str, ...],
    uris: tuple[str, ...],
    any_key_type: bool,
    as_json: bool,
) -> None:
    """Make a repository, complete one whose making was killed, or add channels.

    Keys that do not exist are made as ed25519 files, mode 0600, encrypted where EDGEPROOF_KEY_PASSPHRASE is set.
    """
    from releases.stores.location import open_store
    from releases.trust.initialization import DEFAULT_CHANNELS, DEFAULT_OWN_KEYS, initialize
    from releases.trust.keys import KeyRing

    place = find_target(target, keys)
    ring = KeyRing.create(place.keys, ask_passphrase)
    repository = initialize(
        open_store(place.location),
        ring,
        channels or DEFAULT_CHANNELS,
        own_keys or DEFAULT_OWN_KEYS,
        dict(_pair(uri) for uri in uris),
        any_key_type=any_key_type,
    )
    listing = repository.listing()
    if as_json:
        print_json({"repository": place.location, "channels": listing.channels, "root": str(ring.anchor_file)})
        return
    click.echo(
        f"repository  {place.location}, channels {', '.join(listing.channels)}\n"
        f"keys        {place.keys}: {', '.join(ring.names)}; move root and targets off this machine\n"
        f"root        {ring.anchor_file}: build it into your devices\n"
        f"next        run `edgeproof release refresh {target}` daily: the proof of freshness ends {day(listing.fresh_until)}"
    )


def _pair(text: str) -> tuple[str, str]:
    name, equals, uri = text.partition("=")
    if not equals or not uri:
        raise click.UsageError(f"--key {text!r} must look like NAME=URI, as in stable=awskms:alias/stable.")
    return name, uri


@click.command(epilog="Example: edgeproof release refresh config.yaml")
@target_argument
@keys_option
@json_option
def refresh(target: str, keys: Path | None, as_json: bool) -> None:
    """Renew the proof of freshness; for cron, daily. Needs the key "online" only."""
    refreshed = writer(find_target(target, keys)).refresh()
    if as_json:
        print_json({**dataclasses.asdict(refreshed), "fresh_until": refreshed.fresh_until.isoformat()})
        return
    for warning in refreshed.warnings:
        click.echo(f"warning: {warning}", err=True)
    click.echo(f"signed {', '.join(refreshed.signed)}; fresh until {day(refreshed.fresh_until)}")


@click.group("keys", epilog="Example: edgeproof release keys rotate config.yaml online --yes")
def keys_group() -> None:
    """Replace keys."""


@keys_group.command(epilog="Example: edgeproof release keys rotate releases stable --key awskms:alias/stable --yes")
@target_argument
@click.argument("name")
@keys_option
@click.option("--key", "uri", help="Signer URI of the new key.  [default: a new ed25519 file]")
@any_key_type_option
@yes_option
@json_option
def rotate(
    target: str, name: str, keys: Path | None, uri: str | None, any_key_type: bool, yes: bool, as_json: bool
) -> None:
    """Replace the key NAME (root, targets, online, or a channel with a key of its own); devices follow by themselves.

    The old key is not needed, but for root: it may be lost.
    """
    from releases.trust.rotation import rotate as rotate_key

    repository = writer(find_target(target, keys))
    confirm(
        yes, f"Replace the key {name!r} of {repository.store.location}? Publishers with the old key are locked out."
    )
    old = rotate_key(repository, name, uri, any_key_type)
    if as_json:
        print_json({"key": name, "old": old})
    else:
        click.echo(f"key {name} replaced; the old one, {old} in {repository.ring.location}, may now be destroyed")


@click.command(epilog="Example: edgeproof release serve .edgeproof/digits/published --port 8765")
@target_argument
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at; 0.0.0.0 for the network.")
@click.option("--port", type=click.IntRange(0, 65535), default=8765, show_default=True, help="0 takes a free one.")
def serve(target: str, host: str, port: int) -> None:
    """Serve the repository over HTTP, for development; any static web server does in production."""
    from edgeproof_edge.addresses import is_address

    from pipeline.errors import ConfigError
    from releases.server import make_server

    place = find_target(target, None)
    if is_address(place.location):
        raise ConfigError(f"{place.location} is served by its cloud; serve is for directories.")
    open_existing(place)
    with make_server(Path(place.location), host, port) as server:
        click.echo(f"serving {place.location} at http://{host}:{server.server_address[1]}; Ctrl+C ends it", err=True)
        server.serve_forever()
