"""The gateway's frames as values. What is read here is hostile."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from ..codec import Json
from .errors import ProtocolError

CODEC = Json()


def read(text: str) -> list[dict[str, Any]]:
    """The frames of a message: one, or those of a batch. Raises `ProtocolError`."""
    try:
        frame = CODEC.decode(text.encode(errors="surrogatepass"))
    except ValueError as error:
        raise ProtocolError(f"a frame is not JSON: {error}") from None
    if not isinstance(frame, dict) or not isinstance(frame.get("type"), str):
        raise ProtocolError("a frame is not an object with a type")
    if frame["type"] != "batch":
        return [frame]
    messages = frame.get("messages")
    if not isinstance(messages, list) or not all(
        isinstance(inner, dict) and isinstance(inner.get("type"), str) for inner in messages
    ):
        raise ProtocolError("a batch has no frames")
    return messages


def write(frame: dict[str, Any]) -> str:
    """Raises `ValueError` or `TypeError` for what JSON does not have, or what nests too deep."""
    return CODEC.encode(frame).decode()


def seconds_between(earlier: Any, later: Any) -> float | None:
    """Seconds from one of the gateway's times to another; none where one is no time."""
    try:
        return (_time(later) - _time(earlier)).total_seconds()
    except (TypeError, ValueError, AttributeError, OverflowError):
        return None


def retry_after(frame: dict[str, Any]) -> float | None:
    """Seconds after which the gateway would have a refused message again."""
    details = frame.get("details")
    seconds = details.get("retry_after") if isinstance(details, dict) else None
    if isinstance(seconds, (int, float)) and not isinstance(seconds, bool) and seconds >= 0:
        return float(seconds)
    return None


def _time(text: str) -> datetime:
    # Python 3.10 reads no Z.
    time = datetime.fromisoformat(text.replace("Z", "+00:00"))
    if time.tzinfo is None:
        raise ValueError("no time zone")
    return time
