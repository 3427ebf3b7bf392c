"""What is entered a second time."""

import pytest
from fake import FakeGateway
from fake_events import FakeEvents
from websockets.asyncio.server import serve

from fanfare_client.bridge import Account
from fanfare_client.sync import Backend, connect
from fanfare_client.threads import LoopThread


@pytest.fixture
def thread():
    """Where the gateway is."""
    thread = LoopThread("a gateway")
    yield thread
    thread.end()


async def test_an_account_is_entered_once():
    async def wait(socket):
        await socket.wait_closed()

    async with serve(wait, "127.0.0.1", 0) as server:
        account = Account("ws://127.0.0.1:%d" % server.sockets[0].getsockname()[1], "alice")
        async with account:
            with pytest.raises(RuntimeError, match="entered once"):
                await account.__aenter__()
        with pytest.raises(RuntimeError, match="entered once"):
            await account.__aenter__()


def test_a_blocking_client_begins_anew(thread):
    gateway = FakeEvents()
    thread.call(gateway.__aenter__())
    client = connect(gateway.url, token="first")
    with client:
        with pytest.raises(RuntimeError, match="entered already"), client:
            pass
        assert client.publish("orders", 1) == 1
        orders = client.subscribe("orders", last=1)
        assert orders.next(timeout=20).data == 1
        client.authenticate("second")
    for _ in range(2):
        with client:
            assert gateway.handshakes[-1][0] == "Bearer second"
            # What is of before has ended.
            assert orders.next(timeout=20) is None and orders.position == "7-1"
            with client.subscribe("orders") as again:
                thread.call(gateway.publish("orders", "more"))
                assert again.next(timeout=20).data == "more"
    thread.call(gateway.__aexit__())


def test_a_blocking_backend_is_entered_once_and_goes_on(thread):
    gateway = FakeGateway()
    thread.call(gateway.__aenter__())
    backend = Backend(gateway.url)
    with backend:
        with pytest.raises(RuntimeError, match="entered once"), backend:
            pass
        assert backend.health() == {}
    with pytest.raises(RuntimeError, match="entered once"), backend:
        pass
    thread.call(gateway.__aexit__())
