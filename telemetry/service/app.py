"""The ingest service: events and feedback of devices in, health and figures out. Pages for people are in :mod:`telemetry.service.pages`.

Rules, in order: 1. Who sends, how often, how much: before a byte of the body is parsed (:mod:`telemetry.service.requests`). 2. A device
writes under its own name only. 3. 200 is said after the commit. 4. A database that is away is 503 with Retry-After, for as long as it
takes: devices keep what they have. 5. No message of the database reaches a device.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timezone
from typing import Any

from fastapi import FastAPI
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from telemetry.database.database import Database
from telemetry.errors import DatabaseError, EventError
from telemetry.event import BATCH, Answer, Batch, problems_of
from telemetry.feedback import MESSAGE, FeedbackBook, FeedbackMessage
from telemetry.maintenance import maintain
from telemetry.service.batching import BatchWriter
from telemetry.service.figures import Figures
from telemetry.service.pages import add_pages
from telemetry.service.rate_limit import RateLimit
from telemetry.service.requests import Refusal, bearer, check_rate, read_body, refuse
from telemetry.service.settings import DEFAULTS, Settings
from telemetry.tokens import Kind, TokenBook

logger = logging.getLogger("edgeproof.telemetry")

#: Problems of a body that an answer names; a hostile body has thousands.
MAX_PROBLEMS = 5
_REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"description": "The body is not what its headers say."},
    401: {"description": "The token is missing, foreign, expired or revoked."},
    403: {"description": "An event names another device than the token."},
    413: {"description": "The body is too large; send fewer events at a time."},
    415: {"description": "A content encoding other than gzip."},
    422: {"description": "The body does not follow the schema."},
    429: {"description": "Too many requests; Retry-After says when to come back."},
    503: {"description": "The database is away; Retry-After says when to come back."},
}


def make_app(database: Database, settings: Settings = DEFAULTS) -> FastAPI:
    """The service over a database."""
    app = FastAPI(
        title="Edgeproof telemetry",
        version="1",
        lifespan=lambda app: _life(app, database, settings),
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
    )
    app.state.figures = Figures()
    app.state.limit = RateLimit(settings.requests_per_minute, settings.burst, time.monotonic)
    _add_error_answers(app, settings)
    _add_events(app, database, settings)
    _add_feedback(app, database, settings)
    _add_health(app, database, settings)
    add_pages(app, database, settings)
    _declare_tokens(app)
    return app


@contextlib.asynccontextmanager
async def _life(app: FastAPI, database: Database, settings: Settings) -> AsyncIterator[None]:
    writer = BatchWriter(database.write_events, settings.rows_per_commit, settings.max_waiting_rows)
    app.state.writer = writer
    upkeep = asyncio.create_task(_keep_up(app, database, settings))
    try:
        yield
    finally:
        await writer.close()
        upkeep.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await upkeep
        await run_in_threadpool(database.close)


async def _keep_up(app: FastAPI, database: Database, settings: Settings) -> None:
    while True:
        await asyncio.sleep(settings.maintenance_seconds)
        try:
            done = await run_in_threadpool(maintain, database, datetime.now(timezone.utc), settings.retention)
            app.state.figures.num_rolled_up_hours += done.num_hours
        except DatabaseError as error:
            logger.warning("summaries wait: %s", error)
        except Exception:
            logger.exception("summaries failed; the next round tries again")


def _add_error_answers(app: FastAPI, settings: Settings) -> None:
    @app.exception_handler(Refusal)
    async def refused(request: Request, refusal: Refusal) -> Response:
        return JSONResponse({"detail": refusal.message}, refusal.status, dict(refusal.headers))

    @app.exception_handler(DatabaseError)
    async def away(request: Request, error: DatabaseError) -> Response:
        logger.warning("%s", error)
        headers = {"Retry-After": str(settings.retry_seconds)}
        return JSONResponse({"detail": "the database is away; keep it and send it later"}, 503, headers)

    app.add_middleware(_CountRequests, figures=app.state.figures)


class _CountRequests:
    """Counts answers and their time; a plain ASGI layer, because Starlette's base class puts a queue into every request."""

    def __init__(self, app: ASGIApp, figures: Figures) -> None:
        self._app = app
        self._figures = figures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                path = getattr(scope.get("route"), "path", "other")  # the pattern: a client cannot make up series
                self._figures.count_request(path, message["status"], time.perf_counter() - started)
            await send(message)

        await self._app(scope, receive, counted)


