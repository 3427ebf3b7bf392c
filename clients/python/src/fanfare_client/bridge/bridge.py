"""Pushes and questions of a service."""

from __future__ import annotations

import asyncio
import json
import ssl as tls
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from .errors import AskError, BridgeUnreachable
from .http import Exchange, Http


@dataclass(frozen=True, slots=True)
class Pushed:
    """What became of one message of a batch."""

    user: str
    #: Whether the user was connected and has it on the way.
    is_delivered: bool
    #: Why it failed, where the gateway says so.
    error: str | None


class Bridge:
    """Tells users who are connected, and asks them, over HTTP.

        async with Bridge("https://host", key=key) as bridge:
            await bridge.push("alice", {"message": "Build 7 is done"})

    Connections are kept and used again; any number of calls may run at once. It may go from one event loop to the
    next, as with `asyncio.run` for each call. No proxy of the environment is used.
    """

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        ssl: tls.SSLContext | None = None,
        timeout: float = 30.0,
        silence: float = 60.0,
    ) -> None:
        """
        - `url`: the gateway, as `https://host`.
        - `key`: an API key, or a token with the role "service", where the gateway asks for one.
        - `ssl`: for `https://`, the certificates to trust.
        - `timeout`: how long a connection and an answer may take, in seconds.
        - `silence`: how long a stream of answers may be silent; more than the gateway's `bridge.response_timeout`.
        """
        self._http = Http(url, key, ssl, timeout)
        self._silence = silence

    async def __aenter__(self) -> Bridge:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections that are kept."""
        self._http.close()

    async def push(self, user: str, data: Mapping[str, Any], *, event_type: str | None = None) -> bool:
        """Tells a user something; whether the user is connected and has it on the way.

        `event_type` is what connections of the events protocol have it named. Raises `BridgeRefused` and
        `BridgeUnreachable`; a push is not tried again, since it may have been delivered.
        """
        answer = await self._http.post("/sse/push", _message(user, data, event_type))
        return isinstance(answer, dict) and answer.get("status") == "success"

    async def push_batch(self, messages: Iterable[tuple[str, Mapping[str, Any]]]) -> list[Pushed]:
        """Tells many users, or one many things, at once: pairs of a user and the data; what became of each, in order."""
        answer = await self._http.post("/sse/push/batch", [_message(user, data, None) for user, data in messages])
        try:
            return [
                Pushed(str(result["user_id"]), result["success"] is True, _text(result.get("error")))
                for result in answer["results"]
            ]
        except (KeyError, TypeError, AttributeError):
            raise BridgeUnreachable("the answer to a batch has no results") from None

    async def ask(self, user: str, data: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """Asks a user, and gives the answers as they come, the final one last.

        Raises `AskError` where no further answer comes, besides what `push` raises. Leaving the loop early ends the
        question, once the generator is closed: `async with contextlib.aclosing(bridge.ask(..)) as answers`.
        """
        async with Exchange(self._http, "/sse/send", _message(user, data, None)) as answer:
            lines = answer.lines().__aiter__()
            while (line := await _within(lines, self._silence)) is not None:
                if not line.startswith(b"data:"):
                    continue
                event = _event(line)
                if "error" in event and event.keys() <= {"error", "correlation_id"}:
                    raise AskError(str(event["error"]), event.get("correlation_id"))
                yield event
                if event.get("is_final"):
                    return
        raise BridgeUnreachable("the stream of answers has ended without a final one")


async def _within(lines: AsyncIterator[bytes], seconds: float) -> bytes | None:
    """The next line; none at the end."""
    async def line() -> bytes | None:
        return await anext(lines, None)

    return await asyncio.wait_for(line(), seconds)


def _message(user: str, data: Mapping[str, Any], event_type: str | None) -> dict[str, Any]:
    message: dict[str, Any] = {"user_id": user, "data": dict(data)}
    return message if event_type is None else message | {"event_type": event_type}


def _event(line: bytes) -> dict[str, Any]:
    try:
        event = json.loads(line[5:])
    except (ValueError, RecursionError):
        event = None
    if not isinstance(event, dict):
        raise BridgeUnreachable("an answer is not a JSON object")
    return event


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
