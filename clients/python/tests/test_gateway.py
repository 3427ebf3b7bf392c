"""The link against a real gateway: FANFARE_BIN, or the debug build of this repository."""

import asyncio
import contextlib
import json
import logging
import os
import random
import re
import signal
import ssl
import subprocess
import sys
import time

import pytest
from fake import Cutter
from gateway import BINARY, PACKAGE, REPOSITORY, SECRET, free_port, program, readme, token

from fanfare_client import sync
from fanfare_client.backend import (
    Backend,
    Connect,
    Disconnect,
    Gap,
    LinkLost,
    Message,
    OperationError,
    Refused,
    Subscribe,
    Unsubscribe,
    client,
)


@pytest.fixture
def gateway(own):
    """One that asks for credentials. What clients say before an application attaches waits for it."""
    return own(AUTH__JWT_SECRET=SECRET)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(client, "BACKOFF_FIRST", 0.05)
    monkeypatch.setattr(client, "BACKOFF_MAX", 0.5)


def service(gateway, **options):
    return Backend(gateway.url, token=token("app", "service"), **options)


async def of(kind, backend):
    """The next event of a kind, the others done."""
    async for event in backend:
        if isinstance(event, kind):
            return event
    raise AssertionError("the loop ended")


@contextlib.asynccontextmanager
async def running(backend, handler, **options):
    task = asyncio.create_task(backend.run(handler, **options))
    try:
        yield
    finally:
        backend.stop()
        await task


async def until(condition):
    while not condition():
        await asyncio.sleep(0.01)


async def test_a_client_comes_speaks_and_goes(gateway):
    async with service(gateway) as backend:
        async with gateway.client("/api/v1/ws/demo?a=b&token=x") as someone:
            await someone.say({"type": "app", "id": "q", "data": [1, "ä"], "more": True})
            await someone.say({"type": "subscribe", "events": ["a", "b"]})
            await someone.say({"type": "unsubscribe", "events": ["a"]})
            came = await anext(backend)
            assert isinstance(came, Connect)
            assert (came.user, came.verified, came.ip, came.path) == (None, False, "127.0.0.1", "/api/v1/ws/demo")
            assert came.query == "a=b" and came.dialect == "events" and not came.again
            assert abs(came.time / 1000 - time.time()) < 60
            said = await anext(backend)
            assert isinstance(said, Message)
            assert said.conn == came.conn and said.type == "app" and said.id == "q"
            assert said.data == {"type": "app", "id": "q", "data": [1, "ä"], "more": True}
            assert isinstance(event := await anext(backend), Subscribe) and sorted(event.topics) == ["a", "b"]
            assert isinstance(event := await anext(backend), Unsubscribe) and event.topics == ["a"]
        went = await anext(backend)
        assert isinstance(went, Disconnect)
        assert (went.conn, went.code, went.cause) == (came.conn, 1000, "client")
        assert went.bytes_in > 0 and went.bytes_out > 0 and went.seconds >= 0


@pytest.mark.parametrize("format", ["json", "msgpack"])
async def test_a_request_is_answered_with_its_id(gateway, format):
    async def handler(event):
        if isinstance(event, Message):
            await event.reply({"echo": event.data["data"]})

    async with service(gateway, format=format, filter=["message"]) as backend, running(backend, handler):
        async with gateway.client() as someone:
            for id, data in ((1, "x"), ("two", {"a": [None, 1.5]}), (3, "\U0001f600")):
                answer = await someone.ask(data, id)
                assert (answer["type"], answer["id"], answer["result"]) == ("response", id, {"echo": data})


@pytest.mark.parametrize("format", ["json", "msgpack"])
async def test_what_clients_can_say_can_be_sent_back(gateway, format):
    """Numbers and text that JSON allows, and Python, UTF-8 or MessagePack do not have."""
    hostile = ["1" * 5000, "-" + "9" * 5000, "1e999", '"\\ud800"', '"\\u0000"', "[" * 60 + "]" * 60, "9" * 25]

    async def handler(event):
        await event.reply({"got": event.data["data"]})

    async with service(gateway, format=format, filter="message") as backend, running(backend, handler):
        async with gateway.client() as someone:
            for data in hostile:
                await someone.say('{"type":"app","id":1,"data":%s}' % data)
                answer = await someone.frame()
                # The gateway itself may refuse one.
                assert answer["type"] == "error" or "got" in answer["result"]
            assert (await someone.ask("still there"))["result"] == {"got": "still there"}


