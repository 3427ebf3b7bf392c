"""The client against a gateway that can be made to do anything."""

import asyncio
import contextlib
import json
import logging
import threading
import time
from functools import partial
from types import SimpleNamespace

import pytest
from fake import Cutter
from fake_events import NOW, FakeEvents, event

from fanfare_client import (
    BufferFull,
    Closed,
    ConnectionLost,
    Event,
    Gap,
    GiveUp,
    RequestError,
    connect,
)
from fanfare_client.backend import Backend
from fanfare_client.bridge import Account
from fanfare_client.client import backoff, requests, tokens
from fanfare_client.client.connection import Connection
from fanfare_client.client.feed import Feed
from fanfare_client.client.positions import TOPICS_MAX, Position


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(backoff, "BACKOFF_FIRST", 0.02)
    monkeypatch.setattr(backoff, "BACKOFF_MAX", 0.1)
    monkeypatch.setattr(requests, "PAUSE_SECONDS", 0.02)


async def take(subscription, count):
    """So many items."""
    return [await anext(subscription) for _ in range(count)]


async def until(client, state):
    while client.state != state:
        await asyncio.sleep(0.005)


def kinds(gateway):
    """Of the frames that came, the types."""
    return [frame["type"] for frame in gateway.frames]


def refuse_once(gateway, kind, **details):
    """Has the gateway refuse the next frame of a type for its rate."""

    def refuse(frame):
        if frame["type"] == kind:
            gateway.on_frame = lambda frame: None
            code = {"code": "RATE_LIMIT_EXCEEDED", "message": "", "details": {"retry_after": 0} | details}
            return [{"type": "error", "id": frame["id"]} | code]

    gateway.on_frame = refuse


def statuses(client):
    """What the client tells of its state, from now on."""
    told = []
    client.on("state", told.append)
    return told


# Events


async def test_events_come_once_in_order_and_go_on_where_a_connection_was_lost():
    async with FakeEvents() as gateway, connect(gateway.url) as client:
        subscription = client.subscribe("orders")
        await subscription.ready()
        assert (subscription.state, subscription.position) == ("active", "7-0")
        await gateway.publish("orders", {"n": 1}, {"n": 2})
        (first, second) = await take(subscription, 2)
        assert isinstance(first, Event)
        assert (first.topic, first.name, first.data, first.position) == ("orders", "orders", {"n": 1}, "7-1")
        assert subscription.position == second.position == "7-2"
        gateway.sockets[-1].transport.abort()
        await gateway.publish("orders", {"n": 3})
        assert [item.data for item in await take(subscription, 1)] == [{"n": 3}]
        assert gateway.frames[-1]["recover"] == {"orders": {"epoch": "7", "offset": "2"}}


async def test_a_later_client_goes_on_at_a_stored_position():
    async with FakeEvents() as gateway:
        gateway.topics["orders"] = list("abcde")
        async with connect(gateway.url) as client:
            assert [item.data for item in await take(client.subscribe("orders", since="7-3"), 2)] == ["d", "e"]
        async with connect(gateway.url) as client:
            assert [item.data for item in await take(client.subscribe("orders", last=2), 2)] == ["d", "e"]
        async with connect(gateway.url) as client:
            (gap,) = await take(client.subscribe("orders", since="6-3"), 1)
            assert gap == Gap(topic="orders", lost=None, position="7-5")


async def test_a_gap_is_told_once_and_a_restart_is_one():
    async with FakeEvents() as gateway, connect(gateway.url) as client:
        subscription = client.subscribe("orders", last=1)
        await gateway.publish("orders", 1)
        await subscription.ready()
        gateway.epoch, gateway.topics = "8", {"orders": ["x"]}
        gateway.sockets[-1].transport.abort()
        items = [await anext(subscription)]
        if isinstance(items[0], Event):
            items = [await anext(subscription)]
        assert items == [Gap(topic="orders", lost=None, position="8-1")]
        for _ in range(2):
            count = len(gateway.sockets)
            gateway.sockets[-1].transport.abort()
            await gateway.until(lambda: len(gateway.sockets) > count)
        await until(client, "open")
        await gateway.publish("orders", "y")
        assert [item.data for item in await take(subscription, 1)] == ["y"]


async def test_a_gap_whose_connection_ends_before_it_came_is_told_by_the_next_one():
    async with FakeEvents() as gateway, connect(gateway.url) as client:
        subscription = client.subscribe("orders", since="6-1")
        cut = {"type": "subscription_confirmed", "events": ["orders"], "id": 2,
               "topics": {"orders": {"epoch": 7, "offset": 4, "recovered": False, "count": 0}}}  # fmt: skip
        gateway.on_frame = lambda frame: [cut, (1011, "")] if frame["type"] == "subscribe" else None
        await gateway.until(lambda: len(gateway.sockets) > 1)
        gateway.on_frame = lambda frame: None
        assert await anext(subscription) == Gap(topic="orders", lost=None, position="7-0")


async def test_a_pattern_gets_its_topics_and_goes_on_in_each():
    async with FakeEvents() as gateway, connect(gateway.url) as client:
        subscription = client.subscribe("room.*")
        await subscription.ready()
        await gateway.publish("room.1", "a")
        await gateway.publish("room.2", "b")
        await gateway.publish("other", "c")
        assert [(item.topic, item.data) for item in await take(subscription, 2)] == [("room.1", "a"), ("room.2", "b")]
        assert json.loads(subscription.position) == {"room.*": "7-0", "room.1": "7-1", "room.2": "7-1"}
        gateway.sockets[-1].transport.abort()
        await gateway.until(lambda: "recover" in gateway.frames[-1])
        places = gateway.frames[-1]["recover"]
        assert places == {name: {"epoch": "7", "offset": str(n)} for name, n in
                          (("room.*", 0), ("room.1", 1), ("room.2", 1))}  # fmt: skip


async def test_a_gap_of_a_pattern_is_told_to_the_topics_that_it_covers():
    async with FakeEvents() as gateway, connect(gateway.url) as client:
        pattern, other, topic, hall = (client.subscribe(name) for name in ("room.*", "room.1.*", "room.1", "hall"))
        for subscription in (pattern, other, topic, hall):
            await subscription.ready()
        await gateway.say({"type": "gap", "event": "room.*", "lost": 3})
        assert await anext(pattern) == Gap(topic="room.*", lost=3, position=None)
        assert await anext(topic) == Gap(topic="room.1", lost=None, position=None)
        # The gateway names each pattern.
        assert not other.feed.buffer and not hall.feed.buffer
        # One that asked for more than the gateway has is alone with its gap: what flows lacks nothing.
        await client.subscribe("room.*", since='{"room.*":"6-0"}').ready()
        await gateway.publish("room.1", "x")
        assert (await anext(topic)).data == "x"


async def test_a_topic_and_a_pattern_over_it_both_get_its_events_once():
    async with FakeEvents() as gateway, connect(gateway.url) as client:
        exact, pattern, again = client.subscribe("room.1"), client.subscribe("room.*"), client.subscribe("room.1")
        for subscription in (exact, pattern, again):
            await subscription.ready()
        await gateway.say(event("room.1", 1, "a"))
        await gateway.say(event("room.1", 1, "a"))
        await gateway.say(event("room.1", 2, "b"))
        for subscription in (exact, pattern, again):
            assert [item.data for item in await take(subscription, 2)] == ["a", "b"]
        exact.unsubscribe()
        assert (exact.state, await asyncio.gather(exact.ready(), return_exceptions=True)) != ("active", [None])
        await client.query("x")
        assert not [frame for frame in gateway.frames if frame["type"] == "unsubscribe"]
        again.unsubscribe()
        await gateway.until(lambda: gateway.frames[-1]["type"] == "unsubscribe")


