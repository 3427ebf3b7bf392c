"""Handlers in parallel, and one at a time per client."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from ..client.listeners import Caller, is_ending
from .errors import LinkLost, OperationError
from .events import ClientEvent, Event

Handler = Callable[[Any], Awaitable[object]]
OnError = Callable[[Any, Exception], object]

log = logging.getLogger("fanfare_client.backend")


class Lanes:
    """A lane for each client that has events in hand, and workers that take the next event of any lane.

    Holds at most what the credit lets be outstanding.
    """

    def __init__(self, handler: Handler, on_error: OnError | None, *, acks: bool) -> None:
        self._handler = handler
        self._on_error = on_error
        self._acks = acks
        #: A client is here while one of its events waits or is being handled.
        self._lanes: dict[str | None, deque[Event]] = {}
        #: Clients of which an event waits and none is being handled.
        self._ready: asyncio.Queue[str | None] = asyncio.Queue()
        self._is_ending = False

    async def run(self, next_event: Callable[[], Awaitable[Event | None]], concurrency: int) -> None:
        """Handles events until there are no more; then those that have begun end, and the others come again."""
        workers = [Caller(self._work()) for _ in range(concurrency)]
        feeder = asyncio.create_task(self._feed(next_event))
        try:
            done, _ = await asyncio.wait([feeder, *workers], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            self._is_ending = True
            for _ in workers:
                # Wakes one that waits.
                self._ready.put_nowait(None)
            await asyncio.gather(*workers)
        finally:
            for task in (feeder, *workers):
                task.cancel()
            await asyncio.gather(feeder, *workers, return_exceptions=True)

    async def _feed(self, next_event: Callable[[], Awaitable[Event | None]]) -> None:
        while (event := await next_event()) is not None:
            conn = event.conn if isinstance(event, ClientEvent) else None
            lane = self._lanes.get(conn)
            if lane is None:
                self._lanes[conn] = deque([event])
                self._ready.put_nowait(conn)
            else:
                lane.append(event)

    async def _work(self) -> None:
        while True:
            conn = await self._ready.get()
            if self._is_ending:
                return
            lane = self._lanes[conn]
            await self._handle(lane.popleft())
            if lane:
                self._ready.put_nowait(conn)
            else:
                del self._lanes[conn]

    async def _handle(self, event: Event) -> None:
        # Of a link that was lost: it comes again.
        if event.link.is_lost:
            return
        try:
            await _end_of(self._handler(event))
        except Exception as error:
            if isinstance(error, LinkLost) and event.link.is_lost:
                log.info("%s comes again: %s", event, error)
                return
            if self._on_error is not None:
                outcome = self._on_error(event, error)
                if inspect.isawaitable(outcome):
                    await _end_of(outcome)
            elif isinstance(error, OperationError) and error.code == "not_found":
                # Clients leave when they like, also before they are answered.
                log.info("%s: its client has left: %s", event, error)
            else:
                raise
        if self._acks:
            event.ack()


async def _end_of(handling: Awaitable[object]) -> None:
    """Waits for a coroutine of the application. Where it awaits what is cancelled elsewhere, that is an error like others."""
    try:
        await handling
    except asyncio.CancelledError as error:
        if is_ending():
            raise
        raise RuntimeError("the handler awaited what was cancelled") from error
