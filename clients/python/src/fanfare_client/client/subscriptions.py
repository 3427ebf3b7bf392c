"""The subscriptions of a client, and what the gateway is told of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from .errors import ProtocolError, RequestError
from .events import Event, Gap
from .patterns import is_pattern
from .positions import Position
from .subscription import Subscription

#: Subscriptions in one message, and topics to recover: the gateway's `events.max_subscriptions`, until it says another.
RECOVER_MAX = 50

#: Topics whose subscriptions are remembered.
ROUTES_MAX = 1000

#: What an inbox is called: it belongs to the user of the token, and nothing is subscribed to.
INBOX = "user:*:events"


class Chunk:
    """Subscriptions of one message."""

    def __init__(self, subscriptions: list[Subscription], recover: dict[str, Any], *, is_full: bool) -> None:
        self.subscriptions = subscriptions
        self.recover = recover
        #: Whether it is of a new connection, on which nothing was subscribed to before.
        self.is_full = is_full
        #: What the gateway said besides, by which it refuses some of the names.
        self.error: RequestError | None = None
        #: Those that were rejected and not yet told so; none before the confirmation.
        self.refused: list[Subscription] | None = None

    @property
    def names(self) -> list[str]:
        return [subscription.topic for subscription in self.subscriptions]

    @property
    def frame(self) -> dict[str, Any]:
        frame: dict[str, Any] = {"type": "subscribe", "events": self.names}
        return frame | {"recover": self.recover} if self.recover else frame


class Subscriptions:
    """Knows which subscription gets what."""

    def __init__(self) -> None:
        self._by_name: dict[str, Subscription] = {}
        self._inbox: Subscription | None = None
        self._routes: dict[str, tuple[Subscription, ...]] = {}
        #: Those that events may come for on this connection, before they are confirmed or after.
        self._live: set[Subscription] = set()
        self.recover_max = RECOVER_MAX

    def __iter__(self) -> Iterator[Subscription]:
        yield from self._by_name.values()
        if self._inbox is not None:
            yield self._inbox

    def add(self, subscription: Subscription) -> None:
        if subscription.topic == INBOX:
            self._inbox = subscription
        self._by_name[subscription.topic] = subscription
        if subscription.topic == INBOX:
            del self._by_name[INBOX]
        self._routes.clear()

    def find(self, name: str) -> Subscription | None:
        return self._inbox if name == INBOX else self._by_name.get(name)

    def remove(self, subscription: Subscription) -> bool:
        """Whether it was there."""
        if self.find(subscription.topic) is not subscription:
            return False
        if subscription is self._inbox:
            self._inbox = None
        else:
            del self._by_name[subscription.topic]
        self._live.discard(subscription)
        self._routes.clear()
        return True

    @property
    def inbox_after(self) -> str | None:
        """Where the inbox was left."""
        if self._inbox is None:
            return None
        return next((str(place) for _, place in self._inbox.feed.received), None)

    # Subscribing

    def begin(self) -> list[Chunk]:
        """What subscribes to everything on a new connection: topics first, since patterns leave out what flows."""
        self._live = {subscription for subscription in self if subscription.feed.received}
        if self._inbox is not None:
            self._live.add(self._inbox)
        topics = [subscription for subscription in self._by_name.values() if not subscription.feed.is_pattern]
        patterns = [subscription for subscription in self._by_name.values() if subscription.feed.is_pattern]
        places = self._places()
        chunks = []
        for kind in (topics, patterns):
            for start in range(0, len(kind), self.recover_max):
                chunks.append(self._chunk(kind[start : start + self.recover_max], places, is_full=True))
        return chunks

    def join(self, subscription: Subscription) -> Chunk:
        """What subscribes to one more."""
        return self._chunk([subscription], dict(subscription.feed.places()), is_full=False)

    def again(self, chunk: Chunk) -> Chunk:
        """The same with as many topics to recover as the gateway takes now."""
        return self._chunk(chunk.subscriptions, self._places(), is_full=chunk.is_full)

    def lose(self) -> None:
        """The connection is lost."""
        self._live.clear()
        for subscription in self:
            subscription.feed.lose()
            subscription.activate(False)

    def _places(self) -> dict[str, Position]:
        """Where to go on in each topic: where the subscription is that is furthest behind."""
        places: dict[str, Position] = {}
        for subscription in self._by_name.values():
            for topic, place in subscription.feed.places():
                other = places.get(topic)
                if other is None or (other.epoch == place.epoch and place.offset < other.offset):
                    places[topic] = place
        return places

    def _chunk(self, subscriptions: list[Subscription], places: dict[str, Position], *, is_full: bool) -> Chunk:
        recover: dict[str, Any] = {}
        for subscription in subscriptions:
            if (place := places.get(subscription.topic)) is not None:
                recover[subscription.topic] = {"epoch": place.epoch, "offset": str(place.offset)}
            elif subscription.feed.last is not None:
                recover[subscription.topic] = {"last": subscription.feed.last}
        # The rest of the room is for topics of the patterns, the newest first.
        names = {subscription.topic for subscription in subscriptions}
        for topic, place in places.items():
            if len(recover) >= self.recover_max:
                break
            if topic in names or topic in self._by_name or is_pattern(topic):
                continue
            if any(subscription.feed.covers(topic) for subscription in subscriptions):
                recover[topic] = {"epoch": place.epoch, "offset": str(place.offset)}
        return Chunk(subscriptions, recover, is_full=is_full)

    # What the gateway says

    def confirm(self, chunk: Chunk, frame: dict[str, Any]) -> list[Subscription]:
        """Takes the confirmation of a chunk. Those that are refused."""
        topics, rejected = frame.get("topics", {}), frame.get("rejected", [])
        if not isinstance(topics, dict) or not isinstance(rejected, list):
            raise ProtocolError("a confirmation has no topics")
        mine = [subscription for subscription in chunk.subscriptions if not subscription.is_closed]
        refused = [subscription for subscription in mine if subscription.topic in rejected]
        mine = [subscription for subscription in mine if subscription not in refused]
        own = set(mine)
        for topic, value in topics.items():
            for subscription in self._covering(topic):
                if subscription in own or chunk.is_full and subscription in self._live:
                    subscription.feed.confirm(topic, value)
        for subscription in mine:
            if subscription.feed.is_pattern and not chunk.is_full:
                self._join_flowing(subscription, topics)
            self._live.add(subscription)
            subscription.activate(True)
        return refused

    def _join_flowing(self, pattern: Subscription, topics: dict[str, Any]) -> None:
        """A confirmation leaves out topics that flow already: whether the pattern missed something of them is seen here."""
        for other in self._live:
            if other.topic in topics or not pattern.feed.covers(other.topic) or other.feed.is_pattern:
                continue
            place = other.feed.received.find(other.topic)
            if place is not None and pattern.feed.received.find(other.topic) not in (None, place):
                value = {"epoch": place.epoch, "offset": place.offset, "recovered": False}
                pattern.feed.confirm(other.topic, value)
                pattern.feed.gap(other.topic, None)

    def event(self, event: Event, place: Position) -> None:
        for subscription in self._covering(event.topic):
            if subscription in self._live:
                subscription.feed.event(event, place)

    def gap(self, topic: str, lost: int | None) -> None:
        covering = self._covering(topic)
        renewing = [subscription for subscription in covering if subscription.feed.is_renewing(topic)]
        for subscription in renewing or covering:
            if subscription in self._live:
                subscription.feed.gap(topic, lost)

    def greet_inbox(self, user: str | None, *, is_first: bool) -> None:
        """A connection has begun. An inbox without a place may have missed something since the last one."""
        if self._inbox is not None and not is_first and user is not None and not self._inbox.feed.received:
            self._inbox.feed.gap(inbox_of(user), None)
        if self._inbox is not None:
            self._inbox.activate(True)

    def _covering(self, topic: str) -> Iterable[Subscription]:
        route = self._routes.get(topic)
        if route is None:
            route = tuple(subscription for subscription in self if _is_for(subscription, topic))
            if len(self._routes) >= ROUTES_MAX:
                self._routes.clear()
            self._routes[topic] = route
        return route


def inbox_of(user: str) -> str:
    """The name of a user's inbox (docs/protocol.md, "One user")."""
    quoted = "".join(
        chr(byte) if byte < 0x80 and (chr(byte).isalnum() or chr(byte) in "_.-") else f"%{byte:02X}"
        for byte in user.encode(errors="replace")
    )
    return f"user:{quoted}:events"


def _is_for(subscription: Subscription, topic: str) -> bool:
    if is_inbox(topic):
        # No pattern covers an inbox.
        return subscription.topic in (topic, INBOX)
    return subscription.feed.covers(topic)


def is_inbox(topic: str) -> bool:
    return topic.startswith("user:") and topic.endswith(":events")