async def test_a_second_subscription_that_goes_further_back_disturbs_the_first_one_not():
    async with FakeEvents() as gateway, connect(gateway.url) as client:
        gateway.topics["orders"] = list("abc")
        first = client.subscribe("orders")
        await first.ready()
        second = client.subscribe("orders", since="7-1")
        assert [item.data for item in await take(second, 2)] == ["b", "c"]
        await gateway.publish("orders", "d")
        assert [item.data for item in await take(first, 1) + await take(second, 1)] == ["d", "d"]


@pytest.mark.parametrize("is_first", [True, False])
async def test_a_place_counts_for_more_than_how_many_another_subscription_begins_with(is_first):
    async with FakeEvents() as gateway, connect(gateway.url) as client:
        gateway.topics["orders"] = list("abcde")
        client.reconnect()
        newest = client.subscribe("orders", last=1) if is_first else None
        stored = client.subscribe("orders", since="7-1")
        newest = newest or client.subscribe("orders", last=1)
        assert [item.data for item in await take(stored, 4)] == list("bcde")
        assert [item.data for item in await take(newest, 1)] == ["e"]


async def test_the_newest_events_are_as_many_as_each_subscription_asks_for():
    async with FakeEvents() as gateway, connect(gateway.url) as client:
        gateway.topics["orders"] = list("abcde")
        client.reconnect()
        three, one = client.subscribe("orders", last=3), client.subscribe("orders", last=1)
        assert [item.data for item in await take(three, 3)] == list("cde")
        assert [item.data for item in await take(one, 1)] == ["e"]
        # Also beside one that flows.
        two = client.subscribe("orders", last=2)
        assert [item.data for item in await take(two, 2)] == list("de")
        await gateway.publish("orders", "f")
        assert [item.data for one in (three, one, two) for item in await take(one, 1)] == ["f"] * 3


async def test_newest_events_for_a_second_subscription_cost_the_first_one_nothing():
    async with FakeEvents() as gateway, connect(gateway.url) as client:
        first = client.subscribe("orders")
        await first.ready()

        def publish(frame):
            if frame["type"] == "unsubscribe":
                # Before it is subscribed to anew.
                gateway.topics["orders"] = list(range(20))

        gateway.on_frame = publish
        second = client.subscribe("orders", last=2)
        assert [item.data for item in await take(second, 2)] == [18, 19]
        for n in range(20):
            item = await anext(first)
            assert isinstance(item, Event) and item.data == n


@pytest.mark.parametrize("beginning", [{"since": "7-1"}, {"last": 2}])
async def test_a_second_subscription_begins_where_it_asks_to_also_before_the_first_one_is_confirmed(beginning):
    async with FakeEvents() as gateway, connect(gateway.url) as client:
        gateway.topics["orders"] = list("abc")
        first, second = client.subscribe("orders"), client.subscribe("orders", **beginning)
        assert [item.data for item in await take(second, 2)] == ["b", "c"]
        await gateway.publish("orders", "d")
        assert [item.data for item in await take(first, 1) + await take(second, 1)] == ["d", "d"]


async def test_the_positions_of_a_pattern_are_bounded_and_what_is_forgotten_is_a_gap():
    async with FakeEvents() as gateway, connect(gateway.url, buffer=2 * TOPICS_MAX) as client:
        subscription = client.subscribe("room.*")
        await subscription.ready()
        for n in range(TOPICS_MAX + 1):
            await gateway.say(event(f"room.{n}", 1))
        await take(subscription, TOPICS_MAX + 1)
        gateway.sockets[-1].transport.abort()
        assert await anext(subscription) == Gap(topic="room.*", lost=None, position=None)
        recovered = [frame for frame in gateway.frames if frame["type"] == "subscribe"][-1]["recover"]
        assert "room.*" not in recovered and len(recovered) == 50


async def test_a_stored_position_of_a_pattern_says_that_topics_are_forgotten_until_their_gap_was_told():
    told = Gap(topic="room.*", lost=None, position=None)
    async with FakeEvents() as gateway:
        async with connect(gateway.url, buffer=2 * TOPICS_MAX) as client:
            subscription = client.subscribe("room.*")
            await subscription.ready()
            for n in range(TOPICS_MAX + 1):
                await gateway.say(event(f"room.{n}", 1))
            await take(subscription, TOPICS_MAX + 1)
            position = subscription.position
        async with connect(gateway.url) as client:
            subscription = client.subscribe("room.*", since=position)
            await subscription.ready()
            assert "room.*" not in gateway.frames[-1]["recover"]
            assert await anext(subscription) == told
            position = subscription.position
        async with connect(gateway.url) as client:
            subscription = client.subscribe("room.*", since=position)
            await subscription.ready()
            assert gateway.frames[-1]["recover"] == {"room.*": {"epoch": "7", "offset": "0"}}
            await gateway.publish("room.1", "a")
            assert (await anext(subscription)).data == "a"


async def test_a_second_subscription_to_a_pattern_knows_what_the_first_one_has_forgotten():
    async with FakeEvents() as gateway, connect(gateway.url, buffer=2 * TOPICS_MAX) as client:
        first = client.subscribe("room.*")
        await first.ready()
        for n in range(TOPICS_MAX + 1):
            await gateway.say(event(f"room.{n}", 1))
        await take(first, TOPICS_MAX + 1)
        second = client.subscribe("room.*")
        first.unsubscribe()
        gateway.sockets[-1].transport.abort()
        await gateway.until(lambda: kinds(gateway).count("subscribe") == 2)
        assert "room.*" not in gateway.frames[-1]["recover"]
        assert await anext(second) == Gap(topic="room.*", lost=None, position=None)


def test_the_place_of_a_pattern_is_the_consumers_once_it_was_told_all_that_was_dropped_before_it():
    feed = Feed("room.*", lambda: None, size=1)
    feed.confirm("room.*", {"epoch": 7, "offset": 0})

    def come(topic):
        feed.event(Event(topic=topic, name=topic, data=1, position="7-1", publisher=None, timestamp=NOW), Position("7", 1))

    come("room.1")
    come("room.2")
    feed.confirm("room.*", {"epoch": 7, "offset": 5})
    feed.catch_up()
    come("room.3")
    given = [(feed.take().topic, str(feed.delivered.find("room.*"))) for _ in range(3)]
    assert given == [("room.1", "7-0"), ("room.2", "7-5"), ("room.3", "7-5")]


class ManyRooms:
    """Answers a subscription to `room.*` as a gateway does where 11 topics had a message since the pattern's first place."""

    def __init__(self, gateway):
        #: The messages that subscribe, and how many of the topics beside a pattern are replayed before the connection ends.
        self.asked = []
        self.cut_after = None
        gateway.on_frame = self.answer

    def answer(self, frame):
        if frame["type"] != "subscribe":
            return None
        recover = frame["recover"]
        self.asked.append(recover)
        now = {"epoch": 5, "offset": 100 * (len(self.asked) + 1)}
        beside = [f"room.{n}" for n in range(11) if f"room.{n}" not in recover and recover["room.*"]["offset"] == "100"]
        places = {"room.*": now | {"recovered": True, "count": 0}}
        for name, place in recover.items():
            if name != "room.*":
                places[name] = {"epoch": 7, "offset": int(place["offset"]), "recovered": True, "count": 0}
        for name in beside:
            places[name] = {"epoch": 7, "offset": 2, "recovered": True, "count": 1}
        confirmed = {"type": "subscription_confirmed", "id": frame["id"], "events": ["room.*"], "topics": places}
        answer = [confirmed, *(event(name, 2, name) for name in beside[: self.cut_after])]
        return answer if self.cut_after is None else [*answer, (1011, "")]


#: Where 60 topics of a pattern were left; the first ones moved longest ago.
ROOMS = json.dumps({"room.*": "5-100"} | {f"room.{n}": "7-1" for n in range(60)})


