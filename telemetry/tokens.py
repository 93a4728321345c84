"""Who may speak to the service: a token per device, and tokens for people who look or label.

Rules, in order: 1. A token is shown once, when it is made; the database keeps a hash of its secret. 2. A token names what it is for: a
device's token cannot open a page, a viewer's cannot write an event. 3. Rotation makes a new one and lets the old one live for a while,
because a device that sleeps cannot change it now. 4. Whatever is wrong with a token, the answer is the same.
"""

from __future__ import annotations

import base64
import hmac
import re
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from hashlib import sha256
from typing import Any

from telemetry.database.database import Database, Transaction
from telemetry.errors import TelemetryError
from telemetry.event import DEVICE_ID_PATTERN

_TOKEN = re.compile(r"ept_([a-z2-7]{16})_([a-z2-7]{32})")
_SECRET_BYTES = 20
_ID_BYTES = 10
#: How long a rotated token still works.
DEFAULT_GRACE = timedelta(days=7)


class Kind(str, Enum):
    """What a token opens."""

    DEVICE = "device"
    VIEWER = "viewer"
    LABELLER = "labeller"


@dataclass(frozen=True)
class Bearer:
    """Who sent a request: a device's id, or a person's name."""

    kind: Kind
    subject: str


@dataclass(frozen=True)
class TokenEntry:
    """A token as its book has it; the secret is not known."""

    token_id: str
    kind: Kind
    subject: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None

    def is_valid(self, now: datetime) -> bool:
        """Whether it opens anything now."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


class TokenBook:
    """The tokens in a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def issue(self, kind: Kind, subject: str, now: datetime, lifetime: timedelta | None = None) -> str:
        """Makes a token.

        Args:
            kind: What it opens.
            subject: Id of the device, or name of the person.
            now: The present time, in UTC.
            lifetime: After which it expires; None for never.

        Returns:
            The token: nobody can read it again.

        Raises:
            TelemetryError: The id is none that an event could carry.
        """
        if not re.fullmatch(DEVICE_ID_PATTERN, subject):
            raise TelemetryError(
                f"{subject!r} cannot be the id of a device or a person: use letters, digits and . _ : - after the first, up to 127."
            )
        with self._database.transaction() as transaction:
            return self._insert(transaction, kind, subject, now, None if lifetime is None else now + lifetime)

    def rotate(self, kind: Kind, subject: str, now: datetime, grace: timedelta = DEFAULT_GRACE) -> str:
        """Makes a new token; the old ones of this subject expire after ``grace``, or when they would have.

        Raises:
            TelemetryError: There is no valid one to rotate.
        """
        end = self._database.time_value(now + grace)
        at = self._database.time_value(now)
        with self._database.transaction() as transaction:
            num_old = transaction.run(
                "update token set expires_at = case when expires_at < ? then expires_at else ? end"
                " where kind = ? and subject = ? and revoked_at is null and (expires_at is null or expires_at > ?)",
                (end, end, kind.value, subject, at),
            )
            if num_old == 0:
                raise TelemetryError(f"{kind.value} {subject!r} has no valid token to rotate. Issue one.")
            return self._insert(transaction, kind, subject, now, None)

    def revoke(self, subject: str, now: datetime) -> int:
        """Revokes every token of a device or person, at once; returns how many there were."""
        with self._database.transaction() as transaction:
            return transaction.run(
                "update token set revoked_at = ? where subject = ? and revoked_at is null",
                (self._database.time_value(now), subject),
            )

    def find(self, token: str, now: datetime) -> Bearer | None:
        """Who holds a token; None where it is foreign, expired or revoked."""
        match = _TOKEN.fullmatch(token)
        if match is None:
            return None
        rows = self._database.query(
            "select secret_sha256, kind, subject, expires_at, revoked_at from token where token_id = ?", (match[1],)
        )
        known, kind, subject, expires_at, revoked_at = rows[0] if rows else ("", Kind.DEVICE, "", None, None)
        is_right = hmac.compare_digest(_hash(match[2]), known)
        is_over = revoked_at is not None or (expires_at is not None and self._database.as_time(expires_at) <= now)
        return Bearer(Kind(kind), subject) if is_right and not is_over else None

    def entries(self) -> tuple[TokenEntry, ...]:
        """All tokens, by subject."""
        with self._database.transaction() as transaction:
            rows = transaction.query(
                "select token_id, kind, subject, created_at, expires_at, revoked_at from token order by subject, created_at"
            )
        return tuple(
            TokenEntry(
                token_id, Kind(kind), subject, self._database.as_time(created), self._time(expires), self._time(revoked)
            )
            for token_id, kind, subject, created, expires, revoked in rows
        )

    def _time(self, stored: Any) -> datetime | None:
        return None if stored is None else self._database.as_time(stored)

    def _insert(
        self, transaction: Transaction, kind: Kind, subject: str, now: datetime, expires_at: datetime | None
    ) -> str:
        token_id, secret = _random_text(_ID_BYTES), _random_text(_SECRET_BYTES)
        time_value = self._database.time_value
        transaction.run(
            "insert into token (token_id, secret_sha256, kind, subject, created_at, expires_at) values (?, ?, ?, ?, ?, ?)",
            (token_id, _hash(secret), kind.value, subject, time_value(now), expires_at and time_value(expires_at)),
        )
        return f"ept_{token_id}_{secret}"


def _random_text(num_bytes: int) -> str:
    return base64.b32encode(secrets.token_bytes(num_bytes)).decode().lower().rstrip("=")


def _hash(secret: str) -> str:
    return sha256(secret.encode()).hexdigest()
