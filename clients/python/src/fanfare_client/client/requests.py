"""Requests that wait for their answers, across connections."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from typing import Any

from . import frames
from .decisions import SENT_AGAIN
from .errors import FanfareError, ConnectionLost, RequestError

Answer = dict[str, Any]

#: The pause where the gateway refuses a message for now and does not say for how long, in seconds.
PAUSE_SECONDS = 1.0
PAUSE_MAX = 60.0

#: How long after it was first sent a publication may be sent again, in seconds. The gateway knows its key for five
#: minutes.
KEY_SECONDS = 240.0

CLOSE_TOO_LARGE = 1009


class Request:
    """One message and its answer."""

    def __init__(
        self,
        number: int,
        frame: Answer,
        *,
        again: bool,
        is_first: bool,
        names: frozenset[str],
        take: Callable[[Answer], bool] | None,
    ) -> None:
        self.text = frames.write(frame | {"id": number})
        #: Whether it may be sent again, when it is not known whether it was done.
        self.again = again
        #: Whether it belongs to the beginning of this connection, and goes out before it is open.
        self.is_first = is_first
        #: What it subscribes to or unsubscribes from: it is sent once all before it that have one of them are answered.
        self.names = names
        #: Looks at each frame that answers; false where more will come.
        self.take = take
        self.answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.is_sent = False
        #: When it was sent first, by the clock that goes on while a machine sleeps.
        self.first_sent: float | None = None
        #: The answer that asked to send it later, until it is.
        self.refusal: RequestError | None = None

    @property
    def seconds_left(self) -> float:
        """For how long it may be sent again."""
        return KEY_SECONDS if self.first_sent is None else self.first_sent + KEY_SECONDS - time.time()

    def fail(self, error: FanfareError) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)
            # Looked at here: it may be that it is not waited for any more.
            self.answer.exception()


class Requests:
    """Sends requests in their order, once there is a connection, and gives each its answer.

    One that the gateway refuses for now, as over a rate, is sent again: others may overtake it, but none about the same
    names, so that the last word on a subscription is the last one that was said. Of those that a lost connection leaves
    without an answer the ones that may be repeated are sent again on the next one; the others fail with `ConnectionLost`.
    """

    def __init__(self) -> None:
        #: By number, in their order.
        self._waiting: dict[int, Request] = {}
        self._last = 0
        #: Where there is a connection.
        self._send: Callable[[str], None] | None = None
        self._is_open = False
        #: What ends the wait for a rate.
        self._pause: asyncio.TimerHandle | None = None
        #: What comes back for those that are too old to be sent again.
        self._expiry: asyncio.TimerHandle | None = None

    def add(
        self,
        frame: Answer,
        *,
        again: bool = False,
        is_first: bool = False,
        names: frozenset[str] = frozenset(),
        take: Callable[[Answer], bool] | None = None,
    ) -> Request:
        """Raises `ValueError` or `TypeError` for what is no JSON."""
        self._last += 1
        request = Request(self._last, frame, again=again, is_first=is_first, names=names, take=take)
        self._waiting[self._last] = request
        number = self._last
        request.answer.add_done_callback(lambda _: self._forget(number))
        self._flush()
        return request

    def withdraw(self, name: str) -> None:
        """Forgets what is about this name alone and was not sent yet, or was refused for now."""
        for request in self._waiting.values():
            if request.names == {name} and not request.is_sent:
                request.answer.cancel()

    def attach(self, send: Callable[[str], None]) -> None:
        """There is a connection, which takes its first requests."""
        self._send = send

    def open(self) -> None:
        """The connection takes all."""
        self._is_open = True
        self._expire()
        self._flush()

    def lose(self, why: str, code: int | None = None) -> None:
        """The connection is lost."""
        self._send = None
        self._is_open = False
        self._end_pause()
        if code == CLOSE_TOO_LARGE:
            self._fail_largest()
        for request in self._waiting.values():
            if request.is_first:
                request.fail(ConnectionLost(why))
            elif request.is_sent:
                request.is_sent = False
                if not request.again:
                    request.fail(ConnectionLost(f"{why}; the request may or may not have been done"))
        self._expire()

    def end(self, error: FanfareError) -> None:
        """Nothing is sent any more."""
        self.lose(str(error))
        for request in self._waiting.values():
            request.fail(error)
        self._expire()

    def answer(self, frame: Answer) -> bool:
        """Takes a frame with an `id`. Whether something was done, or refused for good."""
        number = frame.get("id")
        request = self._waiting.get(number) if isinstance(number, int) else None
        if request is None or request.answer.done():
            return False
        is_error = frame["type"] == "error"
        code = frame.get("code") if is_error else None
        if code in SENT_AGAIN:
            return self._later(request, frame)
        if request.take is not None and not request.take(frame):
            return False
        if request.answer.done():
            return True
        if is_error:
            request.fail(RequestError.of_frame(frame))
        else:
            request.answer.set_result(frame)
        return True

    def _forget(self, number: int) -> None:
        request = self._waiting.pop(number)
        if request.names:
            self._flush()

    def _later(self, request: Request, frame: Answer) -> bool:
        request.is_sent = False
        request.refusal = RequestError.of_frame(frame)
        seconds = frames.retry_after(frame)
        seconds = PAUSE_SECONDS if seconds is None else min(seconds, PAUSE_MAX)
        if self._pause is None:
            # Random, since all clients of an address have the same minute.
            seconds += random.uniform(0, PAUSE_SECONDS)
            self._pause = asyncio.get_running_loop().call_later(seconds, self._resume)
        return False

    def _resume(self) -> None:
        self._end_pause()
        self._expire()
        self._flush()

    def _end_pause(self) -> None:
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None

    def _flush(self) -> None:
        if self._send is None or self._pause is not None:
            return
        busy: set[str] = set()
        for request in self._waiting.values():
            if request.answer.done():
                continue
            is_free = busy.isdisjoint(request.names)
            busy |= request.names
            if request.is_sent or not is_free or not (self._is_open or request.is_first):
                continue
            request.is_sent = True
            request.refusal = None
            request.first_sent = request.first_sent or time.time()
            self._send(request.text)
        if self._expiry is None:
            self._expire()

    def _expire(self) -> None:
        """Fails those whose key the gateway may have forgotten, and comes back for the oldest of the others."""
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
        left = []
        for request in self._waiting.values():
            if not request.again or request.first_sent is None or request.answer.done():
                continue
            if request.seconds_left <= 0:
                text = f"it was not acknowledged in {KEY_SECONDS:g} s: it may or may not have been done"
                request.fail(ConnectionLost(text))
            else:
                left.append(request.seconds_left)
        if left:
            self._expiry = asyncio.get_running_loop().call_later(max(0.0, min(left)), self._expire)

    def _fail_largest(self) -> None:
        """The gateway closes the connection for a message that is too large: most likely this one."""
        sent = [request for request in self._waiting.values() if request.is_sent and not request.is_first]
        if sent:
            size, request = max(((len(request.text.encode()), request) for request in sent), key=lambda pair: pair[0])
            text = f"a message of {size} bytes is more than the gateway's events.max_message_size"
            request.fail(RequestError("MESSAGE_TOO_LARGE", text))
