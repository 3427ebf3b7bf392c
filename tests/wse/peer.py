"""The published client under test, and a tap on its wire."""

import asyncio
import contextlib
import importlib.metadata
import json

import pytest
from gateway import token
from websockets.asyncio.client import connect
from wire import Tap, until
from wse_client import AsyncWSEClient, ReconnectConfig

VERSION = importlib.metadata.version("wse-client")

#: What 1.4.3 lacks, with the reason in its own code.
needs_recovery = pytest.mark.skipif(
    VERSION == "1.4.3", reason="1.4.3 knows no positions and does not subscribe again (client.py: _handle_server_ready)"
)
needs_encryption = pytest.mark.skipif(
    VERSION == "1.4.3", reason="1.4.3 has no encryption: its client never makes a SecurityManager (client.py: __init__)"
)
needs_msgpack = pytest.mark.skipif(
    VERSION == "1.4.3", reason="1.4.3 drops M: frames: its codec gets no handler (client.py: __init__)"
)
needs_stamps = pytest.mark.skipif(VERSION == "1.4.3", reason="1.4.3 does not read stamps (types.py: WSEEvent)")


class Peer:
    """A client that keeps every event that its handlers are given."""

    def __init__(self, client, tap):
        self.client = client
        self.tap = tap
        self.events = []
        client.on_any(self.events.append)

    async def subscribe(self, *topics, **fields):
        """The gateway's answer."""
        since = len(self.tap.down)
        if fields:
            # The client's own call has no such arguments.
            payload = {"action": "subscribe", "topics": list(topics)} | fields
            assert await self.client.send("subscription_update", payload)
        else:
            assert await self.client.subscribe(list(topics))
        return (await self.tap.message("subscription_update", since))["p"]

    async def publish(self, topic, data, **fields):
        assert await self.client.send("publish", {"topic": topic, "data": data} | fields)

    async def ask(self, type, answer, payload=None):
        """The first event of the type `answer` after a request."""
        since = len(self.events)
        assert await self.client.send(type, payload or {})
        return await until(lambda: next(iter(self.of(answer, since)), None))

    def of(self, type, since=0):
        return [event for event in self.events[since:] if event.type == type]

    async def event(self, type):
        """The first event of this type, also if it has come before."""
        return await until(lambda: next(iter(self.of(type)), None))

    async def events_of(self, type, count):
        """The first so many."""
        await until(lambda: len(self.of(type)) >= count)
        return self.of(type)

    async def settled(self):
        """Everything that was on its way to this client before has come: an answer follows what was sent before it."""
        await self.ask("config_request", "config_response")


def client(url, *, user="ann", credential=None, **options):
    """A client in a hurry."""
    credential = credential or (token(user) if user else None)
    options.setdefault("reconnect", ReconnectConfig(base_delay=0.05, factor=1.2, max_delay=1.0))
    return AsyncWSEClient(url, token=credential, **options)


@contextlib.asynccontextmanager
async def joined(gateway, *topics, query="", deflate=False, **options):
    """A peer that has connected, by a tap of its own, and has subscribed."""
    async with Tap(gateway.port, deflate=deflate) as tap:
        peer = Peer(client(tap.url + query, **options), tap)
        try:
            await peer.client.connect()
            assert peer.client.is_ready
            if topics:
                ack = await peer.subscribe(*topics)
                assert ack["success"] and sorted(ack["success_topics"]) == sorted(topics)
            yield peer
        finally:
            await asyncio.wait_for(peer.client.disconnect(), 15)


@contextlib.asynccontextmanager
async def group(*peers):
    """Several at once."""
    async with contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(peer) for peer in peers]


class Speaker:
    """Publishes faster than the clients allow themselves, and asks for no answer."""

    def __init__(self, gateway, user="speaker"):
        self._url = gateway.url
        self._headers = {"Authorization": "Bearer " + token(user)}

    async def __aenter__(self):
        self._socket = await connect(self._url, additional_headers=self._headers)
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_):
        await self._socket.close()
        await self._reading

    async def _read(self):
        async for _ in self._socket:
            pass

    async def publish(self, topic, data, **fields):
        await self._socket.send(json.dumps({"t": "publish", "p": {"topic": topic, "data": data} | fields}))
