"""What clients ask the gateway for."""

import asyncio
import json
import time

import pytest
from peer import joined
from wire import until


async def test_a_snapshot_ends_without_an_application(gateway, topic):
    async with joined(gateway, topic) as ann:
        for _ in range(2):
            assert await ann.client.request_snapshot()
            assert ann.client._snapshot_requested
            # The client asks again only when the answer has come.
            await until(lambda: not ann.client._snapshot_requested)
        assert len(await ann.events_of("snapshot_complete", 2)) == 2


async def test_a_snapshot_may_have_the_history(gateway, topic):
    async with joined(gateway) as ann:
        for n in range(3):
            await ann.publish(topic, {"n": n}, type="said")
        await ann.subscribe(topic)
        request = {"topics": [topic], "include_snapshots": False, "include_history": True, "last_sequence": 0}
        await ann.ask("sync_request", "snapshot_complete", request)
        assert [event.payload["n"] for event in ann.of("said")] == [0, 1, 2]


#: Of the router: a request, its answer, and some of what that has to say.
PAIRS = [
    ("connection_state_request", {}, "connection_state_response", "state connection_id connected_since metrics"),
    ("health_check", {}, "health_check_response", "status diagnostics queue_stats subscriptions client_info"),
    ("health_check_request", {}, "health_check_response", "status subscriptions"),
    ("metrics_request", {}, "metrics_response", ""),
    ("config_request", {}, "config_response", "compression_enabled compression_threshold batch_size rate_limits"),
    ("config_update", {"compression_threshold": 2048}, "config_update_response", "success updated_settings"),
    ("debug_request", {}, "debug_response", "subscriptions"),
    ("debug_handlers", {}, "debug_response", ""),
    ("sequence_stats_request", {}, "sequence_stats_response", ""),
    ("encryption_request", {"action": "status"}, "encryption_response", "enabled"),
]


@pytest.mark.parametrize("request_type, payload, answer, fields", PAIRS, ids=[pair[0] for pair in PAIRS])
async def test_every_request_of_the_router_is_answered(gateway, topic, request_type, payload, answer, fields):
    async with joined(gateway, topic) as ann:
        event = await ann.ask(request_type, answer, payload)
        assert set(fields.split()) <= set(event.payload)
        if "connection_id" in event.payload:
            assert event.payload["connection_id"] == ann.client._connection.connection_id
        assert not ann.of("error")


async def test_settings_are_what_was_asked_for(gateway, topic):
    async with joined(gateway, topic) as ann:
        wanted = {"compression_threshold": 4096, "colour": "red"}
        answer = (await ann.ask("config_update", "config_update_response", wanted)).payload
        assert answer["updated_settings"] == {"compression_threshold": 4096} and answer["rejected"] == ["colour"]
        assert (await ann.ask("config_request", "config_response")).payload["compression_threshold"] == 4096
        await ann.publish(topic, {"text": "x" * 2000}, type="said")
        await ann.event("said")
        out = await ann.ask("config_update", "config_update_response", {"compression_threshold": 1})
        assert not out.payload["updated_settings"]


async def test_a_batch_is_its_messages(gateway, topic):
    async with joined(gateway, topic) as ann:
        messages = [("publish", {"topic": topic, "type": "said", "data": {"n": n}}) for n in range(50)]
        assert await ann.client.send_batch(messages)
        assert [event.payload["n"] for event in await ann.events_of("said", 50)] == list(range(50))


async def test_a_batch_may_be_told_what_became_of_it(gateway, topic):
    async with joined(gateway, topic) as ann:
        good = {"t": "publish", "p": {"topic": topic, "type": "said", "data": {"n": 1}}}
        bad = {"t": "publish", "p": {"topic": "closed.x", "type": "said", "data": {"n": 2}}}
        nested = {"t": "batch_message", "p": {"messages": [good]}}
        answer = await ann.ask("batch_message", "batch_message_result", {"messages": [good, bad, nested]})
        assert (answer.payload["total"], answer.payload["successful"], answer.payload["failed"]) == (3, 1, 2)
        assert [result["success"] for result in answer.payload["results"]] == [True, False, False]
        await ann.event("said")


