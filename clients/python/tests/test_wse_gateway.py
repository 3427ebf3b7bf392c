"""WSE's server on the link, against a real gateway."""

import asyncio
import contextlib
import json
import logging
import random
import signal
import warnings

import pytest
from fake import Cutter
from gateway import SECRET, program, token

from fanfare_client.backend import Refused, client
from fanfare_client.wse_server import BackendError, NotSupportedError, WSEServer


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(client, "BACKOFF_FIRST", 0.05)
    monkeypatch.setattr(client, "BACKOFF_MAX", 0.5)


@contextlib.asynccontextmanager
async def started(gateway, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        server = WSEServer("0.0.0.0", 5007, gateway=gateway.url, **({"dialects": ("wse", "events")} | options))
    server.enable_drain_mode()
    await asyncio.to_thread(server.start)
    try:
        yield server
    finally:
        await asyncio.to_thread(server.stop)


async def drain(server, count):
    events = []
    while len(events) < count:
        events += await asyncio.to_thread(server.drain_inbound, 256, 100)
    return events


async def until_data(someone, data):
    """The next frame with this data; what came before is in `seen`."""
    someone.seen = []
    while True:
        frame = await someone.frame()
        if data in (frame.get("data"), frame.get("payload")):
            return frame
        someone.seen.append(frame.get("data"))


async def test_a_client_comes_speaks_and_goes(own):
    gateway = own(AUTH__JWT_SECRET=SECRET)
    async with started(gateway, api_key=token("app", "service")) as server:
        async with gateway.client("/api/v1/ws?token=" + token("ann")) as ann:
            await ann.say({"type": "app", "id": 1, "data": "ä"})
            [(kind, conn, user), message] = await drain(server, 2)
            assert (kind, user) == ("auth_connect", "ann")
            assert message == ("msg", conn, {"t": "app", "id": 1, "data": "ä"})
            async with gateway.client():
                assert [event[0] for event in await drain(server, 1)] == ["connect"]
            assert [event[0] for event in await drain(server, 1)] == ["disconnect"]
        assert await drain(server, 1) == [("disconnect", conn, None)]


async def test_calls_do_what_they_say(own):
    gateway = own()
    async with started(gateway) as server, gateway.client() as ann, gateway.client() as bob:
        conns = [conn for _, conn, _ in await drain(server, 2)]

        def ask(call, *arguments):
            return asyncio.to_thread(call, *arguments)

        server.subscribe_connection(conns[0], ["news", "room.1"])
        server.subscribe_connection(conns[1], ["news"])
        server.broadcast("news", json.dumps({"t": "item", "p": {"n": 1}}))
        assert (await until_data(ann, {"n": 1}))["event"] == "item"
        await until_data(bob, {"n": 1})
        server.unsubscribe_connection(conns[1], ["news"])
        server.broadcast_local("news", '{"n":2}')
        await until_data(ann, {"n": 2})
        server.broadcast_all('{"t":"all","p":{"n":3}}')
        await until_data(ann, {"n": 3})
        await until_data(bob, {"n": 3})
        assert {"n": 2} not in bob.seen

        assert sorted(await ask(server.get_connections)) == sorted(conns)
        assert await ask(server.get_connection_count) == 2
        [user] = (await ask(server.presence, "room.1")).values()
        assert user == {"data": {}, "connections": 1}
        assert await ask(server.presence_stats, "room.1") == {"num_users": 1, "num_connections": 1}
        assert await ask(server.get_topic_subscriber_count, "room.1") == 1
        assert await ask(server.presence, "room.none") == {}
        with pytest.raises(NotSupportedError, match="presence = true"):
            await ask(server.presence, "news")

        await ask(server.unsubscribe_connection, conns[0])
        # The user stays for hub.presence_grace.
        while await ask(server.get_topic_subscriber_count, "room.1"):
            await asyncio.sleep(0.02)
        await ask(server.unsubscribe_connection, "9-9-9")
        result = await ask(server.subscribe_with_recovery, conns[0], ["news"])
        assert set(result["topics"]["news"]) == {"epoch", "offset", "recoverable", "recovered", "count"}
        assert server.send_event(conns[0], {"t": "direct", "p": {"n": 4}}) > 0
        await until_data(ann, {"n": 4})
        server.send("9-9-9", '{"t":"late"}')

        snapshot = await ask(server.health_snapshot)
        assert snapshot["connections"] == 2 and snapshot["uptime_secs"] > 0 and snapshot["operations_failed"] == 0
        assert snapshot["gateway"]["status"] == "healthy"
        assert "# TYPE " in await ask(server.prometheus_metrics)

        server.disconnect(conns[1])
        await bob.socket.wait_closed()
        assert bob.socket.close_code == 4300
        assert await drain(server, 1) == [("disconnect", conns[1], None)]


async def test_ten_thousand_messages_arrive_in_order(own):
    gateway = own()
    async with started(gateway, credit=300) as server, contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(gateway.client()) for _ in range(10)]

        async def speak(someone):
            for n in range(1000):
                await someone.say({"type": "app", "data": n})

        speakers = [asyncio.create_task(speak(someone)) for someone in clients]
        seen, count = {}, 0
        while count < 10_000:
            for kind, conn, data in await asyncio.to_thread(server.drain_inbound, 100, 100):
                if kind == "msg":
                    assert data["data"] == seen.get(conn, -1) + 1
                    seen[conn] = data["data"]
                    count += 1
            assert server.inbound_queue_depth() <= 300
        await asyncio.gather(*speakers)
    assert len(seen) == 10


