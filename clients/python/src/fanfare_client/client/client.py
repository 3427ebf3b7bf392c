"""A user's side of the gateway: one connection that is kept up, and what goes over it."""

from __future__ import annotations

import asyncio
import logging
import ssl as tls
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import TracebackType
from typing import Any, Literal
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from ..handshake import Proxy, field
from .backoff import Backoff
from .connection import CLOSE_SECONDS, CannotConnect, Connection, End
from .decisions import Decision
from .dialogue import Dialogue
from .errors import Closed, GiveUp, RequestError
from .events import Session, State, Status
from .listeners import Callback, Listeners
from .patterns import check, is_pattern
from .requests import Answer, Request, Requests
from .subscription import Overflow, Subscription
from .subscriptions import INBOX, Subscriptions
from .tokens import Reason, Token, Tokens

log = logging.getLogger("fanfare_client")


class Client:
    """A connection to the gateway that survives lost networks, restarts and tokens that end.

        async with connect("wss://host/api/v1/ws", token=get_token) as client:
            async for event in client.subscribe("orders"):
                ...

    For use on one event loop. Bounds: what subscriptions hold (`buffer`), 1,000 requests in flight, 1,000 things that
    wait for callbacks.
    """

    def __init__(
        self,
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
    ) -> None:
        self._url = _address(url)
        self._headers = {name: field(name, value) for name, value in (headers or {}).items()}
        self._ssl = ssl
        self._buffer = buffer
        self._timeout = timeout
        self._proxy = proxy
        self._pings = {"ping_interval": ping_interval, "ping_timeout": ping_timeout}
        self._tokens = Tokens(token)
        self._backoff = Backoff()
        self._subscriptions = Subscriptions()
        self._requests = Requests()
        self._room = asyncio.Semaphore(REQUESTS_MAX)
        self._listeners = Listeners(frozenset(("state", "message")))
        self._status = Status(state="closed")
        self._session: Session | None = None
        self._changed = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._failure: Closed | None = None
        self._is_closed = False
        #: Whether it was ever open.
        self._was_open = False

        #: Where there is a connection.
        self._dialogue: Dialogue | None = None

    # The life of a client

    async def __aenter__(self) -> Client:
        """Waits until it is open. Raises `Closed` where another attempt would be refused, too."""
        self.reconnect()
        try:
            while self._status.state != "open":
                self._raise_failure()
                self._changed.clear()
                await self._changed.wait()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def state(self) -> State:
        return self._status.state

    @property
    def status(self) -> Status:
        """The state, and why it is so."""
        return self._status

    @property
    def session(self) -> Session | None:
        """Who the gateway takes this client for; none before the first connection."""
        return self._session

    @property
    def failure(self) -> Closed | None:
        """Why the client has given up or is closed; none while it goes on."""
        return self._failure

    def on(self, kind: Literal["state", "message"], callback: Callback) -> Callable[[], None]:
        """Has `callback(value)` called, one at a time and in order. Returns what removes it.

        `state` has each `Status`; `message` what no subscription and no request has taken, as dictionaries: broadcasts,
        messages of an application, frames of newer gateways. A callback may be a coroutine function and may call the
        client.
        """
        return self._listeners.add(kind, callback)

    def reconnect(self) -> None:
        """Connects now: instead of later, anew, or again after `close()` and after it gave up."""
        self._is_closed = False
        self._failure = None
        self._backoff.reset()
        before = self._keeper
        if before is not None:
            before.cancel()
        self._keeper = asyncio.create_task(self._keep(before))

    async def authenticate(self, token: Token | None = None) -> None:
        """Goes on with another token: after a login, a logout or a change of permissions.

        With an argument that takes the place of the option `token`; otherwise the callback is asked, with `requested`.
        Where the gateway does not take it on this connection, as for another user, the client connects anew.
        """
        if token is not None:
            self._tokens.set(token)
        self._tokens.lose("requested")
        dialogue = self._dialogue
        if dialogue is not None and self._session is not None and self._session.user is not None:
            try:
                await dialogue.renew()
                return
            except Exception as error:
                log.info("the token cannot be renewed on this connection: %r", error)
            if dialogue is not self._dialogue:
                return
        self.reconnect()

    async def close(self) -> None:
        """Writes what waits to be written and closes. Loops end; requests without an answer raise `Closed`."""
        if self._is_closed or self._keeper is None:
            return
        self._is_closed = True
        subscriptions = list(self._subscriptions)
        try:
            await self._close_connection(self._keeper, subscriptions)
            # Callbacks have what came before, unless it was one of them that called.
            if callers := self._callers(subscriptions):
                await asyncio.wait(callers, timeout=CLOSE_SECONDS)
        finally:
            for task in self._callers(subscriptions):
                task.cancel()

    async def _close_connection(self, keeper: asyncio.Task[None], subscriptions: list[Subscription]) -> None:
        try:
            if self._dialogue is not None:
                await self._dialogue.connection.close()
            keeper.cancel()
            if keeper is not asyncio.current_task():
                await asyncio.wait({keeper})
        finally:
            # Also where this is cancelled.
            if self._dialogue is not None:
                self._dialogue.connection.drop("closed")
            keeper.cancel()
            self._end("closed", Closed("the client is closed"))
            for subscription in subscriptions:
                subscription.end()

    def _callers(self, subscriptions: list[Subscription]) -> set[asyncio.Task[None]]:
        """What calls callbacks, but for the one that is at it."""
        callers = {task for subscription in subscriptions for task in subscription.tasks}
        if self._listeners.task is not None:
            callers.add(self._listeners.task)
        callers.discard(asyncio.current_task())  # type: ignore[arg-type]
        return callers

    # What an application asks for

    def subscribe(
        self,
        name: str,
        *,
        since: str | None = None,
        last: int | None = None,
        buffer: int | None = None,
        overflow: Overflow = "drop-oldest",
    ) -> Subscription:
        """The events of a topic, or of those that a pattern such as `room.*` covers.

        - `since`: go on at this `position` of an event or a subscription.
        - `last`: begin with the newest events that are kept, at most so many; where there is no `since`.
        - `buffer`: events that may wait for the consumer, instead of the client's.
        - `overflow`: what happens when more come. `drop-oldest` makes room, and a `Gap` in their place says so; `end`
          ends the subscription with `BufferFull`.

        It lasts until it is closed, also when its loop is left; `async with client.subscribe(name) as subscription` waits
        until it is active, and ends it.

        Any number of subscriptions to one name cost the gateway one. It takes 50 names from a connection
        (`events.max_subscriptions`); more are rejected.
        """
        check(name)
        if last is not None and last < 1:
            raise ValueError("last is at least 1")
        if last is not None and is_pattern(name):
            raise ValueError("a pattern has no `last`: subscribe to a topic")
        return self._subscribe(name, since, last, buffer, overflow)

    def inbox(
        self, *, since: str | None = None, buffer: int | None = None, overflow: Overflow = "drop-oldest"
    ) -> Subscription:
        """What is for this client's user alone. It takes a token, and no permission; without one it is `rejected`.

        With `since` a client that is connected connects anew.
        """
        inbox = self._subscribe(INBOX, since, None, buffer, overflow)
        if self._dialogue is not None and since is not None:
            self.reconnect()
        return inbox

    async def publish(
        self, topic: str, data: Any, *, key: str | None = None, timeout: float | None = None
    ) -> int:
        """Publishes any JSON value; the message's offset in its topic.

        It waits for a connection, and is sent again with the same key until the gateway acknowledges it. Raises
        `RequestError` for a refusal, `TimeoutError` after `timeout` seconds, where given, and `ConnectionLost` when it
        was not acknowledged for four minutes: in both cases it may or may not have been published. `key` makes it
        idempotent beyond this call; it is drawn at random if it is not given.
        """
        frame = {"type": "publish", "event": topic, "data": data, "key": key or uuid.uuid4().hex}
        result = (await self._ask(frame, again=True, timeout=timeout)).get("result")
        offset = result.get("offset") if isinstance(result, dict) else None
        if not isinstance(offset, int):
            raise RequestError("INVALID_ANSWER", "the gateway's answer has no offset")
        return offset

    async def query(
        self, query: str, params: Mapping[str, Any] | None = None, *, timeout: float | None = None
    ) -> dict[str, Any]:
        """Asks the gateway: `presence` and `history` of a topic (`{"event": ..}`), `subscriptions`, `server_info`, ..

        Raises `RequestError` for a refusal and `TimeoutError` without an answer.
        """
        frame = {"type": "query", "params": dict(params or {}) | {"query": query}}
        result = (await self._ask(frame, again=True, timeout=timeout or self._timeout)).get("result")
        if not isinstance(result, dict):
            raise RequestError("INVALID_ANSWER", "the gateway's answer has no result")
        return result

    async def request(self, frame: Mapping[str, Any], *, timeout: float | None = None) -> dict[str, Any]:
        """Sends any message, as `{"type": "app", "data": ..}` for the application, and gives the frame that answers.

        Raises `ConnectionLost` where the connection was lost before the answer: it may or may not have been done.
        """
        return await self._ask(dict(frame), again=False, timeout=timeout or self._timeout)

    # For subscriptions

    def _subscribe(
        self, name: str, since: str | None, last: int | None, buffer: int | None, overflow: Overflow
    ) -> Subscription:
        if self._is_closed:
            raise Closed("the client is closed")
        if overflow not in ("drop-oldest", "end"):
            raise ValueError('overflow is "drop-oldest" or "end"')
        size = self._buffer if buffer is None else buffer
        if size < 1:
            raise ValueError("buffer is at least 1")
        subscription = Subscription(self, name, size=size, overflow=overflow, since=since, last=last)
        self._subscriptions.add(subscription)
        if self._dialogue is not None:
            self._dialogue.join(subscription)
        return subscription

    def leave(self, subscription: Subscription) -> None:
        """Forgets a subscription, and unsubscribes from its name if it was the last one."""
        if self._subscriptions.remove(subscription) and self._dialogue is not None:
            self._dialogue.leave(subscription.name)

    async def _ask(self, frame: Answer, *, again: bool, timeout: float | None) -> Answer:
        request: Request | None = None

        async def ask() -> Answer:
            nonlocal request
            async with self._room:
                if self._keeper is None:
                    raise RuntimeError("use `async with connect(..) as client`")
                self._raise_failure()
                request = self._requests.add(frame, again=again)
                return await request.answer

        try:
            return await asyncio.wait_for(ask(), timeout)
        except asyncio.TimeoutError:
            raise _late(request, frame, timeout) from None

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise Closed(self._failure.reason, self._failure.status)

    # Keeping a connection

    async def _keep(self, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait({before})
        try:
            await self._make_connections()
        except Exception as error:
            log.exception("a fault of the client")
            self._end("ended", Closed(f"a fault of the client: {error!r}"))

    async def _make_connections(self) -> None:
        """One after the other, until closed or refused."""
        while not self._is_closed:
            self._enter("connecting")
            end = self._judge(await self._attempt())
            if self._is_closed:
                return
            if end.decision is Decision.GIVE_UP:
                return self._end("ended", Closed(end.reason, end.code))
            seconds = self._backoff.next(end.hint)
            log.warning("%s; next attempt in %.1f s", end.reason, seconds)
            self._enter("waiting", end.reason, end.code, seconds)
            await asyncio.sleep(seconds)

    async def _attempt(self) -> End:
        """Makes a connection and serves it; why it is no more."""
        try:
            token = await self._tokens.current()
        except GiveUp as error:
            return End(Decision.GIVE_UP, str(error) or "there is no token")
        except Exception as error:
            log.warning("no token: %r", error)
            return End(Decision.RETRY, f"no token: {error!r}")
        if self._is_closed:
            # The callback has closed the client.
            return End(Decision.GIVE_UP, "closed")
        try:
            connection = await Connection.open(
                self._with_inbox(), token, headers=self._headers, ssl=self._ssl, proxy=self._proxy, **self._pings
            )
        except CannotConnect as refusal:
            return refusal.end
        dialogue = self._dialogue = Dialogue(self, connection, self._subscriptions, self._requests, self._tokens)
        end = End(Decision.RETRY, "reconnecting")
        try:
            end = await connection.serve(dialogue.take)
        finally:
            self._dialogue = None
            dialogue.lose(end)
        if dialogue.is_good and not end.is_broken:
            self._backoff.reset()
        return dialogue.explain(end)

    def _judge(self, end: End) -> End:
        """What the end of an attempt means for this client."""
        decision = end.decision
        if end.is_final_at_first and not self._was_open:
            decision = Decision.GIVE_UP
        if decision is Decision.NEW_TOKEN:
            reason: Reason = "expired" if end.reason == "Token expired" else "refused"
            self._tokens.lose(reason)
            decision = Decision.RETRY if self._tokens.can_ask else Decision.GIVE_UP
        return replace(end, decision=decision)

    # For the dialogue

    @property
    def was_open(self) -> bool:
        """Whether it was ever open."""
        return self._was_open

    def greeted(self, session: Session) -> None:
        self._session = session

    def opened(self) -> None:
        self._was_open = True
        self._enter("open")

    def tell(self, frame: dict[str, Any]) -> None:
        """Something that no subscription and no request takes."""
        self._listeners.tell("message", frame)

    # Within

    def _end(self, state: State, failure: Closed) -> None:
        """Nothing goes on by itself any more."""
        self._failure = failure
        self._enter(state, failure.reason, failure.status)
        self._requests.end(failure)
        for subscription in self._subscriptions:
            subscription.wake()

    def _enter(
        self, state: State, reason: str = "", code: int | None = None, delay: float | None = None
    ) -> None:
        self._status = Status(state=state, reason=reason, code=code, delay=delay)
        self._changed.set()
        self._listeners.tell("state", self._status)

    def _with_inbox(self) -> str:
        after = self._subscriptions.inbox_after
        if after is None:
            return self._url
        return f"{self._url}{'&' if '?' in self._url else '?'}{urlencode({'inbox_after': after})}"


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
    """A client of the gateway, for `async with`.

    - `url`: as `wss://host/api/v1/ws`; without a path it is that one.
    - `token`: a token, or a function or coroutine function `get_token(reason)` that gives one.
    - `headers`: of the handshake, besides the token's.
    - `ssl`: the certificates to trust.
    - `buffer`: events that may wait for the consumer of a subscription.
    - `timeout`: how long a query waits for its answer, in seconds.
    - `ping_interval`, `ping_timeout`: after so many seconds of silence the gateway is asked, and given up
      without an answer within so many.
    - `proxy`: the address of a proxy, None for none, or True for that of the environment (`HTTPS_PROXY`, `NO_PROXY`, ..).
    """
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


def _late(request: Request | None, frame: Answer, timeout: float | None) -> Exception:
    """What a request without an answer in time raises; none is one that found no room."""
    if request is not None and request.refusal is not None:
        return request.refusal
    is_sent = request is not None and request.first_sent is not None
    done = "it may or may not have been done" if is_sent else "it was not sent"
    return TimeoutError(f"no answer to {frame['type']} in {timeout:g} s; {done}")


def _address(url: str) -> str:
    """The address that is connected to. Raises `ValueError`."""
    parts = urlsplit(url)
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    if scheme not in ("ws", "wss") or not parts.hostname:
        raise ValueError(f"the gateway's address is as wss://host/api/v1/ws, not {url!r}")
    if ("format", "msgpack") in parse_qsl(parts.query):
        raise ValueError("this client speaks JSON: leave out format=msgpack")
    return urlunsplit((scheme, parts.netloc, parts.path if parts.path.strip("/") else PATH, parts.query, ""))


PATH = "/api/v1/ws"

#: Requests that wait for an answer; further ones wait for room.
REQUESTS_MAX = 1000
