"""A gateway of the events protocol that can be made to do what a real one cannot: say anything, at any moment."""

import asyncio
import contextlib
import http
import json
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

NOW = "2026-11-30T00:00:00.000Z"


def event(name, offset, data=None, epoch="7", **fields):
    return {"type": "event", "event": name, "event_type": name, "data": data, "event_id": f"{epoch}-{offset}",
            "timestamp": NOW} | fields  # fmt: skip


class FakeEvents:
    """Greets, confirms, and keeps each topic's messages in `topics`; `on_frame` and `greeting` change what it does."""

    def __init__(self):
        self.epoch = "7"
        #: By topic, the data of all messages: the first has the offset 1.
        self.topics = {}
        self.keys = {}
        #: Every connection, its handshake, and all frames of clients.
        self.sockets = []
        self.handshakes = []
        self.frames = []
        #: The greeting's fields besides; none: no greeting.
        self.greeting = {}
        #: Instead of a connection: a status and headers, one for each handshake.
        self.refusals = []
        #: Called with each frame; what it returns is sent instead, where it is not None: frames or close codes.
        self.on_frame = lambda frame: None
        self._changed = asyncio.Event()

    async def __aenter__(self):
        self.server = await serve(self._link, "127.0.0.1", 0, process_request=self._admit, compression=None)
        self.url = f"ws://127.0.0.1:{self.server.sockets[0].getsockname()[1]}/api/v1/ws"
        return self

    async def __aexit__(self, *_):
        self.server.close()
        await self.server.wait_closed()
        for socket in self.sockets:
            socket.transport.abort()
        # Transports close in a turn of the loop.
        for _ in range(3):
            await asyncio.sleep(0)

    def _admit(self, socket, request):
        self.handshakes.append((request.headers.get("Authorization"), parse_qs(urlsplit(request.path).query)))
        self._changed.set()
        if self.refusals:
            status, headers = self.refusals.pop(0)
            response = socket.respond(http.HTTPStatus(status), json.dumps({"detail": "as the test says"}))
            for name, value in headers.items():
                response.headers[name] = value
            return response

    async def _link(self, socket):
        self.sockets.append(socket)
        socket.names = set()
        self._changed.set()
        with contextlib.suppress(ConnectionClosed):
            if self.greeting is not None:
                client = {"client_id": "c", "user": None, "name": None, "role": None}
                await self.say({"type": "connection_established", "timestamp": NOW} | client | self.greeting, socket)
            async for text in socket:
                frame = json.loads(text)
                self.frames.append(frame)
                self._changed.set()
                answers = self.on_frame(frame)
                for answer in self._answer(socket, frame) if answers is None else answers:
                    await self.say(answer, socket)

    async def say(self, what, socket=None):
        """A frame, text or bytes as they are, or a close code with its reason."""
        socket = socket or self.sockets[-1]
        if isinstance(what, dict):
            what = json.dumps(what)
        if isinstance(what, tuple):
            await socket.close(*what)
        else:
            await socket.send(what)

    async def until(self, condition):
        while not condition():
            self._changed.clear()
            await self._changed.wait()

    async def publish(self, topic, *messages):
        for data in messages:
            self.topics.setdefault(topic, []).append(data)
            for socket in self.sockets:
                if topic in socket.names or any(name.endswith("*") and topic.startswith(name[:-1]) for name in socket.names):
                    with contextlib.suppress(ConnectionClosed):
                        await self.say(event(topic, len(self.topics[topic]), data, self.epoch), socket)

    def _answer(self, socket, frame):
        kind, number = frame["type"], {"id": frame["id"]} if "id" in frame else {}
        if kind == "subscribe":
            return self._subscribe(socket, frame, number)
        if kind == "unsubscribe":
            socket.names -= set(frame["events"])
            return [{"type": "unsubscription_confirmed", "events": frame["events"]} | number]
        if kind == "publish":
            key = frame["event"], frame["key"]
            if key not in self.keys:
                self.topics.setdefault(frame["event"], []).append(frame["data"])
                self.keys[key] = len(self.topics[frame["event"]])
            return [{"type": "response", "result": {"offset": self.keys[key]}} | number]
        if kind == "query":
            return [{"type": "response", "result": frame["params"]} | number]
        if kind == "ping":
            return [{"type": "pong"} | number]
        if kind == "authenticate":
            return [{"type": "authenticated", "expires_at": "2026-11-30T01:00:00.000Z", "timestamp": NOW} | number]
        return [{"type": "error", "code": "UNKNOWN_MESSAGE_TYPE", "message": "Unknown"} | number]

    def _subscribe(self, socket, frame, number):
        places, after = {}, []
        for name in frame["events"]:
            messages, recover = self.topics.get(name, []), frame.get("recover", {}).get(name)
            places[name] = {"epoch": int(self.epoch), "offset": len(messages)}
            if recover and "last" in recover:
                since = max(0, len(messages) - recover["last"])
            elif recover and recover["epoch"] == self.epoch and int(recover["offset"]) <= len(messages):
                since = int(recover["offset"])
            elif recover:
                places[name] |= {"recovered": False, "count": 0}
                after.append({"type": "gap", "event": name, "lost": None})
                continue
            else:
                continue
            places[name] |= {"recovered": True, "count": len(messages) - since}
            after += [event(name, since + n, data, self.epoch) for n, data in enumerate(messages[since:], 1)]
        socket.names |= set(frame["events"])
        confirmed = {"type": "subscription_confirmed", "events": frame["events"], "topics": places, "timestamp": NOW}
        return [confirmed | number, *after]
