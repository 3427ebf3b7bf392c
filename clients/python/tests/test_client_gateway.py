"""The client against a real gateway: cuts under load, restarts, tokens that end, processes that sleep.

FANFARE_FIRE=30 has the test under fire run for so many seconds, with 200 connections.
"""

import asyncio
import collections
import json
import os
import random
import signal
import time
import urllib.request

import pytest
from fake import Cutter
from gateway import SECRET, program, token

from fanfare_client import Closed, RequestError, connect
from fanfare_client.backend import Backend
from fanfare_client.client import backoff

FIRE_SECONDS = float(os.environ.get("FANFARE_FIRE", "3"))


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(backoff, "BACKOFF_FIRST", 0.05)
    monkeypatch.setattr(backoff, "BACKOFF_MAX", 0.5)


async def until(condition):
    while not condition():
        await asyncio.sleep(0.01)


def post(gateway, path, value):
    body = json.dumps(value).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{gateway.port}{path}", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as response:
        return json.load(response)


class Proxy:
    """Between clients and the gateway; cuts connections at any byte."""

    def __init__(self, port):
        self._port = port
        self._pairs = set()
        self.cuts = 0

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=1000)
        self.url = "ws://127.0.0.1:%d/api/v1/ws/demo" % self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self._server.close()
        for pair in list(self._pairs):
            pair.abort()

    async def _serve(self, reader, writer):
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            writer.transport.abort()
            return
        pair = Pair(writer, up_writer)
        self._pairs.add(pair)
        await asyncio.gather(pair.copy(reader, up_writer), pair.copy(up_reader, writer))
        pair.abort()
        self._pairs.discard(pair)

    def cut(self, share):
        """Cuts each connection with this chance; where within a frame is left to chance, too."""
        for pair in list(self._pairs):
            if random.random() < share:
                pair.left = random.randrange(400)
                self.cuts += 1


class Pair:
    def __init__(self, *writers):
        self._writers = writers
        #: Bytes of the gateway's until the cut.
        self.left = None

    async def copy(self, reader, writer):
        try:
            while data := await reader.read(65536):
                if writer is self._writers[0] and self.left is not None:
                    writer.write(data[: self.left])
                    self.left -= len(data)
                    if self.left <= 0:
                        break
                else:
                    writer.write(data)
        except OSError:
            pass
        self.abort()

    def abort(self):
        for writer in self._writers:
            writer.transport.abort()


class Seen:
    """What one subscription was told: each offset once, or a gap."""

    def __init__(self, subscription):
        self.subscription = subscription
        self.expected = {}
        self.events = self.told = 0
        self.faults = []
        subscription.on("event", self.event)
        subscription.on("gap", self.gap)

    def event(self, event):
        epoch, offset = event.position.split("-")
        self.events += 1
        wanted = self.expected.get(event.topic)
        if wanted is not None and (epoch, int(offset)) != wanted:
            self.faults.append(f"{event.topic}: {wanted} was next, {event.position} came")
        self.expected[event.topic] = (epoch, int(offset) + 1)

    def gap(self, gap):
        self.told += 1
        if gap.position is None:
            self.expected.pop(gap.topic, None)
        else:
            epoch, offset = gap.position.split("-")
            self.expected[gap.topic] = (epoch, int(offset) + 1)


async def test_nothing_is_lost_or_doubled_under_fire(own):
    """Connections are cut at random, each every second or so, while 1,000 events a second are published."""
    gateway = own(HUB__HISTORY_SIZE="1000")
    count = 200 if FIRE_SECONDS >= 30 else 40
    topics = [f"fire.{n}" for n in range(50)]
    published = collections.Counter()

    def goes_on():
        # On a slow machine, until each was cut about once.
        return time.monotonic() < ends or proxy.cuts <= count

    async def publish():
        """50 events each twentieth of a second."""
        while goes_on():
            batch = [{"event": random.choice(topics), "data": "x" * random.randrange(200)} for _ in range(50)]
            begun = time.monotonic()
            await asyncio.to_thread(post, gateway, "/api/v1/events/batch", batch)
            published.update(event["event"] for event in batch)
            await asyncio.sleep(max(0, 0.05 - (time.monotonic() - begun)))

    async with Proxy(gateway.port) as proxy:
        clients = [connect(proxy.url, ping_interval=5) for _ in range(count)]
        await asyncio.gather(*(client.__aenter__() for client in clients))
        seen = [Seen(client.subscribe(topics[n % 50], buffer=10_000)) for n, client in enumerate(clients)]
        wide = Seen(clients[0].subscribe("fire.*", buffer=10_000))
        await asyncio.gather(*(each.subscription.ready() for each in [*seen, wide]))
        ends = time.monotonic() + FIRE_SECONDS
        publishing = asyncio.create_task(publish())
        while goes_on():
            proxy.cut(0.1)
            await asyncio.sleep(0.1)
        await publishing
        # All that was published has come to each, also to those that were just cut.
        for each in seen:
            topic = each.subscription.name
            await until(lambda: each.told or each.events >= published[topic])
            assert each.events == published[topic] and each.told == 0, topic
        await until(lambda: wide.told or wide.events >= sum(published.values()))
        faults = [fault for each in [*seen, wide] for fault in each.faults]
        assert not faults, faults[:5]
        assert wide.events == sum(published.values()) and wide.told == 0
        print(f"{sum(published.values())} published, {sum(each.events for each in seen)} received, {proxy.cuts} cuts")
        await asyncio.gather(*(client.close() for client in clients))


