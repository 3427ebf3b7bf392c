"""A subscription as an application has it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Literal, Protocol

from .errors import BufferFull, Closed, FanfareError
from .events import Event, Gap, Presence, SubscriptionState
from .feed import Feed
from .listeners import Callback, Caller, Listeners

Overflow = Literal["drop-oldest", "end"]


class Home(Protocol):
    """What a subscription needs of its client."""

    def leave(self, subscription: Subscription) -> None: ...

    @property
    def failure(self) -> Closed | None:
        """Why nothing comes any more; none while something may."""


class Subscription(AsyncIterator[Event | Gap]):
    """The events of a topic or a pattern, from now on or from where they were left.

        async for event in client.subscribe("orders"):
            ...

    It lasts until it or the client is closed, also when its loop is left: what comes fills its buffer then. Where a loop
    may be left, `async with client.subscribe("orders") as orders` ends it.

    A loop gets `Event`s, each once and in order, and a `Gap` where some are missing. It survives lost
    connections. It ends when the subscription or the client is closed, and raises `RequestError` where the gateway
    rejects the subscription, and `Closed` where the client has given up.
    """

    def __init__(
        self, home: Home, name: str, *, size: int, overflow: Overflow, since: str | None, last: int | None
    ) -> None:
        #: The topic or pattern.
        self.name = name
        self.feed = Feed(name, self._came, size=size, since=since, last=last)
        self._home = home
        self._ends_full = overflow == "end"
        self._state: SubscriptionState = "pending"
        #: Why it is rejected, or has ended by itself.
        self._error: FanfareError | None = None
        self._is_taking = False
        self._arrived = asyncio.Event()
        self._items = Listeners(frozenset(("event", "gap")))
        self._news = Listeners(frozenset(("presence", "state")))
        self._caller: asyncio.Task[None] | None = None

    @property
    def state(self) -> SubscriptionState:
        return self._state

    @property
    def error(self) -> FanfareError | None:
        """Why it is rejected, or has ended by itself."""
        return self._error

    @property
    def position(self) -> str | None:
        """Behind the newest event that the loop or the callbacks were given: `since` of a later subscription.

        None until the gateway has confirmed the subscription. Store it with what was made of the events.
        """
        return str(self.feed.delivered) if self.feed.delivered else None

    async def ready(self) -> None:
        """Waits until the subscription is active. Raises as the loop does."""
        while self._state != "active":
            self._raise_failure()
            if self._state == "ended":
                raise Closed(f"the subscription to {self.name} has ended")
            self._arrived.clear()
            await self._arrived.wait()

    def on(self, kind: Literal["event", "gap", "presence", "state"], callback: Callback) -> Callable[[], None]:
        """Has `callback(value)` called: one at a time and in order. Returns what removes it.

        `event` and `gap` are instead of a loop, which raises `RuntimeError` then, and come in one order; `presence`
        has a `Presence`, and `state` the `state`. A callback may be a coroutine function and may call the client.
        """
        if kind in ("presence", "state"):
            return self._news.add(kind, callback)
        if self._is_taking and self._caller is None:
            raise RuntimeError(f"a loop takes the events of this subscription: {ONE_CONSUMER}")
        remove = self._items.add(kind, callback)
        if self._caller is None:
            self._caller = Caller(self._call())
        return remove

    def unsubscribe(self) -> None:
        """Ends it, and the loop. What was not taken is dropped."""
        self.feed.buffer.clear()
        self.end()

    async def __aenter__(self) -> Subscription:
        try:
            await self.ready()
        except BaseException:
            self.unsubscribe()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.unsubscribe()

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> Event | Gap:
        item = await self._take(self.feed.take, raises=True)
        if item is None:
            raise StopAsyncIteration
        return item

    # For the client

    async def pop(self) -> Event | Gap | None:
        """As the loop, but `position` is behind the item once `feed.given` is called; none at the end."""
        return await self._take(self.feed.pop, raises=True)

    def change(self, state: SubscriptionState, error: FanfareError | None = None) -> None:
        if self._state == "ended" or self._state == state == "pending":
            return
        self._error = error
        self._state = state
        self._news.tell("state", state)
        self._arrived.set()

    def end(self, error: FanfareError | None = None) -> None:
        """Ends it; what it holds can still be taken."""
        if self._state != "ended":
            self._home.leave(self)
            self.change("ended", error)

    def tell_presence(self, presence: Presence) -> None:
        self._news.tell("presence", presence)

    def wake(self) -> None:
        """The client has given up: loops find out."""
        self._arrived.set()

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """What calls the callbacks; it ends once they have had everything."""
        return [task for task in (self._caller, self._news.task) if task is not None]

    # Within

    def _came(self) -> None:
        self._arrived.set()
        if self._ends_full and self.feed.buffer.is_overfull:
            self.end(BufferFull(f"the consumer of {self.name} is too slow for its buffer"))

    def _raise_failure(self) -> None:
        if self._error is not None:
            raise self._error.with_traceback(None)
        if self._state != "ended" and (failure := self._home.failure) is not None:
            raise Closed(failure.reason, failure.status)

    async def _take(self, take: Callable[[], Event | Gap], *, raises: bool) -> Event | Gap | None:
        """The next item; none at the end. `raises`: for a loop."""
        if raises and self._caller is not None and not self._caller.done():
            raise RuntimeError(f"callbacks take the events of this subscription: {ONE_CONSUMER}")
        if self._is_taking:
            raise RuntimeError(f"another loop takes the events of this subscription: {ONE_CONSUMER}")
        self._is_taking = True
        try:
            while not self.feed.buffer:
                if raises:
                    self._raise_failure()
                if self._state == "ended":
                    return None
                self._arrived.clear()
                await self._arrived.wait()
            return take()
        finally:
            self._is_taking = False

    async def _call(self) -> None:
        while (item := await self._take(self.feed.take, raises=False)) is not None:
            await self._items.call("event" if isinstance(item, Event) else "gap", item)


ONE_CONSUMER = (
    "it has one consumer at a time, a loop that is given events and gaps, or callbacks for both; "
    "for another one subscribe once more"
)
