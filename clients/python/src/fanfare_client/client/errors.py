"""What can go wrong with a client, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class ClientError(Exception):
    """The base of every error of a client."""


class Closed(ClientError):
    """The client has been closed, or has given up: another attempt would be refused, too.

    `reason` says why and `code` is the close code or HTTP status, where there was one. After it has given up,
    `reconnect()` begins anew.
    """

    def __init__(self, reason: str, code: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.code = code


class ConnectionLost(ClientError):
    """The connection was lost before the answer came: the request may or may not have been done."""


class RequestError(ClientError):
    """The gateway did not do what was asked.

    `code` is one of docs/protocol.md ("Errors"), `message` says why, and `details` is what else is known.
    """

    def __init__(self, code: str, message: str, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.details = dict(details or {})

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class GiveUp(Exception):
    """Raised by a token callback: there is no token to be had, and asking again is of no use."""


class ProtocolError(ClientError):
    """The peer does not speak the events protocol. Never leaves the client: the connection is made anew."""