async def test_a_pattern_with_more_topics_than_a_message_names_gets_all_of_them_through_a_connection_that_is_cut():
    async with FakeEvents() as gateway, connect(gateway.url) as client:
        rooms = ManyRooms(gateway)
        rooms.cut_after = 3
        subscription = client.subscribe("room.*", since=ROOMS)
        await gateway.until(lambda: len(rooms.asked) == 1)
        rooms.cut_after = None
        items = await take(subscription, 11)
        # Those that had come are named with their places now, and others that were quiet for longer are not.
        assert [item.topic for item in items] == [f"room.{n}" for n in range(11)]
        assert [len(recover) for recover in rooms.asked] == [50, 50]
        assert [recover["room.*"]["offset"] for recover in rooms.asked] == ["100", "100"]
        # Now nothing is missing that came before the new place.
        client.reconnect()
        await gateway.until(lambda: len(rooms.asked) == 3)
        assert rooms.asked[-1]["room.*"]["offset"] == "300" and not subscription.feed.buffer


async def test_a_stored_position_of_a_pattern_brings_again_what_its_loop_was_not_given():
    async with FakeEvents() as gateway, connect(gateway.url) as client:
        ManyRooms(gateway)
        subscription = client.subscribe("room.*", since=ROOMS)
        await subscription.ready()
        for n in range(11):
            assert json.loads(subscription.position)["room.*"] == "5-100"
            assert (await anext(subscription)).topic == f"room.{n}"
        assert json.loads(subscription.position)["room.*"] == "5-200"


@pytest.mark.parametrize("is_renewed", [True, False])
def test_the_place_of_a_pattern_waits_for_the_gaps_that_a_confirmation_has_said(is_renewed):
    feed = Feed("room.*", lambda: None, size=9, since='{"room.*":"5-100","room.1":"7-1"}')
    # In any order.
    feed.confirm("room.*", {"epoch": 5, "offset": 200, "recovered": True, "count": 0})
    feed.confirm("room.1", {"epoch": 7, "offset": 9, "recovered": not is_renewed, "count": 0 if is_renewed else 8})
    feed.catch_up()
    assert feed.received.find("room.*") == ("5", 100)
    feed.gap("room.1", 3)
    assert feed.received.find("room.*") == ("5", 200) and feed.delivered.find("room.*") == ("5", 100)
    assert isinstance(feed.take(), Gap) and feed.delivered.find("room.*") == ("5", 200)


def test_an_event_that_jumps_over_others_on_a_new_connection_is_behind_a_gap():
    def come(topic, offset):
        said = Event(topic=topic, name=topic, data=1, position=f"7-{offset}", publisher=None, timestamp=NOW)
        feed.event(said, Position("7", offset))
        return [feed.take() for _ in range(2) if feed.buffer]

    feed = Feed("room.*", lambda: None, size=9, since='{"room.*":"5-100","room.1":"7-10","room.2":"7-1","room.3":"7-1"}')
    gap, later = come("room.1", 12)
    assert gap == Gap(topic="room.1", lost=1, position="7-11") and later.position == "7-12"
    assert len(come("room.2", 2)) == 1
    # On one connection the gateway tells: not each gap has a number that says which events it is of.
    assert len(come("room.2", 9)) == 1
    feed.gap("room.*", None)
    feed.take()
    assert len(come("room.3", 9)) == 1
    feed.lose()
    assert [type(item) for item in come("room.3", 11)] == [Gap, Event]


async def test_a_batch_is_its_frames_and_what_nothing_takes_is_a_message():
    async with FakeEvents() as gateway, connect(gateway.url) as client:
        subscription, messages = client.subscribe("a"), asyncio.Queue()
        client.on("message", messages.put_nowait)
        await subscription.ready()
        broadcast = {"type": "broadcast", "event": None, "data": "now"}
        await gateway.say({"type": "batch", "messages": [event("a", 1, 1), broadcast, event("a", 2, 2)], "count": 3})
        assert [item.data for item in await take(subscription, 2)] == [1, 2]
        assert await messages.get() == broadcast


async def test_what_an_application_says_to_the_connection_is_a_message():
    async with FakeEvents() as gateway, connect(gateway.url) as client:
        subscription, messages = client.subscribe("a"), asyncio.Queue()
        client.on("message", messages.put_nowait)
        await subscription.ready()
        direct = {"type": "event", "event": "a", "event_type": "a", "data": "for you alone"}
        # Topics that the application has subscribed the connection to, and an inbox that nothing asked for.
        foreign, inbox = event("b", 1, "x"), event("paid", 3, 7, topic="user:ann:events")
        for frame in (direct, foreign, inbox):
            await gateway.say(frame)
            assert await messages.get() == frame
        await gateway.publish("a", 1)
        assert (await anext(subscription)).data == 1
        assert len(gateway.sockets) == 1 and messages.empty()


async def test_presence_comes_to_the_callbacks_of_its_topic():
    async with FakeEvents() as gateway, connect(gateway.url) as client:
        subscription, told = client.subscribe("room.1"), asyncio.Queue()
        subscription.on("presence", told.put_nowait)
        await subscription.ready()
        data = {"action": "join", "users": 1, "user": "ann"}
        await gateway.say({"type": "presence", "event": "room.1", "data": data, "presence_seq": 4})
        presence = await told.get()
        assert (presence.topic, presence.action, presence.user, presence.users, presence.seq) == ("room.1", "join", "ann", 1, 4)


async def test_an_inbox_goes_on_where_it_was():
    async with FakeEvents() as gateway:
        gateway.greeting = {"user": "ann"}
        async with connect(gateway.url) as client:
            inbox = client.inbox()
            await gateway.say(event("paid", 3, 7, topic="user:ann:events"))
            (item,) = await take(inbox, 1)
            assert (item.name, item.topic, item.data) == ("paid", "user:ann:events", 7)
            gateway.sockets[-1].transport.abort()
            await gateway.until(lambda: len(gateway.handshakes) > 1)
            assert gateway.handshakes[-1][1] == {"inbox_after": ["7-3"]}
            position = inbox.position
        async with connect(gateway.url) as client:
            client.inbox(since=position)
            await gateway.until(lambda: gateway.handshakes[-1][1] == {"inbox_after": ["7-3"]})


@pytest.mark.parametrize("is_early", [True, False])
async def test_an_inbox_without_a_user_is_rejected_until_there_is_one(is_early):
    async with FakeEvents() as gateway:
        client = connect(gateway.url)
        inbox = client.inbox() if is_early else None
        async with client:
            inbox = inbox or client.inbox()
            for wait in (inbox.ready, inbox.__anext__):
                with pytest.raises(RequestError, match="user") as raised:
                    await wait()
            assert (inbox.state, raised.value.code, raised.value.remedy) == ("rejected", "FORBIDDEN", "token")
            gateway.greeting = {"user": "ann"}
            await client.authenticate("a-token")
            while inbox.state != "active":
                await asyncio.sleep(0.005)
            # Another one is no news for the first.
            told = asyncio.Queue()
            inbox.on("state", told.put_nowait)
            await client.inbox().ready()
            await gateway.say(event("paid", 3, 7, topic="user:ann:events"))
            item = await anext(inbox)
            while isinstance(item, Gap):
                item = await anext(inbox)
            assert item.data == 7 and told.empty()


async def test_a_subscription_ends_with_its_block_however_its_loop_is_left():
    async with FakeEvents() as gateway, connect(gateway.url) as client:
        for n in range(3):
            async with client.subscribe("a") as subscription:
                await gateway.publish("a", n)
                async for item in subscription:
                    assert item.data == n
                    break
            assert subscription.state == "ended" and list(client._subscriptions) == []
        await client.query("x")
        assert not gateway.sockets[-1].names


# Slow consumers


async def test_a_consumer_that_does_not_keep_up_is_told_what_it_lost():
    async with FakeEvents() as gateway, connect(gateway.url) as client:
        subscription = client.subscribe("a", buffer=10)
        await subscription.ready()
        await gateway.publish("a", *range(25))
        await client.query("x")
        items = await take(subscription, 11)
        assert items[0] == Gap(topic="a", lost=15, position="7-15", reason="buffer")
        assert [item.data for item in items[1:]] == list(range(15, 25))
        with pytest.raises(AttributeError, match="isinstance"):
            _ = items[0].data