async def test_a_pattern_with_more_topics_than_a_message_names_loses_none_of_them_to_cuts(own):
    gateway = own(HUB__HISTORY_SIZE="1000")
    topics = [f"many.{n}" for n in range(150)]

    async def publish():
        # At most 100 in a request.
        for start in (0, 75):
            batch = [{"event": topic, "data": random.randbytes(50).hex()} for topic in topics[start : start + 75]]
            await asyncio.to_thread(post, gateway, "/api/v1/events/batch", batch)

    async with connect(f"{gateway.url}/api/v1/ws/demo") as client, client.subscribe("many.*") as many:
        await publish()
        for _ in topics:
            await anext(many)
        position = many.position
    for _ in range(2):
        await publish()
    # Within the confirmation, and what follows it.
    async with Cutter(gateway.port, *range(500, 20_000, 650)) as cutter:
        async with connect(f"{cutter.url}/api/v1/ws/demo") as client:
            seen = Seen(client.subscribe("many.*", since=position))
            seen.expected = {topic: (place.split("-")[0], 2) for topic, place in json.loads(position).items()}
            await until(lambda: seen.told or seen.events == 2 * len(topics))
            await client.publish("other", 1)
            assert (seen.faults, seen.told, seen.events) == ([], 0, 2 * len(topics))
            assert {offset for topic, (_, offset) in seen.expected.items() if topic in topics} == {4} and cutter.cuts > 3


async def test_a_gateway_that_was_killed_is_a_gap_told_once(own):
    gateway = own()
    clients = [connect(f"{gateway.url}/api/v1/ws/demo") for _ in range(20)]
    await asyncio.gather(*(client.__aenter__() for client in clients))
    seen = [Seen(client.subscribe("news")) for client in clients]
    await asyncio.gather(*(each.subscription.ready() for each in seen))
    for n in range(1, 3):
        post(gateway, "/api/v1/events", {"event": "news", "data": n})
        await until(lambda: all(each.events == n for each in seen))
        gateway.stop(signal.SIGKILL)
        await asyncio.to_thread(gateway.start)
        await until(lambda: all(client.state == "open" and each.told == n for client, each in zip(clients, seen)))
    # No more than one each, also on further connections.
    for client in clients:
        client.reconnect()
    await asyncio.gather(*(client.publish("other", 1) for client in clients))
    post(gateway, "/api/v1/events", {"event": "news", "data": 3})
    await until(lambda: all(each.events == 3 for each in seen))
    assert [each.told for each in seen] == [2] * 20 and not any(each.faults for each in seen)
    await asyncio.gather(*(client.close() for client in clients))


async def test_publications_are_done_once_through_restarts_of_connections(own):
    gateway = own()
    async with connect(f"{gateway.url}/api/v1/ws/demo") as plain:
        assert [await plain.publish("keyed", 1, key="one of two") for _ in range(2)] == [1, 1]
        async with Proxy(gateway.port) as proxy, connect(proxy.url) as client:
            tasks = [asyncio.create_task(client.publish("orders", n)) for n in range(500)]
            while not all(task.done() for task in tasks):
                proxy.cut(0.5)
                await asyncio.sleep(0.02)
            offsets = [task.result() for task in tasks]
        history = [event["data"] for event in (await plain.query("history", {"event": "orders", "limit": 100}))["events"]]
    assert offsets == sorted(set(offsets)) and offsets[-1] == 500 and history == list(range(400, 500))


