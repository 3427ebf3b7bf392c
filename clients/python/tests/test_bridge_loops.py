"""A bridge that is used on several event loops, one after the other."""

import asyncio
import gc
import warnings

import pytest

from fanfare_client.bridge import Bridge
from fanfare_client.threads import LoopThread


@pytest.fixture
def gateway():
    """Answers each push; its address, and the number of requests on each connection."""
    requests = []

    async def serve(reader, writer):
        requests.append(0)
        mine = len(requests) - 1
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                await reader.readuntil(b"}}")
                requests[mine] += 1
                writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{"status":"success"}')
        except (EOFError, OSError):
            writer.close()

    async def listen():
        return await asyncio.start_server(serve, "127.0.0.1", 0)

    async def stop():
        server.close()

    thread = LoopThread("a server")
    server = thread.call(listen())
    yield "http://127.0.0.1:%d" % server.sockets[0].getsockname()[1], requests
    thread.end(stop())


def test_a_connection_is_not_used_again_on_another_loop(gateway):
    url, requests = gateway
    bridge = Bridge(url)

    async def push(times):
        return [await bridge.push("alice", {"n": n}) for n in range(times)]

    # What asyncio says of connections that their loop has left open.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        assert asyncio.run(push(2)) == [True, True]
        assert asyncio.run(push(3)) == [True, True, True]
        bridge.close()
        gc.collect()
    assert requests == [2, 3]
