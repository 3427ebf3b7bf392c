"""What can go wrong with a client, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .decisions import Remedy, remedy_of


class FanfareError(Exception):
    """The base of every error of a client. `code` is for programs."""

    code: str = ""


class Closed(FanfareError):
    """The client was closed, or has given up, since another attempt would be refused, too.

    `reason` says why and `status` is the close code or HTTP status, where there was one. `reconnect()` begins anew.
    """

    code = "CLOSED"

    def __init__(self, reason: str, status: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status


class BufferFull(FanfareError):
    """A consumer was too slow for a subscription with `overflow="end"`, which has ended."""

    code = "BUFFER_FULL"


class ConnectionLost(FanfareError):
    """The connection was lost before the answer came: the request may or may not have been done."""

    code = "OUTCOME_UNKNOWN"


class RequestError(FanfareError):
    """The gateway did not do what was asked.

    `code` is one of docs/protocol.md ("Errors"), `message` says why, and `details` is what else is known.
    """

    def __init__(self, code: str, message: str, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.details = dict(details or {})

    @classmethod
    def of_frame(cls, frame: Mapping[str, Any]) -> RequestError:
        """What an error frame says."""
        details = frame.get("details")
        details = details if isinstance(details, dict) else None
        return cls(str(frame.get("code", "")), str(frame.get("message", "")), details)

    @property
    def remedy(self) -> Remedy:
        """What may help."""
        return remedy_of(self.code)

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class GiveUp(Exception):
    """Raised by a token callback: there is no token to be had, and asking again is of no use."""


class ProtocolError(FanfareError):
    """The peer does not speak the events protocol. Never leaves the client: the connection is made anew."""
