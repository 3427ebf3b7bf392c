"""A first connection that cannot be made: what would never succeed is raised, and the rest is in the log."""

import asyncio
import importlib.util
import ssl

import pytest
from fake_events import FakeEvents

from fanfare_client import Closed, GiveUp, connect
from fanfare_client.bridge import Account
from fanfare_client.client import backoff

NOWHERE = "ws://127.0.0.1:1"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(backoff, "BACKOFF_FIRST", 0.02)
    monkeypatch.setattr(backoff, "BACKOFF_MAX", 0.1)


def client(**options):
    return connect(NOWHERE, **options)


def account(**options):
    return Account(NOWHERE, "alice", **options)


both = pytest.mark.parametrize("make", [client, account])


async def said(caplog, text, count=1):
    while caplog.text.count(text) < count:
        await asyncio.sleep(0.005)


@both
async def test_certificates_for_an_address_without_tls_are_an_error(make):
    with pytest.raises(Closed, match="ssl"):
        async with make(ssl=ssl.create_default_context()):
            pass


@both
@pytest.mark.parametrize("proxy", ["nonsense://127.0.0.1:1", "socks5h://127.0.0.1:1"])
async def test_a_proxy_of_the_environment_that_cannot_be_used_is_an_error(make, proxy, monkeypatch):
    if proxy.startswith("socks") and importlib.util.find_spec("python_socks") is not None:
        pytest.skip("there is a package for it")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("ws_proxy", proxy)
    with pytest.raises(Closed, match="nonsense|python-socks"):
        async with make():
            pass


@both
async def test_without_a_gateway_the_log_says_why_and_when_the_next_attempt_is(make, caplog):
    entering = asyncio.create_task(make().__aenter__())
    await said(caplog, "no gateway at 127.0.0.1:1: ", count=2)
    assert "next attempt in" in caplog.text and not entering.done()
    entering.cancel()
    await asyncio.wait({entering})


@both
async def test_a_token_function_that_fails_is_in_the_log(make, caplog):
    def ask(reason):
        if "no such host" in caplog.text:
            raise GiveUp("that is enough")
        raise OSError("no such host")

    with pytest.raises(Closed, match="enough"):
        async with make(token=ask):
            pass
    assert "no token: OSError('no such host')" in caplog.text


async def test_what_fails_later_is_tried_again():
    async with FakeEvents() as gateway, connect(gateway.url) as client:
        proper, client._ssl = client._ssl, ssl.create_default_context()
        told = []
        client.on("state", told.append)
        gateway.sockets[-1].transport.abort()
        while not any("ssl" in status.reason for status in told):
            await asyncio.sleep(0.005)
        client._ssl = proper
        while client.state != "open":
            await asyncio.sleep(0.005)
