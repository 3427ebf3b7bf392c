"""Places in topics, as text that can be stored."""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any, NamedTuple

from .errors import ProtocolError

#: Topics of one pattern whose positions are kept. The one that was quiet for longest is forgotten first, and from so many
#: on, resuming the pattern is a gap.
TOPICS_MAX = 1000


class Position(NamedTuple):
    """A topic's epoch and the offset in it of the newest event; of a pattern, a process and a time of it."""

    epoch: str
    offset: int

    @classmethod
    def read(cls, text: str) -> Position:
        """Reads `<epoch>-<offset>`, which is an event's `event_id`. Raises `ValueError`."""
        if not isinstance(text, str) or not (match := _FORM.fullmatch(text)):
            raise ValueError(f"a position is the text that an event or a subscription gave, not {text!r:.80}")
        return cls(match[1], int(match[2]))

    @classmethod
    def of_frame(cls, value: Any) -> Position:
        """That of a confirmation's `topics`."""
        try:
            return cls.read(f"{value['epoch']}-{value['offset']}")
        except (KeyError, TypeError, ValueError) as error:
            raise ProtocolError(f"a confirmation has no position: {error}") from None

    def __str__(self) -> str:
        return f"{self.epoch}-{self.offset}"


class Positions:
    """Where a subscription stands: one topic, or a pattern and topics that it covers."""

    def __init__(self, name: str, *, is_pattern: bool) -> None:
        self.name = name
        self._limit = TOPICS_MAX + 1 if is_pattern else 1
        #: The topic that moved last is the last one.
        self._places: OrderedDict[str, Position] = OrderedDict()

    @property
    def is_forgetful(self) -> bool:
        """Whether places of topics may be forgotten: resuming the pattern would repeat their events.

        It is seen by how many there are, so that it is the same wherever they are copied to or stored.
        """
        return len(self._places) >= self._limit > 1

    def __contains__(self, topic: str) -> bool:
        return topic in self._places

    def __iter__(self) -> Iterator[tuple[str, Position]]:
        """The newest first, the pattern's own before all others."""
        if (own := self._places.get(self.name)) is not None:
            yield self.name, own
        for topic in reversed(self._places):
            if topic != self.name:
                yield topic, self._places[topic]

    def find(self, topic: str) -> Position | None:
        return self._places.get(topic)

    def move(self, topic: str, to: Position) -> None:
        """Moves to a place, whatever it was before."""
        self._places[topic] = to
        self._places.move_to_end(topic)
        if len(self._places) > self._limit:
            oldest = next(topic for topic in self._places if topic != self.name)
            del self._places[oldest]

    def advance(self, topic: str, to: Position) -> bool:
        """Moves to the place of an event, and never back; false if it is not a newer one."""
        known = self._places.get(topic)
        if known is not None and known.epoch == to.epoch and to.offset <= known.offset:
            return False
        self.move(topic, to)
        return True

    def forget(self) -> None:
        """Forgets every place."""
        self._places.clear()

    def keep(self, others: Positions) -> None:
        """Forgets the topics that others do not have."""
        for topic in [topic for topic in self._places if topic not in others]:
            del self._places[topic]

    def __str__(self) -> str:
        """`<epoch>-<offset>` of a topic; of a pattern, an object of all that is known."""
        if self._limit == 1:
            return str(self._places[self.name])
        return json.dumps({topic: str(place) for topic, place in self._places.items()}, separators=(",", ":"))

    def __bool__(self) -> bool:
        return bool(self._places)

    def load(self, text: str) -> None:
        """Takes what `str` gave. Raises `ValueError` for anything else."""
        if self._limit == 1:
            self.move(self.name, Position.read(text))
            return
        try:
            places = json.loads(text)
            items = [(topic, Position.read(place)) for topic, place in places.items()]
        except (TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"`since` of a pattern is a subscription's own `position`: {error}") from None
        for topic, place in items:
            self.move(topic, place)


_FORM = re.compile(r"([0-9]{1,20})-([0-9]{1,20})")