def _add_events(app: FastAPI, database: Database, settings: Settings) -> None:
    book = TokenBook(database)

    @app.post("/v1/events", responses=_REFUSALS, openapi_extra=_body(Batch), summary="Windows of one device.")
    async def events(request: Request) -> Answer:
        sender = await bearer(request, book, Kind.DEVICE)
        check_rate(app.state.limit, sender.subject)
        batch = _validated(BATCH.validate_json, await read_body(request, settings.max_body_bytes))
        _check_events(batch, sender.subject, settings)
        answer: Answer = await app.state.writer.write(batch.events)
        app.state.figures.num_accepted += answer.num_accepted
        app.state.figures.num_known += answer.num_known
        return answer


def _check_events(batch: Batch, device_id: str, settings: Settings) -> None:
    now = datetime.now(timezone.utc)
    for index, event in enumerate(batch.events):
        if event.device_id != device_id:
            raise refuse(403, f"events.{index}.device_id is not the device of the token")
        problem = problems_of(event, now - settings.retention, now + settings.max_clock_lead)
        if problem:
            raise refuse(422, f"events.{index}: {problem}")


def _add_feedback(app: FastAPI, database: Database, settings: Settings) -> None:
    book, feedback = TokenBook(database), FeedbackBook(database)

    @app.post(
        "/v1/feedback",
        responses=_REFUSALS,
        openapi_extra=_body(FeedbackMessage),
        summary="A picture that a device was unsure of.",
    )
    async def take(request: Request) -> Answer:
        sender = await bearer(request, book, Kind.DEVICE)
        check_rate(app.state.limit, sender.subject)
        body = await read_body(request, settings.max_image_bytes * 4 // 3 + 4096)
        message = _validated(MESSAGE.validate_json, body)
        now = datetime.now(timezone.utc)
        try:
            is_new = await run_in_threadpool(feedback.take, sender.subject, message, now, settings.max_image_bytes)
        except EventError as error:
            raise refuse(422, str(error)) from error
        return Answer(num_accepted=int(is_new), num_known=int(not is_new))


def _add_health(app: FastAPI, database: Database, settings: Settings) -> None:
    book = TokenBook(database)

    def ask() -> None:
        database.query("select 1 from token limit 1")

    @app.get("/healthz", responses={503: _REFUSALS[503]}, summary="Whether events can be stored now.")
    async def healthz() -> dict[str, bool]:
        await run_in_threadpool(ask)
        return {"ok": True}

    @app.get("/metrics", response_class=PlainTextResponse, responses={401: _REFUSALS[401], 503: _REFUSALS[503]})
    async def metrics(request: Request) -> str:
        """Figures of this process, for Prometheus."""
        if not settings.is_open:
            await bearer(request, book, Kind.VIEWER)
        figures: Figures = app.state.figures
        return figures.to_text()


def _validated(validate: Callable[[bytes], Any], body: bytes) -> Any:
    try:
        return validate(body)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False, include_input=False)[:MAX_PROBLEMS]
        told = "; ".join(f"{'.'.join(str(part) for part in p['loc']) or 'body'}: {p['msg']}" for p in problems)
        raise refuse(422, told) from None


def _body(model: type[Batch] | type[FeedbackMessage]) -> dict[str, Any]:
    """The description of a body that the service reads itself, after it knows who sends it."""
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
    return {
        "requestBody": {"required": True, "content": {"application/json": {"schema": _inlined(schema)}}},
        "security": [{"device": []}],
    }


def _inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with its definitions in place, as ``components`` is FastAPI's."""
    definitions = schema.pop("$defs", {})

    def resolve(node: Any) -> Any:
        if isinstance(node, dict):
            if "$ref" in node:
                return resolve(definitions[node["$ref"].rsplit("/", 1)[-1]])
            return {key: resolve(value) for key, value in node.items()}
        return [resolve(value) for value in node] if isinstance(node, list) else node

    resolved = resolve(schema)
    assert isinstance(resolved, dict)
    return resolved


def _declare_tokens(app: FastAPI) -> None:
    """OpenAPI's word for the tokens."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        description = plain()
        schemes = description.setdefault("components", {}).setdefault("securitySchemes", {})
        schemes["device"] = {"type": "http", "scheme": "bearer"}
        schemes["person"] = {"type": "http", "scheme": "basic"}
        return description

    app.openapi = openapi  # type: ignore[method-assign]
