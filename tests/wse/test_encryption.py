"""End-to-end sessions: what the client reads, and what the wire has."""

import asyncio
import base64

import wse_client.connection
from peer import Speaker, group, joined, needs_encryption
from wire import BINARY, TEXT, until

pytestmark = needs_encryption


async def encrypted(peer, *topics):
    """Waits for the session, and for its subscriptions to be answered in it."""
    await until(lambda: peer.client._security.is_enabled)
    if topics:
        await peer.client.subscribe(list(topics))
        await until(lambda: set(topics) <= set(peer.client.recovery_state))


def in_clear(messages):
    """What is not encrypted but may be, after the hello that has the key."""
    hello = next(at for at, message in enumerate(messages) if "encryption_public_key" in message.json.get("p", {}))
    after = [message for message in messages[hello + 1 :] if message.opcode in (TEXT, BINARY)]
    return [message for message in after if message.payload[:2] != b"E:"]


async def test_everything_is_encrypted_after_the_hello(gateway, topic, monkeypatch):
    monkeypatch.setattr(wse_client.connection, "HEARTBEAT_INTERVAL", 0.1)
    async with group(joined(gateway, encryption=True), joined(gateway, topic, user="bob")) as (ann, bob):
        await encrypted(ann, topic)
        await bob.publish(topic, {"secret": "to ann"}, type="said")
        event = await ann.event("said")
        assert event.payload == {"secret": "to ann"} and event.topic == topic and isinstance(event.offset, int)
        await ann.publish(topic, {"secret": "to bob"}, type="answered")
        assert (await bob.event("answered")).payload == {"secret": "to bob"}
        # A reply, an error, a message for the user, and one that would be compressed.
        assert (await ann.ask("config_request", "config_response")).payload
        assert (await ann.ask("no_such_type", "error")).payload["code"] == "INVALID_MESSAGE"
        await asyncio.to_thread(gateway.publish, None, {"secret": "for ann"}, user_id="ann", type="told")
        assert (await ann.event("told")).payload == {"secret": "for ann"}
        await bob.publish(topic, {"secret": "x" * 100_000}, type="large")
        assert len((await ann.event("large")).payload["secret"]) == 100_000
        # Pings come encrypted and are answered in clear: the client looks for its life signs in text only.
        await until(lambda: ann.client._network_monitor._pongs_received >= 3)
        assert {message.json.get("t") for message in in_clear(ann.tap.down)} <= {"PING", "PONG"}
        assert ann.tap.of("PONG")
        assert not [message for message in ann.tap.down + ann.tap.up if b"secret" in message.payload]


async def test_each_connection_has_a_key_of_its_own(gateway, topic):
    async with group(joined(gateway, encryption=True), joined(gateway, encryption=True, user="bob")) as peers:
        for peer in peers:
            await encrypted(peer, topic)
        ann, bob = peers
        assert ann.client._security._aes_key != bob.client._security._aes_key
        for n in range(50):
            await ann.publish(topic, {"n": n}, type="said")
        for peer in peers:
            assert [event.payload["n"] for event in await peer.events_of("said", 50)] == list(range(50))
        vectors = [message.payload[2:14] for peer in peers for message in peer.tap.down if message.payload[:2] == b"E:"]
        assert len(set(vectors)) == len(vectors)
        first = ann.client._security._aes_key
        ann.tap.cut()
        await until(lambda: ann.client._security._aes_key not in (first, None))
        await ann.publish(topic, {"n": 50}, type="said")
        for peer in peers:
            assert [event.payload["n"] for event in await peer.events_of("said", 51)] == list(range(51))


async def test_a_stream_of_messages_is_readable_with_pings_between(own, topic):
    gateway = own(WSE__PING_INTERVAL="1s")
    topic = "long." + topic
    async with joined(gateway, encryption=True) as ann, Speaker(gateway) as speaker:
        await encrypted(ann, topic)
        for n in range(5000):
            await speaker.publish(topic, {"n": n, "text": "x" * (n % 3000)}, type="said")
        events = await ann.events_of("said", 5000)
        assert [event.payload["n"] for event in events] == list(range(5000))
        await until(lambda: ann.tap.of("PING"))
        assert not in_clear([m for m in ann.tap.down if m.json.get("t") not in ("PING", "PONG")])


async def test_a_rotated_key_replaces_the_old_one(gateway, topic):
    """The client passes the answer on; its application takes the new key."""
    async with group(joined(gateway, encryption=True), joined(gateway, topic, user="bob")) as (ann, bob):
        await encrypted(ann, topic)
        security = ann.client._security
        keys = [security._aes_key]

        @ann.client.on("key_rotation_response")
        def rotate(event):
            security.derive_shared_secret(base64.b64decode(event.payload["new_public_key"]))
            keys.append(security._aes_key)

        for n in range(3):
            answer = await ann.ask("key_rotation_request", "key_rotation_response")
            assert answer.payload["success"] is True
            await bob.publish(topic, {"n": n}, type="said")
            assert [event.payload["n"] for event in await ann.events_of("said", n + 1)] == list(range(n + 1))
            await ann.publish(topic, {"n": n}, type="answered")
            await bob.events_of("answered", n + 1)
        assert len(set(keys)) == 4
        assert not in_clear(ann.tap.down)


