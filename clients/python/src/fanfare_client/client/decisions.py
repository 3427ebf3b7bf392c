"""What to do when a connection ends, is refused, or a request is answered with an error.

The tables of docs/clients.md ("Close codes", "Error codes", "Refusals before the upgrade"); a test compares them.
"""

from __future__ import annotations

from enum import Enum
from typing import Literal


class Decision(Enum):
    """What a client does next."""

    #: Again, after a pause.
    RETRY = "retry"
    #: Again, with a new token.
    NEW_TOKEN = "new token"
    #: The same would only happen again.
    GIVE_UP = "give up"


#: By close code, whatever the reason. Others: `RETRY`.
CLOSE_CODES = {
    1002: Decision.GIVE_UP,
    1003: Decision.GIVE_UP,
    1007: Decision.GIVE_UP,
    4002: Decision.NEW_TOKEN,
}

#: Close code 1008 by its reason. Others: `GIVE_UP`.
POLICY_REASONS = {
    "Authentication failed": Decision.NEW_TOKEN,
    "Authentication required": Decision.NEW_TOKEN,
    "Too many connections": Decision.RETRY,
    "Message not finished in time": Decision.RETRY,
    "Too many messages beyond the rate": Decision.RETRY,
}

#: Seconds before the next attempt that a reason asks for.
REASON_SECONDS = {"Too many messages beyond the rate": 60.0}

#: HTTP statuses of a refused upgrade. Others: `RETRY`, as a proxy's 502 while the gateway restarts.
STATUSES = {
    400: Decision.GIVE_UP,
    401: Decision.NEW_TOKEN,
    403: Decision.GIVE_UP,
    404: Decision.GIVE_UP,
    405: Decision.GIVE_UP,
    426: Decision.GIVE_UP,
    431: Decision.GIVE_UP,
}

#: Errors of requests that were not taken, and are sent again after a while. Others are raised.
SENT_AGAIN = frozenset({"BACKEND_BUSY", "BUSY", "RATE_LIMIT_EXCEEDED"})

Remedy = Literal["retry", "token", "fix"]
"""What may help against an error: the same again later, another token, or a change of the program or configuration."""

#: By error code. Others: `fix`.
REMEDIES: dict[str, Remedy] = {
    "AUTHENTICATION_FAILED": "token",
    "BACKEND_BUSY": "retry",
    "BUSY": "retry",
    "CONNECTION_LIMIT_EXCEEDED": "retry",
    "FORBIDDEN": "token",
    "NO_APPLICATION": "retry",
    "PERMISSION_DENIED": "token",
    "RATE_LIMIT_EXCEEDED": "retry",
    "TOPIC_LIMIT": "retry",
}


def of_close(code: int, reason: str) -> Decision:
    """What a close frame of the gateway, or 1006 for none, asks for."""
    if code == 1008:
        return POLICY_REASONS.get(reason, Decision.GIVE_UP)
    return CLOSE_CODES.get(code, Decision.RETRY)


def of_status(status: int) -> Decision:
    """What the HTTP status of a refused upgrade asks for."""
    return STATUSES.get(status, Decision.RETRY)


def remedy_of(code: str) -> Remedy:
    """What may help against an error of the gateway."""
    return REMEDIES.get(code, "fix")
