"""Answers pushes of the bridge."""

import asyncio
import contextlib

from fanfare_client.threads import LoopThread


@contextlib.contextmanager
def answering():
    """The address, and by connection, the heads of all requests."""
    requests, writers = [], []

    async def serve(reader, writer):
        heads = []
        requests.append(heads)
        writers.append(writer)
        with contextlib.suppress(EOFError, OSError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readuntil(b"}}")
                heads.append(head.decode())
                writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{"status":"success"}')
        writer.close()

    async def listen():
        return await asyncio.start_server(serve, "127.0.0.1", 0)

    async def stop():
        server.close()
        for writer in writers:
            writer.transport.abort()
        # Transports close in a turn of the loop.
        for _ in range(3):
            await asyncio.sleep(0)

    thread = LoopThread("a server")
    server = thread.call(listen())
    try:
        yield "http://127.0.0.1:%d" % server.sockets[0].getsockname()[1], requests
    finally:
        thread.end(stop())
