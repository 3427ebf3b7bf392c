"""The subscriptions of a client, and what the gateway is told of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from .errors import ProtocolError, RequestError
from .events import Event, Presence
from .patterns import is_pattern
from .positions import Position
from .requests import Request
from .subscription import Subscription

#: Subscriptions in one message, and topics to recover: the gateway's `events.max_subscriptions`, until it says another.
RECOVER_MAX = 50

#: How many more than the newest events are asked for where others go on: what is published before they flow again.
LAST_MARGIN = 100

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
        self.rejected: list[Subscription] | None = None
        #: The message, once it was sent.
        self.request: Request | None = None

    @property
    def names(self) -> list[str]:
        return list(dict.fromkeys(subscription.name for subscription in self.subscriptions))

    @property
    def frame(self) -> dict[str, Any]:
        frame: dict[str, Any] = {"type": "subscribe", "events": self.names}
        return frame | {"recover": self.recover} if self.recover else frame


class Subscriptions:
    """Knows which subscription gets what."""

    def __init__(self) -> None:
        #: Any number of subscriptions to a name cost the gateway one.
        self._by_name: dict[str, list[Subscription]] = {}
        self._routes: dict[str, tuple[Subscription, ...]] = {}
        #: Those that events may come for on this connection, before they are confirmed or after.
        self._live: set[Subscription] = set()
        #: Those that joined with a beginning of their own, until the message that asks for it is answered.
        self._joining: dict[Subscription, Chunk] = {}
        self.recover_max = RECOVER_MAX

    def __iter__(self) -> Iterator[Subscription]:
        for subscriptions in self._by_name.values():
            yield from subscriptions

    def add(self, subscription: Subscription) -> None:
        self._by_name.setdefault(subscription.name, []).append(subscription)
        self._routes.clear()

    def remove(self, subscription: Subscription) -> bool:
        """Whether it was the last one of its name."""
        subscriptions = self._by_name.get(subscription.name, [])
        if subscription not in subscriptions:
            return False
        subscriptions.remove(subscription)
        self._live.discard(subscription)
        self._joining.pop(subscription, None)
        self._routes.clear()
        if not subscriptions:
            del self._by_name[subscription.name]
        return not subscriptions

    @property
    def _inboxes(self) -> list[Subscription]:
        return self._by_name.get(INBOX, [])

    @property
    def inbox_after(self) -> str | None:
        """Where the inbox was left, by the subscription that is furthest behind."""
        places = [place for inbox in self._inboxes for _, place in list(inbox.feed.received)[:1]]
        return str(min(places, key=lambda place: place.offset)) if places else None

    # Subscribing

    def begin(self) -> list[Chunk]:
        """What subscribes to everything on a new connection: topics first, since patterns leave out what flows."""
        self._live.update(subscription for subscription in self if subscription.feed.received)
        topics = [name for name in self._by_name if not is_pattern(name)]
        patterns = [name for name in self._by_name if is_pattern(name) and name != INBOX]
        return self._chunks(topics, is_full=True) + self._chunks(patterns, is_full=True)

    def join(self, subscription: Subscription) -> tuple[Chunk | None, bool]:
        """What subscribes to one more, if the gateway has to be told, and whether to unsubscribe from its name first."""
        others = [other for other in self._by_name[subscription.name] if other is not subscription]
        flowing = [other for other in others if other.state == "active"]
        is_asked = any(other.state == "pending" for other in others)
        if not subscription.feed.received and subscription.feed.last is None and (flowing or is_asked):
            if flowing:
                subscription.feed.begin_like(flowing[0].feed)
                self._live.add(subscription)
                subscription.change("active")
            return None, False
        # What flows goes on elsewhere only if it begins anew.
        all_of_it = [*others, subscription]
        # The newest that are kept are behind what flows, whose place would bring nothing.
        asking = all_of_it if subscription.feed.last is None else [one for one in all_of_it if one not in flowing]
        chunk = self._chunk(all_of_it, self._places(asking), is_full=False)
        if flowing or is_asked:
            self._joining[subscription] = chunk
            begin = chunk.recover.get(subscription.name, {})
            if "last" in begin:
                begin["last"] += LAST_MARGIN
        return chunk, bool(flowing or is_asked)

    def again(self, chunk: Chunk) -> list[Chunk]:
        """The same in pieces that the gateway takes now. What was left meanwhile is left out."""
        pieces = self._chunks([name for name in chunk.names if name in self._by_name], is_full=chunk.is_full)
        for piece in pieces:
            for subscription in piece.subscriptions:
                if self._joining.get(subscription) is chunk:
                    self._joining[subscription] = piece
        return pieces

    def _chunks(self, names: list[str], *, is_full: bool) -> list[Chunk]:
        places = self._places()
        pieces = [names[start : start + self.recover_max] for start in range(0, len(names), self.recover_max)]
        return [
            self._chunk([one for name in piece for one in self._by_name[name]], places, is_full=is_full) for piece in pieces
        ]

    def lose(self) -> None:
        """The connection is lost."""
        self._live.clear()
        self._joining.clear()
        for subscription in self:
            subscription.feed.lose()
            subscription.change("pending")

    def _places(self, subscriptions: Iterable[Subscription] | None = None) -> dict[str, Position]:
        """Where to go on in each topic: where the subscription is that is furthest behind."""
        places: dict[str, Position] = {}
        for subscription in self if subscriptions is None else subscriptions:
            for topic, place in subscription.feed.places():
                other = places.get(topic)
                if other is None or (other.epoch == place.epoch and place.offset < other.offset):
                    places[topic] = place
        return places

    def _chunk(self, subscriptions: list[Subscription], places: dict[str, Position], *, is_full: bool) -> Chunk:
        recover: dict[str, Any] = {}
        for subscription in subscriptions:
            name, last = subscription.name, subscription.feed.last
            if (place := places.get(name)) is not None:
                recover[name] = {"epoch": place.epoch, "offset": str(place.offset)}
            elif last is not None:
                recover[name] = {"last": max(last, recover.get(name, {"last": 0})["last"])}
        # The rest of the room is for topics of the patterns, the newest first.
        names = {subscription.name for subscription in subscriptions}
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
        # Those that have joined meanwhile, too.
        mine = [
            subscription
            for name in chunk.names
            for subscription in self._by_name.get(name, ())
            if self._joining.get(subscription, chunk) is chunk
        ]
        refused = [subscription for subscription in mine if subscription.name in rejected]
        mine = [subscription for subscription in mine if subscription not in refused]
        own = set(mine)
        for topic, value in topics.items():
            for subscription in self._by_name.get(topic, ()) if is_pattern(topic) else self._covering(topic):
                if subscription in own or chunk.is_full and subscription in self._live:
                    subscription.feed.confirm(topic, value)
        for subscription in mine:
            self._joining.pop(subscription, None)
            if subscription.feed.is_pattern and not chunk.is_full:
                self._join_flowing(subscription, topics)
            subscription.feed.catch_up()
            self._live.add(subscription)
            subscription.change("active")
        return refused

    def _join_flowing(self, pattern: Subscription, topics: dict[str, Any]) -> None:
        """A confirmation leaves out topics that flow already: whether the pattern missed something of them is seen here."""
        for other in self._live:
            if other.name in topics or not pattern.feed.covers(other.name) or other.feed.is_pattern:
                continue
            place = other.feed.received.find(other.name)
            if place is not None and pattern.feed.received.find(other.name) not in (None, place):
                value = {"epoch": place.epoch, "offset": place.offset, "recovered": False}
                pattern.feed.confirm(other.name, value)
                pattern.feed.gap(other.name, None)

    def event(self, event: Event, place: Position) -> bool:
        """Whether it is for any of them."""
        takers = [subscription for subscription in self._covering(event.topic) if subscription in self._live]
        for subscription in takers:
            subscription.feed.event(event, place)
        return bool(takers)

    def gap(self, topic: str, lost: int | None) -> None:
        covering = self._covering(topic)
        renewing = [subscription for subscription in covering if subscription.feed.is_renewing(topic)]
        for subscription in renewing or covering:
            if subscription in self._live:
                subscription.feed.gap(topic, lost)
        if is_pattern(topic) and not renewing:
            # Any of its topics may lack some, those with a subscription of their own too; each pattern is told of itself.
            for pattern in self._by_name.get(topic, [])[:1]:
                for subscription in self._live.difference(covering):
                    if not subscription.feed.is_pattern and _is_for(pattern, subscription.name):
                        subscription.feed.gap(subscription.name, None)

    def reject(self, subscription: Subscription, error: RequestError) -> None:
        """The gateway refuses it; it is asked again on the next connection."""
        self._live.discard(subscription)
        self._joining.pop(subscription, None)
        subscription.change("rejected", error)

    def presence(self, presence: Presence) -> None:
        for subscription in self._covering(presence.topic):
            subscription.tell_presence(presence)

    def greet_inbox(
        self, user: str | None, joining: list[Subscription] | None = None, *, has_missed: bool = False
    ) -> None:
        """A connection has begun, or these have joined it. Without a user nothing can come to an inbox.

        With `has_missed` one without a place may have missed something since the last connection.
        """
        for inbox in list(self._inboxes) if joining is None else joining:
            if user is None:
                text = "an inbox is of a token's user, and this connection has none: give the client a token"
                self.reject(inbox, RequestError("FORBIDDEN", text))
                continue
            if has_missed and not inbox.feed.received:
                inbox.feed.gap(inbox_of(user), None)
            self._live.add(inbox)
            inbox.change("active")

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
        return subscription.name in (topic, INBOX)
    return subscription.feed.covers(topic)


def is_inbox(topic: str) -> bool:
    return topic.startswith("user:") and topic.endswith(":events")
