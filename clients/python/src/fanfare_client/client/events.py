"""What a client is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from .errors import ProtocolError
from .positions import Position


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """An event of a topic. Each comes once, in the topic's order."""

    topic: str
    #: How it is called: like its topic, unless it was published with a type of its own.
    name: str
    #: Any JSON value.
    data: Any
    #: Its place in its topic, to be stored; `since` of a subscription to the topic takes it.
    position: str
    #: The user who published it, where a client with a token did.
    publisher: str | None
    #: When the gateway took it, RFC 3339 in UTC.
    timestamp: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Events are missing: load the state anew. Comes before anything newer of the topic."""

    #: The topic, or a pattern: then any topic that it covers may lack some.
    topic: str
    #: How many are missing; none if that is not known.
    lost: int | None
    #: Where the topic goes on behind the gap, where that is known.
    position: str | None
    #: `gateway`: it could not give them; `buffer`: they did not fit into the subscription's.
    reason: Literal["gateway", "buffer"] = "gateway"

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            if name in ("data", "name", "publisher", "timestamp"):
                lost = "an unknown number of" if self.lost is None else self.lost
                raise AttributeError(
                    f"{lost} events of {self.topic!r} are missing: a loop is told so by a Gap, which has no {name}. "
                    "Test for it with isinstance(event, Gap), and load the state anew"
                )
            raise AttributeError(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Presence:
    """A user has come to a topic, has left it, or has changed the own data."""

    topic: str
    action: str
    user: str
    #: Users in the topic from now on.
    users: int
    #: What the user says of itself, where it does.
    data: Any
    #: Number of this change in the topic; after a jump, and after a reconnect, query "presence" again.
    seq: int


State = Literal["connecting", "open", "waiting", "ended", "closed"]
"""What a client is doing.

- `connecting`: asks for a token, opens a connection, and waits for its first confirmation.
- `open`: connected and subscribed.
- `waiting`: not connected; the next attempt comes by itself.
- `ended`: given up, since another attempt would be refused, too; `reconnect()` begins anew.
- `closed`: by `close()`, or not begun.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """A client's state, and why."""

    state: State
    #: Why it came to that.
    reason: str = ""
    #: Close code or HTTP status, where there was one.
    code: int | None = None
    #: Seconds to the next attempt, when waiting.
    delay: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Who the gateway takes a client for."""

    client_id: str
    #: The token's user; none without one.
    user: str | None
    name: str | None
    role: str | None


SubscriptionState = Literal["pending", "active", "rejected", "ended"]
"""What a subscription is.

- `pending`: not confirmed, or not connected.
- `active`: every event comes.
- `rejected`: the gateway refuses it, and is asked again with the next connection.
- `ended`: unsubscribed.
"""


def read_event(frame: Mapping[str, Any]) -> tuple[Event, Position]:
    """The event of a frame, and its place in its topic. Raises `ProtocolError`."""
    name, topic = frame.get("event"), frame.get("topic")
    place, publisher = frame.get("event_id"), frame.get("publisher")
    topic = name if topic is None else topic
    if not isinstance(name, str) or not isinstance(topic, str) or not isinstance(place, str):
        raise ProtocolError("an event has no name or no position")
    try:
        position = Position.read(place)
    except ValueError as error:
        raise ProtocolError(f"an event of {topic}: {error}") from None
    event = Event(
        topic=topic,
        name=name,
        data=frame.get("data"),
        position=place,
        publisher=publisher if isinstance(publisher, str) else None,
        timestamp=str(frame.get("timestamp", "")),
    )
    return event, position


def read_session(frame: Mapping[str, Any]) -> Session:
    """Who a greeting names."""

    def text(name: str) -> str | None:
        value = frame.get(name)
        return value if isinstance(value, str) else None

    return Session(client_id=text("client_id") or "", user=text("user"), name=text("name"), role=text("role"))


def read_presence(frame: Mapping[str, Any]) -> Presence:
    """The presence message of a frame. Raises `ProtocolError`."""
    topic, data, seq = frame.get("event"), frame.get("data"), frame.get("presence_seq")
    if not isinstance(topic, str) or not isinstance(data, dict) or not isinstance(seq, int):
        raise ProtocolError("a presence message has no topic, data or number")
    users = data.get("users")
    return Presence(
        topic=topic,
        action=str(data.get("action", "")),
        user=str(data.get("user", "")),
        users=users if isinstance(users, int) else 0,
        data=data.get("data"),
        seq=seq,
    )
