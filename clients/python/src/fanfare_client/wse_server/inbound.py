"""What clients do, as the tuples of `drain_inbound`, between the link's thread and the application's."""

from __future__ import annotations

import base64
import json
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .link import ServerLink

log = logging.getLogger("fanfare_client.wse_server")

Inbound = tuple[str, str | None, Any]
"""(kind, connection, data), as WSE's server has it."""


@dataclass(slots=True)
class Batch:
    """A frame's events. `seqs` has for each the number up to which all is done when it is."""

    link: ServerLink
    events: list[Inbound] = field(default_factory=list)
    seqs: list[int] = field(default_factory=list)
    #: That of the frame's last object, which may be none of `events`.
    last_seq: int = 0
    #: Events taken.
    taken: int = 0


class Translator:
    """Turns objects of the link into tuples, and sees to it that an application hears of a client before it hears it.

    The clients of another process of the group, or of the one before a restart, come with their next message: a
    connect is made for it. Memory: an id for each client.
    """

    def __init__(self, dialects: frozenset[str]) -> None:
        self._dialects = dialects
        self._known: set[str] = set()
        self._told: set[str] = set()
        #: Events that the gateway says it dropped.
        self.lost = 0

    def add(self, raw: dict[str, Any], batch: Batch) -> None:
        """Adds the tuples of an object. Raises `KeyError` or `TypeError` for what is no object of the link."""
        kind, seq = raw["event"], raw["seq"]
        if kind == "gap":
            self.lost += raw["lost"]
            log.warning("the gateway dropped %d events of clients", raw["lost"])
            return
        conn = raw["conn"]
        if raw["dialect"] not in self._dialects:
            self._tell_ignored(kind, raw["dialect"])
        elif kind == "message":
            if conn not in self._known:
                self._known.add(conn)
                batch.events.append(_introduction(raw))
                batch.seqs.append(seq - 1)
            batch.events.append(_message(raw, conn))
            batch.seqs.append(seq)
        elif kind == "connect":
            # Known already: the application was told, and the acknowledgement was lost with a link.
            if conn not in self._known:
                self._known.add(conn)
                batch.events.append(_connect(raw, conn))
                batch.seqs.append(seq)
        elif kind == "disconnect":
            self._known.discard(conn)
            batch.events.append(("disconnect", conn, None))
            batch.seqs.append(seq)

    def undo(self, events: list[Inbound]) -> None:
        """These come again: the application has not seen them."""
        for kind, conn, _ in reversed(events):
            if conn is None:
                continue
            if kind == "disconnect":
                self._known.add(conn)
            elif kind in ("connect", "auth_connect"):
                self._known.discard(conn)

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
    """Events that have come and were not taken. Holds at most what the credit lets be outstanding.

    What is taken is done when more is asked for.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._changed = threading.Condition()
        self._batches: deque[Batch] = deque()
        self._depth = 0
        #: The last event taken, and up to which one the gateway may forget them.
        self._taken: tuple[ServerLink, int] | None = None
        self._done: tuple[ServerLink, int] | None = None
        self._is_draining = False

    @property
    def depth(self) -> int:
        """Events not taken."""
        return self._depth

    def put(self, batch: Batch) -> None:
        with self._changed:
            self._batches.append(batch)
            self._depth += len(batch.events)
            self._changed.notify()

    def take(self, at_most: int, seconds: float) -> list[Inbound]:
        """The next events; none after so long without one.

        Cost: constant for each frame of the link, and one wake-up of its thread.
        """
        events: list[Inbound] = []
        with self._changed:
            self._finish()
            deadline = time.monotonic() + seconds
            while at_most > 0:
                if not self._is_draining:
                    self._fill(events, at_most)
                if events:
                    break
                # Objects that are nothing to the application.
                self._finish()
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(left)
        return events

    def _finish(self) -> None:
        if self._taken is not None:
            self._done, self._taken = self._taken, None
            self._wake()

    def _fill(self, events: list[Inbound], at_most: int) -> None:
        while self._batches and len(events) < at_most:
            batch = self._batches[0]
            begin = batch.taken
            batch.taken = min(len(batch.events), begin + at_most - len(events))
            events.extend(batch.events[begin : batch.taken])
            if batch.taken == len(batch.events):
                self._batches.popleft()
                self._taken = (batch.link, batch.last_seq)
            else:
                self._taken = (batch.link, batch.seqs[batch.taken - 1])
        self._depth -= len(events)

    def drain(self) -> None:
        """Gives no more events."""
        with self._changed:
            self._is_draining = True
            self._changed.notify_all()

    def drop(self, link: ServerLink) -> list[Inbound]:
        """Events of a link that was lost. They come again."""
        with self._changed:
            dropped = [event for batch in self._batches if batch.link is link for event in batch.events[batch.taken :]]
            self._batches = deque(batch for batch in self._batches if batch.link is not link)
            self._depth -= len(dropped)
            return dropped

    def done(self, link: ServerLink) -> int:
        """Up to which of the link's events all are done; 0: none is."""
        done = self._done
        return done[1] if done is not None and done[0] is link else 0
