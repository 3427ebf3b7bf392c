"""A subscription as an application has it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Literal, Protocol

from .errors import Closed, ClientError
from .events import Event, Gap
from .feed import Feed
from .listeners import Callback, Listeners


class Home(Protocol):
    """What a subscription needs of its client."""

    def leave(self, subscription: Subscription) -> Awaitable[None]: ...

    @property
    def failure(self) -> Closed | None:
        """Why the client is closed, if it is."""


class Subscription(AsyncIterator[Event | Gap]):
    """The events of a topic or a pattern, from now on or from where they were left.

        async for event in client.subscribe("orders"):
            ...

    A loop gets `Event`s, each once and in order, and a `Gap` where some are missing. It survives lost
    connections. It ends when the subscription or the client is closed, and raises `RequestError` where the gateway
    refuses the subscription, and `Closed` where the client has given up.
    """

    def __init__(self, home: Home, name: str, *, size: int, since: str | None, last: int | None) -> None:
        self.topic = name
        self.feed = Feed(name, self._wake, size=size, since=since, last=last)
        #: Whether the gateway has confirmed it, on the connection there is.
        self.is_active = False
        self._home = home
        self._is_closed = False
        self._error: ClientError | None = None
        self._is_taking = False
        self._arrived = asyncio.Event()
        self._listeners = Listeners(frozenset(("event", "gap")))
        self._caller: asyncio.Task[None] | None = None

    @property
    def position(self) -> str | None:
        """Where the newest event is that was given to the loop or the callbacks: `since` of a later subscription.

        None until the gateway has confirmed the subscription. Store it with what was made of the events.
        """
        return str(self.feed.delivered) if self.feed.delivered else None

    @property
    def is_closed(self) -> bool:
        return self._is_closed

    async def ready(self) -> None:
        """Waits until the gateway has confirmed the subscription. Raises as the loop does."""
        while not self.is_active:
            self._raise_failure()
            if self._is_closed:
                raise Closed(f"the subscription to {self.topic} is closed")
            self._arrived.clear()
            await self._arrived.wait()

    def on(self, kind: Literal["event", "gap"], callback: Callback) -> Callable[[], None]:
        """Has `callback(event)` or `callback(gap)` called instead of a loop: one at a time, in order.

        It may be a coroutine function and may call the client. Returns what removes the callback.
        """
        remove = self._listeners.add(kind, callback)
        if self._caller is None:
            self._caller = asyncio.create_task(self._call())
        return remove

    async def close(self) -> None:
        """Unsubscribes and ends the loop. What was not taken is dropped."""
        if not self._is_closed:
            self.end()
            self.feed.buffer.clear()
            await self._home.leave(self)

    async def __aenter__(self) -> Subscription:
        await self.ready()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> Event | Gap:
        item = await self._take(raises=True)
        if item is None:
            raise StopAsyncIteration
        return item

    # For the client

    def activate(self, is_active: bool) -> None:
        self.is_active = is_active
        self._wake()

    def fail(self, error: ClientError) -> None:
        """The gateway refuses it."""
        self._error = error
        self.end()

    def end(self) -> None:
        self._is_closed = True
        self.is_active = False
        self._wake()

    def wake(self) -> None:
        """The client has given up: loops find out."""
        self._wake()

    async def finish(self, seconds: float) -> None:
        """Waits until the callbacks have had what came, at most so long."""
        if self._caller is not None and self._caller is not asyncio.current_task():
            await asyncio.wait({self._caller}, timeout=seconds)
            self._caller.cancel()

    # Within

    def _wake(self) -> None:
        self._arrived.set()

    def _raise_failure(self) -> None:
        if self._error is not None:
            raise self._error
        if not self._is_closed and (failure := self._home.failure) is not None:
            raise Closed(failure.reason, failure.code)

    async def _take(self, *, raises: bool) -> Event | Gap | None:
        """The next item; none at the end."""
        if self._is_taking:
            raise RuntimeError("one consumer at a time: a loop, or callbacks")
        self._is_taking = True
        try:
            while not self.feed.buffer:
                if raises:
                    self._raise_failure()
                if self._is_closed:
                    return None
                self._arrived.clear()
                await self._arrived.wait()
            return self.feed.take()
        finally:
            self._is_taking = False

    async def _call(self) -> None:
        while (item := await self._take(raises=False)) is not None:
            await self._listeners.call("event" if isinstance(item, Event) else "gap", item)
