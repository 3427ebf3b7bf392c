"""A gateway that stops, and another one on its port."""

import asyncio

from peer import VERSION, Speaker, group, joined
from wire import until


async def test_clients_come_back_by_themselves(own, topic):
    gateway = own()
    async with group(joined(gateway, topic), joined(gateway, topic, user="bob", query="?a=b")) as peers:
        await asyncio.to_thread(gateway.stop)
        for peer in peers:
            # 1000 and 1001, and no code at all, keep them away.
            await until(peer.tap.closes)
            assert peer.tap.closes() == [1012]
        await asyncio.to_thread(gateway.start)
        for peer in peers:
            await until(lambda: peer.tap.connections >= 2 and peer.client.is_fully_ready)
            if VERSION == "1.4.3":
                # It takes itself for subscribed still, and tells nobody.
                assert peer.client.subscribed_topics == {topic}
                await peer.client.unsubscribe([topic])
                await peer.client.subscribe([topic])
            await until(lambda: len(peer.tap.of("subscription_update")) >= 2)
        async with Speaker(gateway) as speaker:
            for n in range(10):
                await speaker.publish(topic, {"n": n}, type="said")
        for peer in peers:
            assert [event.payload["n"] for event in await peer.events_of("said", 10)] == list(range(10))


async def test_what_was_said_meanwhile_is_said_afterwards(own, topic):
    """2.5.1 keeps what it could not send; 1.4.3 says that it could not."""
    gateway = own()
    async with joined(gateway, topic) as ann:
        await asyncio.to_thread(gateway.stop)
        await until(lambda: not ann.client.is_connected)
        assert not await ann.client.send("publish", {"topic": topic, "type": "said", "data": {"n": 1}})
        await asyncio.to_thread(gateway.start)
        await until(lambda: ann.tap.connections >= 2 and ann.client.is_fully_ready)
        if VERSION == "1.4.3":
            await ann.settled()
            assert not ann.of("said")
        else:
            assert (await ann.event("said")).payload == {"n": 1}
