"""Who is there."""

from peer import group, joined
from wire import until


async def test_a_room_tells_who_comes_changes_and_goes(gateway, topic):
    room = "room." + topic
    async with joined(gateway) as ann:
        await ann.subscribe(room, presence={"status": "here", "name": "Ann"})
        state = (await ann.event("presence_state")).payload
        assert (state["topic"], state["count"], state["more"]) == (room, 1, False)
        assert state["members"] == [{"user_id": "ann", "data": {"status": "here", "name": "Ann"}}]
        async with joined(gateway, user="bob") as bob:
            await bob.subscribe(room, presence={"status": "new"})
            state = (await bob.event("presence_state")).payload
            assert {member["user_id"]: member["data"] for member in state["members"]} == {
                "ann": {"status": "here", "name": "Ann"},
                "bob": {"status": "new"},
            }
            assert bob.events[0].type == "presence_state"
            assert await came(ann, "presence_join", "bob") == {"topic": room, "user_id": "bob", "data": {"status": "new"}}
            assert await bob.client.send("presence_update", {"topic": room, "data": {"status": "busy"}})
            update = {"topic": room, "user_id": "bob", "data": {"status": "busy"}}
            assert await came(ann, "presence_update", "bob") == update
            assert await came(bob, "presence_update", "bob") == update
            # A second connection of the same user changes nothing for the others.
            async with joined(gateway, room, user="bob") as again:
                state = (await again.event("presence_state")).payload
                assert {"user_id": "bob", "data": {"status": "busy"}} in state["members"] and state["count"] == 2
            await ann.settled()
            assert not ann.of("presence_leave")
        left = await came(ann, "presence_leave", "bob")
        assert (left["topic"], left["user_id"]) == (room, "bob")
        assert len([event for event in ann.of("presence_join") if event.payload["user_id"] == "bob"]) == 1


async def came(peer, type, user):
    events = await until(lambda: [event for event in peer.of(type) if event.payload["user_id"] == user])
    return {name: events[0].payload.get(name) for name in ("topic", "user_id", "data")}


async def test_leaving_a_room_is_told_too(gateway, topic):
    room = "room." + topic
    async with group(joined(gateway, room), joined(gateway, room, user="bob")) as (ann, bob):
        await came(ann, "presence_join", "bob")
        assert await bob.client.unsubscribe([room])
        await came(ann, "presence_leave", "bob")
        await bob.settled()
        assert not [event for event in bob.of("presence_leave") if event.payload["user_id"] == "ann"]


async def test_other_topics_tell_nothing(gateway, topic):
    async with group(joined(gateway, topic), joined(gateway, topic, user="bob")) as (ann, bob):
        await ann.publish(topic, {"n": 1}, type="said")
        await bob.event("said")
        assert not [event for peer in (ann, bob) for event in peer.events if event.type.startswith("presence")]
