"""``edgeproof telemetry``: the service that a fleet reports to, its database, its tokens, and what it saw."""

from __future__ import annotations

import dataclasses
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

import click

from pipeline.commands.options import json_option, print_json

if TYPE_CHECKING:
    from telemetry.database import Database

database_option = click.option(
    "--database",
    "address",
    envvar="EDGEPROOF_TELEMETRY",
    default="telemetry.db",
    show_default=True,
    help="postgresql://user@host/name, or the path of an SQLite file.  [env: EDGEPROOF_TELEMETRY]",
)


def open_address(address: str) -> Database:
    """The database of an address.

    Raises:
        SurroundingsError: The libraries of the extra ``telemetry`` are not installed.
    """
    from importlib.util import find_spec

    from edgeproof_edge.errors import SurroundingsError

    missing = [
        name
        for name in ("alembic", "cronsim", "fastapi", "psycopg", "sqlalchemy", "uvicorn")
        if find_spec(name) is None
    ]
    if missing:
        raise SurroundingsError(
            f"telemetry needs libraries that are not installed ({', '.join(missing)}). Install edgeproof[telemetry]."
        )
    from telemetry.database import open_database

    return open_database(address)


@click.group(epilog="Example: edgeproof telemetry serve")
def command() -> None:
    """Take in what devices report, and show it.

    Without --database everything is kept in telemetry.db, an SQLite file in the current directory: enough for a thousand devices.
    """


@command.command(epilog="Example: edgeproof telemetry init postgresql://edgeproof@db.example/fleet")
@click.argument("address", envvar="EDGEPROOF_TELEMETRY", default="telemetry.db")
def init(address: str) -> None:
    """Create the tables in the database ADDRESS, or bring them up to date."""
    database = open_address(address)
    before = database.revision()
    after = database.migrate()
    done = "is up to date" if before == after else f"went from {before or 'nothing'} to revision {after}"
    click.echo(f"{database.name} {done}")
    database.close()


