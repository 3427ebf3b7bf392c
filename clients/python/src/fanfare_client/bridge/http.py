"""As much of HTTP/1.1 as the bridge takes: JSON requests, their answers, and streams of events."""

from __future__ import annotations

import asyncio
import json
import ssl as tls
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from ..handshake import credential
from .errors import BridgeRefused, BridgeUnreachable

#: Bytes of an answer's head, of one line of a stream, and of an answer's body.
HEAD_BYTES_MAX = 64 * 1024
LINE_BYTES_MAX = 4 * 1024 * 1024
BODY_BYTES_MAX = 64 * 1024 * 1024

#: Connections that are kept, and for how long without use, in seconds. Gateways keep them for 75.
IDLE_MAX = 8
IDLE_SECONDS = 20.0


class Answer:
    """The head of an answer, and its body as it comes."""

    def __init__(self, reader: asyncio.StreamReader, status: int, headers: dict[str, str]) -> None:
        self.status = status
        self.headers = headers
        self._reader = reader
        #: Whether the body has been read to its end, and the connection may be used again.
        self.is_whole = False

    async def parts(self) -> AsyncIterator[bytes]:
        """The body, as it comes."""
        if "chunked" in self.headers.get("transfer-encoding", "").lower():
            async for part in self._chunks():
                yield part
            self.is_whole = True
        elif (length := self.headers.get("content-length")) is not None:
            left = _number(length, 10)
            while left:
                part = await self._reader.read(min(left, 65536))
                if not part:
                    raise asyncio.IncompleteReadError(b"", left)
                left -= len(part)
                yield part
            self.is_whole = True
        else:
            while part := await self._reader.read(65536):
                yield part

    async def body(self) -> bytes:
        body = bytearray()
        async for part in self.parts():
            body += part
            if len(body) > BODY_BYTES_MAX:
                raise BridgeUnreachable(f"an answer has more than {BODY_BYTES_MAX} bytes")
        return bytes(body)

    async def lines(self) -> AsyncIterator[bytes]:
        """The body's lines, without their ends."""
        rest = b""
        async for part in self.parts():
            *lines, rest = (rest + part).split(b"\n")
            if len(rest) > LINE_BYTES_MAX:
                raise BridgeUnreachable(f"a line of the answer has more than {LINE_BYTES_MAX} bytes")
            for line in lines:
                yield line.rstrip(b"\r")

    async def _chunks(self) -> AsyncIterator[bytes]:
        while True:
            size = await self._reader.readuntil(b"\r\n")
            left = _number(size.split(b";")[0].strip().decode("latin-1"), 16)
            if left == 0:
                # Trailers, up to an empty line.
                while await self._reader.readuntil(b"\r\n") != b"\r\n":
                    pass
                return
            while left:
                part = await self._reader.read(min(left, 65536))
                if not part:
                    raise asyncio.IncompleteReadError(b"", left)
                left -= len(part)
                yield part
            await self._reader.readexactly(2)


