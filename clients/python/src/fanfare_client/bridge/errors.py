"""What can go wrong with a push or a question."""

from __future__ import annotations

from typing import Any


class BridgeError(Exception):
    """The base of every error of this package."""


class BridgeUnreachable(BridgeError):
    """There is no gateway, or the connection broke: what was sent may or may not have been delivered."""


class BridgeRefused(BridgeError):
    """The gateway refused a request: nothing was delivered, but with status 504, after which it is not known."""

    def __init__(self, status: int, detail: Any, retry_after: float | None) -> None:
        super().__init__(status, detail)
        self.status = status
        #: Why: a text, or the faults of a message.
        self.detail = detail
        #: Seconds after which the gateway would have the request again, where it says so.
        self.retry_after = retry_after

    def __str__(self) -> str:
        said = f"status {self.status}: {self.detail}"
        return f"{said}\n{_ADVICE[self.status]}" if self.status in _ADVICE else said


class AskError(BridgeError):
    """A question has no further answer: the user is not connected, was silent for too long, or the gateway stops."""

    def __init__(self, reason: str, correlation_id: Any) -> None:
        super().__init__(reason)
        self.reason = reason
        self.correlation_id = correlation_id


_ADVICE = {
    401: "The gateway asks services for a credential: key=, an API key or a token with the role \"service\".",
    404: "Give the gateway's address without a path, as http://127.0.0.1:8080; the bridge is off where `bridge` is not "
    "among its protocols.",
    409: "Another question with this correlation_id waits for its answer: leave it out, and one is made up.",
}
