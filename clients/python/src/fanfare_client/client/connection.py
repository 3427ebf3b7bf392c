"""One WebSocket connection, from its handshake until it is lost."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import ssl as tls
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from ..handshake import Proxy, connect
from . import frames
from .decisions import REASON_SECONDS, Decision, of_close, of_status
from .errors import ProtocolError

log = logging.getLogger("fanfare_client")

#: Bytes of one frame of the gateway. Beyond it the connection is made anew.
FRAME_BYTES_MAX = 16 * 1024 * 1024

#: Bytes that wait to be written, beyond which the connection is given up: the gateway does not read.
WAITING_BYTES_MAX = 64 * 1024 * 1024

#: How long a handshake and a close may take, in seconds.
OPEN_SECONDS = 10.0
CLOSE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class End:
    """Why a connection is no more, or could not be made."""

    decision: Decision
    reason: str
    #: Close code or HTTP status.
    code: int | None = None
    #: Seconds that the gateway asks to wait.
    hint: float | None = None
    #: Whether what the gateway sent could not be understood.
    is_broken: bool = False
    #: Whether a client that was never connected need not try again.
    is_final_at_first: bool = False


class CannotConnect(Exception):
    def __init__(self, end: End) -> None:
        super().__init__(end.reason)
        self.end = end


class Connection:
    """Reads frames, writes messages, and notices when the other side is gone.

    After `ping_interval` seconds of silence a ping asks; without an answer within `ping_timeout` it is dropped.
    """

    def __init__(self, socket: ClientConnection, ping_interval: float, ping_timeout: float) -> None:
        self._socket = socket
        self._ping_interval = ping_interval
        self._ping_timeout = ping_timeout
        self._heard = asyncio.get_running_loop().time()
        self._to_write: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._has_more = asyncio.Event()
        #: Why it was given up, where that was here.
        self._dropped: str | None = None

    @classmethod
    async def open(
        cls,
        url: str,
        token: str | None,
        *,
        headers: Mapping[str, str],
        ssl: tls.SSLContext | None,
        proxy: Proxy,
        ping_interval: float,
        ping_timeout: float,
    ) -> Connection:
        """Raises `CannotConnect`."""
        fields = dict(headers)
        if token:
            fields["Authorization"] = f"Bearer {token}"
        options: dict[str, Any] = {} if ssl is None else {"ssl": ssl}
        try:
            socket = await connect(
                url,
                additional_headers=fields,
                proxy=proxy,
                open_timeout=OPEN_SECONDS,
                close_timeout=CLOSE_SECONDS,
                max_size=FRAME_BYTES_MAX,
                # It is done here, where a machine that slept is noticed, too.
                ping_interval=None,
                **options,
            )
        except InvalidStatus as error:
            raise CannotConnect(_refused(error)) from None
        except InvalidURI as error:
            raise CannotConnect(End(Decision.GIVE_UP, str(error))) from None
        except tls.SSLCertVerificationError as error:
            reason = f"the gateway's certificate is not trusted: {error.verify_message}"
            raise CannotConnect(End(Decision.RETRY, reason, is_final_at_first=True)) from None
        except (OSError, EOFError, TimeoutError, asyncio.TimeoutError, InvalidHandshake) as error:
            raise CannotConnect(End(Decision.RETRY, f"no gateway at {_host(url)}: {error or type(error).__name__}")) from None
        except Exception as error:
            # Most often an argument or the environment: `ssl` with ws://, a proxy that is none or whose package is missing.
            reason = f"no connection: {error!r}"
            raise CannotConnect(End(Decision.RETRY, reason, is_final_at_first=True)) from error
        return cls(socket, ping_interval, ping_timeout)

    async def serve(
        self, take: Callable[[dict[str, Any]], None], read: Callable[[str], list[dict[str, Any]]] = frames.read
    ) -> End:
        """Gives each frame that `read` finds to `take` until the connection is lost; says why."""
        tasks = [asyncio.create_task(self._write()), asyncio.create_task(self._watch())]
        try:
            while True:
                text = await self._socket.recv()
                self._heard = asyncio.get_running_loop().time()
                if not isinstance(text, str):
                    raise ProtocolError("a frame is binary")
                for frame in read(text):
                    take(frame)
                # Consumers get their turn: also what comes at once must not overflow the buffer of a quick one.
                await asyncio.sleep(0)
        except ConnectionClosed as closed:
            return self._end_of(closed)
        except ProtocolError as error:
            return End(Decision.RETRY, f"{error}", is_broken=True)
        except Exception as error:
            # Hostile input must not end the client.
            log.exception("a frame of the gateway could not be dealt with")
            return End(Decision.RETRY, f"a frame could not be dealt with: {error!r}", is_broken=True)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._socket.transport.abort()

    def send(self, text: str) -> None:
        """Queues a message."""
        data = text.encode()
        self._to_write.append(data)
        self._waiting_bytes += len(data)
        if self._waiting_bytes > WAITING_BYTES_MAX:
            self.drop("the gateway does not read what is sent")
        self._has_more.set()

    def drop(self, reason: str) -> None:
        """Gives the connection up without waiting for the other side, which may be gone; `serve` returns."""
        self._dropped = self._dropped or reason
        self._socket.transport.abort()

    async def close(self) -> None:
        """Writes what waits and closes, within `CLOSE_SECONDS`; `serve` returns."""
        try:
            await asyncio.wait_for(self._finish(), CLOSE_SECONDS)
        except (ConnectionClosed, OSError, asyncio.TimeoutError):
            self.drop("closing took too long")

    async def _finish(self) -> None:
        while self._to_write:
            await self._socket.send(self._to_write.popleft(), text=True)
        await self._socket.close()

    async def _write(self) -> None:
        try:
            while True:
                await self._has_more.wait()
                self._has_more.clear()
                while self._to_write:
                    data = self._to_write.popleft()
                    await self._socket.send(data, text=True)
                    self._waiting_bytes -= len(data)
        except ConnectionClosed:
            # The reader says why.
            pass

    async def _watch(self) -> None:
        """Asks what is silent, and drops it without an answer. A machine that slept asks at once."""
        loop = asyncio.get_running_loop()
        step = self._ping_interval / 4
        while True:
            before = time.time()
            await asyncio.sleep(step)
            slept = time.time() - before > step + SLEPT_SECONDS
            if not slept and loop.time() - self._heard < self._ping_interval:
                continue
            asked = loop.time()
            try:
                await asyncio.wait_for(self._ping(), self._ping_timeout)
            except asyncio.TimeoutError:
                # What has come meanwhile is an answer, too.
                if self._heard < asked:
                    return self.drop("no answer to a ping")
            except ConnectionClosed:
                return
            else:
                self._heard = loop.time()

    async def _ping(self) -> None:
        await (await self._socket.ping())

    def _end_of(self, closed: ConnectionClosed) -> End:
        if self._dropped is not None:
            return End(Decision.RETRY, self._dropped)
        if closed.rcvd is not None and (closed.rcvd_then_sent or closed.sent is None):
            code, reason = closed.rcvd.code, closed.rcvd.reason
            hint = REASON_SECONDS.get(reason)
            if hint is None and (said := _SECONDS.search(reason)):
                hint = float(said[1])
            return End(of_close(code, reason), reason or f"closed with {code}", code, hint)
        if closed.sent is not None:
            # What this side could not read, as text that is not UTF-8, or a frame that is too large.
            return End(Decision.RETRY, f"given up: {closed.sent.code} {closed.sent.reason}".rstrip(), is_broken=True)
        return End(Decision.RETRY, "connection lost", 1006)


def _host(url: str) -> str:
    """What may stand in a log: neither a password nor a query."""
    return urlsplit(url).netloc.rpartition("@")[2]


def _refused(error: InvalidStatus) -> End:
    """An answer of the gateway, or of something before it, to the handshake."""
    response = error.response
    status = response.status_code
    detail = ""
    try:
        value = json.loads(bytes(response.body or b"")[:DETAIL_BYTES_MAX])
        detail = f": {value['detail']}" if isinstance(value["detail"], str) else ""
    except (ValueError, TypeError, KeyError, RecursionError):
        pass
    after = response.headers.get("Retry-After", "")
    hint = float(after) if after.isascii() and after.isdigit() and len(after) < 10 else None
    return End(of_status(status), f"refused with status {status}{detail}", status, hint)


#: A pause of the clock that is taken for a machine, or a process, that slept.
SLEPT_SECONDS = 5.0

#: Bytes of a refusal's body that are looked at.
DETAIL_BYTES_MAX = 16 * 1024

#: How long to wait, in the reason of a close.
_SECONDS = re.compile(r"\b(?:in|after) ([0-9]{1,4}(?:\.[0-9]{1,3})?) ?s\b")
