"""``edgeproof feedback``: label what devices were unsure of, and make a span of it that the pipeline reads."""

from __future__ import annotations

import dataclasses
import webbrowser
from pathlib import Path

import click

from pipeline.commands.options import json_option, print_json
from pipeline.commands.telemetry import choose_model, database_option, open_address

model_option = click.option("--model", help="Name of the model.  [default: the only one]")


@click.group(epilog="Example: edgeproof feedback label --classes 0,1,2,3,4,5,6,7,8,9")
def command() -> None:
    """Label examples from the field, and turn them into data to train on."""


@command.command(epilog="Example: edgeproof feedback label --model digits")
@model_option
@click.option(
    "--classes", help="Names of the classes, with commas between.  [default: those that were answered so far]"
)
@click.option("--port", default=0, help="Port to listen on.  [default: any]")
@click.option("--no-browser", is_flag=True, help="Only print the address.")
@database_option
def label(model: str | None, classes: str | None, port: int, no_browser: bool, address: str) -> None:
    """Open a page in the browser to label examples, one after the other, with the keyboard.

    It is served on this machine only, until it is stopped. A service that runs elsewhere has the same page under /label, for people with
    a token (edgeproof telemetry token issue labeller NAME).
    """
    database = open_address(address)
    chosen = choose_model(database, model)
    from pipeline.errors import RunError
    from telemetry.service.app import make_app
    from telemetry.service.server import bind, serve
    from telemetry.service.settings import Settings

    names = tuple(name.strip() for name in classes.split(",") if name.strip()) if classes else ()
    try:
        listening = bind("127.0.0.1", port)
    except OSError as error:
        raise RunError(f"port {port} cannot be listened on: {error.strerror}. Choose another --port.") from error
    page = f"http://127.0.0.1:{listening.getsockname()[1]}/label?model={chosen}"
    click.echo(f"label at {page} (stop with Ctrl-C)", err=True)
    if not no_browser:
        webbrowser.open(page)
    serve(make_app(database, Settings(is_open=True, class_names={chosen: names} if names else {})), listening)


@command.command(epilog="Example: edgeproof feedback export --to data --first images")
@model_option
@click.option(
    "--to", "directory", required=True, type=click.Path(file_okay=False, path_type=Path), help="Directory of the spans."
)
@click.option(
    "--first",
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    help="Image folder that the first span begins with, where there is no span yet.",
)
@database_option
@json_option
def export(model: str | None, directory: Path, first: Path | None, address: str, as_json: bool) -> None:
    """Write what was labelled as the next span: span-<n>/<label>/<slice>-<hash>.png, with all of the span before.

    A config reads it with data.path: DIRECTORY and data.pattern: "span-{SPAN}/*/*".
    """
    database = open_address(address)
    from telemetry.feedback import FeedbackBook
    from telemetry.spans import write_span

    written = write_span(FeedbackBook(database), choose_model(database, model), directory, first)
    if as_json:
        print_json(None if written is None else dataclasses.asdict(written), default=str)
    elif written is None:
        click.echo("nothing new is labelled; edgeproof feedback label shows what waits")
    else:
        click.echo(f"{written.directory}: {written.num_new} new examples, {written.num_all} in all")


@command.command("list", epilog="Example: edgeproof feedback list")
@model_option
@database_option
@json_option
def list_counts(model: str | None, address: str, as_json: bool) -> None:
    """Count examples: waiting for a label, labelled, unusable, labelled and in no span yet."""
    database = open_address(address)
    from telemetry.feedback import FeedbackBook

    counts = FeedbackBook(database).counts(choose_model(database, model))
    if as_json:
        print_json(counts)
    else:
        click.echo(", ".join(f"{name} {number}" for name, number in counts.items()))