async def test_clients_are_told_when_the_application_does_not_keep_up(own):
    gateway = own(BACKEND__MAX_PENDING="200")
    async with started(gateway, credit=50) as server, gateway.client() as someone:
        for n in range(400):
            await someone.say({"type": "app", "data": n})
        await someone.say({"type": "ping"})
        refused = 0
        while (frame := await someone.frame())["type"] != "pong":
            assert frame["code"] == "BACKEND_BUSY"
            refused += 1
        assert refused >= 200 and server.inbound_queue_depth() <= 50
        got = [data["data"] for kind, _, data in await drain(server, 401 - refused) if kind == "msg"]
    assert got == list(range(400 - refused))


MEMBER = """
import sys
import time

from fanfare_client.wse_server import WSEServer

server = WSEServer("0.0.0.0", 5007, gateway=sys.argv[1], dialects=("events",))
server.enable_drain_mode()
server.start()
while True:
    for kind, conn, data in server.drain_inbound(10, 50):
        print(data["data"] if kind == "msg" else kind, flush=True)
        if kind == "msg" and data["data"] == 44:
            time.sleep(600)
"""


async def test_what_a_killed_process_was_given_comes_again(own):
    gateway = own()
    with program("-c", MEMBER, gateway.url, PYTHONWARNINGS="ignore") as process:
        async with gateway.client() as someone:
            assert await asyncio.to_thread(process.stdout.readline) == "connect\n"
            for n in range(100):
                await someone.say({"type": "app", "data": n})
            while await asyncio.to_thread(process.stdout.readline) != "44\n":
                pass
            process.send_signal(signal.SIGKILL)
            process.wait()
            async with started(gateway) as server:
                [introduction, *events] = await drain(server, 2)
                while events[-1][2]["data"] != 99:
                    events += await drain(server, 1)
                assert introduction[0] == "connect"
                # The batch in which it was killed, and what its last acknowledgement was too late for.
                begin = events[0][2]["data"]
                assert begin <= 44
                assert [data["data"] for _, _, data in events] == list(range(begin, 100))


async def test_it_goes_on_after_a_restart_of_the_gateway(own):
    gateway = own()
    async with started(gateway) as server:
        async with gateway.client():
            assert [event[0] for event in await drain(server, 1)] == ["connect"]
        await asyncio.to_thread(gateway.stop)
        assert server.is_running()
        server.broadcast("news", '{"n":1}')
        await asyncio.to_thread(gateway.start)
        async with gateway.client() as someone:
            await someone.say({"type": "app", "data": 1})
            events = []
            while not events or events[-1][0] != "msg":
                events += await drain(server, 1)
            server.send_event(events[-1][1], {"t": "direct", "p": {"n": 2}})
            await until_data(someone, {"n": 2})


