"""A client that does not read, and the others."""

import asyncio
import contextlib

from fanfare_client.backend import Backend, Connect
from gateway import token
from peer import VERSION, Speaker, group, joined
from wire import until

BULK = "x" * 4000


@contextlib.asynccontextmanager
async def attached(gateway, **options):
    async with Backend(gateway.link_url, token=token("app", role="service"), **options) as backend:
        yield backend


async def test_who_loses_something_is_told_and_the_others_lose_nothing(gateway, topic):
    topic = "lossy." + topic
    async with group(joined(gateway, topic), joined(gateway, topic, user="bob")) as (ann, bob):
        async with Speaker(gateway) as speaker:
            await speaker.publish(topic, {"n": 0}, type="said")
            await ann.event("said")
            ann.tap.stall()
            for n in range(1, 2000):
                await speaker.publish(topic, {"n": n, "bulk": BULK}, type="said")
                if n % 50 == 0:
                    # In step with the one that reads.
                    await until(lambda: bob.of("said")[-1:] and bob.of("said")[-1].payload["n"] == n)
            events = await bob.events_of("said", 2000)
            assert [event.payload["n"] for event in events] == list(range(2000))
            assert not bob.of("gap")

            ann.tap.resume()
            gap = (await ann.event("gap")).payload
            assert gap["topic"] == topic and gap["lost"] > 0
            await until(lambda: ann.of("said")[-1].payload["n"] == 1999)
            heard = [event.payload["n"] for event in ann.of("said")]
            assert heard == sorted(set(heard))
            if VERSION == "1.4.3":
                # 2.5.1 asks for what was lost, and gets what is kept.
                assert sum(gap.payload["lost"] for gap in ann.of("gap")) == 2000 - len(heard)
            assert ann.tap.connections == 1
            await speaker.publish(topic, {"n": 2000}, type="said")
            for peer in (ann, bob):
                await until(lambda: peer.of("said")[-1].payload["n"] == 2000)


async def test_what_matters_least_gives_way_first(own):
    gateway = own(HUB__MAX_STALL="60s")
    async with attached(gateway, filter=["connect"]) as backend:
        async with joined(gateway) as ann:
            came = await anext(backend)
            assert isinstance(came, Connect) and (came.user, came.dialect) == ("ann", "wse")
            ann.tap.stall()
            sent = {priority: 0 for priority in (10, 8, 5, 3, 1)}
            for n in range(3000):
                priority = (10, 8, 5, 3, 1)[n % 100 if n % 100 < 2 else 2 + n % 3]
                sent[priority] += 1
                data = {"n": n, "priority": priority, "bulk": "x" * 500}
                await backend.send(data, conn=came.conn, type="told", priority=priority, nowait=True)
            await backend.health()
            ann.tap.resume()
            await ann.event("gap")
            await backend.send({"n": 3000, "priority": 10}, conn=came.conn, type="told", priority=10)
            await until(lambda: ann.of("told")[-1].payload["n"] == 3000)
            heard = [event.payload for event in ann.of("told")]
            count = {priority: sum(one["priority"] == priority for one in heard) for priority in sent}
            # 60 of the highest two are far below the limit: none of them is lost, and most of the lowest are.
            assert (count[10], count[8]) == (sent[10] + 1, sent[8])
            assert count[5] / sent[5] >= count[3] / sent[3] >= count[1] / sent[1]
            assert count[1] < sent[1]
            for priority in sent:
                numbers = [one["n"] for one in heard if one["priority"] == priority]
                assert numbers == sorted(set(numbers))
            lost = [gap.payload for gap in ann.of("gap")]
            assert all(gap["topic"] is None for gap in lost)
            assert sum(gap["lost"] for gap in lost) == 3001 - len(heard)


async def test_who_takes_nothing_for_too_long_is_closed_and_comes_back(own, topic):
    gateway = own(HUB__MAX_STALL="1s")
    topic = "lossy." + topic
    async with joined(gateway, topic) as ann, Speaker(gateway) as speaker:
        ann.tap.stall()
        for n in range(500):
            await speaker.publish(topic, {"n": n, "bulk": BULK}, type="said")
        await asyncio.sleep(2)
        ann.tap.resume()
        await until(lambda: ann.tap.connections == 2 and ann.client.is_ready)
        assert not set(ann.tap.closes()) - {1013}