async def test_what_nobody_understands_is_told(gateway):
    async with joined(gateway) as ann:
        error = await ann.ask("no_such_type", "error", {"a": 1})
        assert error.payload["code"] == "INVALID_MESSAGE" and "application" in error.payload["message"]
        for text in ("", "nonsense", "[1]", "{", '{"t":5}', "null", '"text"', "WSE", "WSE{"):
            since = len(ann.events)
            assert await ann.client._connection.send(text)
            error = await until(lambda: next(iter(ann.of("error", since)), None))
            assert error.payload["code"] == "INVALID_MESSAGE"
        assert ann.tap.connections == 1


async def test_the_same_message_counts_once(gateway, topic):
    """As after a cut, when the client cannot know what has come through."""
    async with joined(gateway, topic) as ann:
        encoded = ann.client._codec.encode("publish", {"topic": topic, "type": "said", "data": {"n": 1}})
        for _ in range(3):
            assert await ann.client._connection.send(encoded)
        await ann.publish(topic, {"n": 2}, type="said")
        await ann.events_of("said", 2)
        await ann.settled()
        assert [event.payload["n"] for event in ann.of("said")] == [1, 2]


async def test_who_says_too_much_is_told_once_a_second(own, topic):
    gateway = own(WSE__RATE_CAPACITY="100", WSE__RATE_REFILL="10")
    async with joined(gateway, topic) as ann:
        begun = time.monotonic()
        for n in range(300):
            await ann.publish(topic, {"n": n}, type="said")
        warning = (await ann.event("rate_limit_warning")).payload
        assert warning["limit"] == 100 and warning["remaining"] <= 20
        error = (await ann.event("error")).payload
        assert error["code"] == "RATE_LIMITED" and error["retry_after"] > 0
        await asyncio.sleep(0.3)
        seconds = time.monotonic() - begun
        assert max(len(ann.of("error")), len(ann.of("rate_limit_warning"))) <= 2 + seconds
        assert 80 <= len(ann.of("said")) <= 120 + 10 * seconds
        await asyncio.sleep(1)
        await ann.publish(topic, {"n": 1000}, type="said")
        await until(lambda: ann.of("said")[-1].payload["n"] == 1000)


async def test_a_message_that_is_too_large_ends_the_connection_with_its_reason(gateway, topic):
    async with joined(gateway, topic) as ann:
        await ann.publish(topic, {"text": "x" * 1_040_000}, type="said")
        assert len((await ann.event("said")).payload["text"]) == 1_040_000
        await ann.publish(topic, {"text": "x" * (1 << 20)}, type="said")
        await until(lambda: ann.tap.closes())
        assert ann.tap.closes() == [1009]


async def test_nothing_larger_than_the_clients_take_is_sent_to_them(own, topic):
    """They close, come back, and would be sent it again."""
    gateway = own(HTTP__MAX_BODY_SIZE="4MiB", config='[namespace."huge."]\nmax_message_size = "3MiB"\n')
    topic = "huge." + topic
    async with joined(gateway, topic) as ann:
        try:
            await asyncio.to_thread(gateway.publish, topic, {"text": "x" * 2_000_000}, type="said")
        except OSError as refused:
            assert "413" in str(refused) or "422" in str(refused)
        await asyncio.to_thread(gateway.publish, topic, {"n": 1}, type="said")
        await until(lambda: ann.of("said"))
        assert ann.of("said")[0].payload == {"n": 1}
        assert ann.tap.connections == 1


@pytest.mark.parametrize("path, fields", [("health", ["status", "connections", "uptime_seconds"]), ("debug", [])])
async def test_http_says_how_it_is(gateway, path, fields):
    async with joined(gateway):
        answer = await asyncio.to_thread(gateway.request, f"/wse/{path}")
        assert set(fields) <= set(answer) and json.dumps(answer)
