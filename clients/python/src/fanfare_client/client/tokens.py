"""The tokens of a client."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, Literal

from .errors import GiveUp

Reason = Literal["first", "expired", "refused"]

Token = str | Callable[[Reason], Awaitable[str | None] | str | None]
"""A token, or what gives one and is told why it is asked:

- `first`: there is none yet, or `reconnect()` was called;
- `expired`: the last one has ended, or will soon;
- `refused`: the gateway did not take the last one, or has revoked it.

A plain function is called in a thread, so it may block. None is no token. What it raises is logged, and it is
asked again later; `GiveUp`, and None for one that has ended or was refused, close the client.
"""

#: How long a token is waited for.
TOKEN_SECONDS = 30.0


class Tokens:
    """Keeps the token that is in use, and asks for another one when there is a reason to."""

    def __init__(self, token: Token | None) -> None:
        self._ask = token if callable(token) else None
        self._token = None if callable(token) else token
        self._reason: Reason | None = None if self._ask is None else "first"
        #: By the clock of the day, which goes on while the machine sleeps.
        self._ends: float | None = None

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
        token = await asyncio.wait_for(_call(self._ask, reason), TOKEN_SECONDS)
        if token is not None and not isinstance(token, str):
            raise TypeError(f"a token is a string, not {type(token).__name__}")
        if not token and reason != "first":
            raise GiveUp(f"there is no token for one that was {reason}")
        return token or None

    def use(self, token: str) -> None:
        """The gateway has taken another one."""
        self._token = token
        self._reason = None

    def ends_in(self, seconds: float) -> None:
        """The token in use is valid for so long."""
        self._ends = time.time() + seconds

    def lose(self, reason: Reason) -> None:
        """The token in use is of no use any more, or not to be used."""
        if self._ask is not None:
            self._reason = reason


async def _call(ask: Callable[[Reason], Any], reason: Reason) -> Any:
    token = ask(reason) if inspect.iscoroutinefunction(ask) else await asyncio.to_thread(ask, reason)
    return await token if inspect.isawaitable(token) else token
