"""A user's side of the gateway, for asyncio: events of topics, each once and in order, through whatever happens."""

from .client import Client, connect
from .errors import BufferFull, Closed, ConnectionLost, FanfareError, GiveUp, RequestError
from .events import Event, Gap, Presence, Session, State, Status
from .subscription import Subscription

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