async def test_a_subscription_may_end_instead():
    async with FakeEvents() as gateway, connect(gateway.url) as client:
        subscription = client.subscribe("a", buffer=2, overflow="end")
        await subscription.ready()
        await gateway.publish("a", 1, 2, 3)
        await client.query("x")
        items = await take(subscription, 3)
        assert [type(item) for item in items] == [Gap, Event, Event]
        with pytest.raises(BufferFull):
            await anext(subscription)
        assert subscription.state == "ended"


async def test_a_burst_is_no_reason_to_lose_what_a_quick_consumer_takes():
    async with FakeEvents() as gateway, connect(gateway.url) as client:
        subscription, got = client.subscribe("a", buffer=2), []
        subscription.on("event", got.append)
        subscription.on("gap", got.append)
        await subscription.ready()
        await gateway.publish("a", *range(5000))
        while len(got) < 5000:
            await asyncio.sleep(0.01)
        assert [item.data for item in got] == list(range(5000))


# Callbacks


async def test_callbacks_may_call_the_client_and_may_fail(caplog):
    async with FakeEvents() as gateway, connect(gateway.url) as client:
        subscription, done = client.subscribe("a"), asyncio.Queue()

        async def echo(item):
            offset = await client.publish("b", item.data)
            await client.query("x")
            if item.data == 1:
                raise RuntimeError("on purpose")
            await done.put((item.data, offset))

        remove = subscription.on("event", echo)
        await subscription.ready()
        await gateway.publish("a", 1, 2, 3)
        assert [await done.get(), await done.get()] == [(2, 2), (3, 3)]
        assert "on purpose" in caplog.text
        remove()


@pytest.mark.parametrize("what", ["close", "reconnect", "unsubscribe"])
async def test_callbacks_may_end_and_begin_the_client(what):
    async with FakeEvents() as gateway, connect(gateway.url) as client:
        subscription, done = client.subscribe("a"), asyncio.Event()

        async def end(item):
            result = getattr(subscription if what == "unsubscribe" else client, what)()
            if result is not None:
                await result
            done.set()

        subscription.on("event", end)
        await subscription.ready()
        await gateway.publish("a", 1)
        await done.wait()
        if what == "reconnect":
            await until(client, "open")
            assert await client.publish("b", 1) == 1


async def test_a_token_callback_may_close_the_client():
    async with FakeEvents() as gateway:
        client = connect(gateway.url, token=lambda reason: close())

        async def close():
            await client.close()

        with pytest.raises((Closed, asyncio.CancelledError)):
            await client.__aenter__()
        assert client.state == "closed"


async def test_one_consumer_at_a_time():
    async with FakeEvents() as gateway, connect(gateway.url) as client:
        subscription, got = client.subscribe("a"), asyncio.Queue()
        subscription.on("event", got.put_nowait)
        # Also before the callbacks have their turn, which they keep.
        for _ in range(2):
            with pytest.raises(RuntimeError, match="one consumer"):
                await anext(subscription)
            await asyncio.sleep(0)
        await subscription.ready()
        await gateway.publish("a", 1)
        assert (await got.get()).data == 1
        other = client.subscribe("a")
        loop = asyncio.create_task(anext(other))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="one consumer"):
            other.on("gap", print)
        with pytest.raises(RuntimeError, match="one consumer"):
            await anext(other)
        await gateway.publish("a", 2)
        assert (await loop).data == (await got.get()).data == 2


@pytest.mark.parametrize("kind", ["event", "presence"])
async def test_a_callback_that_awaits_what_was_cancelled_has_the_next_one_all_the_same(kind, caplog):
    async with FakeEvents() as gateway, connect(gateway.url) as client:
        subscription, got = client.subscribe("a"), asyncio.Queue()

        async def call(item):
            await got.put(item)
            task = asyncio.create_task(asyncio.sleep(60))
            asyncio.get_running_loop().call_soon(task.cancel)
            await task

        subscription.on(kind, call)
        await subscription.ready()
        for n in range(1, 4):
            change = {"type": "presence", "event": "a", "data": {}, "presence_seq": n}
            await gateway.say(event("a", n) if kind == "event" else change)
            await got.get()
        assert "awaited what was cancelled" in caplog.text


async def test_a_callback_that_does_not_end_is_cancelled_by_the_end_of_the_client(monkeypatch, caplog):
    monkeypatch.setattr("fanfare_client.client.client.CLOSE_SECONDS", 0.05)
    called, ended = asyncio.Event(), asyncio.Event()

    async def call(item):
        called.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with FakeEvents() as gateway, connect(gateway.url) as client:
        subscription = client.subscribe("a")
        subscription.on("event", call)
        await subscription.ready()
        await gateway.publish("a", 1, 2)
        await called.wait()
        await client.close()
        await ended.wait()
        (task,) = subscription.tasks
        await asyncio.wait({task})
        assert task.cancelled() and "callback" not in caplog.text


# Requests


async def test_a_publication_is_sent_again_with_its_key_until_it_is_acknowledged():
    async with FakeEvents() as gateway, connect(gateway.url) as client:
        seen = []

        def drop_twice(frame):
            if frame["type"] == "publish":
                seen.append(frame["key"])
                if len(seen) < 3:
                    gateway._answer(gateway.sockets[-1], frame)
                    return [(1011, "")]

        gateway.on_frame = drop_twice
        assert await client.publish("a", "x") == 1
        assert len(seen) == 3 and len(set(seen)) == 1 and gateway.topics["a"] == ["x"]


async def test_a_publication_is_not_sent_again_when_the_gateway_may_have_forgotten_its_key(monkeypatch):
    clock = SimpleNamespace(time=time.time)
    monkeypatch.setattr(requests, "time", clock)
    async with FakeEvents() as gateway, connect(gateway.url) as client:
        gateway.on_frame = lambda frame: [(1011, "")] if frame["type"] == "publish" else None
        gateway.refusals = [(503, {"Retry-After": "60"})]
        publication = asyncio.create_task(client.publish("a", "x"))
        while client.status.code != 503:
            await asyncio.sleep(0.005)
        # The machine sleeps. What was not sent before is sent.
        clock.time = lambda: time.time() + requests.KEY_SECONDS
        gateway.on_frame = lambda frame: None
        fresh = asyncio.create_task(client.publish("a", "y"))
        client.reconnect()
        with pytest.raises(ConnectionLost, match="may or may not"):
            await publication
        assert await fresh == 1 and gateway.topics["a"] == ["y"]


@pytest.mark.parametrize("is_silent", [True, False])
async def test_a_publication_without_an_acknowledgement_ends_also_while_there_is_no_connection(monkeypatch, is_silent):
    monkeypatch.setattr(requests, "KEY_SECONDS", 1.0)
    async with FakeEvents() as gateway, connect(gateway.url) as client:
        gateway.on_frame = lambda frame: [] if is_silent else [(1011, "")]
        gateway.refusals = [] if is_silent else [(503, {"Retry-After": "60"})]
        with pytest.raises(ConnectionLost):
            await client.publish("a", "x")
        assert (client.state == "open") is is_silent


async def test_publications_wait_for_a_connection_and_keep_their_order():
    async with FakeEvents() as gateway, connect(gateway.url) as client:
        gateway.refusals = [(503, {})] * 2
        gateway.sockets[-1].transport.abort()
        await until(client, "waiting")
        offsets = await asyncio.gather(*(client.publish("a", n) for n in range(50)))
        assert offsets == list(range(1, 51)) and gateway.topics["a"] == list(range(50))


