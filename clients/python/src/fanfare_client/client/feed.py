"""The wire's side of one subscription: what came, and from where it goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from .buffer import Buffer
from .errors import ProtocolError
from .events import Event, Gap
from .patterns import is_pattern, matcher
from .positions import Position, Positions


class Feed:
    """Takes confirmations, events and gaps, and gives each event once, in order, to its consumer.

    Bounds: `size` items wait for the consumer, beyond which the oldest are replaced by a gap; positions of
    `TOPICS_MAX` topics of a pattern are kept, at which a reconnect tells a gap, as a stored position does later.
    """

    def __init__(
        self, name: str, arrived: Callable[[], None], *, size: int, since: str | None = None, last: int | None = None
    ) -> None:
        self.name = name
        self.is_pattern = is_pattern(name)
        self._matches = matcher(name).fullmatch if self.is_pattern else None
        #: How many of the newest events to begin with, where no place is known.
        self._last = last
        self._arrived = arrived
        self.buffer = Buffer(name, size)
        #: Of the newest event that came.
        self.received = Positions(name, is_pattern=self.is_pattern)
        #: Of the newest event that the consumer was given.
        self.delivered = Positions(name, is_pattern=self.is_pattern)
        #: A pattern's own place, which is the consumer's once it has been given so many items.
        self._pattern_place: tuple[int, Position] | None = None
        #: Where a pattern goes on once all that it missed has come; until then its older place brings it again.
        self._next: Position | None = None
        #: By topic, up to where what was missed follows.
        self._awaited: dict[str, Position] = {}
        #: Topics whose place is of an earlier connection, until this one says something of them.
        self._unheard: set[str] = set()
        #: Where topics go on after the gap that is about to be told.
        self._renewed: dict[str, Position] = {}
        self._tells_gap = False
        #: How many items the consumer has been given once it has that gap; places from before it are of no use then.
        self._anew: int | None = None
        #: What was popped and is not known to have reached the consumer: `delivered` is before it.
        self._popped: Event | Gap | None = None
        if since is not None:
            self.received.load(since)
            self.delivered.load(since)
        self.lose()

    def covers(self, topic: str) -> bool:
        return topic == self.name or self._matches is not None and self._matches(topic) is not None

    # Going on

    def places(self) -> Iterator[tuple[str, Position]]:
        """Where to go on, what matters most first."""
        # A pattern's place would repeat the events of topics whose places are forgotten: a gap is told instead.
        self._tells_gap = self.received.is_forgetful
        for topic, place in self.received:
            if not (self._tells_gap and topic == self.name):
                yield topic, place

    def begin_like(self, other: Feed) -> None:
        """Begins where another feed of the name is now."""
        for topic, place in reversed(list(other.received)):
            self.received.move(topic, place)
            self.delivered.move(topic, place)
        self._unheard = set(other._unheard)

    @property
    def last(self) -> int | None:
        """How many of the newest events to ask for: only where no place is known."""
        return None if self.received else self._last

    def lose(self) -> None:
        """The connection was lost: what it was about to tell is told by the next one."""
        self._renewed.clear()
        self._awaited.clear()
        self._next = None
        self._unheard = {topic for topic, _ in self.received}

    # What the gateway says

    def confirm(self, topic: str, value: Any) -> None:
        """Takes what a confirmation says of a topic, or of the pattern itself."""
        place = Position.of_frame(value)
        self._unheard.discard(topic)
        if topic == self.name and self._tells_gap:
            self._tells_gap = False
            self.received.forget()
            self._put(Gap(topic=topic, lost=None, position=None))
            self._anew = self.buffer.came
        if value.get("recovered") is False:
            # Until the gap comes, the old place holds.
            self._renewed[topic] = place
        elif topic == self.name and self.is_pattern:
            # Its new place would not bring again what is yet to come of the topics beside it. Behind a gap that is
            # no matter: it was told of all of them.
            if topic in self.received:
                self._next = place
            else:
                self._move_pattern(place)
        else:
            # What was missed follows, and moves the place as it comes.
            count = value.get("count", 0)
            if not isinstance(count, int) or not 0 <= count <= place.offset:
                raise ProtocolError(f"a confirmation's count of {topic} is {count!r:.40}")
            if not self.received:
                # Another subscription to the name may go on further back.
                count = min(count, self._last or 0)
            before = Position(place.epoch, place.offset - count)
            known = self.received.find(topic)
            if known is not None and (known.epoch != before.epoch or known.offset < before.offset):
                # It goes on behind what was asked for.
                lost = before.offset - known.offset if known.epoch == before.epoch else None
                self.received.move(topic, before)
                self._put(Gap(topic=topic, lost=lost, position=str(before)))
            elif self.received.advance(topic, before) and topic not in self.delivered:
                self.delivered.move(topic, before)
            if self.is_pattern and not self.received.is_forgetful and self._is_behind(topic, place):
                self._awaited[topic] = place

    def catch_up(self) -> None:
        """Moves a pattern's own place once a confirmation has said all, and nothing is missing that it says."""
        if self._next is not None and not self._awaited and not self._renewed:
            place, self._next = self._next, None
            self._move_pattern(place)

    def event(self, event: Event, place: Position) -> None:
        """Takes an event, unless it was here before. One that jumps is behind a gap, told by the gateway or not."""
        topic = event.topic
        known = self.received.find(topic) if topic in self._unheard else None
        if not self.received.advance(topic, place):
            return
        self._unheard.discard(topic)
        if known is not None and known.epoch == place.epoch and known.offset + 1 < place.offset:
            before = Position(place.epoch, place.offset - 1)
            self._put(Gap(topic=topic, lost=before.offset - known.offset, position=str(before)))
        self._put(event)
        if topic in self._awaited and not self._is_behind(topic, self._awaited[topic]):
            del self._awaited[topic]
            self.catch_up()

    def is_renewing(self, topic: str) -> bool:
        """Whether a confirmation has said that a gap of the topic follows."""
        return topic in self._renewed

    def gap(self, topic: str, lost: int | None) -> None:
        """Takes a gap. What is missing for the connection may have been here, by another subscription."""
        place = self._renewed.pop(topic, None)
        self._unheard.discard(topic)
        self._awaited.pop(topic, None)
        self._take_gap(topic, lost, place)
        self.catch_up()

    def _take_gap(self, topic: str, lost: int | None, place: Position | None) -> None:
        if self.is_pattern and topic == self.name:
            # It is told of all its topics.
            self._unheard.clear()
            self._awaited.clear()
            self._put(Gap(topic=topic, lost=lost, position=None))
            if place is not None:
                self._move_pattern(place)
            return
        if place is not None:
            known = self.received.find(topic)
            if known == place:
                return
            if known is not None and known.epoch == place.epoch and known.offset < place.offset:
                lost = place.offset - known.offset
            self.received.move(topic, place)
        self._put(Gap(topic=topic, lost=lost, position=None if place is None else str(place)))

    # What the consumer takes

    def take(self) -> Event | Gap:
        """The oldest item, given to the consumer. Raises `IndexError` when there is none."""
        item = self.pop()
        self.given()
        return item

    def pop(self) -> Event | Gap:
        """The oldest item. The consumer has it once `given` is called, or the next one is popped."""
        self.given()
        self._popped = self.buffer.take()
        return self._popped

    def given(self) -> None:
        """The consumer has what was popped, if anything was: it stands behind it."""
        item, self._popped = self._popped, None
        if item is None:
            return
        if self._anew is not None and self.buffer.has_given(self._anew):
            self.delivered.keep(self.received)
            self._anew = None
        if item.position is not None:
            self.delivered.move(item.topic, Position.read(item.position))
        self._settle()

    def drop_popped(self) -> None:
        """The consumer will not have what was popped."""
        self._popped = None

    def _put(self, item: Event | Gap) -> None:
        self.buffer.put(item)
        self._arrived()

    def _is_behind(self, topic: str, place: Position) -> bool:
        known = self.received.find(topic)
        return known is not None and known.epoch == place.epoch and known.offset < place.offset

    def _move_pattern(self, place: Position) -> None:
        self.received.move(self.name, place)
        self._pattern_place = (self.buffer.came, place)
        self._settle()

    def _settle(self) -> None:
        """A pattern's own place counts for the consumer once all that came before it was given."""
        if self._popped is not None or self._pattern_place is None:
            return
        if self.buffer.has_given(self._pattern_place[0]):
            self.delivered.move(self.name, self._pattern_place[1])
            self._pattern_place = None
