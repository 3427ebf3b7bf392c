"""Opening a WebSocket."""

from __future__ import annotations

from websockets.asyncio import client


class connect(client.connect):
    """As that of `websockets`, but a redirect is a refusal: a token is for the given address alone."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


def credential(token: str) -> str:
    """A token as it goes into a header, without white space around it, as that of a file's last line.

    Raises `ValueError` for what would be something else there, without the token itself, which may end in a log.
    """
    if not isinstance(token, str):
        raise TypeError(f"a token is a string, not {type(token).__name__}")
    token = token.strip()
    if not token.isascii() or not token.isprintable() or " " in token:
        raise ValueError("a token is printable ASCII without spaces, which this one is not: is it the token alone?")
    return token


def field(name: str, value: str) -> str:
    """The value of a header. Raises `ValueError` for what would be more than that."""
    if not name.isascii() or not name.isprintable() or not value.isprintable():
        raise ValueError(f"the header {name!r:.80} has a line break or something else that is not printable")
    return value
