"""The link to the gateway of a `WSEServer`: whole batches to the application's thread, whole batches back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..backend import client, link
from ..backend.errors import ProtocolError
from ..backend.operations import Answer
from .inbound import Batch, Inbox
from .outbox import Outbox


class ServerLink(link.Link):
    """A link whose events are tuples, and whose operations are posted by other threads.

    Cost of an event: one decoding, in the frame's, and one tuple. There is one wake-up of each thread for a batch.
    """

    def __init__(self, inbox: Inbox, outbox: Outbox, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._events = inbox
        self._outbox = outbox
        #: What was posted and is not answered, with its size, by id.
        self._posted: dict[int, tuple[str, int]] = {}
        #: The `n` of the newest objects, in two generations of at least the credit's size.
        self._seen: set[int] = set()
        self._seen_before: set[int] = set()
        self._seen_max = self._first_max

    async def serve(self) -> str:
        self.flush()
        return await super().serve()

    def flush(self) -> None:
        """Writes what the application has posted, and behind it the acknowledgement of what it has done."""
        if self.is_lost:
            return
        done = self._events.done(self)
        for op, encoded in self._outbox.take():
            self._last_id += 1
            self._posted[self._last_id] = (op, len(encoded))
            self._append(b'{"id":%d,' % self._last_id + encoded)
        if done > self._acks.up_to:
            self._acks.up_to = done
            self._ack()

    def _take_batch(self, batch: list[Any]) -> None:
        seq, objects, numbers = self._acks.received, [], []
        try:
            for raw in batch:
                seq += 1
                if raw["seq"] != seq:
                    raise ProtocolError(f"event {seq} is missing: {raw['seq']} came")
                n = raw["n"]
                # One that was sent again before it was done. It is done with the first, which is acknowledged before.
                if "again" in raw and (n in self._seen or n in self._seen_before):
                    continue
                numbers.append(n)
                objects.append(raw)
        except (KeyError, TypeError, AttributeError) as error:
            raise ProtocolError(f"an object of a batch is not an event: {error!r}") from None
        self._seen.update(numbers)
        if len(self._seen) > self._seen_max:
            self._seen_before, self._seen = self._seen, set()
        self._acks.received = seq
        self._events.put(Batch(self, objects, seq))

    def _take_answer(self, number: int, value: Answer) -> None:
        posted = self._posted.pop(number, None)
        if posted is None:
            super()._take_answer(number, value)
        else:
            self._outbox.answered(*posted, value)

    def _lose(self, why: str, code: int | None) -> None:
        super()._lose(why, code)
        self._events.drop()
        sizes = []
        for op, size in self._posted.values():
            if code == link.CLOSE_TOO_BIG and size > link.JOINED_SIZE_MAX:
                text = f"{size} bytes are more than the gateway's backend.max_message_size"
                self._outbox.answered(op, size, {"error": "too_large", "message": text})
            else:
                sizes.append(size)
        self._outbox.lost(sizes)
        self._posted.clear()


class ServerBackend(client.Backend):
    """The link, kept up."""

    def __init__(self, make_link: Callable[..., ServerLink], url: str, **options: Any) -> None:
        super().__init__(url, **options)
        self.link_type = make_link

    def flush(self) -> None:
        """Has the link, if there is one, write what waits."""
        if isinstance(self._link, ServerLink):
            self._link.flush()

    async def ask(self, op: str, fields: dict[str, Any], *, again: bool = False) -> Answer:
        """Has an operation done after those that were posted before, and waits for its answer."""
        self.flush()
        return await self._operate(op, fields, again=again)