async def test_operations_do_what_they_say(gateway):
    async with service(gateway, filter=["connect", "message"]) as backend:
        async with gateway.client("/api/v1/ws?token=" + token("ann")) as ann, gateway.client() as guest:
            events = [await of(Connect, backend) for _ in range(2)]
            conns = {event.user: event.conn for event in events}
            assert all(event.verified == (event.user == "ann") for event in events)

            subscribed = await backend.subscribe(conns["ann"], ["news", "room.1", "not a name"])
            assert subscribed["accepted"] == ["news", "room.1"] and subscribed["rejected"] == ["not a name"]
            published = await backend.publish("news", {"n": 1}, type="item", key="k1")
            again = await backend.publish("news", {"n": 1}, type="item", key="k1")
            assert isinstance(published["offset"], int) and again["offset"] == published["offset"]
            await until_data(ann, {"n": 1})

            assert (await backend.presence("room.1"))["count"] == 1
            await backend.unsubscribe(conns["ann"], "news")
            await backend.publish("news", {"n": 2})

            await backend.send({"n": 3}, conn=conns["ann"], type="direct")
            frame = await until_data(ann, {"n": 3})
            assert {"n": 2} not in ann.seen and "direct" in json.dumps(frame)
            await backend.send({"n": 4}, user="ann")
            await until_data(ann, {"n": 4})
            await backend.send({"n": 5}, conn=conns[None], nowait=True)
            await until_data(guest, {"n": 5})

            assert (await backend.broadcast({"n": 6}))["count"] >= 2
            await until_data(ann, {"n": 6})
            await until_data(guest, {"n": 6})

            connections = await backend.connections(user="ann")
            assert connections["total"] == 1 and len(connections["connections"]) == 1
            health = await backend.health()
            assert health["connections"] >= 2 and health["group"]["name"] == "default"

            assert (await backend.disconnect(conn=conns[None], code=4001, reason="bye"))["count"] == 1
            await guest.socket.wait_closed()
            assert (guest.socket.close_code, guest.socket.close_reason) == (4001, "bye")
            assert (await backend.disconnect(user="ann"))["count"] == 1
            await ann.socket.wait_closed()
            assert ann.socket.close_code == 1008

            with pytest.raises(OperationError) as error:
                await backend.send(1, conn=conns["ann"])
            assert error.value.code == "not_found"
            with pytest.raises(OperationError) as error:
                await backend.publish("not\na name", 1)
            assert error.value.code == "invalid" and error.value.message


async def until_data(someone, data):
    """The next frame with this data; what came before is in `seen`."""
    someone.seen = []
    while True:
        frame = await someone.frame()
        if data in (frame.get("data"), frame.get("payload")):
            return frame
        someone.seen.append(frame.get("data"))


async def test_ten_thousand_messages_arrive_in_order(gateway):
    async with service(gateway, filter=["message"]) as backend:

        async def speak(number):
            async with gateway.client() as someone:
                for n in range(1000):
                    await someone.say({"type": "app", "data": [number, n]})
                await all_read.wait()

        all_read = asyncio.Event()
        clients = [asyncio.create_task(speak(number)) for number in range(10)]
        seen = {}
        async for event in backend:
            number, n = event.data["data"]
            assert not event.again
            seen.setdefault(number, []).append(n)
            if sum(map(len, seen.values())) == 10_000:
                event.ack()
                break
        all_read.set()
        await asyncio.gather(*clients)
        assert seen == {number: list(range(1000)) for number in range(10)}
        assert (await backend.health())["group"]["pending"] == 0


async def test_two_members_share_the_clients_and_each_stays_in_order(gateway):
    seen = {}

    def member(name):
        async def handler(event):
            await asyncio.sleep(0)
            seen.setdefault(event.conn, []).append((name, event.data["data"]))

        return handler

    async with service(gateway, filter="message") as one, service(gateway, filter="message") as two:
        while (await one.health())["group"]["members"] < 2:
            await asyncio.sleep(0.01)
        async with running(one, member("one")), running(two, member("two")):
            async with contextlib.AsyncExitStack() as stack:
                clients = [await stack.enter_async_context(gateway.client()) for _ in range(16)]
                for n in range(50):
                    for someone in clients:
                        await someone.say({"type": "app", "data": n})
                await until(lambda: sum(map(len, seen.values())) == 16 * 50)
    assert len(seen) == 16
    for events in seen.values():
        assert len({name for name, _ in events}) == 1, "a client's events went to two members"
        assert [n for _, n in events] == list(range(50))
    assert {events[0][0] for events in seen.values()} == {"one", "two"}


MEMBER = """
import asyncio, sys
from fanfare_client.backend import Backend

async def main():
    async with Backend(sys.argv[1], filter="message", ack="manual") as backend:
        async for event in backend:
            if event.data["data"] < 20:
                event.ack()
            print(event.n, flush=True)

asyncio.run(main())
"""


