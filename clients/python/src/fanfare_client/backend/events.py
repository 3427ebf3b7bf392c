"""What the gateway tells the application."""

from __future__ import annotations

import base64
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from .errors import ProtocolError

if TYPE_CHECKING:
    from .link import Link
    from .operations import Answer


@dataclass(slots=True, eq=False, kw_only=True)
class Event:
    """One object of the link. Kinds that this version does not know come as this class, with `raw` alone."""

    #: Number in the group; the same when the event comes again. A gateway that was restarted begins anew.
    n: int
    #: Number on this link, from 1.
    seq: int
    #: Whether it was sent before, to this member or another, and may have been handled.
    again: bool
    #: The whole object as the gateway sent it.
    raw: dict[str, Any] = field(repr=False)
    link: Link = field(repr=False)

    #: The gateway's name of the kind.
    kind: ClassVar[str] = ""

    def ack(self) -> None:
        """Says that this event is done and need not come again.

        The gateway is told once all events before it are done, too. Further calls do nothing, and neither
        does one after the link has been lost: the event comes again.
        """
        self.link.done(self.seq)

    @classmethod
    def fields(cls, raw: dict[str, Any]) -> dict[str, Any]:
        """What the class has besides what every event has."""
        return {}


@dataclass(slots=True, eq=False, kw_only=True)
class ClientEvent(Event):
    """What one client did."""

    #: The client's connection: what operations take as `conn`.
    conn: str
    #: The protocol that the client speaks: "events", "wse", ..
    dialect: str
    #: Who the client is, where that is known.
    user: str | None

    @classmethod
    def fields(cls, raw: dict[str, Any]) -> dict[str, Any]:
        return {"conn": raw["conn"], "dialect": raw.get("dialect", ""), "user": raw.get("user")}


@dataclass(slots=True, eq=False, kw_only=True)
class Connect(ClientEvent):
    """A client has connected. Its first event."""

    #: Which of its protocol's endpoints: "prod", "demo", ..
    endpoint: str | None
    #: Whether a token proves who the user is.
    verified: bool
    claims: dict[str, Any] | None
    ip: str
    path: str
    #: Without the token.
    query: str
    #: Those that `backend.headers` of the gateway's configuration names.
    headers: dict[str, str]
    #: Milliseconds since 1970.
    time: int

    kind: ClassVar[str] = "connect"

    @classmethod
    def fields(cls, raw: dict[str, Any]) -> dict[str, Any]:
        return ClientEvent.fields(raw) | {
            "endpoint": raw.get("endpoint"),
            "verified": raw.get("verified", False),
            "claims": raw.get("claims"),
            "ip": raw.get("ip", ""),
            "path": raw.get("path", ""),
            "query": raw.get("query", ""),
            "headers": raw.get("headers") or {},
            "time": raw.get("time", 0),
        }


@dataclass(slots=True, eq=False, kw_only=True)
class Message(ClientEvent):
    """What a client said to the application."""

    type: str | None
    #: What the answer to it carries, where the client gave one.
    id: str | int | None

    kind: ClassVar[str] = "message"

    @property
    def data(self) -> Any:
        """The client's whole message: JSON as it came, or bytes. Base64 is decoded at each call."""
        data = self.raw.get("data")
        if self.raw.get("binary") and isinstance(data, str):
            return base64.b64decode(data)
        return data

    def reply(self, data: Any, *, nowait: bool = False) -> Coroutine[Any, Any, Answer]:
        """Answers the client's request, with the id that the client gave it.

        Raises `LinkLost` where the link was lost since: the message comes again. Raises `OperationError` with
        `not_found` where the client has left.
        """
        return self.link.reply(self.n, data, nowait=nowait)

    @classmethod
    def fields(cls, raw: dict[str, Any]) -> dict[str, Any]:
        return ClientEvent.fields(raw) | {"type": raw.get("type"), "id": raw.get("id")}


@dataclass(slots=True, eq=False, kw_only=True)
class Subscribe(ClientEvent):
    """A client has subscribed to topics."""

    topics: list[str]

    kind: ClassVar[str] = "subscribe"

    @classmethod
    def fields(cls, raw: dict[str, Any]) -> dict[str, Any]:
        return ClientEvent.fields(raw) | {"topics": raw["topics"]}


@dataclass(slots=True, eq=False, kw_only=True)
class Unsubscribe(ClientEvent):
    """A client has given up topics."""

    topics: list[str]

    kind: ClassVar[str] = "unsubscribe"

    @classmethod
    def fields(cls, raw: dict[str, Any]) -> dict[str, Any]:
        return ClientEvent.fields(raw) | {"topics": raw["topics"]}


@dataclass(slots=True, eq=False, kw_only=True)
class Disconnect(ClientEvent):
    """A client has gone. Its last event."""

    #: The close code; 0 without a close frame.
    code: int
    reason: str
    #: Why in a word: "client", "gone", "slow", "expired_token", ..
    cause: str
    #: How long it was connected.
    seconds: float
    bytes_in: int
    bytes_out: int

    kind: ClassVar[str] = "disconnect"

    @classmethod
    def fields(cls, raw: dict[str, Any]) -> dict[str, Any]:
        return ClientEvent.fields(raw) | {
            "code": raw.get("code", 0),
            "reason": raw.get("reason", ""),
            "cause": raw.get("cause", ""),
            "seconds": raw.get("seconds", 0.0),
            "bytes_in": raw.get("in", 0),
            "bytes_out": raw.get("out", 0),
        }


@dataclass(slots=True, eq=False, kw_only=True)
class Gap(Event):
    """Events were dropped by the gateway, as its configuration says, and do not come."""

    lost: int

    kind: ClassVar[str] = "gap"

    @classmethod
    def fields(cls, raw: dict[str, Any]) -> dict[str, Any]:
        return {"lost": raw["lost"]}


KINDS: Mapping[str, type[Event]] = {
    kind.kind: kind for kind in (Connect, Message, Subscribe, Unsubscribe, Disconnect, Gap)
}


def read(raw: Any, link: Link, kinds: Mapping[str, type[Event]]) -> Event:
    """The event that an object of a batch is.

    Cost: a lookup of its class and the construction; what is inside `data` is not touched.
    """
    try:
        kind = kinds.get(raw["event"], Event)
        return kind(
            n=raw.get("n", 0),
            seq=raw["seq"],
            again=raw.get("again", False),
            raw=raw,
            link=link,
            **kind.fields(raw),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ProtocolError(f"an object of a batch is not an event: {error!r}") from None
