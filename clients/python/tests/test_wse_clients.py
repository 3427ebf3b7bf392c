"""Clients of WSE, a gateway, and an application of WSE's server: the published client, and one that is bytes alone."""

import asyncio
import contextlib
import json
import signal
import zlib

import msgpack
import pytest
from gateway import REPOSITORY, SECRET, program, readme, token
from test_wse_gateway import drain, started
from websockets.asyncio.client import connect

from fanfare_client.backend import client

SERVICE = {"FANFARE_API_KEY": token("app", "service"), "PYTHONWARNINGS": "ignore"}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(client, "BACKOFF_FIRST", 0.05)
    monkeypatch.setattr(client, "BACKOFF_MAX", 0.5)


@pytest.fixture
def gateway(own):
    """One that asks for tokens."""
    return own(mode="dev", AUTH__JWT_SECRET=SECRET, HUB__HISTORY_SIZE="1000")


def serving(gateway, **options):
    return started(gateway, api_key=token("app", "service"), dialects=("wse",), **options)


class Raw:
    """A client that has said hello, of the protocol's bytes."""

    def __init__(self, gateway, user, query=""):
        self._url = f"{gateway.url}/wse{query}"
        self._headers = {"Authorization": f"Bearer {token(user)}"}

    async def __aenter__(self):
        self.socket = await connect(self._url, additional_headers=self._headers)
        assert (await self.frame())["t"] == "server_ready"
        hello = {"client_version": "2.0.7", "protocol_version": 1, "features": {"compression": False}}
        await self.socket.send(json.dumps({"c": "WSE", "t": "client_hello", "p": hello, "v": 1}))
        await self.until("server_hello")
        return self

    async def __aexit__(self, *_):
        await self.socket.close()

    async def frame(self):
        data = await asyncio.wait_for(self.socket.recv(), 20)
        return msgpack.unpackb(data[2:]) if data[:2] == b"M:" else json.loads(data)

    async def until(self, kind):
        while (frame := await self.frame())["t"] != kind:
            pass
        return frame


async def test_what_a_client_says_comes_as_2_5_1_has_it(gateway):
    async with serving(gateway) as server:
        async with Raw(gateway, "ann") as ann:
            [(kind, conn, user)] = await drain(server, 1)
            assert (kind, user) == ("auth_connect", "ann")
            said = {"c": "U", "t": "hi", "p": {"a": 1}, "id": "q1"}
            for frame in (
                json.dumps(said),
                '{"type":"y","payload":{}}',
                'U{"t":"z"}',
                "plain",
                "[1,2]",
                '{"broken',
                b"\xc1\x02",
                b"C:" + zlib.compress(b'{"t":"squeezed"}'),
                b"M:" + msgpack.packb({"t": "packed", "p": {"b": True}}),
                b'{"t":"bytes"}',
            ):
                await ann.socket.send(frame)
            assert await drain(server, 10) == [
                ("msg", conn, said),
                ("msg", conn, {"t": "y", "p": {}}),
                ("msg", conn, {"t": "z"}),
                ("raw", conn, "plain"),
                ("raw", conn, "[1,2]"),
                ("raw", conn, '{"broken'),
                ("bin", conn, b"\xc1\x02"),
                # These are bytes to WSE's own server.
                ("msg", conn, {"t": "squeezed"}),
                ("msg", conn, {"t": "packed", "p": {"b": True}}),
                ("msg", conn, {"t": "bytes"}),
            ]
        assert await drain(server, 1) == [("disconnect", conn, None)]


async def test_a_client_without_a_token_is_no_user(own):
    gateway = own()
    async with connect(gateway.url + "/wse") as someone:
        async with started(gateway, dialects=("wse",)) as server:
            await someone.send('{"t":"hi"}')
            [(kind, conn, cookies), _] = await drain(server, 2)
            assert (kind, cookies) == ("connect", "")
            assert server.drain_inbound(1, 0) == []
        # To a process that has not seen it come, too.
        async with started(gateway, dialects=("wse",)) as server:
            await someone.send('{"t":"hi"}')
            assert await drain(server, 2) == [("connect", conn, ""), ("msg", conn, {"t": "hi"})]


