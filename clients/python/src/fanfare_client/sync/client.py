"""The client for blocking code."""

from __future__ import annotations

import asyncio
import ssl as tls
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import suppress
from types import TracebackType
from typing import Any, Literal, TypeVar

from .. import client as asynchronous
from ..client import Event, Gap, Session, State, Status
from ..client.subscription import Overflow
from ..client.tokens import Token
from ..handshake import Proxy
from ..threads import HasEnded, IsForked, LoopThread

T = TypeVar("T")

#: Threads that call callbacks at once. Those of one subscription are called one after the other.
CALLBACK_THREADS_MAX = 32


class Subscription(Iterator[Event | Gap]):
    """As `fanfare_client.Subscription`, with `with`, `for` and calls that wait. For one consumer."""

    def __init__(self, client: Client, inner: asynchronous.Subscription) -> None:
        self._client = client
        self._inner = inner
        #: What was taken and not given: the call that waited for it was interrupted, or is about to return.
        self._left: Event | Gap | None = None

    @property
    def name(self) -> str:
        return self._inner.name

    @property
    def state(self) -> str:
        return self._inner.state

    @property
    def position(self) -> str | None:
        """Behind the newest event that was given: `since` of a later subscription. Also once the client is closed."""
        try:
            return self._client._on_loop_or_behind(self._position)
        except IsForked:
            return self._position()

    def ready(self) -> None:
        """Waits until the gateway has confirmed the subscription."""
        self._client._call(self._inner.ready())

    def on(self, kind: Literal["event", "gap", "presence", "state"], callback: Callable[[Any], object]) -> None:
        """Has `callback(value)` called in a thread, instead of a loop; it may call the client."""
        self._client._on_loop(lambda: self._inner.on(kind, self._client._in_thread(callback)))

    def next(self, timeout: float | None = None) -> Event | Gap | None:
        """The next item; none after `timeout` seconds without one, or at the end.

        Once the client is closed, by another thread as well, it gives what had come, and then none. After an interrupt
        such as Ctrl-C it may be called again: nothing is lost.
        """
        if self._left is None:
            try:
                self._client._call(self._next(timeout))
            except (HasEnded, CancelledError):
                if self._left is None:
                    return self._take_rest()
        item, self._left = self._left, None
        return item

    def unsubscribe(self) -> None:
        """Ends it, and the loop. What was not taken is dropped."""
        # In a fork there is nothing to end.
        with suppress(IsForked):
            self._client._on_loop_or_behind(self._unsubscribe)

    def __iter__(self) -> Subscription:
        return self

    def __next__(self) -> Event | Gap:
        item = self.next()
        if item is None:
            raise StopIteration
        return item

    def __enter__(self) -> Subscription:
        self._client._call(self._inner.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.unsubscribe()

    # On the loop

    async def _next(self, timeout: float | None) -> None:
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._fill(), timeout)

    async def _fill(self) -> None:
        # Here, since what a call returns is dropped where it is interrupted.
        self._left = await self._inner.pop()

    def _position(self) -> str | None:
        if self._left is None:
            self._inner.feed.given()
        return self._inner.position

    def _unsubscribe(self) -> None:
        if self._left is not None:
            self._inner.feed.drop_popped()
            self._left = None
        self._inner.unsubscribe()

    def _take_rest(self) -> Event | Gap | None:
        feed, error = self._inner.feed, self._inner.error
        if feed.buffer:
            return feed.take()
        if error is not None:
            raise error.with_traceback(None)
        return None