async def test_a_hundred_cuts_lose_nothing(own, caplog, monkeypatch):
    caplog.set_level(logging.CRITICAL)
    monkeypatch.setattr(client, "BACKOFF_MAX", 0.02)
    # An event that is cut off five times is a dead letter.
    gateway = own(BACKEND__MAX_DELIVERIES="100")
    chance = random.Random(2)
    seen, told = {}, []

    def take():
        for kind, conn, data in server.drain_inbound(chance.randrange(1, 20), 20):
            if kind == "connect":
                told.append(conn)
            else:
                seen.setdefault(conn, []).append(data["data"])

    limits = [chance.randrange(300, 6000) for _ in range(100)]
    async with Cutter(gateway.port, *limits) as cutter, contextlib.AsyncExitStack() as stack:
        gateway.url, direct = cutter.url, gateway.url
        server = await stack.enter_async_context(started(gateway))
        gateway.url = direct
        clients = [await stack.enter_async_context(gateway.client()) for _ in range(5)]
        sent = 0
        while cutter.cuts < 100:
            for someone in clients:
                await someone.say({"type": "app", "data": sent})
            sent += 1
            await asyncio.to_thread(take)
        while (await asyncio.to_thread(server.health_snapshot))["gateway"]["group"]["pending"]:
            await asyncio.to_thread(take)
    # A connect comes once to a process, and each message's first time in order.
    assert sorted(told) == sorted(seen) and len(seen) == 5
    for numbers in seen.values():
        assert list(dict.fromkeys(numbers)) == list(range(sent))


async def test_what_is_too_large_is_told_and_does_not_stop_the_rest(own, caplog):
    gateway = own(BACKEND__MAX_MESSAGE_SIZE="100KiB")
    async with started(gateway) as server, gateway.client() as someone:
        [(_, conn, _)] = await drain(server, 1)
        await asyncio.to_thread(server.drain_inbound, 1, 0)
        server.send_event(conn, {"t": "large", "p": {"text": "x" * 200_000}})
        while not server._outbox.failed:
            await asyncio.sleep(0.01)
        server.send_event(conn, {"t": "small", "p": {"n": 1}})
        await until_data(someone, {"n": 1})
    assert any("too_large" in record.message for record in caplog.records)


async def test_refusals_say_what_to_do(own):
    with pytest.raises(Refused, match="token="):
        async with started(own(mode="prod", AUTH__JWT_SECRET=SECRET)):
            pass
    gateway = own()
    async with started(gateway) as server:
        server._url += ":1"
        with pytest.raises((BackendError, ValueError)):
            server.prometheus_metrics()


STOPPED_BY_A_SIGNAL = """
import signal
import sys
from fanfare_client.wse_server import WSEServer

server = WSEServer("0.0.0.0", 5007, gateway=sys.argv[1], dialects=("events",))
server.enable_drain_mode()
server.start()
signal.signal(signal.SIGTERM, lambda *_: server.stop())
print("started", flush=True)
try:
    while server.is_running():
        for kind, conn, data in server.drain_inbound(3, 50):
            server.broadcast("news", '{"t":"heard","p":{}}')
except RuntimeError as error:
    assert str(error) == "Not running"
"""


async def test_a_signal_may_stop_it_wherever_it_comes(own):
    gateway = own()

    async def flood(someone):
        while True:
            await someone.say({"type": "app", "data": 1})
            await asyncio.sleep(0)

    async with gateway.client() as someone:
        flooding = asyncio.create_task(flood(someone))
        for _ in range(3):
            with program("-c", STOPPED_BY_A_SIGNAL, gateway.url, PYTHONWARNINGS="ignore") as process:
                assert await asyncio.to_thread(process.stdout.readline)
                await asyncio.sleep(0.2)
                process.send_signal(signal.SIGTERM)
                assert await asyncio.to_thread(process.wait, 20) == 0
        flooding.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await flooding
