"""The link as an application has it: kept up, and one sequence of events."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import ssl as tls
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from types import TracebackType
from typing import Any, Literal
from urllib.parse import urlencode, urlsplit, urlunsplit

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import InvalidHandshake, InvalidStatus

from ..client.tokens import Source
from ..codec import codec_of
from ..handshake import Proxy, connect, credential
from .errors import LinkLost, Refused
from .events import Event
from .lanes import Handler, Lanes, OnError
from .link import Link
from .operations import Answer, Operations

log = logging.getLogger("fanfare_client.backend")

Token = str | Callable[[], str | Awaitable[str]]
"""A token or API key, or what gives one: asked for each attempt to link. A plain function is called in a thread."""


class Backend(Operations[Coroutine[Any, Any, Answer]], AsyncIterator[Event]):
    """A member of a group of applications that is told what the gateway's clients do.

        async with Backend("ws://127.0.0.1:8080", token=token) as backend:
            async for event in backend:
                ...

    An event is acknowledged when the next one is asked for; one that was not, because the loop ended by an
    exception or the process did, comes again. So does what was in hand when the link is lost. The link is
    made anew, after a restart of the gateway, too.

    For use on one event loop. Memory is bounded by `credit` times the size of a client's message.
    """

    #: What makes a link of a connection.
    link_type: Callable[..., Link] = Link

    def __init__(
        self,
        url: str,
        *,
        token: Token | None = None,
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
        """
        - `url`: the gateway's address, as `ws://127.0.0.1:8080` or `wss://host`.
        - `token`: a token with the role "service" or an API key, or a function or coroutine function that gives one.
        - `group`: each group gets everything; within one, all events of a client go to one member.
        - `filter`: which kinds of events, as `["connect", "message"]`; all by default.
        - `credit`: events that may be in hand at once, 1 to 1,000,000.
        - `format`: how frames are encoded; "msgpack" needs the package of that name.
        - `ack`: "manual" leaves it to `event.ack()`.
        - `reconnect`: whether the link is made anew; otherwise a lost one raises `LinkLost`.
        - `timeout`: how long an operation waits for a link and how long for its answer, in seconds.
        - `ssl`: for `wss://`, the certificates to trust.
        - `proxy`: the address of a proxy, None for none, or True for that of the environment.
        """
        if not 1 <= credit <= 1_000_000:
            raise ValueError("credit is 1 to 1,000,000")
        if ack not in ("auto", "manual"):
            raise ValueError('ack is "auto" or "manual"')
        parameters = {"group": group, "format": format, "credit": str(credit)}
        if filter is not None:
            parameters["filter"] = filter if isinstance(filter, str) else ",".join(filter)
        self._url = _endpoint(url)
        self._query = urlencode(parameters)
        self._token = None if token is None or callable(token) else credential(token)
        self._source = Source(token) if callable(token) else None
        self._credit = credit
        self._codec = codec_of(format)
        self._acks = ack == "auto"
        self._reconnect = reconnect
        self._timeout = timeout
        self._ssl = ssl
        self._proxy = proxy

        self._link: Link | None = None
        self._keeper: asyncio.Task[None] | None = None
        #: Set while there is a link, and from the end on.
        self._linked = asyncio.Event()
        #: Set when events may have come, and from the end on.
        self._arrived = asyncio.Event()
        self._is_stopped = False
        self._is_closed = False
        self._is_taking = False
        #: The event that the loop has in hand.
        self._current: Event | None = None

    # The link

    async def __aenter__(self) -> Backend:
        """Waits for the first link. Raises `Refused` where the gateway will have none of it."""
        if self._keeper is not None:
            raise RuntimeError("a Backend is entered once; make another one")
        self._keeper = asyncio.create_task(self._keep())
        self._keeper.add_done_callback(self._end)
        try:
            await self._a_link()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def stop(self) -> None:
        """Ends the loop or `run` once what is in hand is done. May be a signal's handler."""
        self._is_stopped = True
        self._arrived.set()

    async def close(self) -> None:
        """Writes what waits to be written, acknowledgements too, and closes the link."""
        self.stop()
        self._is_closed = True
        try:
            if self._link is not None:
                await asyncio.wait_for(self._link.close(), CLOSE_SECONDS)
        except (asyncio.TimeoutError, OSError):
            log.warning("the link could not be closed in %g s", CLOSE_SECONDS)
        finally:
            if self._keeper is not None:
                self._keeper.cancel()
                await asyncio.gather(self._keeper, return_exceptions=True)

    async def _keep(self) -> None:
        """Makes links, one after the other, until closed or refused."""
        attempt, was_linked = 0, False
        while True:
            hint = None
            try:
                socket = await self._open()
            except Refused as refusal:
                if not self._reconnect or (refusal.is_final and not was_linked):
                    raise
                why, hint = str(refusal), refusal.retry_after
            except _NoToken as failure:
                if not self._reconnect or not was_linked:
                    raise failure.cause from None
                why = f"no token: {failure.cause!r}"
            except (OSError, TimeoutError, asyncio.TimeoutError, InvalidHandshake) as error:
                why = f"no gateway at {self._url}: {error or type(error).__name__}"
                if not self._reconnect or isinstance(error, tls.SSLCertVerificationError) and not was_linked:
                    raise LinkLost(why) from error
            else:
                was_linked = True
                why, is_good = await self._serve(socket)
                if is_good:
                    attempt = 0
                if self._is_closed:
                    return
                if not self._reconnect:
                    raise LinkLost(why)
            # Full jitter: members that lost the same gateway do not come back together.
            seconds = max(random.uniform(0, min(BACKOFF_MAX, BACKOFF_FIRST * 2**attempt)), min(hint or 0, HINT_MAX))
            attempt = min(attempt + 1, 16)
            log.warning("%s; next attempt in %.1f s", why, seconds)
            await asyncio.sleep(seconds)

    async def _open(self) -> ClientConnection:
        options: dict[str, Any] = {"proxy": self._proxy}
        if self._ssl is not None:
            options["ssl"] = self._ssl
        if token := await self._ask_token():
            options["additional_headers"] = {"Authorization": f"Bearer {token}"}
        try:
            # No limit of a frame's size: the credit is the limit.
            return await connect(
                f"{self._url}?{self._query}", compression=None, max_size=None, close_timeout=CLOSE_SECONDS, **options
            )
        except InvalidStatus as error:
            response = error.response
            detail = _detail(bytes(response.body or b""))
            hint = response.headers.get("Retry-After", "")
            raise Refused(
                self._url, response.status_code, detail, float(hint) if hint.isdigit() else None
            ) from None

    async def _ask_token(self) -> str | None:
        if self._source is None:
            return self._token
        try:
            token = await self._source.ask()
            return token and credential(token)
        except Exception as error:
            raise _NoToken(error) from error

    async def _serve(self, socket: ClientConnection) -> tuple[str, bool]:
        """Why the link was lost, and whether it was any good."""
        loop = asyncio.get_running_loop()
        link = self.link_type(
            socket,
            self._codec,
            self._arrived.set,
            credit=self._credit,
            seconds=self._timeout,
            # By hand, not to acknowledge is how an application has an event come again.
            drops_copies=self._acks,
        )
        since = loop.time()
        self._link = link
        self._linked.set()
        log.info("linked to %s", self._url)
        try:
            why = await link.serve()
        finally:
            self._link = None
        return why, link.is_good or loop.time() - since > GOOD_SECONDS

    def _end(self, keeper: asyncio.Task[None]) -> None:
        """The keeper has ended: those that wait for a link or an event find out."""
        self._is_closed = True
        self._linked.set()
        self._arrived.set()
        if not keeper.cancelled():
            # Looked at here, so that nobody need wait for it.
            keeper.exception()

    def _raise_failure(self) -> None:
        """Raises what ended the keeper, if it was an error."""
        keeper = self._keeper
        if keeper is None:
            raise RuntimeError("use `async with Backend(..) as backend`")
        if keeper.done() and not keeper.cancelled() and (failure := keeper.exception()) is not None:
            raise failure

    async def _a_link(self) -> Link:
        """The link, waiting for one if need be."""
        while True:
            if self._link is not None and not self._link.is_lost:
                return self._link
            self._raise_failure()
            if self._is_closed:
                raise LinkLost("the backend is closed")
            self._linked.clear()
            await self._linked.wait()

    # Events

    def __aiter__(self) -> Backend:
        return self

    async def __anext__(self) -> Event:
        event = await self._next(finish=self._acks)
        if event is None:
            raise StopAsyncIteration
        self._current = event
        return event

    async def run(self, handler: Handler, *, concurrency: int = 64, on_error: OnError | None = None) -> None:
        """Calls `handler(event)` for each event until `stop()`: in parallel, and one at a time per client.

        An event is done when its handler returns; the gateway is told up to the lowest unfinished one, and
        sends the others again if the process ends. An exception of a handler ends `run` and is raised, and
        its event comes again to the next member; with `on_error(event, exception)` that is called instead,
        and the event is done when it returns. Two are not errors: `LinkLost` with the event's link gone, as
        it comes again, and without `on_error` an `OperationError` with `not_found`, as its client has left.
        """
        if concurrency < 1:
            raise ValueError("concurrency is at least 1")
        await Lanes(handler, on_error, acks=self._acks).run(self._next, concurrency)

    async def _next(self, *, finish: bool = False) -> Event | None:
        """The next event; none once stopped. With `finish`, the one in hand is done."""
        events = await self._take(1, finish=finish)
        return events[0] if events else None

    async def _take(self, at_most: int, *, finish: bool = False) -> list[Event]:
        """The next events, at least one; none once stopped."""
        if self._is_taking:
            raise RuntimeError("one loop at a time; run() has parallel handlers")
        if finish and self._current is not None:
            self._current.ack()
        self._current = None
        self._is_taking = True
        try:
            while not self._is_stopped:
                inbox = self._link.inbox if self._link is not None else ()
                if inbox:
                    return [inbox.popleft() for _ in range(min(at_most, len(inbox)))]
                self._raise_failure()
                self._arrived.clear()
                await self._arrived.wait()
            self._raise_failure()
            return []
        finally:
            self._is_taking = False

    # Operations

    async def _operate(
        self, op: str, fields: dict[str, Any], *, nowait: bool = False, again: bool = False
    ) -> Answer:
        while True:
            link = self._link
            if link is None or link.is_lost:
                try:
                    link = await asyncio.wait_for(self._a_link(), self._timeout)
                except asyncio.TimeoutError:
                    raise TimeoutError(f"no link for {op} in {self._timeout:g} s; it was not done") from None
            try:
                return await (link.post if nowait else link.call)(op, fields)
            except LinkLost:
                # Without an answer, what was not queued is not lost.
                if not (again or nowait) or self._is_closed or not self._reconnect:
                    raise