class Http:
    """Requests to one host. Connections are kept and used again."""

    def __init__(self, url: str, key: str | None, ssl: tls.SSLContext | None, timeout: float) -> None:
        parts = urlsplit(url)
        scheme = {"ws": "http", "wss": "https"}.get(parts.scheme, parts.scheme)
        if scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"the gateway's address is as https://host, not {url!r}")
        self._url = url
        self._host = parts.hostname
        self._port = parts.port or (443 if scheme == "https" else 80)
        self._path = parts.path.rstrip("/")
        self._ssl = (ssl or tls.create_default_context()) if scheme == "https" else None
        self._timeout = timeout
        host = parts.netloc.rpartition("@")[2]
        self._head = f"Host: {host}\r\nContent-Type: application/json\r\nAccept-Encoding: identity\r\n"
        if key and (key := credential(key)):
            self._head += f"Authorization: Bearer {key}\r\n"
        self._idle: list[_Idle] = []

    async def post(self, path: str, value: Any) -> Any:
        """The JSON that answers. Raises `BridgeRefused` and `BridgeUnreachable`."""
        async with Exchange(self, path, value) as answer:
            body = await asyncio.wait_for(answer.body(), self._timeout)
        try:
            return json.loads(body)
        except (ValueError, RecursionError):
            raise BridgeUnreachable(f"{self._url} answers with something else than JSON") from None

    def close(self) -> None:
        while self._idle:
            self._idle.pop().drop()

    async def connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        loop = asyncio.get_running_loop()
        while self._idle:
            idle = self._idle.pop()
            if idle.is_usable(loop):
                return idle.reader, idle.writer
            idle.drop()
        return await asyncio.wait_for(self._open(loop), self._timeout)

    async def _open(self, loop: asyncio.AbstractEventLoop) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """As `asyncio.open_connection`, with a writer of its own."""
        reader = asyncio.StreamReader(HEAD_BYTES_MAX, loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        transport, _ = await loop.create_connection(lambda: protocol, self._host, self._port, ssl=self._ssl)
        return reader, _Writer(transport, protocol, reader, loop)

    def keep(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        idle = _Idle(loop, loop.time(), reader, writer)
        if len(self._idle) < IDLE_MAX:
            self._idle.append(idle)
        else:
            idle.drop()

    async def send(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str, body: bytes) -> Answer:
        head = f"POST {self._path}{path} HTTP/1.1\r\n{self._head}Content-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode("latin-1") + body)
        await writer.drain()
        while True:
            lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            version, status, *_ = (lines[0] + "  ").split(" ")
            if not version.startswith("HTTP/1."):
                raise BridgeUnreachable(f"{self._url} does not speak HTTP")
            fields = (line.partition(":") for line in lines[1:])
            headers = {name.strip().lower(): value.strip() for name, _, value in fields if name}
            code = _number(status, 10)
            # Before the answer there may be others, such as 100.
            if code >= 200:
                return Answer(reader, code, headers)


class _Writer(asyncio.StreamWriter):
    def __del__(self) -> None:
        """Does not close. At the end of a fork that would end the other process's wait for what is read here."""


class _Idle(NamedTuple):
    """A connection that waits for its next use, which is on the same event loop."""

    loop: asyncio.AbstractEventLoop
    since: float
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def is_usable(self, loop: asyncio.AbstractEventLoop) -> bool:
        is_open = loop is self.loop and not self.reader.at_eof() and not self.writer.is_closing()
        return is_open and loop.time() - self.since < IDLE_SECONDS

    def drop(self) -> None:
        # A loop that is closed takes no more callbacks, and the connection has gone with it.
        with suppress(RuntimeError):
            self.writer.transport.abort()


class Exchange:
    """One request and its answer, for `async with`; at its end the connection is kept or closed."""

    def __init__(self, http: Http, path: str, value: Any) -> None:
        self._http = http
        self._path = path
        self._body = json.dumps(value, allow_nan=False, separators=(",", ":")).encode()
        self._writer: asyncio.StreamWriter | None = None

    async def __aenter__(self) -> Answer:
        http = self._http
        try:
            self._reader, self._writer = await http.connection()
            sending = http.send(self._reader, self._writer, self._path, self._body)
            self._answer = await asyncio.wait_for(sending, http._timeout)
            if self._answer.status != 200:
                raise await self._refused()
            return self._answer
        except BaseException as error:
            self._end(is_kept=isinstance(error, BridgeRefused))
            if (explained := self._explained(error)) is not error:
                raise explained from error
            raise

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._end(is_kept=error is None)
        if error is not None and (explained := self._explained(error)) is not error:
            raise explained from error

    def _end(self, *, is_kept: bool) -> None:
        if self._writer is None:
            return
        if is_kept and self._answer.is_whole and self._answer.headers.get("connection", "").lower() != "close":
            self._http.keep(self._reader, self._writer)
        else:
            self._writer.transport.abort()

    def _explained(self, error: BaseException) -> BaseException:
        if isinstance(error, asyncio.TimeoutError):
            return BridgeUnreachable(f"{self._http._url} was silent for too long")
        if isinstance(error, tls.SSLCertVerificationError):
            return BridgeUnreachable(f"the certificate of {self._http._url} is not trusted: {error.verify_message}")
        if isinstance(error, (OSError, EOFError, asyncio.LimitOverrunError)):
            return BridgeUnreachable(f"no answer of {self._http._url}: {error or type(error).__name__}")
        return error

    async def _refused(self) -> BridgeRefused:
        body = await asyncio.wait_for(self._answer.body(), self._http._timeout)
        detail: Any = body[:1000].decode(errors="replace")
        try:
            value = json.loads(body)
            detail = value["detail"]
        except (ValueError, TypeError, KeyError, RecursionError):
            pass
        after = self._answer.headers.get("retry-after", "")
        seconds = float(after) if after.isascii() and after.isdigit() and len(after) < 10 else None
        return BridgeRefused(self._answer.status, detail, seconds)


def _number(text: str, base: int) -> int:
    """Raises `BridgeUnreachable` for what is none, or too large."""
    if not text.isalnum() or not text.isascii() or len(text) > 15:
        raise BridgeUnreachable("the answer is not HTTP")
    try:
        return int(text, base)
    except ValueError:
        raise BridgeUnreachable("the answer is not HTTP") from None
