"""What clients do, as the tuples of `drain_inbound`, between the link's thread and the application's."""

from __future__ import annotations

import base64
import json
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .link import ServerLink

log = logging.getLogger("fanfare_client.wse_server")

Inbound = tuple[str, str | None, Any]
"""(kind, connection, data), as WSE's server has it."""


@dataclass(slots=True)
class Batch:
    """The objects of a frame."""

    link: ServerLink
    objects: list[dict[str, Any]]
    #: The number on the link of the last object of the frame, which may be none of `objects`.
    last_seq: int
    #: Objects taken.
    taken: int = 0


class Translator:
    """Turns objects of the link into tuples: of each client a connect, what it says, and a disconnect, as WSE has it.

    The clients of another process of the group, or of the one before a restart, come with their next message: a
    connect is made for it. One that says nothing more is not told of. Memory: an id for each client.
    """

    def __init__(self, dialects: frozenset[str]) -> None:
        self._dialects = dialects
        self._known: set[str] = set()
        self._told: set[str] = set()
        #: Events that the gateway says it dropped.
        self.lost = 0

    def read(self, batch: Batch, events: list[Inbound], at_most: int) -> None:
        """Takes objects of a batch until there are so many events."""
        objects = batch.objects
        while len(events) < at_most and batch.taken < len(objects):
            raw = objects[batch.taken]
            try:
                if raw["event"] == "message" and raw["conn"] not in self._known and raw["dialect"] in self._dialects:
                    # The message itself is the next one.
                    self._known.add(raw["conn"])
                    events.append(_introduction(raw))
                    continue
                if (event := self._event(raw)) is not None:
                    events.append(event)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                log.error("an object of the gateway is not understood: %r: %.200r", error, raw)
            batch.taken += 1

    def _event(self, raw: dict[str, Any]) -> Inbound | None:
        kind = raw["event"]
        if kind == "gap":
            self.lost += raw["lost"]
            log.warning("the gateway dropped %d events of clients", raw["lost"])
            return None
        conn: str = raw["conn"]
        if raw["dialect"] not in self._dialects:
            self._tell_ignored(kind, raw["dialect"])
        elif kind == "message":
            return _message(raw, conn)
        elif kind == "connect":
            # Known already: the application was told, and the acknowledgement was lost with a link.
            if conn not in self._known:
                self._known.add(conn)
                return _connect(raw, conn)
        elif kind == "disconnect" and conn in self._known:
            self._known.remove(conn)
            return ("disconnect", conn, None)
        return None

    def _tell_ignored(self, kind: str, dialect: str) -> None:
        if kind == "message" and dialect not in self._told:
            self._told.add(dialect)
            log.warning(
                "clients of the protocol %r speak to the application, which takes %s: give dialects= for others",
                dialect,
                ", ".join(sorted(self._dialects)),
            )


def _connect(raw: dict[str, Any], conn: str) -> Inbound:
    if raw.get("verified"):
        return ("auth_connect", conn, raw["user"])
    return ("connect", conn, (raw.get("headers") or {}).get("cookie", ""))


def _introduction(raw: dict[str, Any]) -> Inbound:
    """The connect of a client whose own is gone. Only in the protocol wse is a user always proven, but for those that
    the gateway has named."""
    conn, user = raw["conn"], raw.get("user")
    if raw["dialect"] == "wse" and user and not user.startswith("anonymous-"):
        return ("auth_connect", conn, user)
    return ("connect", conn, "")


def _message(raw: dict[str, Any], conn: str) -> Inbound:
    data = raw["data"]
    if isinstance(data, dict) and "binary" not in raw:
        if "t" not in data and "type" in data:
            data["t"] = data.pop("type")
        if "p" not in data and "payload" in data:
            data["p"] = data.pop("payload")
        return ("msg", conn, data)
    if raw.get("binary"):
        return ("bin", conn, base64.b64decode(data))
    if raw.get("raw") and isinstance(data, str):
        return ("raw", conn, data)
    return ("raw", conn, json.dumps(data))


class Inbox:
    """Batches that have come and were not taken. Holds at most what the credit lets be outstanding.

    What is taken is done when more is asked for. The link's thread waits for no lock of the application's threads,
    so a signal's handler may stop the server wherever it interrupts them.
    """

    def __init__(self, translator: Translator, wake: Callable[[], None]) -> None:
        self._translator = translator
        self._wake = wake
        self._queue: deque[Batch] = deque()
        #: Released when there may be something to look at. (`SimpleQueue.get` waits for ever where a signal's handler
        #: takes longer than its timeout.)
        self._ready = threading.Lock()
        self._ready.acquire()
        #: Of the threads that take.
        self._lock = threading.RLock()
        #: The batch of which a part is taken.
        self._batch: Batch | None = None
        #: Objects that have come and that were taken.
        self._came = 0
        self._left = 0
        #: The last object taken, and up to which one the gateway may forget them.
        self._taken: tuple[ServerLink, int] | None = None
        self._done: tuple[ServerLink, int] | None = None
        self._is_draining = False

    @property
    def depth(self) -> int:
        """Objects not taken."""
        return max(0, self._came - self._left)

    def take(self, at_most: int, seconds: float) -> list[Inbound]:
        """The next events; none after so long without one.

        Cost: constant for each frame of the link, and one wake-up of its thread.
        """
        events: list[Inbound] = []
        deadline = time.monotonic() + seconds
        with self._lock:
            self._finish()
            while len(events) < at_most and not self._is_draining:
                batch = self._batch or self._next(0.0 if events else deadline)
                if batch is None:
                    break
                self._read(batch, events, at_most)
                if not events:
                    # Objects that are nothing to the application.
                    self._finish()
        if self._is_draining and not events:
            time.sleep(max(0.0, deadline - time.monotonic()))
        return events

    def _next(self, deadline: float) -> Batch | None:
        while not self._is_draining:
            with suppress(IndexError):
                return self._queue.popleft()
            left = deadline - time.monotonic()
            if left <= 0 or not self._ready.acquire(timeout=left):
                break
        return None

    def _read(self, batch: Batch, events: list[Inbound], at_most: int) -> None:
        before = batch.taken
        if batch.link.is_lost:
            # It comes again.
            batch.taken = len(batch.objects)
        else:
            self._translator.read(batch, events, at_most)
        self._left += batch.taken - before
        if batch.taken < len(batch.objects):
            self._batch = batch
            if batch.taken:
                self._taken = (batch.link, batch.objects[batch.taken - 1]["seq"])
        else:
            self._batch = None
            self._taken = (batch.link, batch.last_seq)

    def _finish(self) -> None:
        if self._taken is not None:
            self._done, self._taken = self._taken, None
            self._wake()

    def drain(self) -> None:
        """Gives no more events."""
        self._is_draining = True
        self._wake_taker()

    def _wake_taker(self) -> None:
        with suppress(RuntimeError):
            # It is released already.
            self._ready.release()

    # The link's thread

    def put(self, batch: Batch) -> None:
        self._came += len(batch.objects)
        self._queue.append(batch)
        self._wake_taker()

    def drop(self) -> None:
        """The link is lost: what was not taken comes again."""
        with suppress(IndexError):
            while True:
                self._came -= len(self._queue.popleft().objects)

    def done(self, link: ServerLink) -> int:
        """Up to which of the link's objects all are done; 0: none is."""
        done = self._done
        return done[1] if done is not None and done[0] is link else 0
