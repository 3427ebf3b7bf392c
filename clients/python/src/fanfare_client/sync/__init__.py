"""Everything for blocking code: the calls of the asyncio classes without `await`, from any thread.

    with connect("wss://host/api/v1/ws", token=get_token) as client:
        for event in client.subscribe("orders"):
            ...

`connect` is a user's side, `Bridge` pushes to users and asks them, and `Backend` is an application's link. A thread
runs the event loop, so connections are kept up while the application works.
"""

from .backend import (
    Answer,
    Backend,
    BackendError,
    ClientEvent,
    Connect,
    Disconnect,
    Event,
    Gap,
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
    "Client",
    "ClientEvent",
    "Connect",
    "Disconnect",
    "Event",
    "Gap",
    "LinkLost",
    "Message",
    "OperationError",
    "Refused",
    "Subscribe",
    "Subscription",
    "Unsubscribe",
    "connect",
]
