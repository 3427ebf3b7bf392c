"""Python client of the Fanfare gateway.

`connect` is a user's side, for asyncio: events of topics, each once and in order, through lost connections.
`fanfare_client.bridge` pushes to users and asks them, and `fanfare_client.backend` is an application's side: what
clients say, in order and at least once, and what the application answers. `fanfare_client.sync` has all of them for
blocking code. With `fanfare_client.wse_server` an application of WSE's server runs on the gateway.
"""

from .client import (
    BufferFull,
    Client,
    Closed,
    ConnectionLost,
    Event,
    FanfareError,
    Gap,
    GiveUp,
    Presence,
    RequestError,
    Session,
    State,
    Status,
    Subscription,
    connect,
)

__all__ = [
    "BufferFull",
    "Client",
    "Closed",
    "ConnectionLost",
    "Event",
    "FanfareError",
    "Gap",
    "GiveUp",
    "Presence",
    "RequestError",
    "Session",
    "State",
    "Status",
    "Subscription",
    "connect",
]