class Client:
    """As `fanfare_client.Client`, with `with` and calls that wait. From any thread."""

    def __init__(self, url: str, **options: Any) -> None:
        self._url = url
        self._options = options
        self._client = asynchronous.Client(url, **options)
        self._was_entered = False
        #: From the entry to the end.
        self._thread: LoopThread | None = None
        self._pool: ThreadPoolExecutor | None = None
        #: A signal's handler may close, too.
        self._ending = threading.RLock()

    def __enter__(self) -> Client:
        """Waits until it is open. Raises `Closed` where another attempt would be refused, too."""
        if self._thread is not None:
            raise RuntimeError("the client is entered already; make another one")
        if self._was_entered:
            # The last one is of a loop that has ended.
            self._client = asynchronous.Client(self._url, **self._options)
        self._was_entered = True
        self._thread = thread = LoopThread("fanfare-client")
        self._pool = ThreadPoolExecutor(CALLBACK_THREADS_MAX, "fanfare-callback")
        try:
            self._call(self._client.__aenter__())
        except BaseException:
            self._end_thread(thread)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def state(self) -> State:
        return self._client.state

    @property
    def status(self) -> Status:
        """The state, and why it is so."""
        return self._client.status

    @property
    def session(self) -> Session | None:
        """Who the gateway takes this client for."""
        return self._client.session

    def on(self, kind: Literal["state", "message"], callback: Callable[[Any], object]) -> None:
        """Has `callback(value)` called in a thread; it may call the client."""
        self._on_loop(lambda: self._client.on(kind, self._in_thread(callback)))

    def subscribe(
        self,
        name: str,
        *,
        since: str | None = None,
        last: int | None = None,
        buffer: int | None = None,
        overflow: Overflow = "drop-oldest",
    ) -> Subscription:
        """The events of a topic or a pattern, as of `fanfare_client.Client`."""
        options: dict[str, Any] = {"since": since, "last": last, "buffer": buffer, "overflow": overflow}
        return Subscription(self, self._on_loop(lambda: self._client.subscribe(name, **options)))

    def inbox(
        self, *, since: str | None = None, buffer: int | None = None, overflow: Overflow = "drop-oldest"
    ) -> Subscription:
        """What is for this client's user alone."""
        inner = self._on_loop(lambda: self._client.inbox(since=since, buffer=buffer, overflow=overflow))
        return Subscription(self, inner)

    def publish(self, topic: str, data: Any, *, key: str | None = None, timeout: float | None = None) -> int:
        """Publishes any JSON value; the message's offset in its topic."""
        return self._call(self._client.publish(topic, data, key=key, timeout=timeout))

    def query(
        self, query: str, params: Mapping[str, Any] | None = None, *, timeout: float | None = None
    ) -> dict[str, Any]:
        """Asks the gateway."""
        return self._call(self._client.query(query, params, timeout=timeout))

    def request(self, frame: Mapping[str, Any], *, timeout: float | None = None) -> dict[str, Any]:
        """Sends any message, and gives the frame that answers."""
        return self._call(self._client.request(frame, timeout=timeout))

    def authenticate(self, token: Token | None = None) -> None:
        """Goes on with another token."""
        if token is not None:
            self._options["token"] = token
        self._call(self._client.authenticate(token))

    def reconnect(self) -> None:
        """Connects now: instead of later, anew, or again after it gave up."""
        self._on_loop(self._client.reconnect)

    def close(self) -> None:
        """Writes what waits to be written and closes. Loops end. From any thread, but not from a callback."""
        if (thread := self._thread) is not None:
            try:
                thread.end(self._client.close())
            finally:
                self._end_thread(thread)

    def _call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        if (thread := self._thread) is None:
            coroutine.close()
            raise HasEnded("use `with connect(..) as client`, and the client inside of it")
        return thread.call(coroutine)

    def _on_loop(self, function: Callable[[], T]) -> T:
        async def call() -> T:
            return function()

        return self._call(call())

    def _on_loop_or_behind(self, function: Callable[[], T]) -> T:
        """On the loop; once that has ended here, where nothing else is at it any more."""
        try:
            return self._on_loop(function)
        except (HasEnded, CancelledError):
            return function()

    def _in_thread(self, callback: Callable[[Any], object]) -> Callable[[Any], Any]:
        pool = self._pool
        return lambda value: asyncio.get_running_loop().run_in_executor(pool, callback, value)

    def _end_thread(self, thread: LoopThread) -> None:
        thread.end()
        with self._ending:
            # Another one who closes may have been first, and even entered again.
            if self._thread is not thread:
                return
            self._thread = None
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False)


def connect(
    url: str,
    *,
    token: Token | None = None,
    headers: Mapping[str, str] | None = None,
    ssl: tls.SSLContext | None = None,
    buffer: int = 1000,
    timeout: float = 30.0,
    ping_interval: float = 20.0,
    ping_timeout: float = 10.0,
    proxy: Proxy = True,
) -> Client:
    """A client of the gateway, for `with`. Its options are those of `fanfare_client.connect`."""
    return Client(
        url,
        token=token,
        headers=headers,
        ssl=ssl,
        buffer=buffer,
        timeout=timeout,
        ping_interval=ping_interval,
        ping_timeout=ping_timeout,
        proxy=proxy,
    )
