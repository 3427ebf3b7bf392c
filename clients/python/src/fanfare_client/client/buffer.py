"""What a subscription has received and its consumer has not taken."""

from __future__ import annotations

from collections import deque

from .events import Event, Gap

#: Topics of which a gap is told one by one where a consumer is too slow; beyond it, one gap names the pattern.
GAPS_MAX = 64


class Buffer:
    """A bounded queue of events and gaps. Beyond its size the oldest go, and gaps say so in their place."""

    def __init__(self, name: str, size: int) -> None:
        self._name = name
        self._size = size
        self._items: deque[Event | Gap] = deque()
        #: By topic, what was dropped. All of it is older than the items.
        self._dropped: dict[str, Gap] = {}
        #: Items that came, and those that were taken or dropped, from the beginning.
        self.came = 0
        self._gone = 0

    def __bool__(self) -> bool:
        return bool(self._items or self._dropped)

    @property
    def is_overfull(self) -> bool:
        """Whether something was dropped that has not been told."""
        return bool(self._dropped)

    def has_given(self, count: int) -> bool:
        """Whether the first items, so many, were taken, and what was dropped of them was told."""
        return self._gone >= count and not self._dropped

    def put(self, item: Event | Gap) -> None:
        self.came += 1
        self._items.append(item)
        if len(self._items) > self._size:
            self._gone += 1
            self._drop(self._items.popleft())

    def take(self) -> Event | Gap:
        """The oldest item. Raises `IndexError` when there is none."""
        if self._dropped:
            return self._dropped.pop(next(iter(self._dropped)))
        item = self._items.popleft()
        self._gone += 1
        return item

    def clear(self) -> None:
        self._items.clear()
        self._dropped.clear()
        self._gone = self.came

    def _drop(self, item: Event | Gap) -> None:
        topic, lost = item.topic, 1 if isinstance(item, Event) else item.lost
        before = self._dropped.pop(topic, None)
        if before is not None:
            lost = None if lost is None or before.lost is None else lost + before.lost
        elif len(self._dropped) >= GAPS_MAX:
            self._dropped.clear()
            topic, lost = self._name, None
            self._dropped[topic] = Gap(topic=topic, lost=None, position=None, reason="buffer")
            return
        self._dropped[topic] = Gap(topic=topic, lost=lost, position=item.position, reason="buffer")