async def test_a_request_that_may_not_be_repeated_says_that_it_is_not_known():
    async with FakeEvents() as gateway, connect(gateway.url) as client:
        gateway.on_frame = lambda frame: [(1011, "")] if frame["type"] == "app" else None
        with pytest.raises(ConnectionLost) as raised:
            await client.request({"type": "app", "data": 1})
        assert raised.value.code == "OUTCOME_UNKNOWN"
        assert len([frame for frame in gateway.frames if frame["type"] == "app"]) == 1


async def test_what_is_over_a_rate_is_sent_again_and_other_errors_are_raised():
    async with FakeEvents() as gateway, connect(gateway.url) as client:
        refused = {"RATE_LIMIT_EXCEEDED": {"retry_after": 0.01}, "BUSY": {}, "BACKEND_BUSY": {"retry_after": 0.02}}

        def refuse(frame):
            if frame["type"] == "query" and refused:
                code, details = refused.popitem()
                return [{"type": "error", "code": code, "message": "", "details": details, "id": frame["id"]}]

        gateway.on_frame = refuse
        assert (await client.query("history", {"event": "a"})) == {"query": "history", "event": "a"}
        assert not refused
        with pytest.raises(RequestError) as raised:
            await client.request({"type": "nonsense"})
        assert (raised.value.code, raised.value.remedy) == ("UNKNOWN_MESSAGE_TYPE", "fix")


async def test_an_unsubscribe_that_is_refused_for_now_does_not_end_a_later_subscription():
    async with FakeEvents() as gateway, connect(gateway.url) as client:
        subscription = client.subscribe("orders")
        await subscription.ready()
        refuse_once(gateway, "unsubscribe")
        subscription.unsubscribe()
        later = client.subscribe("orders")
        await gateway.until(lambda: kinds(gateway).count("unsubscribe") == 2)
        await later.ready()
        await client.query("x")
        assert gateway.sockets[-1].names == {"orders"}
        await gateway.publish("orders", "a")
        assert (await anext(later)).data == "a"


async def test_a_subscribe_that_is_refused_for_now_does_not_outlive_its_subscription():
    async with FakeEvents() as gateway, connect(gateway.url) as client:
        await until(client, "open")
        refuse_once(gateway, "subscribe")
        client.subscribe("orders").unsubscribe()
        await gateway.until(lambda: kinds(gateway).count("subscribe") == 2)
        for _ in range(3):
            await client.query("x")
        assert not gateway.sockets[-1].names


async def test_subscribing_again_and_again_while_nothing_can_be_sent_says_only_what_counts():
    async with FakeEvents() as gateway, connect(gateway.url) as client:
        subscription = client.subscribe("orders")
        await subscription.ready()
        refuse_once(gateway, "unsubscribe")
        for _ in range(100):
            subscription.unsubscribe()
            subscription = client.subscribe("orders")
        await subscription.ready()
        for _ in range(3):
            await client.query("x")
        said = [kind for kind in kinds(gateway) if "subscribe" in kind]
        assert said == ["subscribe", *["unsubscribe"] * 3, "subscribe"]
        await gateway.publish("orders", "a")
        assert (await anext(subscription)).data == "a"


async def test_a_refusal_for_now_is_the_reason_only_until_the_request_is_sent_again():
    async with FakeEvents() as gateway, connect(gateway.url) as client:
        busy = {"type": "error", "code": "BUSY", "message": "", "details": {}}
        count = iter(range(9))
        gateway.on_frame = lambda frame: [busy | {"id": frame["id"]}] if next(count) == 0 else []
        query = asyncio.create_task(client.query("x", timeout=2))
        await gateway.until(lambda: len([frame for frame in gateway.frames if frame["type"] == "query"]) == 2)
        with pytest.raises(TimeoutError, match="may or may not"):
            await query
        busy["details"] = {"retry_after": 60}
        gateway.on_frame = lambda frame: [busy | {"id": frame["id"]}]
        with pytest.raises(RequestError, match="BUSY"):
            await client.query("x", timeout=1)


async def test_a_request_without_an_answer_is_late():
    async with FakeEvents() as gateway, connect(gateway.url) as client:
        gateway.on_frame = lambda frame: []
        with pytest.raises(TimeoutError, match="may or may not"):
            await client.query("x", timeout=0.02)
        with pytest.raises(TimeoutError, match="may or may not"):
            await client.publish("x", 1, timeout=0.02)


async def test_what_is_no_json_is_an_error_of_the_caller_alone():
    async with FakeEvents() as gateway, connect(gateway.url) as client:
        for data in (object(), float("nan"), b"x"):
            with pytest.raises((TypeError, ValueError)):
                await client.publish("a", data)
        assert await client.publish("a", {"ü": [1.5, None, "\U0001f600"]}) == 1


async def test_a_message_that_is_too_large_costs_that_message():
    async with FakeEvents() as gateway, connect(gateway.url) as client:
        large = lambda frame: frame["type"] == "publish" and len(frame["data"]) > 100
        gateway.on_frame = lambda frame: [(1009, "Message too large")] if large(frame) else None
        small = asyncio.create_task(client.publish("a", "small"))
        with pytest.raises(RequestError) as raised:
            await client.publish("a", "x" * 1000)
        assert raised.value.code == "MESSAGE_TOO_LARGE" and await small == 1


async def test_the_largest_message_is_the_one_with_the_most_bytes():
    async with FakeEvents() as gateway, connect(gateway.url) as client:
        large = lambda frame: frame["type"] == "publish" and len(frame["data"].encode()) > 1000

        def refuse(frame):
            if large(frame):
                return [(1009, "Message too large")]
            return [] if frame["type"] == "publish" and len(gateway.sockets) == 1 else None

        gateway.on_frame = refuse
        longer = asyncio.create_task(client.publish("a", "x" * 900))
        await gateway.until(lambda: gateway.frames[-1]["type"] == "publish")
        with pytest.raises(RequestError, match="MESSAGE_TOO_LARGE"):
            await client.publish("a", "漢" * 600)
        assert await longer == 1


async def test_more_requests_than_may_wait_do_so():
    async with FakeEvents() as gateway, connect(gateway.url) as client:
        assert len(await asyncio.gather(*(client.query("x", {"n": n}) for n in range(3000)))) == 3000


async def test_the_wait_for_room_is_part_of_a_timeout(monkeypatch):
    monkeypatch.setattr("fanfare_client.client.client.REQUESTS_MAX", 1)
    async with FakeEvents() as gateway, connect(gateway.url) as client:
        gateway.on_frame = lambda frame: [] if frame["type"] == "publish" else None
        publication = asyncio.create_task(client.publish("a", 1))
        await gateway.until(lambda: gateway.frames[-1]["type"] == "publish")
        with pytest.raises(TimeoutError, match="it was not sent"):
            await client.query("x", timeout=0.02)
        publication.cancel()
        # Its room is free again.
        assert await client.query("x") == {"query": "x"}


async def test_answers_that_are_missing_are_asked_for_on_a_new_connection():
    async with FakeEvents() as gateway, connect(gateway.url) as client:
        lost = [{"type": "gap", "event": None, "lost": 1}]

        def lose(frame):
            return lost.copy() if frame["type"] == "query" and len(gateway.sockets) == 1 else None

        gateway.on_frame = lose
        assert await client.query("x") == {"query": "x"}


# Connections


async def test_what_a_gateway_refuses_first_is_raised():
    async with FakeEvents() as gateway:
        gateway.refusals = [(404, {})]
        with pytest.raises(Closed, match="404: as the test says") as raised:
            async with connect(gateway.url):
                pass
        assert raised.value.status == 404


async def test_a_refusal_for_now_is_tried_again_and_the_hint_wins(monkeypatch):
    async with FakeEvents() as gateway, connect(gateway.url) as client:
        told, gateway.refusals = statuses(client), [(503, {"Retry-After": "1"}), (502, {}), (429, {})]
        gateway.sockets[-1].transport.abort()
        await until(client, "waiting")
        await until(client, "open")
        waits = [(status.code, status.delay) for status in told if status.state == "waiting"]
        assert [code for code, _ in waits] == [1006, 503, 502, 429]
        assert 1 <= waits[1][1] <= 1.1 and max(waits[0][1], waits[2][1], waits[3][1]) <= 0.1


