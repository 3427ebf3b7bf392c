"""Compression and MessagePack, as the wire has them."""

import zlib

from peer import Speaker, VERSION, group, joined, needs_msgpack
from wire import BINARY, TEXT, until

LARGE = {"text": "all work and no play " * 200}


async def test_large_messages_are_compressed(gateway, topic):
    async with joined(gateway, topic) as ann:
        await ann.publish(topic, LARGE, type="large")
        await ann.publish(topic, {"n": 1}, type="small")
        assert (await ann.event("large")).payload == LARGE
        assert (await ann.event("small")).payload == {"n": 1}
        [large] = [message for message in ann.tap.down if message.opcode == BINARY]
        assert large.payload[:2] == b"C:" and len(large.payload) < 300
        text = zlib.decompress(large.payload[2:])
        assert len(text) >= 1024 and text.startswith(b'U{"tp":' if VERSION == "1.4.3" else b'{"tp":')
        assert [message.json.get("t") for message in ann.tap.down][-1] == "small"


async def test_a_message_of_any_size_arrives_compressed_or_not(gateway, topic):
    async with group(joined(gateway, topic), joined(gateway, topic, user="bob", deflate=True)) as (ann, bob):
        sizes = [0, 1, 900, 1000, 1023, 1024, 1025, 5000, 65535, 65536, 70_000, 500_000, 1_000_000]
        for size in sizes:
            await ann.publish(topic, {"text": "\u00fc" + "x" * size}, type="said")
        for peer in (ann, bob):
            events = await peer.events_of("said", len(sizes))
            assert [len(event.payload["text"]) for event in events] == [size + 1 for size in sizes]


async def test_what_the_connection_compresses_is_not_compressed_twice(gateway, topic):
    async with joined(gateway, topic, deflate=True) as ann:
        assert "permessage-deflate" in ann.tap.heads[0]
        await ann.publish(topic, LARGE, type="large")
        assert (await ann.event("large")).payload == LARGE
        assert not [message for message in ann.tap.down if message.opcode == BINARY]
        [large] = [message for message in ann.tap.down if message.json.get("t") == "large"]
        assert large.size < 500


@needs_msgpack
async def test_messagepack_for_those_who_ask(gateway, topic):
    async with group(joined(gateway, query="?format=msgpack"), joined(gateway, topic, user="bob")) as (ann, bob):
        await ann.client.subscribe([topic])
        await until(lambda: topic in ann.client.recovery_state)
        payload = {"text": "gr\u00fc\u00dfe", "list": [1, -1, 2.5, None, True], "big": 2**40, "nested": {"a": {}}}
        await bob.publish(topic, payload, type="said")
        event = await ann.event("said")
        assert event.payload == payload and event.topic == topic and isinstance(event.offset, int)
        await ann.publish(topic, payload, type="back")
        assert (await bob.event("back")).payload == payload
        await ann.publish(topic, LARGE, type="large")
        assert (await ann.event("large")).payload == LARGE
        packed = [message.payload for message in ann.tap.down if message.opcode == BINARY]
        assert len([frame for frame in packed if frame[:2] == b"M:" and b"said" in frame]) == 1
        # The client reads its life signs from text only.
        assert ann.tap.of("server_ready")
        assert (await ann.ask("config_request", "config_response")).payload


@needs_msgpack
async def test_messagepack_in_bulk_is_in_order(gateway, topic):
    topic = "long." + topic
    async with joined(gateway, query="?format=msgpack") as ann, Speaker(gateway) as speaker:
        await ann.client.subscribe([topic])
        await until(lambda: topic in ann.client.recovery_state)
        for n in range(3000):
            await speaker.publish(topic, {"n": n}, type="said")
        assert [event.payload["n"] for event in await ann.events_of("said", 3000)] == list(range(3000))


async def test_binary_forms_are_understood(gateway, topic):
    """JSON as bytes, compressed, and MessagePack with and without its mark."""
    inner = b'{"t":"publish","p":{"topic":"%s","type":"said","data":{"n":%d}}}'
    packed = b"\x82\xa1t\xa7publish\xa1p\x83\xa5topic" + text(topic) + b"\xa4type\xa4said\xa4data\x81\xa1n"
    async with joined(gateway, topic, query="?format=msgpack" if VERSION != "1.4.3" else "") as ann:
        frames = [inner % (topic.encode(), 0), b"C:" + zlib.compress(inner % (topic.encode(), 1))]
        frames += [b"M:" + packed + b"\x02", packed + b"\x03"]
        for frame in frames:
            assert await ann.client._connection.send_bytes(frame)
        assert [event.payload["n"] for event in await ann.events_of("said", 4)] == [0, 1, 2, 3]


def text(value):
    """As MessagePack."""
    encoded = value.encode()
    return b"\xd9" + bytes([len(encoded)]) + encoded


async def test_the_own_messages_of_the_gateway_are_text(gateway, topic):
    async with joined(gateway, topic) as ann:
        await ann.settled()
        assert {message.opcode for message in ann.tap.down} == {TEXT}
