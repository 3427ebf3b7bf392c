"""Which events are done, and up to which one the gateway may forget them."""

from __future__ import annotations


class Acks:
    """The events of one link: received in order, done in any order, acknowledged up to the lowest unfinished.

    Holds at most what the credit lets be outstanding.
    """

    __slots__ = ("_done", "received", "sent", "up_to")

    def __init__(self) -> None:
        #: The last event received. Events are numbered from 1 without gaps.
        self.received = 0
        #: Every event up to here is done.
        self.up_to = 0
        #: What the gateway was told.
        self.sent = 0
        #: What is done beyond `up_to`.
        self._done: set[int] = set()

    def done(self, seq: int) -> None:
        """Cost: constant; an event that others waited for takes those along."""
        if not self.up_to < seq <= self.received:
            return
        self._done.add(seq)
        while self.up_to + 1 in self._done:
            self.up_to += 1
            self._done.remove(self.up_to)

    def is_done(self, seq: int) -> bool:
        return seq <= self.up_to or seq in self._done

    @property
    def unsent(self) -> int:
        """How many events are done and not yet acknowledged."""
        return self.up_to - self.sent

    @property
    def all_done(self) -> bool:
        return self.up_to == self.received
