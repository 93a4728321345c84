"""``edgeproof inspect``: what is inside a .tflite file, and what runtimes and accelerators do with it; needs no TensorFlow."""

from __future__ import annotations

import click

from pipeline.commands.options import json_option, print_json


@click.command(epilog="Example: edgeproof inspect model.tflite")
@click.argument("file", type=click.Path())
@click.option("--ethos-u", is_flag=True, help="Also compile it for Arm Ethos-U with vela, which takes a second.")
@click.option("--vela", type=click.Path(), help="The vela program for --ethos-u, where it is not on PATH.")
@json_option
def command(file: str, ethos_u: bool, vela: str | None, as_json: bool) -> None:
    """Show the operators, types and tensors of a .tflite FILE, load it, and estimate what accelerators run of it."""
    from edgeproof_edge.examinations.examination import examine

    from pipeline.inspection_page import describe_examination

    examination = examine(file, ask_vela=ethos_u or vela is not None, vela=vela)
    if as_json:
        print_json(examination.to_json())
    else:
        click.echo(describe_examination(examination))
