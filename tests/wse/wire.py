"""What is on the wire between a client and the gateway."""

import asyncio
import json
import random
import socket
import time
import zlib
from dataclasses import dataclass

TEXT, BINARY, CLOSE = 1, 2, 8

#: How long what has to come may take.
PATIENCE = 20.0


async def until(condition, patience=PATIENCE):
    deadline = time.monotonic() + patience
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not come"
        await asyncio.sleep(0.01)
    return value


@dataclass(frozen=True)
class Message:
    """One WebSocket message, or control frame."""

    opcode: int
    #: What the receiver has after permessage-deflate.
    payload: bytes
    #: Bytes of payload on the wire.
    size: int

    @property
    def json(self):
        """Of a message in clear, compressed or not, without the category that 1.x has before it; else empty."""
        text = self.payload if self.opcode == TEXT else b""
        if self.opcode == BINARY and self.payload[:2] == b"C:":
            text = zlib.decompress(self.payload[2:])
        return json.loads(text[text.index(b"{") :]) if b"{" in text else {}

    @property
    def code(self):
        """Of a close frame; 1005 if it has none."""
        assert self.opcode == CLOSE
        return int.from_bytes(self.payload[:2], "big") if self.payload else 1005


class Splitter:
    """Splits the bytes of one direction into frames, and joins those into messages.

    `extension`: what was agreed on for this direction, as `permessage-deflate; server_no_context_takeover`.
    """

    def __init__(self, extension="", sender="server"):
        self._keeps_context = f"{sender}_no_context_takeover" not in extension
        self._inflater = zlib.decompressobj(-15)
        self._bytes = bytearray()
        self._begun = None

    def feed(self, data):
        """Each whole frame's bytes, and the message that it ends."""
        self._bytes += data
        while (frame := self._frame()) is not None:
            yield frame

    def _frame(self):
        buffer = self._bytes
        if len(buffer) < 2:
            return None
        size, at = buffer[1] & 0x7F, 2
        if size >= 126:
            at += 2 if size == 126 else 8
            if len(buffer) < at:
                return None
            size = int.from_bytes(buffer[2:at], "big")
        mask = b""
        if buffer[1] & 0x80:
            at += 4
            mask = bytes(buffer[at - 4 : at])
        if len(buffer) < at + size:
            return None
        raw, payload = bytes(buffer[: at + size]), bytes(buffer[at : at + size])
        del buffer[: at + size]
        if mask and size:
            mask = (mask * (size // 4 + 1))[:size]
            payload = (int.from_bytes(payload, "big") ^ int.from_bytes(mask, "big")).to_bytes(size, "big")
        opcode = raw[0] & 0x0F
        if opcode >= 8:
            return raw, Message(opcode, payload, size)
        if opcode:
            self._begun = [opcode, bool(raw[0] & 0x40), b""]
        self._begun[2] += payload
        return raw, self._message(*self._begun) if raw[0] & 0x80 else None

    def _message(self, opcode, is_deflated, payload):
        size = len(payload)
        if is_deflated:
            if not self._keeps_context:
                self._inflater = zlib.decompressobj(-15)
            payload = self._inflater.decompress(payload + b"\0\0\xff\xff")
        return Message(opcode, payload, size)


class Tap:
    """Between clients and the gateway: records the messages of both directions, and can cut, stall and lose them.

    Takes the offer of permessage-deflate from the request unless told otherwise: the messages can be read then.
    """

    def __init__(self, port, *, deflate=False, seed=1):
        self._port = port
        self._deflate = deflate
        self._chance = random.Random(seed)
        #: Request heads, and messages from clients and from the gateway, in order.
        self.heads, self.up, self.down = [], [], []
        self.connections = 0
        #: Says which of the gateway's messages are lost.
        self.loses = lambda message: False

    async def __aenter__(self):
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._cutting = False
        self._tasks, self._open = set(), set()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = "ws://127.0.0.1:%d/wse" % self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self):
        """Ends all connections without a word."""
        for writer in self._open:
            writer.transport.abort()

    def cut_within_a_frame(self):
        """Ends the next connection that is sent something, somewhere in the middle of it."""
        self._cutting = True

    def stall(self):
        """Reads nothing from the gateway any more."""
        self._flowing.clear()

    def resume(self):
        self._flowing.set()

    def of(self, type, since=0):
        """What the gateway has sent in clear of this type."""
        return [message.json for message in self.down[since:] if message.json.get("t") == type]

    async def message(self, type, since=0):
        """The first such message."""
        return await until(lambda: next(iter(self.of(type, since)), None))

    def closes(self):
        """The codes that the gateway has closed with."""
        return [message.code for message in self.down if message.opcode == CLOSE]

    async def _serve(self, reader, writer):
        self._tasks.add(asyncio.current_task())
        up = socket.socket()
        # What is not read waits at the gateway.
        up.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
        up.setblocking(False)
        both = []
        try:
            await asyncio.get_running_loop().sock_connect(up, ("127.0.0.1", self._port))
            up_reader, up_writer = await asyncio.open_connection(sock=up, limit=16 * 1024)
            self._open |= {writer, up_writer}
            head = await reader.readuntil(b"\r\n\r\n")
            if not self._deflate:
                lines = head.split(b"\r\n")
                head = b"\r\n".join(line for line in lines if not line.lower().startswith(b"sec-websocket-extensions"))
            up_writer.write(head)
            self.heads.append(head.decode())
            answer = await up_reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            if answer.split()[1] == b"101":
                self.connections += 1
            lines = answer.decode().lower().split("\r\n")
            extension = next((line for line in lines if line.startswith("sec-websocket-extensions")), "")
            both = [
                asyncio.create_task(self._up(reader, up_writer, Splitter(extension, "client"))),
                asyncio.create_task(self._down(up_reader, writer, Splitter(extension, "server"))),
            ]
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            for task in both:
                task.cancel()
            await asyncio.gather(*both, return_exceptions=True)
            for end in (writer, up_writer) if both else (writer,):
                self._open.discard(end)
                end.close()

    async def _up(self, reader, writer, splitter):
        while data := await reader.read(65536):
            self.up += [message for _, message in splitter.feed(data) if message]
            writer.write(data)

    async def _down(self, reader, writer, splitter):
        while True:
            data = await reader.read(65536)
            await self._flowing.wait()
            if not data:
                return
            for raw, message in splitter.feed(data):
                if self._cutting and message:
                    self._cutting = False
                    writer.write(raw[: self._chance.randrange(len(raw))])
                    writer.transport.abort()
                    return
                if message and self.loses(message):
                    continue
                if message:
                    self.down.append(message)
                writer.write(raw)
            await writer.drain()