@pytest.fixture
def strict(own):
    return own(AUTH__JWT_SECRET=SECRET, AUTH__LEEWAY="0s", EVENTS__AUTH_REQUIRED="true")


def ending(seconds):
    return token("ann", exp=int(time.time() + seconds))


async def test_tokens_that_end_every_few_seconds_cost_nothing(strict):
    """Renewed on the connection, or by a new one: every event comes."""
    await asyncio.gather(*(follow_with_short_tokens(strict, endpoint) for endpoint in ("slow", "failing")))


async def follow_with_short_tokens(strict, endpoint):
    asked = []

    async def ask(reason):
        asked.append(reason)
        if endpoint == "slow":
            await asyncio.sleep(2)
        elif len(asked) % 3:
            raise OSError("the token endpoint is down")
        return ending(5)

    async with connect(f"{strict.url}/api/v1/ws", token=ask) as client:
        seen, published = Seen(client.subscribe(endpoint)), 0
        await seen.subscription.ready()
        assert client.session.user == "ann"
        ends = time.monotonic() + 6.5
        async with connect(f"{strict.url}/api/v1/ws", token=token("bob")) as other:
            while time.monotonic() < ends:
                await other.publish(endpoint, published)
                published += 1
                await asyncio.sleep(0.05)
        await until(lambda: seen.events == published)
        assert not seen.faults and not seen.told
        assert asked[0] == "first" and "expired" in asked


async def test_a_token_endpoint_that_says_no_ends_the_client(strict):
    def ask(reason):
        return ending(5) if reason == "first" else None

    async with connect(f"{strict.url}/api/v1/ws", token=ask) as client:
        subscription = client.subscribe("news")
        with pytest.raises(Closed, match="no token"):
            await anext(subscription)
        assert client.state == "ended"
        await client.authenticate(token("ann"))
        await subscription.ready()
        assert client.session.user == "ann"


async def test_a_token_that_is_not_valid_is_said_so(strict):
    with pytest.raises(Closed, match="Authentication failed"):
        async with connect(f"{strict.url}/api/v1/ws", token="nonsense"):
            pass
    with pytest.raises(Closed, match="Authentication failed"):
        async with connect(f"{strict.url}/api/v1/ws"):
            pass


async def test_what_a_token_does_not_permit_is_said_so(strict):
    claims = {"fanfare": {"subscribe": ["news"], "publish": ["news"]}}
    async with connect(f"{strict.url}/api/v1/ws", token=token("ann", **claims)) as client:
        with pytest.raises(RequestError) as raised:
            await client.publish("other", 1)
        assert (raised.value.code, raised.value.remedy) == ("FORBIDDEN", "token")
        rejected = client.subscribe("other")
        with pytest.raises(RequestError, match="FORBIDDEN"):
            await rejected.ready()
        await client.subscribe("news").ready()
        # A login with more.
        await client.authenticate(token("ann"))
        client.reconnect()
        await until(lambda: rejected.state == "active")


async def test_a_gateway_that_sleeps_is_given_up_and_found_again(own):
    gateway = own()
    url = f"{gateway.url}/api/v1/ws/demo"
    async with connect(url, ping_interval=0.2, ping_timeout=0.2) as client:
        seen, told = Seen(client.subscribe("news")), []
        client.on("state", told.append)
        await seen.subscription.ready()
        gateway.pause()
        try:
            await until(lambda: "no answer to a ping" in [status.reason for status in told])
        finally:
            gateway.resume()
        await until(lambda: client.state == "open")
        await client.publish("news", 1)
        await until(lambda: seen.events == 1)
        assert not seen.faults


PROGRAM = """
import asyncio, sys
from fanfare_client import Event, connect

async def main():
    async with connect(sys.argv[1], ping_interval=0.5, ping_timeout=0.5) as client:
        client.on("state", lambda status: print("state", status.state, flush=True))
        subscription = client.subscribe("news")
        await subscription.ready()
        print("ready", flush=True)
        async for event in subscription:
            print(event.data if isinstance(event, Event) else f"gap {event.lost}", flush=True)

asyncio.run(main())
"""


