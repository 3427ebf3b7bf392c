"""The bridge for blocking code."""

from __future__ import annotations

import ssl as tls
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any

from .. import bridge as asynchronous
from ..bridge import Pushed
from ..threads import HasEnded, LoopThread


class Bridge:
    """As `fanfare_client.bridge.Bridge`, with `with`, `for` and calls that wait. From any thread."""

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        ssl: tls.SSLContext | None = None,
        timeout: float = 30.0,
        silence: float = 60.0,
    ) -> None:
        self._bridge = asynchronous.Bridge(url, key=key, ssl=ssl, timeout=timeout, silence=silence)
        self._thread = LoopThread("fanfare-bridge")

    def __enter__(self) -> Bridge:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections that are kept, and ends the thread."""
        self._thread.end(self._close())

    def push(self, user: str, data: Mapping[str, Any], *, event_type: str | None = None) -> bool:
        """Tells a user something; whether the user is connected and has it on the way."""
        return self._thread.call(self._bridge.push(user, data, event_type=event_type))

    def push_batch(self, messages: Iterable[tuple[str, Mapping[str, Any]]]) -> list[Pushed]:
        """Tells many users: pairs of a user and the data; what became of each, in order."""
        return self._thread.call(self._bridge.push_batch(messages))

    def ask(self, user: str, data: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Asks a user, and gives the answers as they come, the final one last. Leaving the loop ends the question."""
        answers = self._bridge.ask(user, data)
        try:
            while (answer := self._thread.call(_next(answers))) is not None:
                yield answer
        finally:
            with suppress(HasEnded):
                self._thread.call(answers.aclose())

    async def _close(self) -> None:
        self._bridge.close()


async def _next(answers: Any) -> dict[str, Any] | None:
    return await anext(answers, None)
