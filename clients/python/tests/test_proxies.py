"""Which proxy a connection goes through."""

import asyncio
import contextlib
import warnings

import pytest
from fake import FakeGateway
from fake_events import FakeEvents

from fanfare_client import connect, sync
from fanfare_client.backend import Backend
from fanfare_client.bridge import Account
from fanfare_client.wse_server import WSEServer


class Proxy:
    """Answers CONNECT with a tunnel, and what else it is asked by itself."""

    def __init__(self):
        #: The first lines of all requests.
        self.asked = []
        self._tasks = set()

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = "http://127.0.0.1:%d" % self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        # Transports close in a turn of the loop.
        for _ in range(3):
            await asyncio.sleep(0)

    async def _serve(self, reader, writer):
        self._tasks.add(asyncio.current_task())
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        method, target, _ = head.split("\r\n")[0].split(" ")
        self.asked.append((method, target))
        if method != "CONNECT":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nproxy")
            writer.close()
            return
        up_reader, up_writer = await asyncio.open_connection(*target.split(":"))
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        ways = [asyncio.create_task(pass_on(reader, up_writer)), asyncio.create_task(pass_on(up_reader, writer))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for end in (writer, up_writer):
                end.transport.abort()


async def pass_on(reader, writer):
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)


async def use_client(url, **options):
    async with connect(url, **options):
        pass


async def use_account(url, **options):
    async with Account(url, "alice", **options):
        pass


async def use_backend(url, **options):
    async with Backend(url, **options):
        pass


async def use_blocking_client(url, **options):
    def use():
        with sync.connect(url, **options):
            pass

    await asyncio.to_thread(use)


async def use_blocking_backend(url, **options):
    def use():
        with sync.Backend(url, **options):
            pass

    await asyncio.to_thread(use)


async def use_server(url, **options):
    def use():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            server = WSEServer("0.0.0.0", 5007, gateway=url, **options)
        server.start()
        server.stop()

    await asyncio.to_thread(use)


USES = [
    (FakeEvents, use_client),
    (FakeEvents, use_account),
    (FakeEvents, use_blocking_client),
    (FakeGateway, use_backend),
    (FakeGateway, use_blocking_backend),
    (FakeGateway, use_server),
]


@pytest.mark.parametrize("fake, use", USES)
async def test_a_proxy_is_that_of_the_environment_a_given_one_or_none(fake, use, monkeypatch):
    async with fake() as gateway, Proxy() as ambient, Proxy() as given:
        tunnel = ("CONNECT", gateway.url.split("/")[2])
        # Tests have none for this machine.
        await use(gateway.url)
        assert (ambient.asked, given.asked) == ([], [])
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name)
        monkeypatch.setenv("ws_proxy", ambient.url)
        await use(gateway.url, proxy=None)
        assert (ambient.asked, given.asked) == ([], [])
        await use(gateway.url)
        assert (ambient.asked, given.asked) == ([tunnel], [])
        await use(gateway.url, proxy=given.url)
        assert (ambient.asked, given.asked) == ([tunnel], [tunnel])


async def test_a_servers_proxy_is_that_of_what_it_asks_over_http_too(monkeypatch):
    async def get(**options):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            server = WSEServer("0.0.0.0", 5007, gateway=direct.url.replace("http", "ws"), **options)
        return await asyncio.to_thread(server._get, "/metrics")

    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name)
    async with Proxy() as direct, Proxy() as ambient, Proxy() as given:
        monkeypatch.setenv("http_proxy", ambient.url)
        assert await get() == await get(proxy=None) == await get(proxy=given.url) == b"proxy"
        whole = ("GET", f"{direct.url}/metrics")
        assert (direct.asked, ambient.asked, given.asked) == ([("GET", "/metrics")], [whole], [whole])
