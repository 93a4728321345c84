"""``edgeproof inspect``: what is inside a .tflite file; needs no TensorFlow."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.commands.options import json_option, print_json


@click.command(epilog="Example: edgeproof inspect model.tflite")
@click.argument("file", type=click.Path())
@json_option
def command(file: str, as_json: bool) -> None:
    """Show the operators, types and tensors of a .tflite FILE."""
    from edgeproof_edge.errors import ModelFileError
    from edgeproof_edge.flatbuffer import inspect

    from pipeline.outcome import describe_inspection

    try:
        data = Path(file).read_bytes()
    except OSError as error:
        raise ModelFileError(f"{file} cannot be read: {error.strerror}. Give the path of a .tflite file.") from error
    inspection = inspect(data)
    if as_json:
        print_json(inspection.to_json())
    else:
        click.echo(describe_inspection(inspection))
