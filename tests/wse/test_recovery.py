"""What was missed comes again: under cuts, after a restart, after a loss on the way."""

import asyncio
import random

import pytest
from peer import Speaker, joined, needs_recovery
from wire import until

pytestmark = needs_recovery

#: Messages a second, and at least in all.
RATE, COUNT = 200, 400


@pytest.mark.parametrize("where", ["between frames", "within a frame"])
@pytest.mark.parametrize(
    "options", [{}, {"query": "?format=msgpack"}, {"encryption": True}], ids=["json", "msgpack", "encrypted"]
)
async def test_cuts_lose_nothing_and_double_nothing(gateway, topic, where, options):
    topic = "long." + topic
    chance = random.Random(where)
    async with joined(gateway, **options) as ann, Speaker(gateway) as speaker:
        await ann.client.subscribe([topic])
        await until(lambda: topic in ann.client.recovery_state)

        async def cut():
            while True:
                await asyncio.sleep(chance.uniform(0.1, 0.5))
                ann.tap.cut() if where == "between frames" else ann.tap.cut_within_a_frame()

        cutting = asyncio.create_task(cut())
        count = 0
        while count < COUNT or ann.tap.connections < 5:
            await speaker.publish(topic, {"n": count}, type="said")
            await asyncio.sleep(1 / RATE)
            count += 1
        cutting.cancel()
        await until(lambda: ann.of("said") and ann.of("said")[-1].payload["n"] == count - 1)
        assert [event.payload["n"] for event in ann.of("said")] == list(range(count))
        assert not ann.of("error") and not ann.of("gap")


async def test_topics_of_a_pattern_recover_with_their_next_message(gateway, topic):
    """The client has no place in a pattern: it notices the hole, and asks for the topic."""
    topic = "long." + topic
    names = [f"{topic}.{n}" for n in range(5)]
    chance = random.Random(3)
    async with joined(gateway, topic + ".*") as ann, Speaker(gateway) as speaker:
        for name in names:
            await speaker.publish(name, {"n": 0}, type="said")
        await ann.events_of("said", len(names))
        for n in range(1, 200):
            if n % 50 == 0:
                # Each cut is of a connection of its own.
                await until(lambda: ann.tap.connections == n // 50 and ann.client.is_ready)
                ann.tap.cut()
            await speaker.publish(chance.choice(names), {"n": n}, type="said")
            await asyncio.sleep(1 / RATE)
        # Not before the client has come back, since what it does not see does not tell it of a hole.
        await until(lambda: ann.tap.connections == 4 and ann.client.is_ready)
        await ann.settled()
        for name in names:
            await speaker.publish(name, {"n": 1000}, type="said")
        await until(lambda: sum(event.payload["n"] == 1000 for event in ann.of("said")) == len(names))
        heard = sorted(event.payload["n"] for event in ann.of("said"))
        assert heard == [0] * 5 + list(range(1, 200)) + [1000] * 5
        for name in names:
            offsets = [event.offset for event in ann.of("said") if event.topic == name]
            assert offsets == list(range(offsets[0], offsets[0] + len(offsets)))


@pytest.mark.parametrize("age", [0, 1.5], ids=["at once", "later"])
async def test_a_message_that_was_lost_on_the_way_comes_again(gateway, topic, age):
    async with joined(gateway, topic) as ann, Speaker(gateway) as speaker:
        await asyncio.sleep(age)
        ann.tap.loses = lambda message: message.json.get("p") == {"n": 7} and not lost.append(message)
        lost = []
        for n in range(20):
            await speaker.publish(topic, {"n": n}, type="said")
            if n == 7:
                await until(lambda: lost)
                ann.tap.loses = lambda message: False
        await ann.events_of("said", 20)
        assert [event.payload["n"] for event in ann.of("said")] == list(range(20))


async def test_what_is_kept_no_longer_is_told_and_the_newest_come(gateway, topic):
    topic = "short." + topic
    async with joined(gateway, topic) as ann, Speaker(gateway) as speaker:
        await speaker.publish(topic, {"n": 0}, type="said")
        await ann.event("said")
        since = len(ann.tap.down)
        ann.tap.cut()
        for n in range(1, 101):
            await speaker.publish(topic, {"n": n}, type="said")
        ack = await until(lambda: next(iter(ann.tap.of("subscription_update", since)), None))
        assert ack["p"]["recovery"][topic]["recovered"] is False
        await speaker.publish(topic, {"n": 101}, type="said")
        await until(lambda: ann.of("said")[-1].payload["n"] == 101)
        # The client drops all of them if it is not told first where they begin.
        assert [event.payload["n"] for event in ann.of("said")] == [0, 97, 98, 99, 100, 101] or [
            event.payload["n"] for event in ann.of("said")
        ] == [0, 96, 97, 98, 99, 100, 101]


async def test_each_topic_has_its_own_place(gateway, topic):
    a, b, c = (f"{topic}.{name}" for name in "abc")
    async with joined(gateway, a, b, c) as ann, Speaker(gateway) as speaker:
        for n in range(3):
            await speaker.publish(a, {"n": n}, type="said")
        await speaker.publish(b, {"n": 10}, type="said")
        await ann.events_of("said", 4)
        ann.tap.cut()
        await speaker.publish(a, {"n": 3}, type="said")
        await speaker.publish(b, {"n": 11}, type="said")
        await speaker.publish(c, {"n": 20}, type="said")
        await ann.events_of("said", 7)
        await ann.settled()
        assert sorted(event.payload["n"] for event in ann.of("said")) == [0, 1, 2, 3, 10, 11, 20]


async def test_a_new_process_begins_a_new_epoch(own, topic):
    gateway = own()
    async with joined(gateway, topic) as ann:
        for n in range(5):
            await asyncio.to_thread(gateway.publish, topic, {"n": n}, type="said")
        await ann.events_of("said", 5)
        await asyncio.to_thread(gateway.stop)
        await asyncio.to_thread(gateway.start)
        await until(lambda: len(ann.tap.of("subscription_update")) == 2)
        assert ann.tap.of("subscription_update")[1]["p"]["recovery"][topic]["recovered"] is False
        # At smaller offsets than before.
        for n in range(5, 8):
            await asyncio.to_thread(gateway.publish, topic, {"n": n}, type="said")
        events = await ann.events_of("said", 8)
        assert [event.payload["n"] for event in events] == list(range(8))
        assert events[4].epoch != events[5].epoch
