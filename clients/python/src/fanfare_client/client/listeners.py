"""Callbacks of an application."""

from __future__ import annotations

import asyncio
import inspect
import logging
import sys
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

log = logging.getLogger("fanfare_client")

Callback = Callable[[Any], Awaitable[object] | object]
"""A function or coroutine function. It may call the client; what it raises is logged."""

#: What waits for callbacks; beyond it the oldest is dropped, and the log says so.
WAITING_MAX = 1000


if sys.version_info >= (3, 11):
    Caller = asyncio.Task
else:

    class Caller(asyncio.Task[None]):
        """A task that knows how often it was asked to end, which Python 3.10 does not say."""

        _cancelling = 0

        def cancel(self, msg: Any = None) -> bool:
            self._cancelling += 1
            return super().cancel(msg)

        def cancelling(self) -> int:
            return self._cancelling


def is_ending() -> bool:
    """Whether a `CancelledError` is that of this task; otherwise, in a `Caller`, of something that it has awaited."""
    task = asyncio.current_task()
    return not isinstance(task, Caller) or task.cancelling() > 0


class Listeners:
    """Calls callbacks one after the other, in the order of what they are told, in a task of its own.

    So one that awaits the client holds up neither the client nor what it waits for.
    """

    def __init__(self, kinds: frozenset[str]) -> None:
        self._callbacks: dict[str, list[Callback]] = {kind: [] for kind in kinds}
        self._waiting: deque[tuple[str, Any]] = deque()
        self._task: asyncio.Task[None] | None = None

    def add(self, kind: str, callback: Callback) -> Callable[[], None]:
        """Returns what removes it again."""
        if kind not in self._callbacks:
            raise ValueError(f"{kind!r} is not one of {', '.join(sorted(self._callbacks))}")
        callbacks = self._callbacks[kind]
        callbacks.append(callback)

        def remove() -> None:
            if callback in callbacks:
                callbacks.remove(callback)

        return remove

    def tell(self, kind: str, value: Any) -> None:
        if not self._callbacks[kind]:
            return
        if len(self._waiting) >= WAITING_MAX:
            self._waiting.popleft()
            log.warning("callbacks are too slow: one of %d things that waited for them was dropped", WAITING_MAX)
        self._waiting.append((kind, value))
        if self._task is None or self._task.done():
            self._task = Caller(self._call_all())

    async def call(self, kind: str, value: Any) -> None:
        """Calls those of a kind now, in a `Caller`."""
        for callback in tuple(self._callbacks[kind]):
            try:
                result = callback(value)
                if inspect.isawaitable(result):
                    await result
            except asyncio.CancelledError:
                if is_ending():
                    raise
                log.exception("a callback for %r awaited what was cancelled", kind)
            except Exception:
                log.exception("a callback for %r failed", kind)

    @property
    def task(self) -> asyncio.Task[None] | None:
        """What calls them, as long as something waits."""
        return self._task

    async def _call_all(self) -> None:
        while self._waiting:
            await self.call(*self._waiting.popleft())
