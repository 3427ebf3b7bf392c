"""One WebSocket connection to the gateway, from its handshake until it is lost."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from . import events
from .acks import Acks
from ..codec import Codec
from .errors import LinkLost, OperationError, ProtocolError
from .operations import Answer

log = logging.getLogger("fanfare_client.backend")


class Link:
    """What is bound to one connection: the numbers of its events and the operations not yet answered.

    Everything here runs on the event loop. Bounds: events by the credit; what waits to be written by
    `WAITING_MAX` bytes, beyond which operations wait.
    """

    #: The classes of events, by the gateway's names.
    kinds: Mapping[str, type[events.Event]] = events.KINDS

    def __init__(
        self,
        socket: ClientConnection,
        codec: Codec,
        arrived: Callable[[], None],
        *,
        credit: int,
        seconds: float,
        drops_copies: bool,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.is_lost = False
        #: Whether the gateway has said anything that was understood.
        self.is_good = False
        #: Events not yet taken.
        self.inbox: deque[events.Event] = deque()
        self._socket = socket
        self._codec = codec
        #: How long an answer is waited for.
        self._seconds = seconds
        self._arrived = arrived
        self._acks = Acks()
        #: The number on this link of the last events by `n`, and those of their copies.
        self._first: dict[int, int] = {}
        self._first_max = 2 * credit if drops_copies else 0
        self._copies: dict[int, list[int]] = {}
        self._ack_at_once = max(1, min(JOINED_MAX, credit // 4))
        self._ack_timer: asyncio.TimerHandle | None = None
        #: Encoded objects not yet written, and their bytes.
        self._waiting: deque[bytes] = deque()
        self._waiting_size = 0
        self._to_write = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        #: Operations not yet answered, with their sizes, by id.
        self._pending: dict[int, tuple[asyncio.Future[Answer], int]] = {}
        self._last_id = 0

    async def serve(self) -> str:
        """Reads and writes until the link is lost; says why."""
        writer = asyncio.create_task(self._write())
        why, code = "the link was cut", None
        try:
            while True:
                self._take(await self._socket.recv(decode=False))
        except ConnectionClosed as closed:
            if closed.rcvd is not None and closed.rcvd_then_sent:
                code = closed.rcvd.code
                why = f"the gateway closed the link: {code} {closed.rcvd.reason}".rstrip()
            elif closed.sent is not None:
                why = f"the link was given up: {closed.sent.code} {closed.sent.reason}".rstrip()
        except ProtocolError as error:
            why = str(error)
        finally:
            writer.cancel()
            self._lose(why, code)
            await asyncio.gather(writer, return_exceptions=True)
            await self._socket.close()
        return why

    def done(self, seq: int) -> None:
        """Marks an event as done; the gateway is told at once when nothing else is in hand, else soon."""
        if self.is_lost:
            return
        self._acks.done(seq)
        for copy in self._copies.pop(seq, ()):
            self._acks.done(copy)
        if self._acks.unsent == 0:
            return
        if self._acks.all_done or self._acks.unsent >= self._ack_at_once:
            self._ack()
        elif self._ack_timer is None:
            self._ack_timer = self.loop.call_later(ACK_SECONDS, self._ack)

    async def call(self, op: str, fields: dict[str, Any]) -> Answer:
        """Has an operation done and waits for its answer."""
        self._last_id += 1
        number = self._last_id
        encoded = self._codec.encode({"op": op, "id": number} | fields)
        await self._push(encoded)
        answer: asyncio.Future[Answer] = self.loop.create_future()
        self._pending[number] = (answer, len(encoded))
        timer = self.loop.call_later(self._seconds, _time_out, answer, op, self._seconds)
        try:
            return await answer
        finally:
            timer.cancel()
            self._pending.pop(number, None)

    async def post(self, op: str, fields: dict[str, Any]) -> Answer:
        """Has an operation done; returns once it is queued."""
        await self._push(self._codec.encode({"op": op} | fields))
        return {}

    async def reply(self, to: int, data: Any, *, nowait: bool) -> Answer:
        """Answers a message of this link. Its number may be another's on the next one."""
        fields = {"to": to, "data": data}
        if not nowait:
            return await self.call("reply", fields)
        with suppress(LinkLost):
            await self.post("reply", fields)
        return {}

    async def close(self) -> None:
        """Writes what waits, then closes; `serve` returns."""
        self._ack()
        while self._waiting and not self.is_lost:
            self._room.clear()
            await self._room.wait()
        await self._socket.close()

    # Reading

    def _take(self, frame: bytes) -> None:
        try:
            value = self._codec.decode(frame)
        except ValueError as error:
            raise ProtocolError(f"a frame of the gateway is not {self._codec.name}: {error}") from None
        if isinstance(value, list):
            self._take_batch(value)
        elif isinstance(value, dict) and isinstance(number := value.pop("id", None), int):
            self._take_answer(number, value)
        elif isinstance(value, dict) and "error" in value:
            log.error("the gateway did not understand: %s: %s", value["error"], value.get("message", ""))
        else:
            raise ProtocolError(f"not the link of a gateway: {frame[:80]!r}")
        self.is_good = True

    def _take_batch(self, batch: list[Any]) -> None:
        for raw in batch:
            event = events.read(raw, self, self.kinds)
            if event.seq != self._acks.received + 1:
                raise ProtocolError(f"event {self._acks.received + 1} is missing: {event.seq} came")
            self._acks.received = event.seq
            if not self._is_copy(event):
                self.inbox.append(event)
        self._arrived()

    def _is_copy(self, event: events.Event) -> bool:
        """Whether the event came on this link before: it is done when the first one is.

        The gateway takes back what is not acknowledged in time and sends it again, also to the member that is
        busy with it. Without this, one slow event would have all behind it handled twice.
        """
        if self._first_max == 0:
            return False
        first = self._first.setdefault(event.n, event.seq)
        if first == event.seq or not event.again:
            if len(self._first) > self._first_max:
                del self._first[next(iter(self._first))]
            return False
        if self._acks.is_done(first):
            self.done(event.seq)
        else:
            self._copies.setdefault(first, []).append(event.seq)
        return True

    def _take_answer(self, number: int, value: Answer) -> None:
        answer, _ = self._pending.get(number, (None, 0))
        # One that has timed out is waited for no longer.
        if answer is None or answer.done():
            return
        if "error" in value:
            answer.set_exception(OperationError(str(value["error"]), str(value.get("message", ""))))
        else:
            value.pop("ok", None)
            answer.set_result(value)

    # Writing

    async def _push(self, encoded: bytes) -> None:
        while self._waiting_size > WAITING_MAX and not self.is_lost:
            self._room.clear()
            await self._room.wait()
        if self.is_lost:
            raise LinkLost("the link was lost before this was sent; a message that it answers comes again")
        self._append(encoded)

    def _append(self, encoded: bytes) -> None:
        self._waiting.append(encoded)
        self._waiting_size += len(encoded)
        self._to_write.set()

    def _ack(self) -> None:
        if self._ack_timer is not None:
            self._ack_timer.cancel()
            self._ack_timer = None
        if self._acks.unsent and not self.is_lost:
            self._acks.sent = self._acks.up_to
            # Behind the operations of the events that it acknowledges: they are done first.
            self._append(self._codec.encode({"ack": self._acks.sent}))

    async def _write(self) -> None:
        try:
            while True:
                await self._to_write.wait()
                self._to_write.clear()
                while self._waiting:
                    await self._socket.send(self._next_frame(), text=self._codec.is_text)
                    self._room.set()
        except ConnectionClosed:
            # The reader says why.
            pass

    def _next_frame(self) -> bytes:
        """As many waiting objects as go into one frame, in order; a large one goes alone."""
        taken = [self._waiting.popleft()]
        size = len(taken[0])
        while self._waiting and len(taken) < JOINED_MAX and size + len(self._waiting[0]) <= JOINED_SIZE_MAX:
            taken.append(self._waiting.popleft())
            size += len(taken[-1])
        self._waiting_size -= size
        return taken[0] if len(taken) == 1 else self._codec.join(taken)

    # The end

    def _lose(self, why: str, code: int | None) -> None:
        """What was not taken comes again on the next link, and may go to another member."""
        self.is_lost = True
        self.inbox.clear()
        self._waiting.clear()
        self._room.set()
        if self._ack_timer is not None:
            self._ack_timer.cancel()
        for answer, size in self._pending.values():
            if answer.done():
                continue
            if code == CLOSE_TOO_BIG and size > JOINED_SIZE_MAX:
                text = f"an operation of {size} bytes is more than the gateway's backend.max_message_size"
                answer.set_exception(OperationError("too_large", text))
            else:
                answer.set_exception(LinkLost(f"{why}; the operation may or may not have been done"))


#: How long an acknowledgement waits for others while more events are in hand.
ACK_SECONDS = 0.05

#: Objects in one frame to the gateway, and their bytes. One larger than that has its own frame.
JOINED_MAX = 256
JOINED_SIZE_MAX = 64 * 1024

#: Bytes that wait to be written, beyond which operations wait, too.
WAITING_MAX = 1024 * 1024

CLOSE_TOO_BIG = 1009


def _time_out(answer: asyncio.Future[Answer], op: str, seconds: float) -> None:
    if not answer.done():
        answer.set_exception(TimeoutError(f"no answer to {op} in {seconds:g} s; it may or may not have been done"))
