"""Pings of both sides, and what the client measures."""

import asyncio
import time

import pytest
import wse_client.connection
from peer import VERSION, joined
from wire import TEXT, until
from wse_client import ConnectionQuality


@pytest.fixture
def quick(monkeypatch):
    """The client's own fifteen seconds."""
    monkeypatch.setattr(wse_client.connection, "HEARTBEAT_INTERVAL", 0.1)


@pytest.mark.parametrize("options", [{}, {"deflate": True}], ids=["plain", "deflate"])
async def test_pings_are_answered_and_measured(gateway, quick, options):
    async with joined(gateway, **options) as ann:
        await until(lambda: ann.client._network_monitor._pongs_received >= 10)
        network = ann.client.get_stats()["network"]
        assert ann.client.connection_quality is not ConnectionQuality.UNKNOWN
        assert 0 <= network["latency_ms"] < 1000
        # The last ping may be on its way.
        assert ann.client._network_monitor._pings_sent - ann.client._network_monitor._pongs_received <= 1
        if not options:
            pong = ann.tap.of("PONG")[0]["p"]
            assert pong["server_timestamp"] >= pong["client_timestamp"] > 1_700_000_000_000
            assert pong["latency"] == pong["server_timestamp"] - pong["client_timestamp"]


async def test_the_gateways_pings_are_answered_by_every_client(own):
    gateway = own(WSE__PING_INTERVAL="1s")
    async with joined(gateway) as ann:
        await until(lambda: len(ann.tap.of("PING")) >= 2)
        ping = ann.tap.of("PING")[0]["p"]
        assert ping["timestamp"] > 1_700_000_000_000 and ping["server_time"].endswith("Z")
        pong = await until(lambda: next((m.json for m in ann.tap.up if m.json.get("t") == "PONG"), None))
        if VERSION == "1.4.3":
            assert pong["p"]["timestamp"] == ping["timestamp"]
        else:
            assert pong["p"]["server_timestamp"] == ping["server_time"]
        # Neither is an event, nor a fault.
        assert not ann.events


async def test_a_client_that_is_idle_stays(own, quick, monkeypatch):
    """Its own rule: without a sign of life for this long it connects again."""
    monkeypatch.setattr(wse_client.connection, "IDLE_TIMEOUT", 3.0)
    gateway = own()
    async with joined(gateway) as ann:
        await asyncio.sleep(5)
        assert ann.tap.connections == 1 and ann.client.is_ready


@pytest.mark.parametrize("form", ["ping", "PING", "type"])
async def test_every_form_of_a_ping_is_answered(gateway, form):
    async with joined(gateway) as ann:
        frame = '{"type":"ping","timestamp":5}' if form == "type" else '{"t":"%s","p":{"timestamp":5}}' % form
        since = len(ann.tap.down)
        assert await ann.client._connection.send(frame)
        assert (await ann.tap.message("PONG", since))["p"]["server_timestamp"] > 1_700_000_000_000
        assert {message.opcode for message in ann.tap.down} == {TEXT}


async def test_a_client_that_was_away_for_long_stays_when_it_has_come_back(gateway, topic, monkeypatch):
    """1.4.3 counts the time that it was away as idle, and then stops itself for good: a ping has to come first."""
    monkeypatch.setattr(wse_client.connection, "HEARTBEAT_INTERVAL", 4.0)
    async with joined(gateway) as ann:
        ann.client._connection._last_pong = time.monotonic() - 60
        ann.tap.cut()
        await until(lambda: ann.tap.connections >= 2 and ann.client.is_fully_ready)
        connections = ann.tap.connections
        await asyncio.sleep(4.5)
        await ann.settled()
        assert ann.tap.connections == connections
