"""Opening a WebSocket."""

from __future__ import annotations

from typing import Literal

from websockets.asyncio import client

Proxy = str | Literal[True] | None
"""The address of a proxy; True: that of the environment, if it has one; None: none."""


class connect(client.connect):
    """As that of `websockets`, but a redirect is a refusal: a token is for the given address alone."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


def credential(text: str) -> str:
    """A token or key as it goes into a header, without white space around it, as that of a file's last line.

    Raises `ValueError` for what would be something else there, without the text itself, which may end in a log.
    """
    if not isinstance(text, str):
        raise TypeError(f"a token is a string, not {type(text).__name__}")
    text = text.strip()
    if not text.isascii() or not text.isprintable():
        raise ValueError("a token is printable ASCII, which this one is not: is it the token alone?")
    return text


def field(name: str, value: str) -> str:
    """The value of a header. Raises `ValueError` for what would be more than that."""
    if not name.isascii() or not name.isprintable() or not value.isprintable():
        raise ValueError(f"the header {name!r:.80} has a line break or something else that is not printable")
    return value
