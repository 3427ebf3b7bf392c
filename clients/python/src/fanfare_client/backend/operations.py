"""What an application can have the gateway do, whichever way it waits for the answer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, Generic, TypeVar

Answer = dict[str, Any]
"""The gateway's answer to an operation: its fields without `id` and `ok`."""

R = TypeVar("R")


class Operations(ABC, Generic[R]):
    """Each operation gives an `R`: what waits for the answer, or the answer.

    Each raises `OperationError` where the gateway does not do it, `LinkLost` where the link is cut before the
    answer, and `TimeoutError` where the answer takes longer than `timeout`. While there is no link, it waits
    for one. With `nowait=True` the gateway is asked for no answer: it is `{}`, and no error is told.
    """

    @abstractmethod
    def _operate(self, op: str, fields: dict[str, Any], *, nowait: bool = False, again: bool = False) -> R:
        """Sends the operation; with `again` once more after each cut until it is answered."""

    def publish(
        self, topic: str, data: Any, *, type: str | None = None, key: str | None = None, nowait: bool = False
    ) -> R:
        """Publishes to the subscribers of `topic`: `offset`.

        With `key` it is repeated after a cut until it is answered: the gateway takes a key once.
        """
        fields = {"topic": topic, "data": data} | _given(type=type, key=key)
        return self._operate("publish", fields, nowait=nowait, again=key is not None)

    def send(
        self,
        data: Any,
        *,
        conn: str | None = None,
        user: str | None = None,
        type: str | None = None,
        priority: int | None = None,
        nowait: bool = False,
    ) -> R:
        """Sends to one connection, or to all of a user: then `offset`. `priority`: 1, 3, 5, 8 or 10."""
        fields = _target(conn, user) | {"data": data} | _given(type=type, priority=priority)
        return self._operate("send", fields, nowait=nowait)

    def subscribe(
        self,
        conn: str,
        topics: str | Iterable[str],
        *,
        recover: Mapping[str, Mapping[str, Any]] | None = None,
        presence: Mapping[str, Any] | None = None,
        queue_group: str | None = None,
        nowait: bool = False,
    ) -> R:
        """Subscribes a client: `accepted` and `rejected`.

        `recover` has for a topic what is sent first: `{"epoch": .., "offset": ..}` or `{"last": n}`. `presence` is
        what rosters say of its user; of a `queue_group` one member gets each message. Both are of the protocol wse.
        """
        fields = {"conn": conn, "topics": _topics(topics)}
        fields |= _given(recover=recover, presence=presence, queue_group=queue_group)
        return self._operate("subscribe", fields, nowait=nowait)

    def unsubscribe(self, conn: str, topics: str | Iterable[str], *, nowait: bool = False) -> R:
        """Takes topics from a client."""
        return self._operate("unsubscribe", {"conn": conn, "topics": _topics(topics)}, nowait=nowait)

    def disconnect(
        self,
        *,
        conn: str | None = None,
        user: str | None = None,
        code: int | None = None,
        reason: str | None = None,
        nowait: bool = False,
    ) -> R:
        """Closes one connection, or all of a user, with a close code (1008): `count`."""
        fields = _target(conn, user) | _given(code=code, reason=reason)
        return self._operate("disconnect", fields, nowait=nowait)

    def broadcast(
        self, data: Any, *, type: str | None = None, dialect: str | None = None, nowait: bool = False
    ) -> R:
        """Sends to every client, or to those of one protocol: `count`."""
        fields = {"data": data} | _given(type=type, dialect=dialect)
        return self._operate("broadcast", fields, nowait=nowait)

    def presence(self, topic: str, *, limit: int | None = None, after: str | None = None) -> R:
        """Who is in a topic: `count` and `users`, at most `limit` of them, those after the user `after`."""
        return self._operate("presence", {"topic": topic} | _given(limit=limit, after=after), again=True)

    def connections(self, *, user: str | None = None, limit: int | None = None) -> R:
        """Who is connected: `total` and `connections`, at most `limit`."""
        return self._operate("connections", _given(user=user, limit=limit), again=True)

    def health(self) -> R:
        """How the gateway is: `status`, `connections`, `version`, `uptime_seconds`, `group`."""
        return self._operate("health", {}, again=True)


def _given(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _target(conn: str | None, user: str | None) -> dict[str, Any]:
    if (conn is None) == (user is None):
        raise ValueError("give either conn= or user=")
    return _given(conn=conn, user=user)


def _topics(topics: str | Iterable[str]) -> list[str]:
    return [topics] if isinstance(topics, str) else list(topics)
