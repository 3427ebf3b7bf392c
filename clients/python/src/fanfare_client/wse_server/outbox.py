"""Operations of the application that wait for no answer, between its threads and the link's."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from ..codec import Json
from .envelope import plain

log = logging.getLogger("fanfare_client.wse_server")


class Outbox:
    """Operations that are not answered yet, in order. Bounded: beyond it, whoever has one more waits.

    Answers are read for what has failed, which is logged, and so that not more is written than the gateway does.
    The link's thread waits for no lock of the application's threads, as in `Inbox`.
    """

    def __init__(self, wake: Callable[[], None], seconds: float) -> None:
        self._wake = wake
        self._seconds = seconds
        self._codec = Json(plain)
        #: Not yet written: (what it does, the object without its first brace).
        self._queue: deque[tuple[str, bytes]] = deque()
        #: Whether the link's thread is going to look at the queue.
        self._is_woken = False
        #: Of the threads that post.
        self._lock = threading.RLock()
        self._posted = 0
        self._posted_bytes = 0
        self._answered = 0
        self._answered_bytes = 0
        self._is_closed = False
        #: Operations that the gateway has refused.
        self.failed = 0
        #: When the last of them was logged, and how many there had been.
        self._told, self._failed_told = -TOLD_SECONDS, 0

    @property
    def open(self) -> int:
        """Operations that are not answered."""
        return self._posted - self._answered

    def post(self, op: str, fields: dict[str, Any]) -> None:
        """Queues an operation. Waits for room; raises `TimeoutError` where there is none in time."""
        encoded = self._codec.encode({"op": op} | fields)[1:]
        if self._is_full():
            self._wait_for_room(op)
        if self._is_closed:
            raise RuntimeError("Not running")
        with self._lock:
            self._posted += 1
            self._posted_bytes += len(encoded)
            self._queue.append((op, encoded))
        if not self._is_woken:
            self._is_woken = True
            self._wake()

    def _is_full(self) -> bool:
        return self.open >= OPEN_MAX or self._posted_bytes - self._answered_bytes >= OPEN_BYTES_MAX

    def _wait_for_room(self, op: str) -> None:
        deadline = time.monotonic() + self._seconds
        while self._is_full() and not self._is_closed:
            if time.monotonic() >= deadline:
                raise TimeoutError(
                    f"no room for {op} in {self._seconds:g} s: {self.open} operations are not answered; it was not done"
                )
            time.sleep(ROOM_SECONDS)

    def close(self) -> None:
        """Those that wait for room wait no longer."""
        self._is_closed = True

    # The link's thread

    def take(self) -> Iterator[tuple[str, bytes]]:
        """What is to be written now."""
        self._is_woken = False
        with suppress(IndexError):
            while True:
                yield self._queue.popleft()

    def answered(self, op: str, size: int, answer: dict[str, Any]) -> None:
        self._answered += 1
        self._answered_bytes += size
        if "error" in answer:
            self._tell_failed(op, str(answer["error"]), str(answer.get("message", "")))
        elif answer.get("rejected"):
            self._tell_failed(op, "rejected", ", ".join(answer["rejected"]))

    def lost(self, sizes: list[int]) -> None:
        """These were written, and the link was lost before they were answered."""
        if sizes:
            log.warning("%d operations may or may not have been done: the link was lost", len(sizes))
            self._answered += len(sizes)
            self._answered_bytes += sum(sizes)

    def _tell_failed(self, op: str, code: str, message: str) -> None:
        # Clients leave when they like; WSE says nothing of it either.
        if code == "not_found":
            return
        self.failed += 1
        now = time.monotonic()
        if now - self._told >= TOLD_SECONDS:
            more = self.failed - self._failed_told - 1
            log.error("%s was not done: %s: %s (and %d others before it)", op, code, message, more)
            self._told, self._failed_told = now, self.failed


#: Operations that are not answered, and their bytes. One that is larger goes alone.
OPEN_MAX = 4096
OPEN_BYTES_MAX = 4 * 1024 * 1024

#: How often a thread that waits for room looks for it.
ROOM_SECONDS = 0.001

#: Failures are logged so often, with their number.
TOLD_SECONDS = 1.0
