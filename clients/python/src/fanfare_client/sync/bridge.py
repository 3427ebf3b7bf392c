"""The bridge for blocking code."""

from __future__ import annotations

import functools
import os
import ssl as tls
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, NamedTuple

from .. import bridge as asynchronous
from ..bridge import Pushed
from ..threads import HasEnded, IsForked, LoopThread


class _Own(NamedTuple):
    """What one process has: after a fork, connections and thread are the other one's."""

    bridge: asynchronous.Bridge
    thread: LoopThread


class Bridge:
    """As `fanfare_client.bridge.Bridge`, with `with`, `for` and calls that wait. From any thread.

    A thread begins with the first call, in each process: one that is made before a fork serves all of them.
    """

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        ssl: tls.SSLContext | None = None,
        timeout: float = 30.0,
        silence: float = 60.0,
    ) -> None:
        self._make = functools.partial(
            asynchronous.Bridge, url, key=key, ssl=ssl, timeout=timeout, silence=silence
        )
        # What is wrong is said now.
        self._make()
        #: By process. Those of others are kept: their connections must not be closed from here.
        self._owns: dict[int, _Own] = {}
        self._is_closed = False

    def __enter__(self) -> Bridge:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections that are kept, and ends the thread."""
        self._is_closed = True
        if (own := self._owns.get(os.getpid())) is not None:
            own.thread.end(_close(own.bridge))

    def push(self, user: str, data: Mapping[str, Any], *, event_type: str | None = None) -> bool:
        """Tells a user something; whether the user is connected and has it on the way."""
        own = self._here()
        return own.thread.call(own.bridge.push(user, data, event_type=event_type))

    def push_batch(self, messages: Iterable[tuple[str, Mapping[str, Any]]]) -> list[Pushed]:
        """Tells many users: pairs of a user and the data; what became of each, in order."""
        own = self._here()
        return own.thread.call(own.bridge.push_batch(messages))

    def ask(self, user: str, data: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Asks a user, and gives the answers as they come, the final one last. Leaving the loop ends the question."""
        own = self._here()
        answers = own.bridge.ask(user, data)
        try:
            while (answer := own.thread.call(_next(answers))) is not None:
                yield answer
        finally:
            with suppress(HasEnded, IsForked):
                own.thread.call(answers.aclose())

    def _here(self) -> _Own:
        own = self._owns.get(os.getpid())
        if own is None:
            if self._is_closed:
                raise HasEnded("fanfare-bridge has ended")
            made = _Own(self._make(), LoopThread("fanfare-bridge"))
            # Another thread may have been first.
            own = self._owns.setdefault(os.getpid(), made)
            if own is not made or self._is_closed:
                made.thread.end()
        return own


async def _close(bridge: asynchronous.Bridge) -> None:
    bridge.close()


async def _next(answers: Any) -> dict[str, Any] | None:
    return await anext(answers, None)
