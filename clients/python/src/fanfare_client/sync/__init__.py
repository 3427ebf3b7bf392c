"""Everything for blocking code: the calls of the asyncio classes without `await`, from any thread.

    with connect("wss://host/api/v1/ws", token=get_token) as client:
        for event in client.subscribe("orders"):
            ...

`connect` is a user's side, `Bridge` pushes to users and asks them, and `Backend` is an application's link. A thread
runs the event loop, so connections are kept up while the application works. `Event` and `Gap` are those of `connect`;
those of `Backend` are in `fanfare_client.backend`.
"""

from ..client import (
    BufferFull,
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
)
from .backend import (
    Answer,
    Backend,
    BackendError,
    ClientEvent,
    Connect,
    Disconnect,
    LinkLost,
    Message,
    OperationError,
    Refused,
    Subscribe,
    Unsubscribe,
)
from .bridge import Bridge
from .client import Client, Subscription, connect

__all__ = [
    "Answer",
    "Backend",
    "BackendError",
    "Bridge",
    "BufferFull",
    "Client",
    "ClientEvent",
    "Closed",
    "Connect",
    "ConnectionLost",
    "Disconnect",
    "Event",
    "FanfareError",
    "Gap",
    "GiveUp",
    "LinkLost",
    "Message",
    "OperationError",
    "Presence",
    "Refused",
    "RequestError",
    "Session",
    "State",
    "Status",
    "Subscribe",
    "Subscription",
    "Unsubscribe",
    "connect",
]
