"""Pages for people: the status of a fleet, and examples to label.

Rules, in order: 1. Who looks has a token of their own kind, which a browser asks for as a password; only a service that nobody else can
reach may be open, and then to requests for this machine's own name. 2. A page loads nothing from elsewhere and runs no script but ours
(Content-Security-Policy). 3. A label is taken from our own page only: a browser's token would come with any page's request.
"""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from fastapi import FastAPI, Query
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response

from telemetry.database.database import Database
from telemetry.errors import TelemetryError
from telemetry.event import MODEL_NAME_PATTERN
from telemetry.feedback import LABEL_PATTERN, FeedbackBook
from telemetry.service.label_page import label_page
from telemetry.service.requests import bearer, read_body, refuse
from telemetry.service.settings import Settings
from telemetry.service.status_page import status_page
from telemetry.tokens import Kind, TokenBook

ASSETS = Path(__file__).parent / "assets"
_OWN_NAMES = ("127.0.0.1", "localhost", "::1")
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:; script-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_HTML: dict[int | str, dict[str, Any]] = {
    401: {"description": "The token is missing, or of another kind."},
    403: {"description": "An open service was asked under another name, or by another page."},
    404: {"description": "There is no such example."},
    409: {"description": "A span holds the example already."},
    413: {"description": "The body is too large."},
    415: {"description": "Not JSON."},
    422: {"description": "No label."},
    503: {"description": "The database is away."},
}

ModelName = Annotated[str | None, Query(pattern=MODEL_NAME_PATTERN)]


class Label(BaseModel):
    """What a person says of an example."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    state: Literal["labelled", "unusable", "waiting"]
    label: Annotated[str, Field(pattern=LABEL_PATTERN)] | None


_LABEL: TypeAdapter[Label] = TypeAdapter(Label)


def add_pages(app: FastAPI, database: Database, settings: Settings) -> None:
    """Adds the pages to the service."""
    gate = _Gate(TokenBook(database), settings)

    @app.get("/", response_class=HTMLResponse, responses=_HTML, summary="The status page.")
    async def status(request: Request, model: ModelName = None) -> Response:
        await gate.check(request, Kind.VIEWER, Kind.LABELLER)
        page = await run_in_threadpool(status_page, database, model, datetime.now(timezone.utc))
        return HTMLResponse(page, headers=_HEADERS)

    @app.get("/assets/label.js", response_class=FileResponse, include_in_schema=False)
    async def script() -> Response:
        return FileResponse(ASSETS / "label.js", media_type="text/javascript", headers=_HEADERS)

    _add_labelling(app, database, settings, gate)


def _add_labelling(app: FastAPI, database: Database, settings: Settings, gate: _Gate) -> None:
    feedback = FeedbackBook(database)

    @app.get("/label", response_class=HTMLResponse, responses=_HTML, summary="The page to label examples.")
    async def label(request: Request, model: ModelName = None) -> Response:
        await gate.check(request, Kind.LABELLER)
        return HTMLResponse(
            await run_in_threadpool(label_page, database, model, settings.class_names), headers=_HEADERS
        )

    @app.get("/examples/{model}/{digest}/picture", responses=_HTML, response_class=Response, summary="A picture.")
    async def picture(request: Request, model: str, digest: str) -> Response:
        await gate.check(request, Kind.LABELLER)
        prediction = await run_in_threadpool(feedback.find, _plain(model), _plain(digest))
        if prediction is None:
            raise refuse(404, "there is no such example")
        return Response(prediction.content, media_type=prediction.media_type, headers=_HEADERS)

    @app.post("/examples/{model}/{digest}", responses=_HTML, summary="Gives an example its label.")
    async def give(request: Request, model: str, digest: str) -> dict[str, str]:
        by = await gate.check(request, Kind.LABELLER)
        _check_own_page(request)
        given = _read_label(await read_body(request, 4096))
        try:
            await run_in_threadpool(_take_label, feedback, _plain(model), _plain(digest), given, by)
        except TelemetryError as error:
            raise refuse(409, str(error)) from error
        return {"state": given.state}


def _read_label(body: bytes) -> Label:
    try:
        given = _LABEL.validate_json(body)
    except ValidationError:
        raise refuse(422, "no label: letters, digits, spaces and . _ - are taken, up to 100") from None
    if (given.state == "labelled") != (given.label is not None):
        raise refuse(422, "labelled needs a label, and nothing else has one")
    return given


def _take_label(feedback: FeedbackBook, model: str, digest: str, given: Label, by: str) -> None:
    if given.state == "waiting":
        feedback.undo(model, digest)
    else:
        label = given.label if given.state == "labelled" else None
        feedback.label(model, digest, label, by, datetime.now(timezone.utc))


class _Gate:
    """Lets people in."""

    def __init__(self, book: TokenBook, settings: Settings) -> None:
        self._book = book
        self._is_open = settings.is_open

    async def check(self, request: Request, *kinds: Kind) -> str:
        """The name of who asks.

        Raises:
            Refusal: They have no token of these kinds; or an open service was asked under a name that is not this machine's,
                as a page elsewhere does that has its own name point here.
        """
        if not self._is_open:
            return (await bearer(request, self._book, *kinds)).subject
        if _host_name(request.headers.get("host", "")) not in _OWN_NAMES:
            raise refuse(403, "this service answers to its own name only")
        return "local"


def _check_own_page(request: Request) -> None:
    """Whether a request that changes something comes from our page, or from a program that is no browser."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise refuse(415, "a label is JSON")
    site = request.headers.get("sec-fetch-site", "none")
    origin = request.headers.get("origin")
    is_foreign = origin is not None and origin.partition("://")[2] != request.headers.get("host")
    if site not in ("same-origin", "none") or is_foreign:
        raise refuse(403, "a label is taken from our own page only")


def _host_name(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def _plain(text: str) -> str:
    """A name from a path; a NUL is in none."""
    return text.replace("\0", "")
