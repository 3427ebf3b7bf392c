"""The tokens of a client."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, Literal

from ..handshake import credential
from ..threads import CallThreads
from .errors import GiveUp

Reason = Literal["first", "expired", "refused", "requested"]

Token = str | Callable[[Reason], Awaitable[str | None] | str | None]
"""A token, or what gives one and is told why it is asked:

- `first`: there is none yet;
- `expired`: the last one has ended, or will soon;
- `refused`: the gateway did not take the last one, or has revoked it;
- `requested`: `authenticate()` was called.

A plain function is called in a thread, so it may block. None is no token. What it raises is logged, and it is
asked again later; `GiveUp`, and None for one that has ended or was refused, end the client, at the latest with the
token in use.
"""

#: How long a token is waited for.
TOKEN_SECONDS = 30.0


class Source:
    """A function of the application that gives tokens: a coroutine function, or a plain one that is called in a thread."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self._threads = CallThreads("fanfare-token")

    async def ask(self, *arguments: Any) -> Any:
        """Raises `TimeoutError` after `TOKEN_SECONDS`, and whatever the function raises."""
        call = asyncio.ensure_future(self._call(arguments))
        try:
            await asyncio.wait({call}, timeout=TOKEN_SECONDS)
            if not call.done():
                raise TimeoutError(f"the function has given no token in {TOKEN_SECONDS:g} s")
        finally:
            call.cancel()
        if call.cancelled():
            raise RuntimeError("the function awaited what was cancelled")
        return call.result()

    async def _call(self, arguments: tuple[Any, ...]) -> Any:
        is_plain = not inspect.iscoroutinefunction(self._function)
        token = await self._threads.call(self._function, *arguments) if is_plain else self._function(*arguments)
        return await token if inspect.isawaitable(token) else token


class Tokens:
    """Keeps the token that is in use, and asks for another one when there is a reason to."""

    def __init__(self, token: Token | None) -> None:
        self._ask: Source | None
        self._token: str | None
        #: Why another one is asked for; none while there is one.
        self._reason: Reason | None
        #: By the clock of the day, which goes on while the machine sleeps.
        self._ends: float | None
        self.set(token)
        self.lose("first")

    def set(self, token: Token | None) -> None:
        """Takes another source of tokens, asked at the next occasion. Raises `ValueError` for what is no token."""
        own = None if token is None or callable(token) else _read(token)
        self._ask = Source(token) if callable(token) else None
        self._token = own
        self._reason = None
        self._ends = None
        self.lose("requested")

    @property
    def can_ask(self) -> bool:
        return self._ask is not None

    async def current(self) -> str | None:
        """The token to connect with. Raises `GiveUp`, or whatever the callback raises."""
        if self._reason is None and self._ask is not None and self._ends is not None and time.time() >= self._ends:
            self._reason = "expired"
        if self._reason is not None:
            self._token = await self.ask(self._reason)
            self._reason = self._ends = None
        return self._token

    async def ask(self, reason: Reason) -> str | None:
        """Another token. Raises `GiveUp`, or whatever the callback raises."""
        if self._ask is None:
            return self._token
        token = await self._ask.ask(reason)
        token = None if token is None else _read(token)
        if not token and reason in ("expired", "refused"):
            raise GiveUp(f"there is no token for one that was {reason}")
        return token

    def use(self, token: str, seconds: float) -> None:
        """The gateway has taken another one, which is valid for so long."""
        self._token = token
        self._reason = None
        self.ends_in(seconds)

    def ends_in(self, seconds: float) -> None:
        """The token in use is valid for so long."""
        self._ends = time.time() + seconds

    def lose(self, reason: Reason) -> None:
        """The token in use is of no use any more, or not to be used."""
        if self._ask is not None:
            self._reason = reason


def _read(text: str) -> str | None:
    """The token, without white space around it; none is one that is empty."""
    token = credential(text)
    if " " in token:
        raise ValueError("a token is printable ASCII without spaces, which this one is not: is it the token alone?")
    return token or None
