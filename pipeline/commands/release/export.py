"""``edgeproof release export``: a release in the form that another toolchain takes."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.commands.options import json_option, print_json
from pipeline.commands.release.shared import (
    find_target,
    keys_option,
    model_option,
    reader,
    root_option,
    target_argument,
)

FORMATS = ("c-array", "arduino", "android")


@click.command(epilog="Example: edgeproof release export config.yaml stable --format c-array --out firmware/model")
@target_argument
@click.argument("release")
@click.option("--format", "format_", type=click.Choice(FORMATS), required=True, help="What to write.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="A directory that is not there yet.")
@keys_option
@root_option
@model_option
@json_option
def export(
    target: str,
    release: str,
    format_: str,
    out: Path,
    keys: Path | None,
    root_file: Path | None,
    model: str | None,
    as_json: bool,
) -> None:
    """Write one RELEASE for another toolchain.

    For microcontrollers (c-array, arduino): the model as a C array, with scales, shapes and labels. For Android: assets, and a Java class
    with the same.
    """
    from edgeproof_edge import android, microcontroller
    from edgeproof_edge.bundle import open_bundle
    from edgeproof_edge.errors import InputError, SurroundingsError

    place = find_target(target, keys)
    repository = reader(place, root_file)
    bundle = open_bundle(repository.read_bundle(repository.find(release, model or place.model)))
    is_android = format_ == "android"
    files = android.export(bundle) if is_android else microcontroller.export(bundle, microcontroller.Layout(format_))
    if out.exists():
        raise InputError(f"{out} is there already. Give --out a directory that is not.")
    try:
        for path, data in files.items():
            (out / path).parent.mkdir(parents=True, exist_ok=True)
            (out / path).write_bytes(data)
    except OSError as error:
        raise SurroundingsError(f"{out} cannot be written: {error.strerror}.") from error
    if as_json:
        print_json({"release": bundle.manifest.version, "files": sorted(str(out / path) for path in files)})
        return
    click.echo("\n".join(str(out / path) for path in sorted(files)))