async def test_a_redirect_is_tried_again_and_no_one_else_gets_the_token():
    async with FakeEvents() as gateway, FakeEvents() as other, connect(gateway.url, token="secret") as client:
        told, gateway.refusals = statuses(client), [(302, {"Location": other.url}), (308, {"Location": "https://login.example/"})]
        gateway.sockets[-1].transport.abort()
        await until(client, "waiting")
        await until(client, "open")
        assert [status.code for status in told if status.state == "waiting"] == [1006, 302, 308]
        assert not other.handshakes and len(gateway.handshakes) == 4


@pytest.mark.parametrize("close", [(1013, "Overloaded, try again in 0.3 s"), (1013, "Overloaded, try again later")])
async def test_a_gateway_that_is_full_is_tried_again(close):
    async with FakeEvents() as gateway, connect(gateway.url) as client:
        told = statuses(client)
        if not close[1].endswith(" s"):
            details = {"retry_after": 0.3}
            await gateway.say({"type": "error", "code": "CONNECTION_LIMIT_EXCEEDED", "message": "", "details": details})
        await gateway.say(close)
        await until(client, "waiting")
        await until(client, "open")
        (waited,) = [status.delay for status in told if status.state == "waiting"]
        assert 0.3 <= waited <= 0.33


async def test_a_client_that_has_given_up_says_why_and_begins_anew():
    async with FakeEvents() as gateway, connect(gateway.url) as client:
        subscription, told = client.subscribe("a"), statuses(client)
        await subscription.ready()
        waiting = asyncio.create_task(anext(subscription))
        await gateway.say((1008, "Blocked"))
        with pytest.raises(Closed, match="Blocked") as raised:
            await waiting
        assert raised.value.status == 1008 and client.state == "ended" and client.status.reason == "Blocked"
        with pytest.raises(Closed):
            await client.publish("a", 1)
        client.reconnect()
        await until(client, "open")
        await gateway.publish("a", 1)
        assert (await anext(subscription)).data == 1
        assert [status.state for status in told if status.state != "connecting"][:2] == ["ended", "open"]


@pytest.mark.parametrize("state", ["open", "waiting", "connecting", "ended", "closed"])
async def test_reconnect_works_in_every_state(state):
    async with FakeEvents() as gateway, connect(gateway.url) as client:
        if state == "waiting":
            gateway.refusals = [(503, {"Retry-After": "60"})]
            gateway.sockets[-1].transport.abort()
        elif state == "connecting":
            greeting, gateway.greeting = gateway.greeting, None
            gateway.sockets[-1].transport.abort()
            await gateway.until(lambda: len(gateway.sockets) == 2)
            gateway.greeting = greeting
        elif state == "ended":
            await gateway.say((1003, ""))
        elif state == "closed":
            await client.close()
        await until(client, state)
        if state == "waiting":
            while client.status.code != 503:
                await asyncio.sleep(0.005)
        count = len(gateway.sockets)
        client.reconnect()
        await gateway.until(lambda: len(gateway.sockets) > count)
        await until(client, "open")
        assert await client.publish("a", 1) == 1


async def test_a_side_that_is_gone_is_noticed(monkeypatch):
    async with FakeEvents() as gateway, connect(gateway.url, ping_interval=0.05, ping_timeout=1) as client:
        told = statuses(client)
        # Frames that the other side sends count as life; then it is silent, and answers no ping.
        for n in range(5):
            await gateway.say({"type": "later", "n": n})
            await asyncio.sleep(0.02)
        assert len(gateway.sockets) == 1
        gateway.sockets[-1].transport.pause_reading()
        await gateway.until(lambda: len(gateway.sockets) == 2)
        gateway.sockets[0].transport.resume_reading()
        await until(client, "open")
        assert "no answer to a ping" in [status.reason for status in told]
        # One that answers stays.
        await asyncio.sleep(1.5)
        assert len(gateway.sockets) == 2


async def test_a_side_that_does_not_read_is_given_up_by_the_bytes_that_wait_for_it(monkeypatch):
    monkeypatch.setattr("fanfare_client.client.connection.WAITING_BYTES_MAX", 2500)
    async with FakeEvents() as gateway, connect(gateway.url) as client:
        assert await client.publish("a", "x" * 1000) == 1
        told = statuses(client)
        gateway.on_frame = lambda frame: [] if frame["type"] == "publish" else None
        large = asyncio.create_task(client.publish("a", "漢" * 1000))
        await gateway.until(lambda: len(gateway.sockets) == 2)
        monkeypatch.setattr("fanfare_client.client.connection.WAITING_BYTES_MAX", 1_000_000)
        gateway.on_frame = lambda frame: None
        assert await large == 2
        await until(client, "open")
        assert "the gateway does not read what is sent" in [status.reason for status in told]


async def test_a_peer_that_never_greets_is_given_up(monkeypatch):
    monkeypatch.setattr("fanfare_client.client.dialogue.GREETING_SECONDS", 0.05)
    async with FakeEvents() as gateway:
        gateway.greeting = None
        client = connect(gateway.url)
        entering = asyncio.create_task(client.__aenter__())
        await gateway.until(lambda: len(gateway.sockets) == 2)
        gateway.greeting = {}
        async with await entering:
            assert client.state == "open"


HOSTILE = [
    "", "x", "[]", "1", "null", "{}", '{"type":1}', '{"type":"event","event_id":"1-1"}', '{"type":"event","event":"a","event_id":"x"}',
    '{"type":"event","event":1,"event_id":"1-1"}', '{"type":"gap","event":7}', '{"type":"gap","event":"a","lost":"x"}',
    '{"type":"batch"}', '{"type":"batch","messages":[1]}', '{"type":"presence","event":"a"}', b"binary", "[" * 100_000,
    '{"type":"gap","event":null,"lost":1}',
    '{"type":"batch","messages":[{"type":"event","event_id":"1-1"}]}', '{"type":"event","event":"a","event_id":"1-%s"}' % ("9" * 40),
]  # fmt: skip
HARMLESS = [
    '{"type":"event"}', '{"type":"batch","messages":[{"type":"event","event":"a"}]}',
    '{"type":"later","x":1}', '{"type":"error"}', '{"type":"error","code":7,"details":[]}', '{"type":"pong","id":99}',
    '{"type":"connection_established"}', '{"type":"response","id":"x","result":null}', '{"type":"response","id":[]}',
    '{"type":"event","event":"b","event_id":"1-1","data":1e999}', '{"type":"event","event":"b","event_id":"2-1"}',
    '{"type":"gap","event":"nothing","lost":3}', '{"type":"authenticated"}', '{"type":"batch","messages":[]}',
    '{"type":"event","event":"b","event_id":"3-1","data":%s}' % ("1" * 5000), '{"type":"presence","event":"a","data":{},"presence_seq":1}',
]  # fmt: skip


async def test_frames_that_are_broken_cost_a_connection_and_unknown_ones_nothing(caplog):
    async with FakeEvents() as gateway, connect(gateway.url) as client:
        subscription = client.subscribe("a")
        await subscription.ready()
        for number, text in enumerate(HOSTILE, 1):
            await gateway.say(text)
            await gateway.until(lambda: len(gateway.sockets) > number)
            await until(client, "open")
            await gateway.publish("a", number)
            assert (await anext(subscription)).data == number
        for text in HARMLESS:
            await gateway.say(text)
        await gateway.publish("a", "last")
        assert (await anext(subscription)).data == "last"
        assert len(gateway.sockets) == len(HOSTILE) + 1
        assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.parametrize("answer", [
    {"type": "response", "result": None}, {"type": "response"}, {"type": "response", "result": {"offset": "x"}},
    {"type": "pong"}, {"type": "error"}, {"type": "error", "code": None, "message": 7, "details": 1},
])  # fmt: skip
async def test_an_answer_that_is_none_is_an_error_of_the_request(answer):
    async with FakeEvents() as gateway, connect(gateway.url) as client:
        gateway.on_frame = lambda frame: [answer | {"id": frame["id"]}] if frame["type"] == "publish" else None
        with pytest.raises(RequestError):
            await client.publish("a", 1)
        gateway.on_frame = lambda frame: None
        assert await client.publish("a", 1) == 1


