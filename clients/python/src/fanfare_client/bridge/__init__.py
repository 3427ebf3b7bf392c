"""A service's side of the bridge (docs/bridge.md), for asyncio: users are pushed to, and asked.

    async with Bridge("https://host", key=key) as bridge:
        await bridge.push("alice", {"message": "Build 7 is done"})
        async for answer in bridge.ask("alice", {"type": "question", "message": "Deploy?"}):
            print(answer)

`Account` is the other side: a program that is connected as a user, and answers.
"""

from .account import Account, Message
from .bridge import Bridge, Pushed
from .errors import AskError, BridgeError, BridgeRefused, BridgeUnreachable

__all__ = [
    "Account",
    "AskError",
    "Bridge",
    "BridgeError",
    "BridgeRefused",
    "BridgeUnreachable",
    "Message",
    "Pushed",
]
