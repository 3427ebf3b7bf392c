"""Operations of the application that wait for no answer, between its threads and the link's."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from ..backend import LinkLost
from ..backend.codec import Json
from .envelope import plain

log = logging.getLogger("fanfare_client.wse_server")


class Outbox:
    """Operations that are not answered yet, in order. Bounded: beyond it, whoever has one more waits.

    Answers are read for what has failed, which is logged, and so that not more is written than the gateway does.
    """

    def __init__(self, wake: Callable[[], None], seconds: float) -> None:
        self._wake = wake
        self._seconds = seconds
        self._codec = Json(plain)
        self._changed = threading.Condition()
        #: Not yet written: (what it does, the object without its first brace).
        self._queue: deque[tuple[str, bytes]] = deque()
        self._open = 0
        self._open_bytes = 0
        self._is_closed = False
        #: Operations that the gateway has refused.
        self.failed = 0
        #: When the last of them was logged, and how many there had been.
        self._told, self._failed_told = -TOLD_SECONDS, 0

    def post(self, op: str, fields: dict[str, Any]) -> None:
        """Queues an operation. Waits for room; raises `TimeoutError` where there is none in time."""
        encoded = self._codec.encode({"op": op} | fields)[1:]
        with self._changed:
            if self._open >= OPEN_MAX or self._open_bytes >= OPEN_BYTES_MAX:
                self._wait_for_room(op)
            if self._is_closed:
                raise RuntimeError("Not running")
            self._open += 1
            self._open_bytes += len(encoded)
            self._queue.append((op, encoded))
            is_first = len(self._queue) == 1
        if is_first:
            self._wake()

    def _wait_for_room(self, op: str) -> None:
        deadline = time.monotonic() + self._seconds
        while (self._open >= OPEN_MAX or self._open_bytes >= OPEN_BYTES_MAX) and not self._is_closed:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(
                    f"no room for {op} in {self._seconds:g} s: {self._open} operations are not answered; it was not done"
                )
            self._changed.wait(left)

    def take(self) -> deque[tuple[str, bytes]]:
        """What is to be written now."""
        with self._changed:
            queue, self._queue = self._queue, deque()
            return queue

    def answered(self, op: str, size: int, answer: dict[str, Any]) -> None:
        with self._changed:
            self._open -= 1
            self._open_bytes -= size
            self._changed.notify()
        if "error" in answer:
            self._tell_failed(op, str(answer["error"]), str(answer.get("message", "")))
        elif answer.get("rejected"):
            self._tell_failed(op, "rejected", ", ".join(answer["rejected"]))

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

    def lost(self, sizes: list[int]) -> None:
        """These were written, and the link was lost before they were answered."""
        if not sizes:
            return
        log.warning("%d operations may or may not have been done: %s", len(sizes), LinkLost("the link was lost"))
        with self._changed:
            self._open -= len(sizes)
            self._open_bytes -= sum(sizes)
            self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()


#: Operations that are not answered, and their bytes. One that is larger goes alone.
OPEN_MAX = 4096
OPEN_BYTES_MAX = 4 * 1024 * 1024

#: Failures are logged so often, with their number.
TOLD_SECONDS = 1.0
