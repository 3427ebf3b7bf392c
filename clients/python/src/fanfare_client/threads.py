"""Blocking code and event loops: a loop in a thread, and calls in threads."""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent import futures
from contextlib import suppress
from functools import partial
from typing import Any, Generic, TypeVar

T = TypeVar("T")

#: How often an interrupted call cancels its coroutine, and how long it waits for its end each time, in seconds. Once is
#: not enough: `asyncio.wait_for` of Python before 3.12 drops a cancellation that comes together with what it waits for.
CANCELS_MAX = 5
CANCEL_SECONDS = 2.0

#: Calls of one `CallThreads` that have not returned.
CALLS_MAX = 8


class HasEnded(RuntimeError):
    """The thread of a loop has ended: nothing runs on it any more."""


class IsForked(RuntimeError):
    """This process is a fork of the one that the thread of a loop is in: nothing runs on that loop here."""


class LoopThread:
    """A thread that runs an event loop. For any number of threads that call, of the process that made it."""

    def __init__(self, name: str) -> None:
        self._process = os.getpid()
        self.loop = asyncio.new_event_loop()
        #: Nothing is scheduled behind the end, where it would wait for ever. A signal's handler may call, too.
        self._scheduling = threading.RLock()
        self._has_ended = False
        #: The thread that ends this one, and whether it has.
        self._ender: int | None = None
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self.loop.run_forever, name=name, daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raises `IsForked` in another process than that of the thread. Before any lock, which may be held there."""
        if os.getpid() != self._process:
            where = "the process that this one was forked from"
            raise IsForked(f"{self._thread.name} runs in {where}: make one in each process")

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """What the coroutine returns, run on the loop. Raises `HasEnded` when that has ended, and as `check` does."""
        try:
            self.check()
        except IsForked:
            coroutine.close()
            raise
        call = _Call(self.loop, coroutine)
        try:
            with self._scheduling:
                if self._has_ended:
                    call.refuse()
                    raise HasEnded(f"{self._thread.name} has ended")
                call.begin()
            return call.result()
        except BaseException:
            # Where it was of this thread, such as Ctrl-C, which may come at any moment.
            call.stop()
            raise

    def end(self, last: Coroutine[Any, Any, object] | None = None) -> None:
        """Runs `last`, cancels what still runs on the loop then, and ends the thread.

        Once: a second caller waits until the first one has done it. Raises what `last` raises. In a fork of the process
        there is nothing to end.
        """
        if os.getpid() != self._process:
            # Not even what belongs to the loop is closed: the kernel's list of what it waits for is shared.
            if last is not None:
                last.close()
            return
        with self._scheduling:
            is_first = self._ender is None
            if is_first:
                self._ender = threading.get_ident()
        if is_first:
            try:
                if last is not None:
                    self.call(last)
            finally:
                self._end()
            return
        if last is not None:
            last.close()
        # Not in a signal's handler that came while this thread was at it.
        if self._ender != threading.get_ident():
            self._is_over.wait()

    def _end(self) -> None:
        call = _Call(self.loop, _cancel_all())
        try:
            with self._scheduling:
                self._has_ended = True
                call.begin()
            call.result()
        finally:
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join()
            self.loop.close()
            self._is_over.set()


class _Call(Generic[T]):
    """A coroutine on the loop of another thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, T]) -> None:
        self._loop = loop
        self._coroutine = coroutine
        self._task: asyncio.Task[T] | None = None
        self._future: futures.Future[T] = futures.Future()

    def begin(self) -> None:
        self._loop.call_soon_threadsafe(self._begin)

    def refuse(self) -> None:
        """It does not begin."""
        self._coroutine.close()
        self._future.cancel()

    def result(self) -> T:
        """What it returns, or raises."""
        return self._future.result()

    def stop(self) -> None:
        """Cancels it, and waits for its end, unless it has ended."""
        if not self._future.done():
            with suppress(RuntimeError):
                for _ in range(CANCELS_MAX):
                    self._loop.call_soon_threadsafe(self._cancel)
                    if futures.wait([self._future], CANCEL_SECONDS).done:
                        return

    def _begin(self) -> None:
        self._task = self._loop.create_task(self._coroutine)
        self._task.add_done_callback(self._finish)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()
        else:
            self.refuse()
            self._future.set_running_or_notify_cancel()

    def _finish(self, task: asyncio.Task[T]) -> None:
        if task.cancelled():
            self._future.cancel()
            self._future.set_running_or_notify_cancel()
        elif (error := task.exception()) is not None:
            self._future.set_exception(error)
        else:
            self._future.set_result(task.result())


async def _cancel_all() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class CallThreads:
    """Calls what may block, each time in a thread of its own; at most `CALLS_MAX` at once. For one event loop.

    One that does not return holds up neither the process's end nor what else runs in threads, as it does with
    `asyncio.to_thread`, whose few threads resolve names, too.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._threads: list[threading.Thread] = []

    async def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """What the function returns, or raises. Raises `TimeoutError` while too many calls have not returned."""
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        if len(self._threads) >= CALLS_MAX:
            raise TimeoutError(f"{CALLS_MAX} calls have not returned")
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        call = partial(contextvars.copy_context().run, function, *arguments)
        thread = threading.Thread(target=_call_for, args=(future, call), name=self._name, daemon=True)
        self._threads.append(thread)
        thread.start()
        return await future


def _call_for(future: asyncio.Future[T], call: Callable[[], T]) -> None:
    """Has the future, of the loop of another thread, have what the call returns or raises."""
    settle: Callable[[], None]
    try:
        settle = partial(future.set_result, call())
    except StopIteration as error:
        # No future takes it.
        settle = partial(future.set_exception, RuntimeError(f"{error!r} was raised"))
    except BaseException as error:
        settle = partial(future.set_exception, error)

    def settle_once() -> None:
        # What waited may have been cancelled.
        if not future.done():
            settle()

    # The loop may have ended.
    with suppress(RuntimeError):
        future.get_loop().call_soon_threadsafe(settle_once)