@pytest.mark.parametrize("confirmed", [
    {"topics": 7}, {"topics": {}, "rejected": 7}, {"topics": {"a": 1}}, {"topics": {"a": {"epoch": None, "offset": 1}}},
    {"topics": {"a": {"epoch": 7, "offset": "x"}}}, {"topics": {"a": {"epoch": 7, "offset": 1, "recovered": True, "count": -1}}},
    {"topics": {"a": {"epoch": 7, "offset": 1, "recovered": True, "count": 2}}}, {"type": "pong"},
])  # fmt: skip
async def test_a_confirmation_that_is_none_costs_a_connection(confirmed):
    async with FakeEvents() as gateway, connect(gateway.url) as client:
        broken = {"type": "subscription_confirmed"} | confirmed
        gateway.on_frame = lambda frame: [broken | {"id": frame["id"]}] if frame["type"] == "subscribe" else None
        subscription = client.subscribe("a", since="7-0")
        await gateway.until(lambda: len(gateway.sockets) > 1)
        gateway.on_frame = lambda frame: None
        await subscription.ready()


async def test_half_frames_cost_nothing_but_a_connection():
    async with FakeEvents() as gateway:
        gateway.topics["a"] = list(range(40))
        port = int(gateway.url.split(":")[2].split("/")[0])
        # In the handshake, the greeting, the confirmation, and within events.
        async with Cutter(port, 20, 140, 200, 260, 320, 500, 700, 1200, 2500) as cutter:
            async with connect(cutter.url + "/api/v1/ws") as client:
                subscription = client.subscribe("a", since="7-0")
                items = await take(subscription, 40)
                assert [item.data for item in items] == list(range(40))
                while cutter.cuts < 9:
                    gateway.sockets[-1].transport.abort()
                    await gateway.publish("a", cutter.cuts)
                    await anext(subscription)


# Subscriptions that are rejected


async def test_a_rejected_subscription_says_why_and_is_asked_for_again():
    async with FakeEvents() as gateway, connect(gateway.url) as client:
        wide = {"type": "error", "code": "FORBIDDEN", "message": "`*` reaches across namespaces"}

        def reject(frame):
            if frame["type"] == "subscribe" and "*" in frame["events"]:
                confirmed = {"type": "subscription_confirmed", "events": [], "rejected": ["*"], "topics": {}}
                return [confirmed | {"id": frame["id"]}, wide | {"id": frame["id"]}]

        gateway.on_frame = reject
        subscription = client.subscribe("*")
        with pytest.raises(RequestError, match="across namespaces") as raised:
            await subscription.ready()
        assert (raised.value.code, raised.value.remedy, subscription.state) == ("FORBIDDEN", "token", "rejected")
        with pytest.raises(RequestError):
            await anext(subscription)
        gateway.on_frame = lambda frame: None
        client.reconnect()
        while subscription.state != "active":
            await asyncio.sleep(0.005)


async def test_more_topics_to_recover_than_the_gateway_takes_are_asked_for_in_part():
    async with FakeEvents() as gateway, connect(gateway.url) as client:
        subscription = client.subscribe("room.*")
        await subscription.ready()
        for n in range(20):
            await gateway.publish(f"room.{n}", n)
        await take(subscription, 20)

        def limit(frame):
            if len(frame.get("recover", ())) > 5:
                error = {"type": "error", "code": "SUBSCRIPTION_LIMIT", "message": "", "details": {"limit": 5}}
                return [error | {"id": frame["id"]}]

        gateway.on_frame = limit
        gateway.sockets[-1].transport.abort()
        await gateway.until(lambda: len(gateway.frames[-1].get("recover", ())) == 5)
        await until(client, "open")
        # The newest are the ones that are kept.
        assert list(gateway.frames[-1]["recover"]) == ["room.*", "room.19", "room.18", "room.17", "room.16"]


async def test_a_subscription_that_joins_with_more_topics_than_the_gateway_takes_gets_some():
    async with FakeEvents() as gateway, connect(gateway.url) as client:

        def limit(frame):
            if len(frame.get("recover", ())) > 5:
                error = {"type": "error", "code": "SUBSCRIPTION_LIMIT", "message": "", "details": {"limit": 5}}
                return [error | {"id": frame["id"]}]

        gateway.on_frame = limit
        await client.subscribe("room.*").ready()
        position = json.dumps({"room.*": "7-0"} | {f"room.{n}": "7-0" for n in range(9)})
        await client.subscribe("room.*", since=position).ready()
        assert [len(frame["recover"]) for frame in gateway.frames if "recover" in frame] == [10, 5]


async def test_more_names_with_a_beginning_than_the_gateway_takes_are_asked_for_in_pieces():
    async with FakeEvents() as gateway, connect(gateway.url) as client:

        def limit(frame):
            if len(frame.get("recover", ())) > 5:
                error = {"type": "error", "code": "SUBSCRIPTION_LIMIT", "message": "", "details": {"limit": 5}}
                return [error | {"id": frame["id"]}]

        gateway.on_frame = limit
        client.reconnect()
        subscriptions = [client.subscribe(f"t.{n}", last=1) for n in range(11)]
        await asyncio.gather(*(subscription.ready() for subscription in subscriptions))
        await until(client, "open")
        asked = [frame["events"] for frame in gateway.frames if frame["type"] == "subscribe"]
        assert [len(names) for names in asked] == [11, 5, 5, 1]
        assert [name for names in asked[1:] for name in names] == asked[0]


async def test_many_subscriptions_go_out_in_several_messages():
    async with FakeEvents() as gateway, connect(gateway.url) as client:
        subscriptions = [client.subscribe(f"t.{n}") for n in range(120)] + [client.subscribe("r.*")]
        await asyncio.gather(*(subscription.ready() for subscription in subscriptions))
        gateway.frames.clear()
        client.reconnect()
        await gateway.until(lambda: len(gateway.frames) == 4)
        assert [len(frame["events"]) for frame in gateway.frames] == [50, 50, 20, 1]


async def test_names_are_checked_where_they_are_given():
    async with FakeEvents() as gateway, connect(gateway.url) as client:
        for name in ("", "a b", "a*b", "**", "x" * 129, "#a", None):
            with pytest.raises(ValueError):
                client.subscribe(name)
        for options in ({"last": 0}, {"buffer": 0}, {"since": "x"}, {"overflow": "x"}):
            with pytest.raises(ValueError):
                client.subscribe("a", **options)
        with pytest.raises(ValueError):
            client.subscribe("a.*", since="7-1")
    for url in ("ftp://host", "ws://", "host", "ws://host/?format=msgpack"):
        with pytest.raises(ValueError):
            connect(url)


# Tokens


def refuse_tokens_but(gateway, good):
    def greet(frame):
        return None

    def is_good():
        return gateway.handshakes[-1][0] == f"Bearer {good}"

    async def link(socket, inner=gateway._link):
        if not is_good():
            await gateway.say({"type": "error", "code": "AUTHENTICATION_FAILED", "message": "no"}, socket)
            gateway.sockets.append(socket)
            await socket.close(1008, "Authentication failed")
            return
        await inner(socket)

    gateway._link = link
    return greet


