"""A new token for a connection before its old one ends."""

from __future__ import annotations

import asyncio
import logging

from . import frames
from .backoff import Backoff
from .errors import GiveUp, RequestError
from .requests import Requests
from .tokens import Reason, Tokens

log = logging.getLogger("fanfare_client")

#: A token is renewed so long before its end, in seconds; one that is shorter-lived, after half of its time.
AHEAD_SECONDS = 60.0

#: The least time between two renewals.
RENEWAL_SECONDS_MIN = 1.0


async def renew(tokens: Tokens, requests: Requests, reason: Reason) -> float:
    """Has the connection go on with another token; for how long that is valid.

    Raises `GiveUp` where there is none, `RequestError` where the gateway does not take it, and whatever the callback
    raises.
    """
    token = await tokens.ask(reason)
    if token is None:
        raise GiveUp("there is no token")
    request = requests.add({"type": "authenticate", "token": token}, is_first=True)
    answer = await request.answer
    left = frames.seconds_between(answer.get("timestamp"), answer.get("expires_at")) or 0.0
    tokens.use(token, left)
    return left


async def keep_renewed(tokens: Tokens, requests: Requests, left: float) -> None:
    """Renews the token of a connection for as long as that lasts. `left` is for how long its token is valid.

    What fails is tried again, but for `GiveUp`. Without a new token the gateway closes the connection, and another one is
    made.
    """
    backoff = Backoff()
    while True:
        await asyncio.sleep(max(left / 2, left - AHEAD_SECONDS, RENEWAL_SECONDS_MIN))
        while True:
            try:
                left = await renew(tokens, requests, "expired")
            except GiveUp as error:
                log.warning("no new token: %s", error)
                return
            except Exception as error:
                log.warning("no new token: %r", error)
                hint = error.details.get("retry_after") if isinstance(error, RequestError) else None
                await asyncio.sleep(backoff.next(hint if isinstance(hint, (int, float)) else None))
            else:
                break
        backoff.reset()
