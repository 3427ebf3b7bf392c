"""Who is there."""

import asyncio

from peer import group, joined
from wire import until


async def test_a_room_tells_who_comes_changes_and_goes(gateway, topic):
    room = "room." + topic
    async with joined(gateway) as ann:
        await ann.subscribe(room, presence={"status": "here", "name": "Ann"})
        await until(lambda: there(ann, room) == {"ann": {"status": "here", "name": "Ann"}})
        async with joined(gateway, user="bob") as bob:
            await bob.subscribe(room, presence={"status": "new"})
            both = {"ann": {"status": "here", "name": "Ann"}, "bob": {"status": "new"}}
            for peer in (ann, bob):
                await until(lambda: there(peer, room) == both)
                assert peer.events[0].type == "presence_state"
            assert await bob.client.send("presence_update", {"topic": room, "data": {"status": "busy"}})
            both["bob"] = {"status": "busy"}
            for peer in (ann, bob):
                await until(lambda: there(peer, room) == both)
            # A second connection of the same user changes nothing for the others.
            async with joined(gateway, room, user="bob") as again:
                await until(lambda: there(again, room) == both)
            await ann.settled()
            assert there(ann, room) == both and not ann.of("presence_leave")
        await until(lambda: set(there(ann, room)) == {"ann"})
        assert len([event for event in ann.of("presence_join") if event.payload["user_id"] == "bob"]) == 1


def there(peer, room):
    """Who is in the room with what data, from the state that a client is given first, and what it is told after it."""
    members = {}
    for event in peer.events:
        if event.type.startswith("presence_"):
            assert event.payload["topic"] == room
        if event.type == "presence_state":
            assert event.payload["count"] == len(event.payload["members"]) and event.payload["more"] is False
            members = {member["user_id"]: member.get("data") for member in event.payload["members"]}
        elif event.type in ("presence_join", "presence_update"):
            members[event.payload["user_id"]] = event.payload.get("data")
        elif event.type == "presence_leave":
            del members[event.payload["user_id"]]
    return members


async def test_who_comes_in_later_than_it_connects_is_told_too(gateway, topic):
    room = "room." + topic
    async with joined(gateway) as ann:
        # Long after its greeting.
        await asyncio.sleep(1.5)
        await ann.subscribe(room, presence={"status": "late"})
        await until(lambda: there(ann, room) == {"ann": {"status": "late"}})


async def test_leaving_a_room_is_told_too(gateway, topic):
    room = "room." + topic
    async with group(joined(gateway, room), joined(gateway, room, user="bob")) as (ann, bob):
        await until(lambda: set(there(ann, room)) == {"ann", "bob"})
        assert await bob.client.unsubscribe([room])
        await until(lambda: set(there(ann, room)) == {"ann"})
        await bob.settled()
        assert not [event for event in bob.of("presence_leave") if event.payload["user_id"] == "ann"]


async def test_other_topics_tell_nothing(gateway, topic):
    async with group(joined(gateway, topic), joined(gateway, topic, user="bob")) as (ann, bob):
        await ann.publish(topic, {"n": 1}, type="said")
        await bob.event("said")
        assert not [event for peer in (ann, bob) for event in peer.events if event.type.startswith("presence")]