@pytest.mark.parametrize("query", ["", "?format=msgpack"])
async def test_what_the_application_says_comes_in_the_envelope(gateway, query):
    async with serving(gateway) as server, Raw(gateway, "ann", query) as ann:
        [(_, conn, _)] = await drain(server, 1)
        server.send(conn, '{"t":"one","p":{"n":1}}')
        frame = await ann.until("one")
        assert (frame["c"], frame["p"]) == ("U", {"n": 1}) and frame["id"]
        server.send_bytes(conn, b'{"t":"two","p":{"n":2}}')
        assert (await ann.until("two"))["p"] == {"n": 2}
        assert server.send_event(conn, {"t": "three", "p": [3]}) > 0
        assert (await ann.until("three"))["p"] == {"data": [3]}
        server.subscribe_connection(conn, ["news"])
        server.broadcast("news", '{"t":"item","p":{"n":4}}')
        assert (await ann.until("item"))["p"] == {"n": 4}
        server.broadcast("news", '{"n":5}')
        assert (await ann.until("news"))["p"] == {"n": 5}
        server.broadcast_all('{"t":"all","p":{}}')
        await ann.until("all")
        server.unsubscribe_connection(conn)
        server.broadcast("news", '{"t":"item","p":{"n":6}}')
        server.send(conn, '{"t":"last"}')
        frames = [await ann.frame()]
        while frames[-1]["t"] != "last":
            frames.append(await ann.frame())
        assert "item" not in [frame["t"] for frame in frames]
        # The user's own topic is left.
        assert await asyncio.to_thread(server._topics_of, conn) == []
        server.disconnect(conn)
        await ann.socket.wait_closed()
        assert ann.socket.close_code == 4300


async def test_a_client_that_only_listens_is_sent_to_and_subscribed(gateway):
    headers = {"Authorization": f"Bearer {token('ann')}"}
    async with serving(gateway) as server, connect(gateway.url + "/wse", additional_headers=headers) as ann:
        [(_, conn, _)] = await drain(server, 1)
        # At once, as applications do.
        server.subscribe_connection(conn, ["news"])
        server.send_event(conn, {"t": "welcome", "p": {}})
        server.broadcast("news", '{"t":"item","p":{}}')
        kinds = []
        while not {"welcome", "item"} <= set(kinds):
            kinds.append(json.loads(await asyncio.wait_for(ann.recv(), 20))["t"])
        assert server._outbox.failed == 0


async def test_presence_has_the_data_that_clients_gave(gateway):
    async with serving(gateway) as server, Raw(gateway, "ann") as ann, Raw(gateway, "bob") as bob:
        conns = {user: conn for _, conn, user in await drain(server, 2)}
        for someone, status in ((ann, {"status": "online"}), (bob, None)):
            p = {"action": "subscribe", "topics": ["room.1"]} | ({"presence": status} if status else {})
            await someone.socket.send(json.dumps({"t": "subscription_update", "p": p}))
            await someone.until("subscription_update")
        users = {"ann": {"data": {"status": "online"}, "connections": 1}, "bob": {"data": {}, "connections": 1}}
        while await asyncio.to_thread(server.presence, "room.1") != users:
            await asyncio.sleep(0.02)
        assert await asyncio.to_thread(server.presence_stats, "room.1") == {"num_users": 2, "num_connections": 2}
        assert await asyncio.to_thread(server.get_topic_subscriber_count, "room.1") == 2
        assert sorted(await asyncio.to_thread(server.get_connections)) == sorted(conns.values())


async def test_the_application_gives_presence_and_queue_groups(gateway):
    async with serving(gateway) as server, Raw(gateway, "ann") as ann, Raw(gateway, "bob") as bob:
        conns = {user: conn for _, conn, user in await drain(server, 2)}
        server.subscribe_connection(conns["ann"], ["room.1"], {"status": "online"})
        for conn in conns.values():
            server.subscribe_connection(conn, ["jobs"], queue_group="workers")
        users = {"ann": {"data": {"status": "online"}, "connections": 1}}
        while await asyncio.to_thread(server.presence, "room.1") != users:
            await asyncio.sleep(0.02)
        for n in range(20):
            server.broadcast("jobs", json.dumps({"t": "job", "p": {"n": n}}))
        jobs = {ann: [], bob: []}

        async def take(someone):
            while True:
                if (frame := await someone.frame())["t"] == "job":
                    jobs[someone].append(frame["p"]["n"])

        taking = [asyncio.create_task(take(someone)) for someone in jobs]
        while sum(map(len, jobs.values())) < 20:
            await asyncio.sleep(0.02)
        for task in taking:
            task.cancel()
        assert sorted(jobs[ann] + jobs[bob]) == list(range(20)) and jobs[ann] and jobs[bob]


async def test_a_client_recovers_what_it_has_missed(gateway):
    async with serving(gateway) as server, Raw(gateway, "ann") as ann:
        [(_, conn, _)] = await drain(server, 1)
        server.subscribe_connection(conn, ["news"])
        for n in range(5):
            server.broadcast("news", json.dumps({"t": "item", "p": {"n": n}}))
        stamps = [await ann.until("item") for _ in range(5)]
        assert [frame["o"] for frame in stamps] == list(range(stamps[0]["o"], stamps[0]["o"] + 5))
        async with Raw(gateway, "ann") as again:
            [(_, conn, _)] = await drain(server, 1)
            epoch, offset = stamps[1]["e"], stamps[1]["o"]
            result = await asyncio.to_thread(
                server.subscribe_with_recovery, conn, ["news"], recover=True, epoch=epoch, offset=offset
            )
            assert set(result["topics"]["news"]) == {"epoch", "offset", "recoverable", "recovered", "count"}
            assert [(await again.until("item"))["p"]["n"] for _ in range(3)] == [2, 3, 4]


async def chat(url):
    """Two published clients in the chat of examples/wse_app.py."""
    wse_client = pytest.importorskip("wse_client")

    async def next_of(someone, *kinds):
        while (event := await someone.recv(timeout=20)).type not in kinds:
            pass
        return event.payload

    async with wse_client.connect(url, token=token("ann")) as ann:
        assert await next_of(ann, "welcome") == {"name": "ann"}
        assert await next_of(ann, "joined") == {"name": "ann"}
        async with wse_client.connect(url, token=token("bob")) as bob:
            assert await next_of(bob, "welcome") == {"name": "bob"}
            assert await next_of(ann, "joined") == {"name": "bob"}
            for n in range(100):
                assert await ann.send("say", {"text": f"line {n}"})
            for someone in (ann, bob):
                for n in range(100):
                    assert await next_of(someone, "said") == {"name": "ann", "text": f"line {n}"}
            assert await bob.send("who", {})
            assert await next_of(bob, "here") == {"names": ["ann", "bob"]}
        assert await next_of(ann, "left") == {"name": "bob"}


async def test_the_example_serves_published_clients(gateway):
    environment = SERVICE | {"FANFARE_URL": gateway.url, "JWT_SECRET": SECRET}
    with program(REPOSITORY / "examples" / "wse_app.py", **environment) as example:
        assert await asyncio.to_thread(example.stdout.readline) == "the chat is open\n"
        await chat(gateway.url + "/wse")
        example.send_signal(signal.SIGINT)
        printed, _ = await asyncio.to_thread(example.communicate, timeout=20)
        assert example.returncode == 0 and "auth_connect" in printed


def test_only_the_import_of_the_example_is_ours():
    text = (REPOSITORY / "examples" / "wse_app.py").read_text()
    code = text.split('"""')[2]
    assert [line for line in code.splitlines() if "fanfare" in line] == [
        "from fanfare_client.wse_server import RustWSEServer"
    ]


async def test_a_published_client_does_not_notice_that_the_application_restarts(gateway):
    wse_client = pytest.importorskip("wse_client")
    environment = SERVICE | {"FANFARE_URL": gateway.url, "JWT_SECRET": SECRET}
    app = (REPOSITORY / "examples" / "wse_app.py",)
    async with contextlib.AsyncExitStack() as stack:
        with program(*app, **environment) as example:
            await asyncio.to_thread(example.stdout.readline)
            ann = await stack.enter_async_context(wse_client.connect(gateway.url + "/wse", token=token("ann")))
            while (await ann.recv(timeout=20)).type != "joined":
                pass
            example.send_signal(signal.SIGKILL)
            await asyncio.to_thread(example.wait)
        for n in range(3):
            assert await ann.send("say", {"text": str(n)})
        with program(*app, **environment):
            texts = []
            while len(texts) < 3:
                event = await ann.recv(timeout=20)
                if event.type == "said":
                    texts.append(event.payload["text"])
            assert texts == ["0", "1", "2"]
        assert ann.is_connected


async def test_what_the_readme_shows_works(gateway):
    with program("-c", readme("RustWSEServer"), FANFARE_URL=gateway.url, **SERVICE):
        async with Raw(gateway, "ann") as ann:
            # It attaches, or has attached.
            while True:
                await ann.socket.send('{"t":"hi","p":{"n":1}}')
                frame = await ann.frame()
                if frame["t"] == "echo":
                    break
                await asyncio.sleep(0.05)
            assert frame["p"] == {"you said": {"n": 1}}
