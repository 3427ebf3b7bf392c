"""A user's side of the gateway, for asyncio: events of topics, each once and in order, through whatever happens."""

from .client import Client, connect
from .errors import ClientError, Closed, ConnectionLost, GiveUp, RequestError
from .events import Broadcast, Event, Gap, Presence, State
from .subscription import Subscription

__all__ = [
    "Broadcast",
    "Client",
    "ClientError",
    "Closed",
    "ConnectionLost",
    "Event",
    "Gap",
    "GiveUp",
    "Presence",
    "RequestError",
    "State",
    "Subscription",
    "connect",
]
