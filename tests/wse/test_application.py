"""An application on the backend link, and its clients of the wse protocol."""

import asyncio
import contextlib

from fanfare_client.backend import Backend, Connect, Disconnect, Message, Subscribe, Unsubscribe
from gateway import token
from peer import group, joined, needs_encryption
from wire import until


@contextlib.asynccontextmanager
async def application(gateway, handler, **options):
    """Answers until the test is over."""
    async with Backend(gateway.link_url, token=token("app", role="service"), **options) as backend:
        task = asyncio.create_task(backend.run(handler))
        try:
            yield backend
        finally:
            backend.stop()
            await task


class Kept:
    """An application that keeps what it is told, and answers what has the type `price`."""

    def __init__(self):
        self.events = []

    async def __call__(self, event):
        self.events.append(event)
        if isinstance(event, Message) and event.type == "price":
            await event.reply({"price": event.data["p"]["of"] * 2})

    async def first(self, kind, **fields):
        def found():
            for event in self.events:
                if isinstance(event, kind) and all(getattr(event, name) == value for name, value in fields.items()):
                    return event

        return await until(found)


async def test_a_request_is_answered_by_the_application(own):
    gateway, kept = own(BACKEND__ENABLED="true"), Kept()
    async with application(gateway, kept), joined(gateway) as ann:
        for n in range(3):
            assert await ann.client.send("price", {"of": n})
        answers = await ann.events_of("response", 3)
        assert [answer.payload for answer in answers] == [{"price": n * 2} for n in range(3)]
        asked = [message.json for message in ann.tap.up if message.json.get("t") == "price"]
        assert [answer.correlation_id for answer in answers] == [message["id"] for message in asked]
        said = await kept.first(Message)
        assert (said.user, said.dialect, said.type, said.id) == ("ann", "wse", "price", asked[0]["id"])
        # The whole message as it came, with what the client adds.
        assert said.data == asked[0] and said.data["pri"] == 5


async def test_the_application_is_told_who_comes_listens_and_goes(own, topic):
    gateway, kept = own(BACKEND__ENABLED="true"), Kept()
    async with application(gateway, kept):
        async with joined(gateway, topic, query="?room=7") as ann:
            came = await kept.first(Connect)
            assert (came.user, came.verified, came.dialect, came.path) == ("ann", True, "wse", "/wse")
            assert "room=7" in came.query and "client_version=" in came.query
            assert (await kept.first(Subscribe)).topics == [topic]
            await ann.client.unsubscribe([topic])
            assert (await kept.first(Unsubscribe)).topics == [topic]
        went = await kept.first(Disconnect)
        assert (went.conn, went.code, went.cause) == (came.conn, 1000, "client")


async def test_what_is_no_message_comes_as_it_is(own):
    gateway, kept = own(BACKEND__ENABLED="true"), Kept()
    async with application(gateway, kept), joined(gateway) as ann:
        assert await ann.client._connection.send("plain text")
        assert await ann.client._connection.send("[1,2]")
        assert await ann.client._connection.send_bytes(b"\xff\x00\xfe")
        await until(lambda: len([event for event in kept.events if isinstance(event, Message)]) == 3)
        text, array, binary = [event for event in kept.events if isinstance(event, Message)]
        assert text.type is None and text.data == "plain text" and text.raw["raw"] is True
        assert array.type is None and array.data == "[1,2]" and array.raw["raw"] is True
        assert binary.data == b"\xff\x00\xfe" and binary.raw["binary"] is True
        assert not ann.of("error")


async def test_orders_of_the_application_reach_its_clients(own, topic):
    gateway, kept = own(BACKEND__ENABLED="true"), Kept()
    async with application(gateway, kept) as backend:
        async with group(joined(gateway), joined(gateway, user="bob")) as (ann, bob):
            conn = (await kept.first(Connect, user="ann")).conn
            await backend.send({"n": 1}, conn=conn, type="direct", priority=10)
            event = await ann.event("direct")
            assert event.payload == {"n": 1} and event.id and event.category == "U"
            await backend.send({"n": 2}, user="bob", type="direct")
            assert (await bob.event("direct")).payload == {"n": 2}
            assert (await backend.subscribe(conn, [topic]))["accepted"] == [topic]
            await backend.publish(topic, {"n": 3}, type="said")
            assert (await ann.event("said")).payload == {"n": 3}
            await backend.unsubscribe(conn, topic)
            await backend.broadcast({"n": 4}, dialect="wse")
            for peer in (ann, bob):
                await until(lambda: [e for e in peer.events if e.payload == {"n": 4}])
            await backend.publish(topic, {"n": 5}, type="said")
            await ann.settled()
            assert len(ann.of("said")) == 1

            # A code that its client comes back after, and one that keeps it away.
            await backend.disconnect(conn=conn, code=4300, reason="elsewhere")
            await until(lambda: ann.tap.connections >= 2 and ann.client.is_ready)
            assert ann.tap.closes() == [4300]
            await backend.disconnect(user="bob")
            await until(lambda: bob.tap.closes())
            assert bob.tap.closes() == [1008]


async def test_a_snapshot_is_what_the_application_sends(own, topic):
    gateway = own(BACKEND__ENABLED="true", WSE__SNAPSHOT_TIMEOUT="500ms")

    async def handler(event):
        if isinstance(event, Message) and event.type == "sync_request":
            await backend.send({"topics": event.data["p"]["topics"]}, conn=event.conn, type="board_snapshot")

    async with application(gateway, handler) as backend, joined(gateway, topic) as ann:
        assert await ann.client.request_snapshot()
        snapshot = await ann.event("board_snapshot")
        assert snapshot.payload == {"topics": [topic]} and snapshot.category == "S"
        # Whatever the application does, its end is told.
        await ann.event("snapshot_complete")


async def test_messages_of_many_clients_reach_the_application_in_order(own):
    gateway, kept = own(BACKEND__ENABLED="true"), Kept()
    async with application(gateway, kept, filter=["message"]):
        async with group(*[joined(gateway, user=f"user{n}", deflate=n % 2 == 0) for n in range(4)]) as peers:
            for n in range(500):
                for peer in peers:
                    assert await peer.client.send("count", {"n": n})
            await until(lambda: len(kept.events) == 4 * 500)
            for number, peer in enumerate(peers):
                said = [event.data["p"]["n"] for event in kept.events if event.user == f"user{number}"]
                assert said == list(range(500))
                assert not peer.of("error")


async def test_priority_messages_go_to_the_application_and_to_their_topic(own):
    gateway, kept = own(BACKEND__ENABLED="true"), Kept()
    async with application(gateway, kept), joined(gateway) as ann:
        assert await ann.client.send("priority_message", {"n": 1}, priority=10)
        said = await kept.first(Message, type="priority_message")
        assert said.data["p"] == {"n": 1} and said.data["pri"] == 10


@needs_encryption
async def test_an_application_hears_encrypted_clients(own):
    gateway, kept = own(BACKEND__ENABLED="true"), Kept()
    async with application(gateway, kept), joined(gateway, encryption=True) as ann:
        await until(lambda: ann.client._security.is_enabled)
        assert await ann.client.send("price", {"of": 4})
        assert (await ann.event("response")).payload == {"price": 8}
        assert not [message for message in ann.tap.up + ann.tap.down if b"price" in message.payload]
