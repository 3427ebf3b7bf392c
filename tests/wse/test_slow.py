"""A client that does not read, and the others."""

import asyncio
import base64
import contextlib
import os

from fanfare_client.backend import Backend, Connect, OperationError
from gateway import token
from peer import VERSION, Speaker, group, joined
from wire import until


def bulk(size):
    """What does not become smaller by compression."""
    return base64.b64encode(os.urandom(size * 3 // 4)).decode()


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
                await speaker.publish(topic, {"n": n, "bulk": bulk(4000)}, type="said")
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
    gateway = own(BACKEND__ENABLED="true", HUB__MAX_STALL="60s")
    async with attached(gateway, filter=["connect"]) as backend:
        async with joined(gateway) as ann:
            came = await anext(backend)
            assert isinstance(came, Connect) and (came.user, came.dialect) == ("ann", "wse")
            ann.tap.stall()
            taken = {1: 0, 10: 0}
            # 2,000 that hardly matter, and among the last of them 50 that do.
            for n in range(2050):
                priority = 10 if n >= 1050 and n % 20 == 0 else 1
                data = {"n": n, "priority": priority, "bulk": bulk(500)}
                try:
                    await backend.send(data, conn=came.conn, type="told", priority=priority)
                    taken[priority] += 1
                except OperationError as refused:
                    assert refused.code == "busy" and priority == 1
            assert taken[10] == 50
            ann.tap.resume()

            def lost():
                return sum(gap.payload["lost"] for gap in ann.of("gap"))

            await until(lambda: len(ann.of("told")) + lost() >= sum(taken.values()))
            await ann.settled()
            assert len(ann.of("told")) + lost() == sum(taken.values())
            assert all(gap.payload["topic"] is None for gap in ann.of("gap"))
            for priority in taken:
                heard = [event.payload["n"] for event in ann.of("told") if event.payload["priority"] == priority]
                assert heard == sorted(set(heard))
                assert priority == 1 or len(heard) == 50


async def test_who_takes_nothing_for_too_long_is_closed_and_comes_back(own, topic):
    gateway = own(HUB__MAX_STALL="1s")
    topic = "lossy." + topic
    async with joined(gateway, topic) as ann, Speaker(gateway) as speaker:
        ann.tap.stall()
        for n in range(500):
            await speaker.publish(topic, {"n": n, "bulk": bulk(4000)}, type="said")
        await asyncio.sleep(2)
        ann.tap.resume()
        await until(lambda: ann.tap.connections >= 2 and ann.client.is_ready)
        assert not set(ann.tap.closes()) - {1013}
        if VERSION != "1.4.3":
            await until(lambda: ann.of("said") and ann.of("said")[-1].payload["n"] == 499)
        await ann.settled()
