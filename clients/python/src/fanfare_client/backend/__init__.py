"""An application's link to the gateway, for asyncio.

    async with Backend("ws://127.0.0.1:8080") as backend:
        async for event in backend:
            ...

Everything that clients say to the application comes as events, in order per client and at least once; on
the same link the application answers, publishes, and rules its clients.
"""

from .client import Backend
from .errors import BackendError, LinkLost, OperationError, Refused
from .events import ClientEvent, Connect, Disconnect, Event, Gap, Message, Subscribe, Unsubscribe
from .operations import Answer

__all__ = [
    "Answer",
    "Backend",
    "BackendError",
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
    "Unsubscribe",
]