class _NoToken(Exception):
    """The application's own function for its token failed."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(cause)
        self.cause = cause


#: Backoff between attempts to link, in seconds: up to the first, doubled each time, at most the last.
BACKOFF_FIRST = 0.5
BACKOFF_MAX = 20.0

#: The longest wait that the gateway, or a proxy, may ask for.
HINT_MAX = 60.0

#: A link that lived so long was good, even if nothing came.
GOOD_SECONDS = 5.0

#: How long closing may take.
CLOSE_SECONDS = 5.0

PATH = "/api/v1/backend"


def _endpoint(url: str) -> str:
    """The link's address on a gateway."""
    parts = urlsplit(url)
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    if scheme not in ("ws", "wss") or not parts.hostname:
        raise ValueError(f"the gateway's address is as ws://127.0.0.1:8080 or wss://host, not {url!r}")
    if parts.query or parts.fragment:
        raise ValueError(f"give the gateway's address alone; token, group and the like are arguments: {url!r}")
    path = parts.path.rstrip("/")
    return urlunsplit((scheme, parts.netloc, path if path.endswith(PATH) else path + PATH, "", ""))


def _detail(body: bytes) -> str:
    """What the gateway says in the body of a refusal."""
    try:
        return str(json.loads(body)["detail"])
    except (ValueError, KeyError, TypeError):
        return body.decode(errors="replace").strip()[:200]