async def test_rotation_under_load_loses_nothing(gateway, topic):
    """Nor what the client says before it has read the answer: that is sealed with the key of before."""
    topic = "long." + topic
    async with group(joined(gateway, encryption=True), joined(gateway, topic + ".back", user="bob")) as (ann, bob):
        await encrypted(ann, topic)
        security = ann.client._security
        ann.client.on("key_rotation_response")(
            lambda event: security.derive_shared_secret(base64.b64decode(event.payload["new_public_key"]))
        )
        async with Speaker(gateway) as speaker:
            for round in range(5):
                for n in range(400):
                    await speaker.publish(topic, {"n": round * 400 + n}, type="said")
                    if n == 200:
                        # The answer is on its way at once, and read later.
                        await ann.events_of("said", round * 400 + n + 1)
                        ann.tap.stall()
                        assert await ann.client.send("key_rotation_request")
                        await asyncio.sleep(0.05)
                        for more in range(10):
                            await ann.publish(topic + ".back", {"n": round * 10 + more}, type="said")
                        ann.tap.resume()
                await ann.events_of("key_rotation_response", round + 1)
        events = await ann.events_of("said", 2000)
        assert [event.payload["n"] for event in events] == list(range(2000))
        assert not ann.of("error")
        assert [event.payload["n"] for event in await bob.events_of("said", 50)] == list(range(50))


async def test_rotations_that_overlap_lose_nothing(gateway, topic):
    """While one is on its way others are refused, and change nothing."""
    async with group(joined(gateway, encryption=True), joined(gateway, topic, user="bob")) as (ann, bob):
        await encrypted(ann)
        security = ann.client._security
        ann.client.on("key_rotation_response")(
            lambda event: security.derive_shared_secret(base64.b64decode(event.payload["new_public_key"]))
        )
        ann.tap.stall()
        for _ in range(5):
            assert await ann.client.send("key_rotation_request")
        for n in range(10):
            await ann.publish(topic, {"n": n}, type="said")
        ann.tap.resume()
        await until(lambda: len(ann.of("key_rotation_response")) + len(ann.of("error")) == 5)
        await ann.publish(topic, {"n": 10}, type="said")
        assert [event.payload["n"] for event in await bob.events_of("said", 11)] == list(range(11))
        assert {error.payload["code"] for error in ann.of("error")} <= {"KEY_EXCHANGE_FAILED"}
        await ann.settled()


async def test_without_a_session_there_is_no_key_to_rotate(gateway):
    async with joined(gateway) as ann:
        error = await ann.ask("key_rotation_request", "error")
        assert error.payload["code"] == "ENCRYPTION_REQUIRED"
        status = await ann.ask("encryption_request", "encryption_response", {"action": "status"})
        assert status.payload["enabled"] is False


async def test_a_key_that_is_none_is_refused_and_the_connection_goes_on(gateway, topic, monkeypatch):
    monkeypatch.setattr("wse_client.security.SecurityManager.generate_keypair", lambda self: b"\x04" + bytes(64))
    async with joined(gateway, encryption=True) as ann:
        assert (await ann.event("error")).payload["code"] == "KEY_EXCHANGE_FAILED"
        hello = await ann.tap.message("server_hello")
        assert hello["p"]["features"]["encryption"] is False
        await ann.subscribe(topic)
        await ann.publish(topic, {"n": 1}, type="said")
        assert (await ann.event("said")).payload == {"n": 1}


async def test_what_cannot_be_decrypted_is_not_acted_on(gateway, topic):
    async with joined(gateway, encryption=True) as ann:
        await encrypted(ann, topic)
        for frame in (b"E:", b"E:" + bytes(27), b"E:" + bytes(60), b"E:" + b"x" * 1000):
            await ann.client._connection._ws.send(frame)
        await ann.publish(topic, {"n": 1}, type="said")
        assert (await ann.event("said")).payload == {"n": 1}
        assert ann.tap.connections == 1


async def test_presence_and_messages_of_an_application_are_encrypted_too(gateway, topic):
    room = "room." + topic
    async with joined(gateway, encryption=True) as ann:
        await encrypted(ann, room)
        state = await ann.event("presence_state")
        assert state.payload["topic"] == room
        async with joined(gateway, room, user="bob"):
            await until(lambda: [e for e in ann.of("presence_join") if e.payload["user_id"] == "bob"])
        assert {message.json.get("t") for message in in_clear(ann.tap.down)} <= {"PING", "PONG"}
