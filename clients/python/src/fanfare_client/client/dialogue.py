"""What is said on one connection, from its greeting until it is lost."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

from . import frames
from .connection import Connection, End
from .decisions import Decision
from .errors import ProtocolError, RequestError
from .events import Session, read_event, read_presence, read_session
from .renewal import keep_renewed, renew
from .requests import Requests
from .subscription import Subscription
from .subscriptions import INBOX, Chunk, Subscriptions
from .tokens import Tokens

log = logging.getLogger("fanfare_client")

#: How long a greeting, and then the confirmation of the subscriptions, is waited for, in seconds. The latter may
#: have to wait for a rate.
GREETING_SECONDS = 10.0
CONFIRMATION_SECONDS = 90.0

#: How long the reason of a refused subscription is waited for, in seconds.
REFUSAL_SECONDS = 0.5


class Owner(Protocol):
    """What a dialogue needs of its client."""

    @property
    def was_open(self) -> bool: ...

    def greeted(self, session: Session) -> None: ...

    def opened(self) -> None: ...

    def tell(self, frame: dict[str, Any]) -> None: ...


class Dialogue:
    """Gives each frame to what it is for, subscribes, and keeps the token valid.

    Nothing that takes a frame waits, so that frames are dealt with in their order.
    """

    def __init__(
        self, owner: Owner, connection: Connection, subscriptions: Subscriptions, requests: Requests, tokens: Tokens
    ) -> None:
        self.connection = connection
        #: Whether the gateway has confirmed anything.
        self.is_good = False
        self._owner = owner
        self._subscriptions = subscriptions
        self._requests = requests
        self._tokens = tokens
        self._is_greeted = False
        #: Who the gateway takes the client for.
        self._user: str | None = None
        self._is_refused = False
        self._is_lost = False
        #: Messages that subscribe at the beginning and are not confirmed.
        self._unconfirmed = 0
        #: Seconds that the gateway asked to wait before it closes.
        self._hint: float | None = None
        self._renewal: asyncio.Task[None] | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._set_deadline(GREETING_SECONDS, "no greeting")

    def take(self, frame: dict[str, Any]) -> None:
        """Deals with a frame of the gateway. Raises `ProtocolError`."""
        kind = frame["type"]
        if kind == "event":
            self._event(frame)
        elif "id" in frame:
            self.is_good = self._requests.answer(frame) or self.is_good
        elif kind == "gap":
            self._gap(frame)
        elif kind == "presence":
            self._subscriptions.presence(read_presence(frame))
        elif kind == "connection_established":
            self._greeted(frame)
        elif kind == "error":
            self._erred(frame)
        else:
            # Others may be added to the protocol.
            self._owner.tell(frame)

    def lose(self, end: End) -> None:
        """The connection is lost."""
        self._is_lost = True
        self._is_greeted = False
        self._set_deadline(None)
        if self._renewal is not None:
            self._renewal.cancel()
        self._subscriptions.lose()
        self._requests.lose(end.reason, end.code)

    def explain(self, end: End) -> End:
        """The end, with what was said before it."""
        decision = Decision.NEW_TOKEN if self._is_refused else end.decision
        return replace(end, decision=decision, hint=self._hint if end.hint is None else end.hint)

    def join(self, subscription: Subscription) -> None:
        """Subscribes to one more; before the greeting, all are subscribed to with it."""
        if not self._is_greeted:
            return
        if subscription.name == INBOX:
            return self._subscriptions.greet_inbox(self._user, [subscription])
        chunk, flows = self._subscriptions.join(subscription)
        if flows:
            self._unsubscribe(subscription.name)
        if chunk is not None:
            self._subscribe(chunk)

    def leave(self, name: str) -> None:
        """Unsubscribes from what is not wanted any more."""
        if not self._is_greeted or name == INBOX:
            return
        if self._unconfirmed == 0:
            # Else what waits may be what the beginning waits for.
            self._requests.withdraw(name)
        self._unsubscribe(name)

    async def renew(self) -> None:
        """Goes on with another token. Raises where it cannot."""
        self._keep_renewed(await renew(self._tokens, self._requests, "requested"))

    # The beginning

    def _greeted(self, frame: dict[str, Any]) -> None:
        if self._is_greeted:
            return
        self._is_greeted = True
        session = read_session(frame)
        self._owner.greeted(session)
        self._set_deadline(CONFIRMATION_SECONDS, "the subscriptions are not confirmed")
        left = frames.seconds_between(frame.get("timestamp"), frame.get("expires_at"))
        if left is not None:
            self._tokens.ends_in(left)
            self._keep_renewed(left)
        self._user = session.user
        self._subscriptions.greet_inbox(session.user, has_missed=self._owner.was_open)
        self._requests.attach(self.connection.send)
        chunks = self._subscriptions.begin()
        self._unconfirmed = len(chunks) or 1
        for chunk in chunks:
            self._subscribe(chunk)
        if not chunks:
            # What shows that the connection is any good.
            self._requests.add({"type": "ping"}, is_first=True, take=self._ponged)

    def _ponged(self, frame: dict[str, Any]) -> bool:
        self._one_confirmed()
        return True

    def _one_confirmed(self) -> None:
        self._unconfirmed -= 1
        if self._unconfirmed == 0:
            self._set_deadline(None)
            self._owner.opened()
            self._requests.open()

    def _keep_renewed(self, left: float) -> None:
        if self._renewal is not None:
            self._renewal.cancel()
        if self._tokens.can_ask and not self._is_lost:
            self._renewal = asyncio.create_task(keep_renewed(self._tokens, self._requests, left))

    def _set_deadline(self, seconds: float | None, why: str = "") -> None:
        """Drops the connection after so long, unless it is set again."""
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if seconds is not None:
            self._deadline = asyncio.get_running_loop().call_later(seconds, self.connection.drop, why)

    # Subscribing

    def _subscribe(self, chunk: Chunk) -> None:
        names, take = frozenset(chunk.names), partial(self._confirmed, chunk)
        chunk.request = self._requests.add(chunk.frame, is_first=True, names=names, take=take)

    def _unsubscribe(self, name: str) -> None:
        frame = {"type": "unsubscribe", "events": [name]}
        self._requests.add(frame, is_first=True, names=frozenset([name]))

    def _confirmed(self, chunk: Chunk, frame: dict[str, Any]) -> bool:
        """Takes what answers a chunk; false where more is yet to come."""
        if frame["type"] == "error":
            return self._not_confirmed(chunk, frame)
        if frame["type"] != "subscription_confirmed":
            raise ProtocolError(f"a subscription is answered by {frame['type']}")
        chunk.rejected = self._subscriptions.confirm(chunk, frame)
        if chunk.is_full:
            self._one_confirmed()
        if chunk.rejected and chunk.error is None:
            # An error that says why may follow.
            asyncio.get_running_loop().call_later(REFUSAL_SECONDS, self._reject, chunk)
            return False
        return self._reject(chunk)

    def _not_confirmed(self, chunk: Chunk, frame: dict[str, Any]) -> bool:
        error = RequestError.of_frame(frame)
        limit = error.details.get("limit")
        if error.code == "SUBSCRIPTION_LIMIT" and isinstance(limit, int) and 0 < limit < len(chunk.recover):
            # More topics to recover than it takes: all was refused.
            self._subscriptions.recover_max = limit
            pieces = self._subscriptions.again(chunk)
            for piece in pieces:
                self._subscribe(piece)
            if chunk.is_full:
                self._unconfirmed += len(pieces)
                self._one_confirmed()
            return True
        chunk.error = error
        if error.code in ("SUBSCRIPTION_LIMIT", "TOPIC_LIMIT", "FORBIDDEN"):
            # The confirmation says which of the names, before or after.
            return self._reject(chunk)
        chunk.rejected = chunk.subscriptions
        if chunk.is_full:
            self._one_confirmed()
        return self._reject(chunk)

    def _reject(self, chunk: Chunk) -> bool:
        """Says so to those that the gateway has rejected, once they are known: then the chunk is done."""
        if chunk.rejected is None:
            return False
        rejected, chunk.rejected = chunk.rejected, []
        for subscription in [] if self._is_lost else rejected:
            text = f"the gateway refuses to subscribe to {subscription.name}: another token may be permitted to"
            error = chunk.error or RequestError("FORBIDDEN", text)
            log.warning("no subscription to %s: %s", subscription.name, error)
            self._subscriptions.reject(subscription, error)
        if chunk.request is not None:
            chunk.request.answer.cancel()
        return True

    # What else the gateway says

    def _event(self, frame: dict[str, Any]) -> None:
        # An application may talk to this connection alone, without a position, and may subscribe it to topics.
        if "event_id" not in frame or not self._subscriptions.event(*read_event(frame)):
            self._owner.tell(frame)

    def _gap(self, frame: dict[str, Any]) -> None:
        topic, lost = frame.get("event"), frame.get("lost")
        if topic is None:
            # What was for this client alone, as answers, is missing: it is asked for anew.
            raise ProtocolError("answers are missing")
        if not isinstance(topic, str) or not (lost is None or isinstance(lost, int)):
            raise ProtocolError("a gap has no topic or no number")
        self._subscriptions.gap(topic, lost)

    def _erred(self, frame: dict[str, Any]) -> None:
        """An error that answers nothing in particular, most often before a close."""
        self._is_refused = self._is_refused or frame.get("code") == "AUTHENTICATION_FAILED"
        self._hint = frames.retry_after(frame)
        log.warning("the gateway says %s: %s", frame.get("code"), frame.get("message"))
