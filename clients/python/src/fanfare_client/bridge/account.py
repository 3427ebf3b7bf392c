"""A program that is connected as a user of the bridge, as a public account is, and answers what it is asked."""

from __future__ import annotations

import asyncio
import logging
import ssl as tls
from collections import deque
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from ..client import frames
from ..client.backoff import Backoff
from ..client.connection import CannotConnect, Connection, End
from ..client.decisions import Decision
from ..client.errors import Closed, ConnectionLost, GiveUp
from ..client.tokens import Token, Tokens
from ..handshake import Proxy

log = logging.getLogger("fanfare_client")

#: A connection that lasted so long was good, even if nothing came.
GOOD_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Message:
    """What a service said, to be answered if it asked."""

    #: All of it: the service's data, and `original_sender`, `user_id` and `correlation_id`.
    data: dict[str, Any]
    account: Account = field(repr=False)

    @property
    def correlation_id(self) -> Any:
        return self.data.get("correlation_id")

    def answer(self, data: Mapping[str, Any], *, final: bool = True) -> None:
        """Answers. With `final=False` more answers follow. What nobody waits for is dropped by the gateway.

        Raises `ConnectionLost` while there is no connection.
        """
        whole = {"type": "response"} | dict(data) | {"correlation_id": self.correlation_id}
        self.account.send(whole | {"is_final": final})


class Account(AsyncIterator[Message]):
    """A user's connection, kept up, and what services say to that user.

        async with Account("https://host", "ci_bot", token=token) as account:
            async for message in account:
                message.answer({"message": "Done"})

    What is said while there is no connection does not come: the gateway keeps nothing, and services are told that the
    user is not connected.
    """

    def __init__(
        self,
        url: str,
        user: str,
        *,
        token: Token | None = None,
        ssl: tls.SSLContext | None = None,
        buffer: int = 1000,
        ping_interval: float = 20.0,
        ping_timeout: float = 10.0,
        proxy: Proxy = True,
    ) -> None:
        """
        - `url`: the gateway, as `https://host`; without a path it is that of `/ws`.
        - `user`: who this is. `token`, `ssl`, `ping_interval`, `ping_timeout` and `proxy` are as of
          `fanfare_client.connect`.
        - `buffer`: messages that may wait for the loop; beyond it the oldest is dropped, and the log says so.
        """
        self._url = _address(url, user)
        self._tokens = Tokens(token)
        self._options: dict[str, Any] = {
            "ssl": ssl,
            "proxy": proxy,
            "ping_interval": ping_interval,
            "ping_timeout": ping_timeout,
        }
        self._messages: deque[Message] = deque()
        self._buffer = buffer
        self._connection: Connection | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._failure: Closed | None = None
        self._is_closed = False
        self._came = self._was_connected = False
        self._changed = asyncio.Event()

    async def __aenter__(self) -> Account:
        """Waits until it is connected. Raises `Closed` where another attempt would be refused, too."""
        if self._keeper is not None:
            raise RuntimeError("an Account is entered once; make another one")
        self._keeper = asyncio.create_task(self._keep())
        try:
            while self._connection is None:
                if self._failure is not None:
                    raise self._failure
                await self._wait()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __aiter__(self) -> Account:
        return self

    async def __anext__(self) -> Message:
        while not self._messages:
            if self._is_closed:
                raise StopAsyncIteration
            if self._failure is not None:
                raise Closed(self._failure.reason, self._failure.status)
            await self._wait()
        return self._messages.popleft()

    def send(self, data: Mapping[str, Any]) -> None:
        """Says something. Raises `ConnectionLost` while there is no connection."""
        if self._connection is None:
            raise ConnectionLost("there is no connection: the answer was not sent")
        self._connection.send(frames.write(dict(data)))

    async def close(self) -> None:
        """Writes what waits to be written and closes; the loop ends."""
        self._is_closed = True
        self._changed.set()
        try:
            if self._connection is not None:
                await self._connection.close()
        finally:
            # Also where this was cancelled: nothing of it is left.
            if self._connection is not None:
                self._connection.drop("closed")
            if self._keeper is not None:
                self._keeper.cancel()
        if self._keeper is not None and self._keeper is not asyncio.current_task():
            await asyncio.wait({self._keeper})

    async def _wait(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    async def _keep(self) -> None:
        backoff = Backoff()
        loop = asyncio.get_running_loop()
        while not self._is_closed:
            begun, self._came = loop.time(), False
            end = await self._attempt()
            if self._came or loop.time() - begun > GOOD_SECONDS:
                backoff.reset()
            decision = end.decision
            if decision is Decision.NEW_TOKEN:
                self._tokens.lose("expired" if end.reason == "Token expired" else "refused")
                decision = Decision.RETRY if self._tokens.can_ask else Decision.GIVE_UP
            if decision is Decision.GIVE_UP or end.is_final_at_first and not self._was_connected:
                self._failure = Closed(end.reason, end.code)
                self._changed.set()
                return
            seconds = backoff.next(end.hint)
            log.warning("%s; next attempt in %.1f s", end.reason, seconds)
            await asyncio.sleep(seconds)

    async def _attempt(self) -> End:
        try:
            token = await self._tokens.current()
        except GiveUp as error:
            return End(Decision.GIVE_UP, str(error) or "there is no token")
        except Exception as error:
            log.warning("no token: %r", error)
            return End(Decision.RETRY, f"no token: {error!r}")
        try:
            self._connection = await Connection.open(self._url, token, headers={}, **self._options)
        except CannotConnect as refusal:
            return refusal.end
        self._was_connected = True
        self._changed.set()
        try:
            return await self._connection.serve(self._take, _read)
        finally:
            self._connection = None

    def _take(self, data: dict[str, Any]) -> None:
        self._came = True
        if len(self._messages) >= self._buffer:
            self._messages.popleft()
            log.warning("a message was dropped: more than %d wait for the loop", self._buffer)
        self._messages.append(Message(data, self))
        self._changed.set()


def _read(text: str) -> list[dict[str, Any]]:
    """The object of a message; what is none is ignored."""
    try:
        value = frames.CODEC.decode(text.encode(errors="surrogatepass"))
    except ValueError:
        return []
    return [value] if isinstance(value, dict) else []


def _address(url: str, user: str) -> str:
    parts = urlsplit(url)
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    if scheme not in ("ws", "wss") or not parts.hostname:
        raise ValueError(f"the gateway's address is as https://host, not {url!r}")
    path = parts.path if parts.path.strip("/") else "/ws"
    return urlunsplit((scheme, parts.netloc, path, f"user_id={quote(user, safe='')}", ""))