async def test_what_a_killed_member_had_in_hand_comes_again(own):
    gateway = own()
    process = subprocess.Popen(
        [sys.executable, "-c", MEMBER, gateway.url],
        env=os.environ | {"PYTHONPATH": str(PACKAGE / "src")},
        stdout=subprocess.PIPE,
    )
    async with gateway.client() as someone:
        for n in range(100):
            await someone.say({"type": "app", "data": n})
        first = [int(await asyncio.to_thread(process.stdout.readline)) for _ in range(100)]
        process.kill()
        process.wait()
        process.stdout.close()
        async with Backend(gateway.url, filter="message") as backend:
            again = [await anext(backend)]
            while again[-1].data["data"] != 99:
                again.append(await anext(backend))
            await someone.say({"type": "app", "data": "new"})
            new = await anext(backend)
    # All that it had not acknowledged, and what its acknowledgement was too late for.
    begin = again[0].data["data"]
    assert begin <= 20
    assert [event.data["data"] for event in again] == list(range(begin, 100))
    assert [event.n for event in again] == first[begin:]
    assert all(event.again for event in again)
    assert new.data["data"] == "new" and not new.again


async def test_a_slow_handler_does_not_have_the_others_done_twice(own):
    gateway = own(BACKEND__ACK_TIMEOUT="300ms")
    seen = []

    async def handler(event):
        seen.append(event.data["data"])
        if event.data["data"] == "slow":
            await asyncio.sleep(1.5)

    async with Backend(gateway.url, filter="message") as backend, running(backend, handler):
        async with gateway.client() as slow, gateway.client() as other:
            await slow.say({"type": "app", "data": "slow"})
            await until(lambda: seen)
            for n in range(50):
                await other.say({"type": "app", "data": n})
            await until(lambda: len(seen) > 50)
            while (await backend.health())["group"]["pending"]:
                await asyncio.sleep(0.05)
            await other.say({"type": "app", "data": "next"})
            await until(lambda: "next" in seen)
    assert seen == ["slow", *range(50), "next"]


async def test_the_credit_bounds_what_is_in_hand(gateway):
    async with service(gateway, filter="message", credit=10, ack="manual") as backend, gateway.client() as someone:
        for n in range(25):
            await someone.say({"type": "app", "data": n})
        seen = []
        for count in (10, 10, 5):
            events = [await anext(backend) for _ in range(count)]
            seen += [event.data["data"] for event in events]
            # What the gateway had sent more would be here before the answer.
            await backend.health()
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(anext(backend), 0.05)
            for event in events:
                event.ack()
    assert seen == list(range(25))


async def test_events_that_gave_way_are_told_as_a_gap(own):
    gateway = own(BACKEND__FULL="drop-oldest", BACKEND__MAX_PENDING="100")
    async with gateway.client() as someone:
        for n in range(300):
            await someone.say({"type": "app", "data": n})
        await someone.say({"type": "ping"})
        # Those that come faster than others give way are refused.
        refused = 0
        while (frame := await someone.frame())["type"] != "pong":
            assert frame["code"] == "BACKEND_BUSY"
            refused += 1
        async with Backend(gateway.url, filter="message") as backend:
            lost, seen = 0, []
            while lost + len(seen) < 300 - refused:
                event = await anext(backend)
                if isinstance(event, Gap):
                    lost += event.lost
                else:
                    seen.append(event.data["data"])
    assert lost > 0 and lost + len(seen) + refused == 300
    assert seen == sorted(seen)


async def test_a_link_over_tls_trusts_what_it_is_told_to(own, tmp_path):
    pair = [tmp_path / "gateway.crt", tmp_path / "gateway.key"]
    subprocess.run([BINARY, "gen-cert", "--certificate", pair[0], "--key", pair[1]], check=True, stdout=subprocess.DEVNULL)
    port = free_port()
    arguments = ["--listen", f"https://127.0.0.1:{port}", "--tls-certificate", pair[0], "--tls-key", pair[1]]
    own(arguments=arguments)
    url = f"wss://127.0.0.1:{port}"
    async with Backend(url, ssl=ssl.create_default_context(cafile=pair[0])) as backend:
        assert (await backend.health())["status"]
    with pytest.raises(LinkLost, match="certificate"):
        async with Backend(url):
            pass


