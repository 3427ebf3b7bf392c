"""The link to the gateway for blocking code: the calls of `fanfare_client.backend` without `await`.

    with Backend("ws://127.0.0.1:8080") as backend:
        for event in backend:
            ...

A thread runs the event loop, so acknowledgements and heartbeats go on while the application works. The
operations may be called from any thread.
"""

from __future__ import annotations

import asyncio
import functools
import ssl as tls
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, TypeVar

from .. import backend as asynchronous
from ..backend import (
    Answer,
    BackendError,
    ClientEvent,
    Connect,
    Disconnect,
    Event,
    Gap,
    LinkLost,
    OperationError,
    Refused,
    Subscribe,
    Unsubscribe,
    client,
    events,
    link,
)
from ..backend.operations import Operations
from ..handshake import Proxy
from ..threads import HasEnded, LoopThread

__all__ = [
    "Answer",
    "Backend",
    "BackendError",
    "ClientEvent",
    "Connect",
    "Disconnect",
    "Event",
    "Gap",
    "LinkLost",
    "Message",
    "OperationError",
    "Refused",
    "Subscribe",
    "Unsubscribe",
]

T = TypeVar("T")


@dataclass(slots=True, eq=False, kw_only=True)
class Message(asynchronous.Message):
    """What a client said to the application."""

    def reply(self, data: Any, *, nowait: bool = False) -> Answer:  # type: ignore[override]
        """Answers the client's request, as in `fanfare_client.backend`."""
        if self.link.is_lost:
            if nowait:
                return {}
            raise LinkLost("the link that brought this message was lost: it comes again")
        assert isinstance(self.link, _Link)
        return self.link.thread.call(self.link.reply(self.n, data, nowait=nowait))


class _Link(link.Link):
    """A link whose events are handled in other threads."""

    kinds = {**events.KINDS, "message": Message}

    def __init__(self, thread: LoopThread, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.thread = thread

    def done(self, seq: int) -> None:
        if not self.is_lost:
            self.loop.call_soon_threadsafe(super().done, seq)


class Backend(Operations[Answer], Iterator[Event]):
    """As `fanfare_client.backend.Backend`, with `with`, `for` and calls that return the answer."""

    def __init__(
        self,
        url: str,
        *,
        token: client.Token | None = None,
        group: str = "default",
        filter: Iterable[str] | str | None = None,
        credit: int = 1000,
        format: Literal["json", "msgpack"] = "json",
        ack: Literal["auto", "manual"] = "auto",
        reconnect: bool = True,
        timeout: float = 30.0,
        ssl: tls.SSLContext | None = None,
        proxy: Proxy = True,
    ) -> None:
        self._backend = client.Backend(
            url,
            token=token,
            group=group,
            filter=filter,
            credit=credit,
            format=format,
            ack=ack,
            reconnect=reconnect,
            timeout=timeout,
            ssl=ssl,
            proxy=proxy,
        )
        self._acks = ack == "auto"
        #: From the entry to the end.
        self._thread: LoopThread | None = None
        #: Events taken from the link and not yet given.
        self._taken: deque[Event] = deque()
        self._current: Event | None = None
        self._is_stopped = False
        self._was_entered = False

    def __enter__(self) -> Backend:
        """Waits for the first link. Raises `Refused` where the gateway will have none of it."""
        if self._was_entered:
            raise RuntimeError("a Backend is entered once; make another one")
        self._was_entered = True
        self._thread = thread = LoopThread("fanfare-backend")
        self._backend.link_type = functools.partial(_Link, self._thread)
        try:
            self._call(self._backend.__aenter__())
        except BaseException:
            self._end_thread(thread)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def stop(self) -> None:
        """Ends the loop or `run` once what is in hand is done. From any thread, or a signal's handler."""
        self._is_stopped = True
        if self._thread is not None:
            self._thread.loop.call_soon_threadsafe(self._backend.stop)

    def close(self) -> None:
        """Writes what waits to be written, acknowledgements too, and closes the link. From any thread."""
        self._is_stopped = True
        if (thread := self._thread) is not None:
            try:
                thread.end(self._backend.close())
            finally:
                self._end_thread(thread)

    def __iter__(self) -> Backend:
        return self

    def __next__(self) -> Event:
        event = self.next()
        if event is None:
            raise StopIteration
        return event

    def next(self, timeout: float | None = None) -> Event | None:
        """The next event; none after `timeout` seconds without one, or once stopped."""
        if self._acks and self._current is not None:
            self._current.ack()
        self._current = None
        while not self._is_stopped:
            if not self._taken:
                try:
                    self._call(self._take(timeout))
                except (HasEnded, CancelledError):
                    return None
                if not self._taken:
                    return None
            event = self._taken.popleft()
            # What a lost link brought comes again.
            if not event.link.is_lost:
                self._current = event
                return event
        return None

    def run(
        self,
        handler: Callable[[Any], object],
        *,
        concurrency: int = 64,
        on_error: Callable[[Any, Exception], object] | None = None,
    ) -> None:
        """Calls `handler(event)` for each event in `concurrency` threads, one at a time per client."""
        with ThreadPoolExecutor(concurrency, "fanfare-handler") as pool:

            def in_thread(function: Callable[..., object]) -> Callable[..., Awaitable[object]]:
                return lambda *arguments: asyncio.get_running_loop().run_in_executor(pool, function, *arguments)

            self._call(
                self._backend.run(
                    in_thread(handler),
                    concurrency=concurrency,
                    on_error=None if on_error is None else in_thread(on_error),
                )
            )

    def _operate(
        self, op: str, fields: dict[str, Any], *, nowait: bool = False, again: bool = False
    ) -> Answer:
        return self._call(self._backend._operate(op, fields, nowait=nowait, again=again))

    async def _take(self, timeout: float | None) -> None:
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._fill(), timeout)

    async def _fill(self) -> None:
        # Here, since what a call returns is dropped where it is interrupted.
        self._taken.extend(await self._backend._take(TAKEN_MAX))

    def _call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        if (thread := self._thread) is None:
            coroutine.close()
            raise RuntimeError("use `with Backend(..) as backend`, and the backend inside of it")
        return thread.call(coroutine)

    def _end_thread(self, thread: LoopThread) -> None:
        thread.end()
        if self._thread is thread:
            self._thread = None


#: Events that are taken from the link's thread at once.
TAKEN_MAX = 256
