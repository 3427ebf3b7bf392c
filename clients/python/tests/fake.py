"""A gateway that can be made to do what a real one cannot: cut anywhere, send nonsense, never answer."""

import asyncio
import contextlib
import http
import json
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed


class FakeGateway:
    """One group with one member at a time. What was not acknowledged goes to the next link, as `again`."""

    def __init__(self, events=(), *, batch=3, status=None, detail=""):
        #: Objects not acknowledged, each with its `n` and whether it was sent.
        self.pending = [{"n": n} | event for n, event in enumerate(events, 1)]
        self.batch = batch
        #: Refuses the next links with this status.
        self.status = status
        self.detail = detail
        self.headers = {}
        #: Where given, what closes the link instead of an answer: a close code.
        self.close_with = None
        #: What came, in order: acknowledgements and operations; and each link's parameters and headers.
        self.acks = []
        self.frames = []
        self.operations = []
        self.links = []
        self.parameters = []
        #: Sent raw, in place of events, as the first frames of the next links.
        self.nonsense = []
        #: An operation's answer; None: no answer.
        self.answer = lambda op: {"ok": True}
        self.credit = 1000

    async def __aenter__(self):
        self.server = await serve(self._link, "127.0.0.1", 0, process_request=self._admit, compression=None)
        self.port = self.server.sockets[0].getsockname()[1]
        self.url = f"ws://127.0.0.1:{self.port}"
        return self

    async def __aexit__(self, *_):
        self.server.close()
        await self.server.wait_closed()

    def _admit(self, socket, request):
        self.parameters.append((urlsplit(request.path).path, parse_qs(urlsplit(request.path).query), request.headers))
        if self.status is not None:
            status = http.HTTPStatus(self.status)
            response = socket.respond(status, json.dumps({"detail": self.detail}))
            for name, value in self.headers.items():
                response.headers[name] = value
            return response

    async def _link(self, socket):
        self.links.append(socket)
        #: The last `seq` of this link, and the `n` of each one not acknowledged.
        self.seq = 0
        self.sent = {}
        try:
            if self.nonsense:
                await socket.send(self.nonsense.pop(0))
                await socket.wait_closed()
                return
            await self._send_events(socket)
            async for frame in socket:
                self.frames.append(frame)
                frame = json.loads(frame)
                for item in frame if isinstance(frame, list) else [frame]:
                    await self._take(socket, item)
                await self._send_events(socket)
        except ConnectionClosed:
            pass

    async def take_back(self):
        """What a gateway does to a member that does not acknowledge in time, and then does."""
        self.sent.clear()
        await self._send_events(self.links[-1])

    async def _take(self, socket, item):
        if "ack" in item:
            self.acks.append(item["ack"])
            gone = {n for seq, n in self.sent.items() if seq <= item["ack"]}
            self.pending = [event for event in self.pending if event["n"] not in gone]
            self.sent = {seq: n for seq, n in self.sent.items() if seq > item["ack"]}
            return
        self.operations.append(item)
        if self.close_with is not None:
            code, self.close_with = self.close_with, None
            await socket.close(code, "as the test says")
            return
        answer = self.answer(item)
        if "id" in item and answer is not None:
            # What a peer that is closing has said before is done all the same.
            with contextlib.suppress(ConnectionClosed):
                await socket.send(json.dumps({"id": item["id"]} | answer))

    async def _send_events(self, socket):
        """As many as the credit allows, in batches."""
        on_their_way = set(self.sent.values())
        ready = [event for event in self.pending if event["n"] not in on_their_way]
        ready = ready[: self.credit - len(on_their_way)]
        for start in range(0, len(ready), self.batch):
            objects = []
            for event in ready[start : start + self.batch]:
                self.seq += 1
                self.sent[self.seq] = event["n"]
                objects.append(event | {"seq": self.seq})
                event["again"] = True
            await socket.send(json.dumps(objects))


def connect(conn, **fields):
    return {"event": "connect", "conn": conn, "dialect": "events", "user": None} | fields


def message(conn, data, **fields):
    return {"event": "message", "conn": conn, "dialect": "events", "user": None, "type": "app", "data": data} | fields


class Cutter:
    """Between the link and the gateway: lets so many bytes of the gateway's through, then cuts; a number for each
    connection, and those after them are not cut."""

    def __init__(self, port, *limits):
        self._port = port
        self._limits = iter(limits)
        self.cuts = 0

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = "ws://127.0.0.1:%d" % self._server.sockets[0].getsockname()[1]
        self._tasks = set()
        return self

    async def __aexit__(self, *_):
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader, writer):
        self._tasks.add(asyncio.current_task())
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._port)

        async def up():
            while data := await reader.read(65536):
                up_writer.write(data)

        async def down(left):
            while data := await up_reader.read(65536):
                if left is not None and len(data) >= left:
                    writer.write(data[:left])
                    self.cuts += 1
                    return
                left = None if left is None else left - len(data)
                writer.write(data)

        both = [asyncio.create_task(up()), asyncio.create_task(down(next(self._limits, None)))]
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in both:
                task.cancel()
            await asyncio.gather(*both, return_exceptions=True)
            for end in (writer, up_writer):
                end.close()
