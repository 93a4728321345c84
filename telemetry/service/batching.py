"""Many requests, one commit: requests that come while the database writes are written together in the next batch.

Rules, in order: 1. A request is answered after the commit that holds its events, or with an error. 2. The queue is bounded: when it is
full, devices are told to come back. 3. A batch that the database refuses as a whole fails the requests in it; devices send them again.
4. Closing writes what waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from telemetry.database.database import Written
from telemetry.database.rows import EventRows, key_of
from telemetry.errors import DatabaseError
from telemetry.event import Answer, Event

Write = Callable[[EventRows], Written]


@dataclass(frozen=True)
class _Request:
    events: Sequence[Event]
    answer: asyncio.Future[Answer]


class BatchWriter:
    """Writes events of many requests; lives in one event loop."""

    def __init__(self, write: Write, rows_per_commit: int, max_waiting_rows: int) -> None:
        self._write = write
        self._rows_per_commit = rows_per_commit
        self._max_waiting_rows = max_waiting_rows
        self._waiting: list[_Request] = []
        self._num_waiting = 0
        self._arrival = asyncio.Event()
        self._is_closed = False
        self._task = asyncio.create_task(self._run())

    async def write(self, events: Sequence[Event]) -> Answer:
        """Stores a request's events.

        Raises:
            DatabaseError: They may not be stored: the queue is full, the service stops, or the database is away.
        """
        if self._is_closed or self._num_waiting + len(events) > self._max_waiting_rows:
            raise DatabaseError(
                "too much is waiting for the database, or the service is stopping. Send it again later."
            )
        request = _Request(events, asyncio.get_running_loop().create_future())
        self._waiting.append(request)
        self._num_waiting += len(events)
        self._arrival.set()
        return await request.answer

    async def close(self) -> None:
        """Writes what waits, then stops."""
        self._is_closed = True
        self._arrival.set()
        await self._task

    async def _run(self) -> None:
        while self._waiting or not self._is_closed:
            await self._arrival.wait()
            self._arrival.clear()
            while self._waiting:
                await self._write_batch(self._take())

    def _take(self) -> list[_Request]:
        batch: list[_Request] = []
        num_rows = 0
        while self._waiting and (not batch or num_rows + len(self._waiting[0].events) <= self._rows_per_commit):
            batch.append(self._waiting.pop(0))
            num_rows += len(batch[-1].events)
        self._num_waiting -= num_rows
        return batch

    async def _write_batch(self, batch: list[_Request]) -> None:
        rows = EventRows.of(event for request in batch for event in request.events)
        try:
            written = await asyncio.to_thread(self._write, rows)
        except Exception as error:
            for request in batch:
                if not request.answer.done():
                    request.answer.set_exception(error)
            return
        for request, share in zip(batch, _shares(batch, written), strict=True):
            if not request.answer.done():  # its client may have gone
                request.answer.set_result(share)


def _shares(batch: Sequence[_Request], written: Written) -> list[Answer]:
    """What each request is told; of an event that two requests sent, the first one stored it."""
    seen = set(written.known)
    shares: list[Answer] = []
    for request in batch:
        new = {key_of(event) for event in request.events} - seen
        seen |= new
        shares.append(Answer(num_accepted=len(new), num_known=len(request.events) - len(new)))
    return shares