async def test_two_hundred_cuts_lose_nothing(own, caplog, monkeypatch):
    caplog.set_level(logging.CRITICAL)
    monkeypatch.setattr(client, "BACKOFF_MAX", 0.02)
    # An event that is cut off five times is a dead letter.
    gateway = own(BACKEND__MAX_DELIVERIES="100")
    chance = random.Random(1)
    seen = {}

    async def handler(event):
        seen.setdefault(event.data["data"][0], []).append(event.data["data"][1])
        await asyncio.sleep(0)

    limits = [chance.randrange(300, 6000) for _ in range(200)]
    async with Cutter(gateway.port, *limits) as cutter, Backend(cutter.url, filter="message") as backend:
        async with running(backend, handler), contextlib.AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(gateway.client()) for _ in range(5)]
            sent = 0
            while cutter.cuts < 200:
                for number, someone in enumerate(clients):
                    await someone.say({"type": "app", "data": [number, sent]})
                sent += 1
                await asyncio.sleep(0.002)
            while (await backend.health())["group"]["pending"]:
                await asyncio.sleep(0.05)
    assert len(seen) == 5
    for events in seen.values():
        # Each first time in order; what comes again begins with one that was not acknowledged.
        assert list(dict.fromkeys(events)) == list(range(sent))


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
async def test_the_link_comes_back_after_a_restart_of_the_gateway(own, how):
    gateway = own()

    async def handler(event):
        if isinstance(event, Message):
            await event.reply({"echo": event.data["data"]})

    async with Backend(gateway.url) as backend, running(backend, handler):
        async with gateway.client() as someone:
            assert (await someone.ask(1))["result"] == {"echo": 1}
        await asyncio.to_thread(gateway.stop, how)
        waiting = asyncio.create_task(backend.publish("news", 1, key="k"))
        await asyncio.sleep(0.2)
        assert not waiting.done()
        await asyncio.to_thread(gateway.start)
        assert "offset" in await waiting
        async with gateway.client() as someone:
            assert (await someone.ask(2))["result"] == {"echo": 2}


async def test_blocking_code_has_the_same(gateway):
    def application():
        with sync.Backend(gateway.url, token=token("app", "service")) as backend:
            kinds = []
            for event in backend:
                kinds.append(event.kind)
                if isinstance(event, sync.Connect):
                    backend.subscribe(event.conn, "sync")
                    assert backend.publish("sync", "hello")["offset"] >= 0
                elif isinstance(event, sync.Message):
                    event.reply("done")
                elif isinstance(event, sync.Disconnect):
                    return kinds

    task = asyncio.create_task(asyncio.to_thread(application))
    async with gateway.client() as someone:
        await until_data(someone, "hello")
        assert (await someone.ask("x"))["result"] == "done"
    kinds = await task
    assert kinds[0] == "connect" and kinds[-1] == "disconnect" and "message" in kinds


async def test_refusals_say_what_to_do(own, gateway):
    async def refusal(gateway, **options):
        with pytest.raises(Refused) as refused:
            async with Backend(gateway.url, **options):
                pass
        return str(refused.value)

    closed = own(mode="prod", AUTH__JWT_SECRET=SECRET)
    assert "token=" in await refusal(closed)
    assert "token=" in await refusal(closed, token="nonsense")
    assert 'role "service"' in await refusal(closed, token=token("ann"))
    async with service(closed) as backend:
        assert (await backend.health())["status"]
    assert "backend.enabled" in await refusal(own(BACKEND__ENABLED="false"))
    assert "group" in await refusal(gateway, group="not a group", token=token("app", "service"))
    assert "filter" in await refusal(gateway, filter="nonsense", token=token("app", "service"))


async def test_the_example_does_what_it_says(own):
    gateway = own()
    with program(REPOSITORY / "examples" / "backend.py", "--url", gateway.url) as example:
        async with gateway.client() as someone:
            await until_data(someone, {"hello": "guest"})
            assert re.fullmatch(r"..:..:..", (await someone.ask({"ask": "time"}))["result"]["time"])
            await someone.say({"type": "app", "data": "bye"})
            await someone.socket.wait_closed()
            assert (someone.socket.close_code, someone.socket.close_reason) == (1000, "bye")
        example.send_signal(signal.SIGINT)
        printed, _ = await asyncio.to_thread(example.communicate, timeout=20)
        assert example.returncode == 0
    for said in ("linked to", "came from 127.0.0.1", "asks for the time", "says bye"):
        assert said in printed


@pytest.mark.parametrize("block", ["import Backend, Connect, Message\n", "from fanfare_client.sync import Backend"])
async def test_what_the_readme_shows_works(own, block):
    gateway = own()
    code = readme(block).replace("ws://127.0.0.1:8080", gateway.url)
    assert gateway.url in code
    with program("-c", code):
        async with gateway.client() as someone:
            if "Connect" in code:
                await until_data(someone, {"hello": "127.0.0.1"})
            assert (await someone.ask("hi"))["result"] == {"you said": "hi"}