async def test_a_callback_is_told_why_it_is_asked():
    reasons = []

    async def ask(reason):
        reasons.append(reason)
        return f"token-{len(reasons)}"

    async with FakeEvents() as gateway, connect(gateway.url, token=ask) as client:
        assert gateway.handshakes[-1][0] == "Bearer token-1"
        # A lost connection is no reason to ask.
        for close in ((1001, "Server shutdown"), (4002, "Token expired"), (4002, "Token revoked"), (1008, "Authentication failed")):
            count = len(gateway.sockets)
            await gateway.say(close)
            await gateway.until(lambda: len(gateway.sockets) > count)
            await until(client, "open")
        assert reasons == ["first", "expired", "refused", "refused"]
        await client.authenticate()
        await gateway.until(lambda: gateway.handshakes[-1][0] == "Bearer token-5")
        assert reasons[-1] == "requested"
        await client.authenticate("another")
        await gateway.until(lambda: gateway.handshakes[-1][0] == "Bearer another")


async def test_a_plain_function_is_called_in_a_thread_and_its_failures_are_tried_again():
    tries = []

    def ask(reason):
        tries.append(threading.current_thread())
        if len(tries) < 3:
            raise OSError("no such host")
        return "token"

    async with FakeEvents() as gateway:
        async with connect(gateway.url, token=ask) as client:
            assert len(tries) == 3 and threading.main_thread() not in tries
            assert client.session.client_id == "c"


@pytest.mark.parametrize("no", [lambda reason: None if reason != "first" else "x", "x"])
async def test_without_another_token_a_client_gives_up(no):
    async with FakeEvents() as gateway, connect(gateway.url, token=no) as client:
        await gateway.say((4002, "Token expired"))
        await until(client, "ended")
        assert "expired" in client.status.reason


async def test_a_callback_may_give_up_at_once():
    async def ask(reason):
        raise GiveUp("log in first")

    async with FakeEvents() as gateway:
        with pytest.raises(Closed, match="log in first"):
            async with connect(gateway.url, token=ask):
                pass


async def test_a_token_that_cannot_be_waited_for_is_asked_for_again(monkeypatch):
    monkeypatch.setattr(tokens, "TOKEN_SECONDS", 0.05)
    asked = []

    async def ask(reason):
        asked.append(reason)
        if len(asked) == 1:
            await asyncio.Event().wait()
        return "x"

    async with FakeEvents() as gateway, connect(gateway.url, token=ask):
        assert asked == ["first", "first"]


async def test_a_token_is_renewed_before_it_ends(monkeypatch):
    monkeypatch.setattr("fanfare_client.client.renewal.RENEWAL_SECONDS_MIN", 0.01)
    reasons = []

    async def ask(reason):
        reasons.append(reason)
        if len(reasons) == 2:
            raise OSError("the endpoint fails")
        return f"token-{len(reasons)}"

    async with FakeEvents() as gateway:
        gateway.greeting = {"user": "ann", "expires_at": "2026-11-30T00:00:00.100Z"}
        async with connect(gateway.url, token=ask):
            await gateway.until(lambda: gateway.frames[-1]["type"] == "authenticate")
            assert gateway.frames[-1]["token"] == "token-3" and reasons == ["first", "expired", "expired"]
            assert len(gateway.sockets) == 1


async def test_an_open_connection_goes_on_with_another_token():
    async with FakeEvents() as gateway:
        gateway.greeting = {"user": "ann"}
        async with connect(gateway.url, token="old") as client:
            await client.authenticate("new")
            assert gateway.frames[-1]["token"] == "new" and len(gateway.sockets) == 1


@pytest.mark.parametrize("wrong", ["a b", "a\r\nX-More: 1", "a\nb", "ä", "a\0", "Bearer a"])
async def test_what_is_no_token_does_not_go_into_a_handshake_or_a_log(wrong, caplog):
    asked = []

    async def ask(reason):
        asked.append(reason)
        return f"secret{wrong}" if len(asked) == 1 else " good\n"

    async with FakeEvents() as gateway:
        async with connect(gateway.url, token=ask) as client:
            assert asked == ["first", "first"]
            assert [authorization for authorization, _ in gateway.handshakes] == ["Bearer good"]
            with pytest.raises(ValueError, match="printable ASCII") as raised:
                await client.authenticate(f"secret{wrong}")
            assert "secret" not in caplog.text and "secret" not in str(raised.value)
        for make in (connect, Backend, partial(Account, user="ann")):
            # An API key may have a space in it.
            if make is not Backend or wrong not in ("a b", "Bearer a"):
                with pytest.raises(ValueError, match="printable ASCII"):
                    make(gateway.url, token=f"secret{wrong}")
    with pytest.raises(ValueError, match="X-My"):
        connect("ws://host", headers={"X-My": "a\r\nX-More: 1"})


async def test_a_token_that_does_not_change_is_stripped():
    async with FakeEvents() as gateway:
        async with connect(gateway.url, token="good\n"), connect(gateway.url, token="\n"):
            assert [authorization for authorization, _ in gateway.handshakes] == ["Bearer good", None]


# The end


async def test_closing_ends_loops_and_requests():
    async with FakeEvents() as gateway:
        async with connect(gateway.url) as client:
            gateway.on_frame = lambda frame: [] if frame["type"] == "query" else None
            subscription = client.subscribe("a")
            await subscription.ready()
            loop = asyncio.create_task(anext(subscription, "ended"))
            query = asyncio.create_task(client.query("x"))
            await gateway.until(lambda: gateway.frames[-1]["type"] == "query")
            await client.close()
            assert await loop == "ended"
            with pytest.raises(Closed):
                await query
        assert client.state == "closed" and gateway.sockets[-1].close_code == 1000
        with pytest.raises(Closed):
            client.subscribe("b")
        with contextlib.suppress(Closed):
            await client.publish("a", 1)


@pytest.mark.parametrize("waits_for", ["connection", "callbacks"])
async def test_a_close_that_is_cancelled_leaves_nothing_behind(monkeypatch, waits_for):
    closing, called = asyncio.Event(), asyncio.Event()

    async def hang(*_):
        closing.set()
        await asyncio.Event().wait()

    async def call(item):
        called.set()
        await asyncio.Event().wait()

    async with FakeEvents() as gateway, connect(gateway.url) as client:
        subscription = client.subscribe("a")
        subscription.on("event", call)
        await subscription.ready()
        await gateway.publish("a", 1)
        await called.wait()
        before = asyncio.all_tasks()
        if waits_for == "connection":
            monkeypatch.setattr(Connection, "_finish", hang)
        closer = asyncio.create_task(client.close())
        if waits_for == "connection":
            await closing.wait()
        else:
            await gateway.sockets[-1].wait_closed()
            while subscription.state != "ended":
                await asyncio.sleep(0)
            await asyncio.sleep(0)
        closer.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closer
        assert client.state == "closed" and subscription.state == "ended"
        await gateway.sockets[-1].wait_closed()
        left = {task for task in before if "fanfare_client" in repr(task) and "FakeEvents" not in repr(task)}
        await asyncio.wait(left)
        await client.close()


async def test_an_account_whose_close_is_cancelled_leaves_nothing_behind(monkeypatch):
    closing = asyncio.Event()

    async def hang(*_):
        closing.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(Connection, "_finish", hang)
    async with FakeEvents() as gateway:
        account = Account(gateway.url, "ann")
        await account.__aenter__()
        closer = asyncio.create_task(account.close())
        await closing.wait()
        closer.cancel()
        await asyncio.wait({closer})
        await asyncio.wait({account._keeper})
        while not gateway.sockets:
            await asyncio.sleep(0.005)
        await gateway.sockets[-1].wait_closed()


async def test_nothing_is_left_behind():
    async with FakeEvents() as gateway:
        before = asyncio.all_tasks()
        async with connect(gateway.url, token=lambda reason: "x") as client:
            subscription = client.subscribe("a")
            subscription.on("event", print)
            client.on("state", print)
            await subscription.ready()
        left = {task for task in asyncio.all_tasks() - before if "fanfare_client" in repr(task)}
        assert not left, left
