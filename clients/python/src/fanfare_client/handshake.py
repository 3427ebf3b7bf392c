"""Opening a WebSocket."""

from __future__ import annotations

from websockets.asyncio import client


class connect(client.connect):
    """As that of `websockets`, but a redirect is a refusal: a token is for the given address alone."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc
