"""Subscribing, publishing, and what is refused."""

import asyncio
import json
import sys
from pathlib import Path

import pytest
from gateway import token
from peer import VERSION, Speaker, group, joined, needs_stamps
from websockets.asyncio.client import connect
from wire import until

#: JSON that has to arrive as it was sent.
PAYLOADS = [
    {"n": 1},
    {"text": "grüße \U0001f600 \u2028 \"quoted\" \\ \u0007"},
    {"nested": [{"a": [1, 2.5, None, True]}, {}]},
    {"big": 2**53 + 1, "small": -(2**62), "fraction": 1e-7},
    {"t": "PANG", "p": {"c": "WSE", "tp": "x", "e": "y", "o": 3}},
]


async def test_clients_talk_to_each_other(gateway, topic):
    async with group(joined(gateway, topic), joined(gateway, topic, user="bob")) as (ann, bob):
        # Each hears all that both say.
        for begun, (speaker, hearer) in ((0, (ann, bob)), (len(PAYLOADS), (bob, ann))):
            for payload in PAYLOADS:
                await speaker.publish(topic, payload, type="said")
            heard = (await hearer.events_of("said", begun + len(PAYLOADS)))[begun:]
            assert [event.payload for event in heard] == PAYLOADS
            assert {event.category for event in heard} == {"U"}
        # A speaker hears itself, once.
        assert [event.payload for event in await ann.events_of("said", 2 * len(PAYLOADS))] == PAYLOADS * 2


@needs_stamps
async def test_topic_messages_carry_their_place(gateway, topic):
    async with joined(gateway, topic) as ann:
        for n in range(3):
            await ann.publish(topic, {"n": n}, type="said")
        events = await ann.events_of("said", 3)
        assert {event.topic for event in events} == {topic}
        assert len({event.epoch for event in events}) == 1 and events[0].epoch
        assert [event.offset - events[0].offset for event in events] == [0, 1, 2]
        # What would be taken for something else, or thrown away by a clock.
        assert all(event.sequence is event.timestamp is event.id is None for event in events)


async def test_a_message_without_a_type_is_called_like_its_topic(gateway, topic):
    async with joined(gateway, topic) as ann:
        await ann.publish(topic, {"n": 1})
        assert (await ann.event(topic)).payload == {"n": 1}


@pytest.mark.parametrize("data", [0, 7, -1.5, "", "text", [], [1, {"a": 2}], True, False, None], ids=json.dumps)
async def test_data_that_is_no_object_arrives_as_data(gateway, topic, data):
    async with joined(gateway, topic) as ann:
        await ann.publish(topic, data, type="said")
        assert (await ann.event("said")).payload == {"data": data}


@pytest.mark.parametrize("type, category", [("board_snapshot", "S"), ("snapshot_of", "S"), ("changed", "U")])
async def test_the_category_follows_the_type(gateway, topic, type, category):
    async with joined(gateway, topic) as ann:
        await ann.publish(topic, {"n": 1}, type=type)
        assert (await ann.event(type)).category == category


async def test_a_glob_covers_names_byte_by_byte(gateway, topic):
    async with joined(gateway, topic + "*.end", topic + ".?z") as ann:
        covered = [".end", ".a.end", ".a.b:c.end", "/ ü.end", ".xz"]
        for name in (".end.", ".z", ".xyz", ".x", *covered):
            await ann.publish(topic + name, {"name": name}, type="said")
        await ann.events_of("said", len(covered))
        await ann.settled()
        # Topics are independent of each other, also in their order.
        assert sorted(event.payload["name"] for event in ann.of("said")) == sorted(covered)


async def test_a_message_comes_once_however_many_subscriptions_cover_it(gateway, topic):
    async with joined(gateway, topic + ".a", topic + ".*", topic + "*a", topic + ".?") as ann:
        for n in range(20):
            await ann.publish(topic + ".a", {"n": n}, type="said")
        await ann.events_of("said", 20)
        await ann.settled()
        assert [event.payload["n"] for event in ann.of("said")] == list(range(20))


async def test_after_unsubscribing_nothing_comes_until_the_next_time(gateway, topic):
    """The client keeps its place in a topic that it leaves, so it has to be told where it comes in again."""
    async with group(joined(gateway, topic), joined(gateway, topic, user="bob")) as (ann, bob):
        await bob.publish(topic, {"n": 1}, type="said")
        await ann.event("said")
        for round in range(2, 5):
            since = len(ann.tap.down)
            assert await ann.client.unsubscribe([topic])
            ack = (await ann.tap.message("subscription_update", since))["p"]
            assert ack["action"] == "unsubscribe" and ack["success"]
            await bob.publish(topic, {"n": -round}, type="said")
            await until(lambda: bob.of("said")[-1].payload == {"n": -round})
            await ann.subscribe(topic)
            await bob.publish(topic, {"n": round}, type="said")
            await until(lambda: ann.of("said")[-1].payload == {"n": round})
        assert [event.payload["n"] for event in ann.of("said")] == [1, 2, 3, 4]


async def test_an_acknowledgement_says_what_is_so(gateway, topic):
    a, b = topic + ".a", topic + ".b*"
    async with joined(gateway, a) as ann:
        ack = await ann.subscribe(b)
        assert ack["action"] == "subscribe" and ack["success"] is True
        assert ack["success_topics"] == [b] and ack["failed_topics"] == [] and b in ack["topics"]
        again = await ann.subscribe(a, b, recover=False)
        assert sorted(again["already_subscribed"]) == sorted([a, b]) and again["success"] is True
        first = ann.tap.of("subscription_update")[0]["p"]
        assert set(first["recovery"]) == {a}
        assert isinstance(first["recovery"][a]["offset"], int)


async def test_ten_thousand_messages_arrive_in_order(gateway, topic):
    topic = "long." + topic
    async with group(joined(gateway, topic), joined(gateway, topic, user="bob", deflate=True)) as peers:
        async with Speaker(gateway) as speaker:
            for n in range(10_000):
                await speaker.publish(topic, {"n": n}, type="said")
        for peer in peers:
            events = await peer.events_of("said", 10_000)
            assert [event.payload["n"] for event in events] == list(range(10_000))


async def test_clients_of_the_events_protocol_take_part(gateway, topic):
    async with joined(gateway, topic) as ann:
        async with connect(f"{gateway.link_url}/api/v1/ws?token={token('eve')}") as eve:

            async def frame(type):
                while True:
                    if (frame := json.loads(await asyncio.wait_for(eve.recv(), 20)))["type"] == type:
                        return frame

            await eve.send(json.dumps({"type": "subscribe", "events": [topic]}))
            await frame("subscription_confirmed")
            await ann.publish(topic, {"from": "ann"}, type="said")
            event = await frame("event")
            assert (event["event_type"], event["topic"], event["data"]) == ("said", topic, {"from": "ann"})
            await eve.send(json.dumps({"type": "publish", "event": topic, "data": {"from": "eve"}}))
            assert (await ann.event(topic)).payload == {"from": "eve"}
        await asyncio.to_thread(gateway.publish, topic, [1, 2], type="counted")
        assert (await ann.event("counted")).payload == {"data": [1, 2]}


@pytest.mark.parametrize(
    "name", ["a b", "grüße/\U0001f600", 'say "hi"\\', "a,b", "prices?x=1&y=2", "x" * 256, "ü" * 128], ids=range(7)
)
async def test_names_may_be_wide(gateway, name):
    async with joined(gateway, name) as ann:
        await ann.publish(name, {"n": 1}, type="said")
        event = await ann.event("said")
        assert event.payload == {"n": 1} and getattr(event, "topic", None) in (name, None)


@pytest.mark.parametrize(
    "name",
    ["", "a\nb", "\u0000", "x" * 257, "ü" * 129, "#own", "closed.x", "closed.*", "clos*", "user:bob:events", "user:*"],
    ids=range(11),
)
async def test_a_refused_topic_is_told(gateway, topic, name):
    async with joined(gateway, topic) as ann:
        ack = await ann.subscribe(name, topic + ".other")
        assert ack["failed_topics"] == [name] and ack["success_topics"] == [topic + ".other"]
        error = await ann.event("error")
        assert error.payload["code"] == "SUBSCRIPTION_FAILED" and error.payload["message"]


async def test_what_may_not_be_published_is_refused(gateway):
    async with joined(gateway) as ann:
        for name in ("closed.x", "user:bob:events", "#own", "", "a\nb"):
            since = len(ann.events)
            await ann.publish(name, {"n": 1})
            error = await until(lambda: next(iter(ann.of("error", since)), None))
            assert error.payload["code"] in ("FORBIDDEN", "INVALID_MESSAGE") and error.payload["message"]


async def test_the_claim_of_wse_rules_topics(gateway, topic):
    credential = token("ann", wse_topics={"allow": [topic + "*"], "deny": [topic + ".secret*"]})
    async with joined(gateway, credential=credential) as ann:
        ack = await ann.subscribe(topic + ".a", topic + ".secret.b", "elsewhere." + topic, topic + ".*", topic + ".p*")
        assert sorted(ack["success_topics"]) == [topic + ".a", topic + ".p*"]
        assert sorted(ack["failed_topics"]) == sorted([topic + ".secret.b", "elsewhere." + topic, topic + ".*"])


async def test_a_connection_has_a_hundred_subscriptions(gateway, topic):
    async with joined(gateway, *[f"{topic}.{n}" for n in range(99)]) as ann:
        ack = await ann.subscribe(topic + ".a", topic + ".b")
        assert len(ack["success_topics"]) == len(ack["failed_topics"]) == 1
        assert (await ann.event("error")).payload["code"] == "SUBSCRIPTION_FAILED"


async def test_every_connection_is_in_its_users_inbox(gateway):
    async with group(joined(gateway), joined(gateway), joined(gateway, user="bob")) as (ann, too, bob):
        for peer in (ann, too, bob):
            await peer.settled()
        await asyncio.to_thread(gateway.publish, None, {"n": 1}, user_id="ann", type="told")
        for peer in (ann, too):
            assert (await peer.event("told")).payload == {"n": 1}
        await bob.settled()
        assert not bob.of("told")


@pytest.mark.parametrize(
    "payload, code",
    [
        ({"action": "subscribe"}, "INVALID_SUBSCRIPTION"),
        ({"action": "subscribe", "topics": []}, "INVALID_SUBSCRIPTION"),
        ({"action": "dance", "topics": ["a"]}, "INVALID_ACTION"),
    ],
    ids=range(3),
)
async def test_a_subscription_that_says_nothing_is_refused(gateway, payload, code):
    async with joined(gateway) as ann:
        assert (await ann.ask("subscription_update", "error", payload)).payload["code"] == code


async def test_nobody_publishes_what_clients_take_for_the_gateways_own(gateway, topic):
    """The clients act on these types wherever they come from: a new key, a lost place, an answer from everyone."""
    own = ["server_ready", "server_hello", "subscription_update", "health_check", "metrics_request", "sync_request"]
    own += ["config_update", "priority_message", "heartbeat", "PING", "PONG", "ping", "pong"]
    async with group(joined(gateway, topic), joined(gateway, topic, user="eve")) as (ann, eve):
        for type in own:
            await eve.publish(topic, {"features": {"encryption": True}, "code": "X", "message": "x"}, type=type)
        await until(lambda: len(eve.of("error")) >= len(own))
        await eve.publish(topic, {"n": 1}, type="said")
        await ann.event("said")
        assert not ann.of("error")
        assert not [message for message in ann.tap.down if message.json.get("tp") and message.json["t"] in own]


@pytest.mark.parametrize("size", [1, 3])
async def test_a_queue_group_shares_the_messages_of_its_topic(gateway, topic, size):
    """Without their places, which have holes for each member: the client would take them for lost."""
    workers = [joined(gateway, user=f"worker{n}") for n in range(size)]
    async with group(joined(gateway, topic, user="all"), *workers) as peers:
        listener, members = peers[0], peers[1:]
        for member in members:
            ack = await member.subscribe(topic, queue_group="workers")
            assert ack["success_topics"] == [topic]
        async with Speaker(gateway) as speaker:
            for n in range(300):
                await speaker.publish(topic, {"n": n}, type="said")
        assert [event.payload["n"] for event in await listener.events_of("said", 300)] == list(range(300))
        await until(lambda: sum(len(member.of("said")) for member in members) >= 300)
        for member in members:
            await member.settled()
            heard = [event.payload["n"] for event in member.of("said")]
            assert heard == sorted(heard) and len(heard) > 300 / size / 2
        assert sorted(event.payload["n"] for member in members for event in member.of("said")) == list(range(300))


ECHO = """
import asyncio, sys
from wse_client import AsyncWSEClient

async def main(url, token, topic):
    client = AsyncWSEClient(url, token=token)
    @client.on("said")
    async def echo(event):
        await client.send("publish", {"topic": topic, "type": "echoed", "data": event.payload})
    await client.connect()
    await client.subscribe([topic])
    await asyncio.sleep(60)

asyncio.run(main(*sys.argv[1:]))
"""


async def test_clients_of_both_versions_understand_each_other(gateway, topic):
    other = "2.5.1" if VERSION == "1.4.3" else "1.4.3"
    python = Path(sys.prefix).with_name(f"wse-{other}") / "bin" / "python"
    if not python.exists():
        pytest.skip(f"there is no {python}")
    process = await asyncio.create_subprocess_exec(python, "-c", ECHO, gateway.url, token("bob"), topic)
    try:
        async with joined(gateway, topic) as ann:
            while not ann.of("echoed"):
                await ann.publish(topic, {"n": 0}, type="said")
                await asyncio.sleep(0.1)
            for payload in [*PAYLOADS, {"text": "x" * 5000}]:
                await ann.publish(topic, payload, type="said")
            await until(lambda: ann.of("echoed")[-1].payload == {"text": "x" * 5000})
            said = [event.payload for event in ann.of("said")]
            echoed = [event.payload for event in ann.of("echoed")]
            assert echoed == said[-len(echoed) :] and len(echoed) > len(PAYLOADS)
    finally:
        process.kill()
        await process.wait()