def test_a_client_that_sleeps_goes_on_where_it_was(own):
    """A laptop's lid: the process stands still, the gateway gives it up, and what was published meanwhile comes."""
    gateway = own(WEBSOCKET__PING_INTERVAL="1s", WEBSOCKET__PING_TIMEOUT="1s")
    with program("-c", PROGRAM, f"{gateway.url}/api/v1/ws/demo") as process:
        # A slow machine may cost a connection before.
        while (line := process.stdout.readline()) != "ready\n":
            assert line, "the program has ended"
        process.send_signal(signal.SIGSTOP)
        for n in range(3):
            post(gateway, "/api/v1/events", {"event": "news", "data": n})
        while gateway.get("/api/v1/ws/connections")["total_connections"]:
            time.sleep(0.05)
        process.send_signal(signal.SIGCONT)
        lines = []
        while len([line for line in lines if not line.startswith("state")]) < 3:
            lines.append(process.stdout.readline().strip())
        assert [line for line in lines if not line.startswith("state")] == ["0", "1", "2"]


async def test_a_history_and_a_presence_can_be_asked_for(own):
    gateway = own()
    async with connect(f"{gateway.url}/api/v1/ws/ann") as client:
        for n in range(3):
            assert await client.publish("news", n) == n + 1
        page = await client.query("history", {"event": "news", "limit": 2})
        assert [event["data"] for event in page["events"]] == [1, 2] and page["more"]
        told = asyncio.Queue()
        room = client.subscribe("room.1")
        room.on("presence", told.put_nowait)
        await room.ready()
        assert (await told.get()).user == "ann"
        assert (await client.query("presence", {"event": "room.1"}))["users"][0]["user"] == "ann"


async def test_names_that_are_too_many_are_rejected(own):
    gateway = own(EVENTS__MAX_SUBSCRIPTIONS="5")
    async with connect(f"{gateway.url}/api/v1/ws/demo") as client:
        subscriptions = [client.subscribe(f"t.{n}") for n in range(6)]
        results = await asyncio.gather(*(each.ready() for each in subscriptions), return_exceptions=True)
        assert results[:5] == [None] * 5 and results[5].code == "SUBSCRIPTION_LIMIT"
        # With more topics to recover than it takes.
        subscriptions[5].unsubscribe()
        subscriptions[4].unsubscribe()
        rooms = Seen(client.subscribe("r.*"))
        await rooms.subscription.ready()
        for n in range(20):
            await client.publish(f"r.{n}", n)
        await until(lambda: rooms.events == 20)
        client.reconnect()
        for n in range(20):
            await client.publish(f"r.{n}", n)
        await until(lambda: rooms.events == 40 or rooms.told)
        assert not rooms.faults and not rooms.told


async def test_a_rate_is_kept_to(own):
    gateway = own(EVENTS__FRAMES_PER_MINUTE="30")
    async with connect(f"{gateway.url}/api/v1/ws/demo") as client:
        results = await asyncio.gather(*(client.query("server_info", timeout=3) for _ in range(60)), return_exceptions=True)
        refused = [result for result in results if isinstance(result, RequestError)]
        assert refused and {result.code for result in refused} == {"RATE_LIMIT_EXCEEDED"} and client.state == "open"


async def test_what_an_application_says_to_a_connection_arrives_and_costs_nothing(own):
    gateway = own()
    async with Backend(gateway.url, filter="message") as backend, connect(f"{gateway.url}/api/v1/ws/demo") as client:
        messages, told = asyncio.Queue(), []
        client.on("message", messages.put_nowait)
        client.on("state", told.append)
        asked = asyncio.create_task(client.request({"type": "app", "data": "who am I?"}))
        message = await anext(backend)
        await message.reply("you")
        assert (await asked)["result"] == "you"
        await backend.send({"n": 1}, conn=message.conn, type="hint")
        said = await messages.get()
        assert (said["type"], said["event"], said["data"]) == ("event", "hint", {"n": 1})
        await backend.subscribe(message.conn, ["news"])
        await client.publish("news", "hello")
        while (said := await messages.get())["type"] != "event":
            pass
        assert (said["event"], said["data"]) == ("news", "hello")
        assert not told


async def test_fewer_subscriptions_than_a_message_may_have_names(own):
    gateway = own(EVENTS__MAX_SUBSCRIPTIONS="10")
    async with connect(f"{gateway.url}/api/v1/ws/demo") as client:
        for n in range(12):
            await client.publish(f"t.{n}", n)
        client.reconnect()
        subscriptions = [client.subscribe(f"t.{n}", last=1) for n in range(12)]
        for n, subscription in enumerate(subscriptions[:10]):
            assert (await anext(subscription)).data == n
        for subscription in subscriptions[10:]:
            with pytest.raises(RequestError, match="SUBSCRIPTION_LIMIT"):
                await subscription.ready()
        await until(lambda: client.state == "open")
