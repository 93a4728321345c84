"""How a request is let in: who it is, how much it may send, and only then what it says.

Rules, in order: 1. The token first: whoever has none makes the server read nothing. 2. Then the rate. 3. Then the size, by the header
and again while it is read; compressed bodies by what they become. 4. Then the content.
"""

from __future__ import annotations

import base64
import binascii
import math
import zlib
from collections.abc import Mapping
from datetime import datetime, timezone

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request

from telemetry.service.rate_limit import RateLimit
from telemetry.tokens import Bearer, Kind, TokenBook


class Refusal(Exception):
    """A request that is not let in, as the answer to it."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str]) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = headers


def refuse(status: int, message: str, **headers: str) -> Refusal:
    """A refusal; ``Retry_After`` becomes the header ``Retry-After``."""
    return Refusal(status, message, {name.replace("_", "-"): value for name, value in headers.items()})


async def bearer(request: Request, book: TokenBook, *kinds: Kind) -> Bearer:
    """Who sends a request.

    Raises:
        Refusal: 401: no token, or one that is foreign, expired, revoked, or for something else.
    """
    grant = await run_in_threadpool(book.find, _token(request), datetime.now(timezone.utc))
    if grant is None or grant.kind not in kinds:
        scheme = "Bearer" if Kind.DEVICE in kinds else 'Basic realm="edgeproof", charset="UTF-8"'
        raise refuse(401, "the token is missing, unknown, expired or revoked", WWW_Authenticate=scheme)
    return grant


def check_rate(limit: RateLimit, sender: str) -> None:
    """Counts a request.

    Raises:
        Refusal: 429, with the seconds to wait.
    """
    seconds = limit.seconds_to_wait(sender)
    if seconds > 0:
        raise refuse(429, "too many requests", Retry_After=str(math.ceil(seconds)))


async def read_body(request: Request, max_bytes: int) -> bytes:
    """Reads a body, never more than ``max_bytes`` of it.

    Raises:
        Refusal: 413: too large; 415: an encoding other than gzip; 400: not what its headers say.
    """
    length = request.headers.get("content-length", "")
    if length.isdecimal() and len(length) < 20 and int(length) > max_bytes:
        raise _too_large(max_bytes)
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip"):
        raise refuse(415, "the content may be compressed by gzip, and by nothing else")
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > max_bytes:
                raise _too_large(max_bytes)
    except ClientDisconnect:
        raise refuse(400, "the connection ended before the body did") from None
    return bytes(body) if encoding == "identity" else _unzip(bytes(body), max_bytes)


def _unzip(data: bytes, max_bytes: int) -> bytes:
    stream = zlib.decompressobj(wbits=31)
    try:
        content = stream.decompress(data, max_bytes + 1)
    except zlib.error:
        raise refuse(400, "the content is no gzip") from None
    if len(content) > max_bytes:
        raise _too_large(max_bytes)
    if not stream.eof or stream.unused_data:
        raise refuse(400, "the content is no whole gzip, or more than one")
    return content


def _too_large(max_bytes: int) -> Refusal:
    return refuse(413, f"the body is larger than {max_bytes} bytes; send fewer events at a time")


def _token(request: Request) -> str:
    """The token of a device's header, or the password that a browser asked a person for."""
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value, validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            return ""
    return ""