@command.command(
    epilog="Example: edgeproof telemetry serve --database postgresql://edgeproof@db.example/fleet --host 0.0.0.0"
)
@database_option
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address to listen on; put TLS in front of any other."
)
@click.option("--port", default=8377, show_default=True, help="Port to listen on; 0 takes any.")
@click.option(
    "--retention-days", default=30, show_default=True, help="Days after which events go; hourly sums stay two years."
)
@click.option(
    "--requests-per-minute",
    type=click.IntRange(min=1),
    default=60,
    show_default=True,
    help="Of one device; half a minute's worth may come at once.",
)
@click.option("--open-pages", is_flag=True, help="Show pages without a token; on this machine only.")
def serve(address: str, host: str, port: int, retention_days: int, requests_per_minute: int, open_pages: bool) -> None:
    """Run the service until it is stopped.

    Devices need a token (edgeproof telemetry token issue device ID); people who look at the page need one of their own
    (edgeproof telemetry token issue viewer NAME), which a browser asks for as a password.
    """
    from pipeline.errors import ConfigError, RunError

    if open_pages and host not in ("127.0.0.1", "::1", "localhost"):
        raise ConfigError(
            f"--open-pages shows the fleet to whoever reaches {host}. Leave it out and issue viewer tokens."
        )
    database = open_address(address)
    from telemetry.service.app import make_app
    from telemetry.service.server import bind
    from telemetry.service.server import serve as run_server
    from telemetry.service.settings import Settings

    if not address.startswith("postgres"):
        database.migrate()
    try:
        listening = bind(host, port)
    except OSError as error:
        raise RunError(f"{host}:{port} cannot be listened on: {error.strerror}. Choose another --port.") from error
    settings = Settings(
        retention=timedelta(days=retention_days),
        requests_per_minute=float(requests_per_minute),
        burst=max(1, requests_per_minute // 2),
        is_open=open_pages,
    )
    click.echo(
        f"telemetry of {database.name} on http://{host}:{listening.getsockname()[1]}/ (stop with Ctrl-C)", err=True
    )
    run_server(make_app(database, settings), listening)


@command.group(epilog="Example: edgeproof telemetry token issue device pi-17")
def token() -> None:
    """Issue, rotate, revoke and list tokens."""


kind_argument = click.argument("kind", type=click.Choice(["device", "viewer", "labeller"]))


@token.command(epilog="Example: edgeproof telemetry token issue device pi-17 --days 365")
@kind_argument
@click.argument("subject")
@click.option("--days", type=click.IntRange(min=1), help="Days after which it expires.  [default: never]")
@database_option
def issue(kind: str, subject: str, days: int | None, address: str) -> None:
    """Make a token for the device or person SUBJECT and print it: it is kept as a hash, so nobody can print it again."""
    from telemetry.tokens import Kind, TokenBook

    lifetime = None if days is None else timedelta(days=days)
    click.echo(TokenBook(open_address(address)).issue(Kind(kind), subject, _now(), lifetime))


@token.command(epilog="Example: edgeproof telemetry token rotate device pi-17")
@kind_argument
@click.argument("subject")
@click.option("--grace-days", default=7, show_default=True, help="Days for which the old token still works.")
@database_option
def rotate(kind: str, subject: str, grace_days: int, address: str) -> None:
    """Make a new token for SUBJECT; the old one works for a while."""
    from telemetry.tokens import Kind, TokenBook

    click.echo(TokenBook(open_address(address)).rotate(Kind(kind), subject, _now(), timedelta(days=grace_days)))


@token.command(epilog="Example: edgeproof telemetry token revoke pi-17")
@click.argument("subject")
@database_option
def revoke(subject: str, address: str) -> None:
    """Revoke all tokens of SUBJECT, at once. Exit code 2: there was none."""
    from pipeline.errors import ConfigError
    from telemetry.tokens import TokenBook

    num_revoked = TokenBook(open_address(address)).revoke(subject, _now())
    if num_revoked == 0:
        raise ConfigError(
            f"{subject!r} has no token that is not revoked. List them with edgeproof telemetry token list."
        )
    click.echo(f"revoked {num_revoked} of {subject}")


@token.command("list", epilog="Example: edgeproof telemetry token list")
@database_option
@json_option
def list_tokens(address: str, as_json: bool) -> None:
    """List tokens: whose, since when, until when."""
    from telemetry.tokens import TokenBook

    entries = TokenBook(open_address(address)).entries()
    now = _now()
    if as_json:
        print_json([{**dataclasses.asdict(entry), "is_valid": entry.is_valid(now)} for entry in entries], default=str)
        return
    for entry in entries:
        state = "valid" if entry.is_valid(now) else "revoked" if entry.revoked_at else "expired"
        until = f"until {entry.expires_at:%Y-%m-%d}" if entry.expires_at else "for ever"
        click.echo(f"{entry.kind.value:<9} {entry.subject:<32} {state:<8} {until}  since {entry.created_at:%Y-%m-%d}")


@command.command(epilog="Example: edgeproof telemetry report --hours 24")
@click.option("--model", help="Name of the model.  [default: the only one]")
@click.option("--hours", default=6.0, show_default=True, help="How far back to look.")
@database_option
@json_option
def report(model: str | None, hours: float, address: str, as_json: bool) -> None:
    """Say what stands out: slower versions, silent fallbacks, outlying devices, incidents. Exit code 1: something does."""
    database = open_address(address)
    from telemetry.fleet import Fleet
    from telemetry.report_text import describe, read_report

    chosen = choose_model(database, model)
    report = read_report(Fleet(database, chosen), chosen, _now(), hours)
    if as_json:
        print_json(dataclasses.asdict(report), default=str)
    else:
        click.echo(describe(report))
    raise click.exceptions.Exit(0 if report.is_quiet else 1)


def choose_model(database: Database, model: str | None) -> str:
    """The model that is meant.

    Raises:
        ConfigError: There are several, or none.
    """
    from pipeline.errors import ConfigError
    from telemetry.fleet import model_names

    known = model_names(database)
    if model is not None:
        return model
    if len(known) == 1:
        return known[0]
    raise ConfigError(f"{database.name} knows {', '.join(known) or 'no model yet'}; name one with --model.")


def _now() -> datetime:
    return datetime.now(timezone.utc)
