"""Commands that read a repository as a stranger's device would, and change nothing: list, show, verify, audit."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.commands.options import json_option, print_json
from pipeline.commands.release.shared import (
    anchor,
    day,
    find_target,
    kept,
    keys_option,
    model_option,
    open_existing,
    reader,
    root_option,
    target_argument,
)

if TYPE_CHECKING:
    from releases.repository import ChannelState


@click.command("list", epilog="Example: edgeproof release list .edgeproof/digits/published")
@target_argument
@keys_option
@root_option
@model_option
@json_option
def list_command(target: str, keys: Path | None, root_file: Path | None, model: str | None, as_json: bool) -> None:
    """List releases, and what each channel offers."""
    place = find_target(target, keys)
    listing = reader(place, root_file).listing()
    model = model or place.model
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
        click.echo(f"{release.model}  {release.version}  {release.created}  {kept(release)}  {channels}{note}")
    empty = [channel for channel in listing.channels if channel not in {state.channel for state in pointers}]
    noun = "release" if len(releases) == 1 else "releases"
    click.echo(f"{len(releases)} {noun}; fresh until {day(listing.fresh_until)}", err=True)
    if listing.is_aging:
        click.echo(f"warning: nobody refreshed it for days; run `edgeproof release refresh {target}` daily", err=True)
    if empty:
        click.echo(f"channels that offer nothing yet: {', '.join(empty)}", err=True)


@click.command(epilog="Example: edgeproof release show config.yaml stable --extract model-on-stable")
@target_argument
@click.argument("release")
@keys_option
@root_option
@model_option
@click.option("--extract", type=click.Path(path_type=Path), help="Write the release's files to this new directory.")
@click.option(
    "--ml-bom", type=click.Path(dir_okay=False, path_type=Path), help="Write a CycloneDX 1.6 ML-BOM to this file."
)
@click.option(
    "--license", help="SPDX expression of the model's licence, for the ML-BOM.  [default: the config's release.license]"
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
    license: str | None,
    as_json: bool,
) -> None:
    """Show one RELEASE: its manifest, checked against its signed hash."""
    from edgeproof_edge.bundle import open_bundle

    place = find_target(target, keys)
    repository = reader(place, root_file)
    entry = repository.find(release, model or place.model)
    bundle = open_bundle(repository.read_bundle(entry))
    if extract is not None:
        _extract(extract, bundle.files)
    if ml_bom is not None:
        from releases.bundles.bill_of_materials import bill_of_materials

        _write(ml_bom, bill_of_materials(entry, bundle, license or place.license).encode())
    if as_json:
        import json

        print_json({"release": dataclasses.asdict(entry), "manifest": json.loads(bundle.manifest.to_json())})
        return
    manifest = bundle.manifest
    golden = f"{manifest.golden.num_examples} golden vectors" if manifest.golden else "no golden vectors"
    lines = [
        f"{entry.model} {entry.version}, published {entry.created}, {entry.recipe}, {entry.size_bytes:,} bytes",
        f"verdict   {kept(entry)}",
        f"bundle    sha256 {entry.bundle_sha256}",
        f"self-test {golden}",
        *(f"file      {file.name}  {file.size_bytes:,} bytes" for file in manifest.files),
    ]
    if entry.retired:
        lines.append(f"retired   {entry.retired.at} by {entry.retired.by}: {entry.retired.reason}")
    if extract is not None:
        lines.append(f"extracted {extract}")
    click.echo("\n".join(lines))


@click.command(epilog="Example: edgeproof release verify s3://bucket/releases --root root.json")
@target_argument
@keys_option
@root_option
@json_option
def verify(target: str, keys: Path | None, root_file: Path | None, as_json: bool) -> None:
    """Check the whole repository as a stranger's device would. Exit code 0: sound; 1: not."""
    from releases.verification import verify as verify_repository

    place = find_target(target, keys)
    store = open_existing(place)
    verification = verify_repository(store, anchor(place, store, root_file))
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


@click.command(epilog="Example: edgeproof release audit config.yaml --channel stable")
@target_argument
@keys_option
@root_option
@click.option("--channel", help="Only this channel.")
@json_option
def audit(target: str, keys: Path | None, root_file: Path | None, channel: str | None, as_json: bool) -> None:
    """Print who pointed what where and when, from the signed past."""
    from releases.history import audit as audit_repository

    place = find_target(target, keys)
    store = open_existing(place)
    events = audit_repository(store, anchor(place, store, root_file))
    events = tuple(event for event in events if channel in (None, event.subject))
    if as_json:
        print_json([dataclasses.asdict(event) for event in events])
        return
    for event in events:
        signed = ", ".join(keyid[:8] for keyid in event.keyids)
        click.echo(f"{event.at}  {event.by or '-':<12}  {event.detail}  (key {signed})")


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
