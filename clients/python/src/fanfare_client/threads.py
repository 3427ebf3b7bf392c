"""Blocking code and the event loop of another thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


class LoopThread:
    """A thread that runs an event loop. For any number of threads that call."""

    def __init__(self, name: str) -> None:
        self.loop = asyncio.new_event_loop()
        #: Nothing is scheduled behind the end, where it would wait for ever. A signal's handler may call, too.
        self._scheduling = threading.RLock()
        self._has_ended = False
        self._thread = threading.Thread(target=self.loop.run_forever, name=name, daemon=True)
        self._thread.start()

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """What the coroutine returns, run on the loop. Raises `RuntimeError` when that has ended."""
        with self._scheduling:
            if self._has_ended:
                coroutine.close()
                raise RuntimeError(f"{self._thread.name} has ended")
            future = asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        return _wait(future)

    def end(self) -> None:
        """Cancels what still runs on the loop, and ends the thread."""
        with self._scheduling:
            self._has_ended = True
            future = asyncio.run_coroutine_threadsafe(_cancel_all(), self.loop)
        _wait(future)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


def _wait(future: Future[T]) -> T:
    try:
        return future.result()
    except BaseException:
        # Of this thread, such as Ctrl-C.
        future.cancel()
        raise


async def _cancel_all() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
