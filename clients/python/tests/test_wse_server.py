"""WSE's server on the link, against a gateway that can be made to do anything."""

import asyncio
import base64
import contextlib
import datetime
import decimal
import inspect
import json
import logging
import signal
import threading
import time
import uuid
import warnings

import pytest
from fake import FakeGateway

from fanfare_client.backend import client
from fanfare_client.wse_server import NotSupportedError, RustWSEServer, WSEServer, envelope, outbox
from fanfare_client.wse_server.inbound import Inbox, Translator


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(client, "BACKOFF_FIRST", 0.05)
    monkeypatch.setattr(client, "BACKOFF_MAX", 0.2)


def server_of(gateway, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return WSEServer("0.0.0.0", 5007, gateway=gateway.url, **({"timeout": 10.0} | options))


@contextlib.asynccontextmanager
async def started(gateway, **options):
    server = server_of(gateway, **options)
    server.enable_drain_mode()
    await asyncio.to_thread(server.start)
    try:
        yield server
    finally:
        await asyncio.to_thread(server.stop)


async def drain(server, count, at_most=256):
    """So many events, asked for as often as it takes."""
    events = []
    while len(events) < count:
        events += await asyncio.to_thread(server.drain_inbound, at_most, 100)
    return events


async def until(condition):
    while not condition():
        await asyncio.sleep(0.01)


def connect(conn, user="ann", **fields):
    return {"event": "connect", "conn": conn, "dialect": "wse", "user": user, "verified": True} | fields


def message(conn, data, user="ann", **fields):
    return {"event": "message", "conn": conn, "dialect": "wse", "user": user, "data": data} | fields


def disconnect(conn):
    return {"event": "disconnect", "conn": conn, "dialect": "wse", "user": "ann", "code": 1000}


async def test_events_are_the_tuples_of_2_5_1():
    objects = [
        connect("1-1-1"),
        connect("1-2-1", user="anonymous-1-2-1", verified=False, headers={"cookie": "a=b"}),
        message("1-1-1", {"c": "U", "t": "hi", "p": {"a": 1}, "id": "q"}, type="hi", id="q"),
        message("1-1-1", {"type": "y", "payload": {}}),
        message("1-1-1", {"type": "y", "t": "z", "payload": 1, "p": 2}),
        message("1-1-1", {}),
        message("1-1-1", "plain", raw=True),
        message("1-1-1", "[1,2]", raw=True),
        message("1-1-1", base64.b64encode(b"\x01\x02").decode(), binary=True),
        {"event": "gap", "lost": 3},
        disconnect("1-1-1"),
        {"event": "something new", "conn": "1-2-1", "dialect": "wse", "user": None},
        disconnect("1-2-1"),
    ]
    async with FakeGateway(objects) as gateway, started(gateway) as server:
        assert await drain(server, 11) == [
            ("auth_connect", "1-1-1", "ann"),
            ("connect", "1-2-1", "a=b"),
            ("msg", "1-1-1", {"c": "U", "t": "hi", "p": {"a": 1}, "id": "q"}),
            ("msg", "1-1-1", {"t": "y", "p": {}}),
            ("msg", "1-1-1", {"type": "y", "t": "z", "payload": 1, "p": 2}),
            ("msg", "1-1-1", {}),
            ("raw", "1-1-1", "plain"),
            ("raw", "1-1-1", "[1,2]"),
            ("bin", "1-1-1", b"\x01\x02"),
            ("disconnect", "1-1-1", None),
            ("disconnect", "1-2-1", None),
        ]
        assert server.inbound_dropped_count() == 3
        [(_, parameters, headers)] = gateway.parameters
        assert parameters["filter"] == ["connect,message,disconnect"] and parameters["credit"] == ["4096"]
        assert await asyncio.to_thread(server.drain_inbound, 5, 0) == []
        await until(lambda: not gateway.pending)


async def test_what_was_given_is_acknowledged_when_more_is_asked_for():
    async with FakeGateway([connect("1"), *(message("1", {"n": n}) for n in range(5))], batch=6) as gateway:
        async with started(gateway) as server:
            assert len(await drain(server, 6)) == 6
            await asyncio.sleep(0.2)
            assert gateway.acks == []
            assert server.drain_inbound(1, 0) == []
            await until(lambda: gateway.acks == [6])


async def test_a_part_of_a_frame_is_acknowledged_alone():
    async with FakeGateway([message("1", {"n": n}) for n in range(5)], batch=5) as gateway:
        async with started(gateway) as server:
            # The client is introduced: that is no object of the gateway's.
            assert server.drain_inbound(1, 5000) == [("auth_connect", "1", "ann")]
            assert server.drain_inbound(2, 0) == [("msg", "1", {"n": 0}), ("msg", "1", {"n": 1})]
            assert server.inbound_queue_depth() == 3
            assert len(server.drain_inbound(2, 0)) == 2
            await until(lambda: gateway.acks == [2])
    assert [event["data"]["n"] for event in gateway.pending] == [2, 3, 4]


async def test_what_was_not_acknowledged_comes_again_to_the_next_process():
    async with FakeGateway([connect("1"), message("1", {"n": 1}), message("1", {"n": 2})], batch=1) as gateway:
        async with started(gateway) as server:
            assert len(await drain(server, 2, at_most=1)) == 2
        async with started(gateway) as server:
            events = await drain(server, 3)
            assert events == [("auth_connect", "1", "ann"), ("msg", "1", {"n": 1}), ("msg", "1", {"n": 2})]


async def test_a_loop_that_drains_acknowledges_all_before_the_stop():
    async with FakeGateway([message("1", {"n": n}) for n in range(4)], batch=4) as gateway:
        async with started(gateway) as server:
            assert len(await drain(server, 2, at_most=1)) == 2
            server.drain()
            assert server.drain_inbound(256, 10) == []
        await until(lambda: gateway.acks == [1])
    assert [event["data"]["n"] for event in gateway.pending] == [1, 2, 3]


def test_a_wait_for_events_ends_where_a_signals_handler_takes_longer():
    inbox = Inbox(Translator(frozenset()), lambda: None)
    ended = threading.Timer(20, inbox.drain)
    ended.start()
    handled = []

    def handle(*_):
        time.sleep(0.3)
        handled.append(True)

    before = signal.signal(signal.SIGALRM, handle)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        assert inbox.take(1, 0.1) == [] and handled
        assert ended.is_alive()
    finally:
        signal.signal(signal.SIGALRM, before)
        ended.cancel()


async def test_clients_of_before_are_introduced():
    objects = [
        message("1", {"n": 1}),
        message("2", {"n": 1}, user="anonymous-2"),
        message("1", {"n": 2}),
        disconnect("1"),
        # Of it the application has not heard.
        disconnect("3"),
        connect("4"),
    ]
    async with FakeGateway(objects) as gateway, started(gateway) as server:
        assert await drain(server, 7) == [
            ("auth_connect", "1", "ann"),
            ("msg", "1", {"n": 1}),
            ("connect", "2", ""),
            ("msg", "2", {"n": 1}),
            ("msg", "1", {"n": 2}),
            ("disconnect", "1", None),
            ("auth_connect", "4", "ann"),
        ]


async def test_nobody_is_taken_for_a_user_that_no_token_proves():
    objects = [message("1", {}, user="root", dialect="events"), connect("2", "root", dialect="events", verified=False)]
    async with FakeGateway(objects) as gateway, started(gateway, dialects=("events",)) as server:
        assert [event[:2] for event in await drain(server, 3)] == [("connect", "1"), ("msg", "1"), ("connect", "2")]


async def test_other_protocols_are_passed_over_and_acknowledged(caplog):
    objects = [connect("1", dialect="events"), message("1", {}, dialect="events"), message("1", {}, dialect="events")]
    async with FakeGateway(objects) as gateway, started(gateway) as server:
        draining = asyncio.create_task(asyncio.to_thread(server.drain_inbound, 256, 2000))
        await until(lambda: not gateway.pending)
        assert not draining.done() and await draining == []
    assert sum("dialects=" in record.message for record in caplog.records) == 1


@pytest.mark.parametrize("batch", [3, 9])
async def test_a_link_that_is_cut_gives_again_what_was_not_acknowledged(batch):
    objects = [connect("1"), *(message("1", {"n": n}) for n in range(6)), disconnect("1"), connect("2")]
    async with FakeGateway(objects, batch=batch) as gateway, started(gateway) as server:
        assert await drain(server, 2, at_most=2) == [("auth_connect", "1", "ann"), ("msg", "1", {"n": 0})]
        assert await asyncio.to_thread(server.drain_inbound, 1, 0) == [("msg", "1", {"n": 1})]
        await until(lambda: gateway.acks == [2])
        await until(lambda: server.inbound_queue_depth() == 6)
        gateway.links[-1].transport.abort()
        await until(lambda: len(gateway.links) == 2)
        if batch == 3:
            await until(lambda: server.inbound_queue_depth() == 7)
        # The client was told of and is not introduced again; its last message was given, and comes again.
        assert await drain(server, 7) == [
            *(("msg", "1", {"n": n}) for n in range(1, 6)),
            ("disconnect", "1", None),
            ("auth_connect", "2", "ann"),
        ]
        assert server.drain_inbound(1, 0) == []
        await until(lambda: not gateway.pending)
        assert server._translator._known == {"2"} and server.inbound_queue_depth() == 0


async def test_a_client_that_was_told_of_is_not_told_of_again():
    async with FakeGateway([connect("1"), message("1", {"n": 1})], batch=2) as gateway, started(gateway) as server:
        assert await drain(server, 1, at_most=1) == [("auth_connect", "1", "ann")]
        gateway.links[-1].transport.abort()
        await until(lambda: len(gateway.links) == 2)
        assert await drain(server, 1) == [("msg", "1", {"n": 1})]


async def test_what_the_gateway_sends_twice_is_given_once():
    async with FakeGateway([message("1", {"n": n}) for n in range(4)], batch=2) as gateway:
        async with started(gateway) as server:
            assert len(await drain(server, 3, at_most=3)) == 3
            await gateway.take_back()
            await gateway.take_back()
            assert await drain(server, 2) == [("msg", "1", {"n": 2}), ("msg", "1", {"n": 3})]
            assert server.drain_inbound(5, 200) == []
            await until(lambda: not gateway.pending)
        assert len(gateway.links) == 1


async def test_what_the_gateway_sends_twice_is_known_for_as_long_as_it_may_do_so():
    async with FakeGateway([message("1", {"n": n}) for n in range(5)], batch=5) as gateway:
        async with started(gateway, credit=2) as server:
            assert len(await drain(server, 2, at_most=2)) == 2
            await gateway.take_back()
            assert [event[2]["n"] for event in await drain(server, 4)] == [1, 2, 3, 4]
            assert server.drain_inbound(9, 300) == []


async def test_the_newest_numbers_are_remembered_and_no_more(monkeypatch):
    async with FakeGateway() as gateway, started(gateway, credit=2) as server:
        gateway.credit = 2
        gateway.pending = [{"n": n} | message("1", {"n": n}) for n in range(40)]
        await gateway.take_back()
        assert len([event for event in await drain(server, 41) if event[0] == "msg"]) == 40
        a_link = server._backend._link
        assert len(a_link._seen) + len(a_link._seen_before) <= 2 * (2 * 2 + 2)


async def test_a_batch_that_is_none_ends_the_link(caplog):
    caplog.set_level(logging.CRITICAL, "fanfare_client.backend")
    async with FakeGateway([connect("1")]) as gateway:
        gateway.nonsense = ['[{"n":1,"seq":2,"event":"connect","conn":"1"}]', "[7]", '[{"seq":1}]']
        async with started(gateway) as server:
            assert await drain(server, 1) == [("auth_connect", "1", "ann")]
        assert len(gateway.links) == 4


async def test_calls_are_operations():
    async with FakeGateway() as gateway, started(gateway, dialects=("wse", "events")) as server:
        server.send("1", '{"t":"a","p":{"x":1},"pri":8}')
        server.send("1", 'WSE{"t":"a","p":{}}')
        server.send_bytes("1", b'{"type":"a","payload":[1]}')
        assert server.send_event("1", {"t": "a", "p": {"é": 1}}) == len('{"t":"a","p":{"é":1}}'.encode())
        server.broadcast("news", '{"t":"a","p":{}}')
        server.broadcast_local("news", '{"user":"ann","text":"hi"}')
        server.broadcast_all('{"t":"a","p":{}}')
        server.broadcast_all_bytes(b'{"t":"b","p":{}}')
        server.subscribe_connection("1", ["a", "b"])
        server.subscribe_connection("1", ["a"], {"status": "online"}, queue_group="g")
        server.subscribe_connection("1", [])
        server.unsubscribe_connection("1", ["a"])
        server.unsubscribe_connection("1", [])
        server.disconnect("1")
        await until(lambda: len(gateway.operations) == 14)
    for number, operation in enumerate(gateway.operations, 1):
        assert operation.pop("id") == number
    assert gateway.operations == [
        {"op": "send", "conn": "1", "type": "a", "data": {"x": 1}, "priority": 8},
        {"op": "send", "conn": "1", "type": "a", "data": {}},
        {"op": "send", "conn": "1", "type": "a", "data": [1]},
        {"op": "send", "conn": "1", "type": "a", "data": {"é": 1}},
        {"op": "publish", "topic": "news", "type": "a", "data": {}},
        {"op": "publish", "topic": "news", "data": {"user": "ann", "text": "hi"}},
        {"op": "broadcast", "dialect": "events", "type": "a", "data": {}},
        {"op": "broadcast", "dialect": "wse", "type": "a", "data": {}},
        {"op": "broadcast", "dialect": "events", "type": "b", "data": {}},
        {"op": "broadcast", "dialect": "wse", "type": "b", "data": {}},
        {"op": "subscribe", "conn": "1", "topics": ["a", "b"]},
        {"op": "subscribe", "conn": "1", "topics": ["a"], "presence": {"status": "online"}, "queue_group": "g"},
        {"op": "unsubscribe", "conn": "1", "topics": ["a"]},
        {"op": "disconnect", "conn": "1", "code": 4300},
    ]


async def test_operations_of_an_event_are_written_before_it_is_acknowledged():
    async with FakeGateway([message("1", {"n": n}) for n in range(50)]) as gateway, started(gateway) as server:
        seen = 0
        while seen < 50:
            for kind, conn, _ in await asyncio.to_thread(server.drain_inbound, 7, 100):
                if kind == "msg":
                    seen += 1
                    server.send(conn, '{"t":"a"}')
        server.drain_inbound(1, 0)
        await until(lambda: not gateway.pending)
        sends = acked = 0
        for frame in gateway.frames:
            items = json.loads(frame)
            for item in items if isinstance(items, list) else [items]:
                sends += "op" in item
                acked = item.get("ack", acked)
                assert acked <= sends
    assert sends == acked == 50


async def test_an_event_with_an_id_is_sent_once_to_a_connection(monkeypatch):
    monkeypatch.setattr("fanfare_client.wse_server.server.SENT_IDS_MAX", 2)
    async with FakeGateway() as gateway, started(gateway) as server:
        assert server.send_event("1", {"t": "a", "id": "x"}) > 0
        assert server.send_event("1", {"t": "a", "id": "x"}) == 0
        assert server.send_event("2", {"t": "a", "id": "x"}) > 0
        assert server.send_event("2", {"t": "a", "id": "y"}) > 0
        assert server.send_event("1", {"t": "a", "id": "x"}) > 0
        await until(lambda: len(gateway.operations) == 4)


async def test_values_that_json_does_not_have_are_written_as_wse_does():
    async with FakeGateway() as gateway, started(gateway) as server:
        when = datetime.datetime(2020, 1, 1)
        values = {"d": when, "u": uuid.UUID(int=1), "e": decimal.Decimal("1.5"), "t": (1, 2), "b": b"x"}
        server.send_event("1", {"t": "a", "p": values})
        await until(lambda: gateway.operations)
    data = gateway.operations[0]["data"]
    assert data == {"d": "2020-01-01T00:00:00", "u": str(uuid.UUID(int=1)), "e": "1.5", "t": [1, 2], "b": "78"}


async def test_recovery_is_asked_for_and_what_the_gateway_says_of_it_given():
    async with FakeGateway() as gateway, started(gateway) as server:

        def ask(*arguments, **options):
            return asyncio.to_thread(server.subscribe_with_recovery, *arguments, **options)

        unknown = {"epoch": None, "offset": 0, "recoverable": False, "recovered": False, "count": 0}
        result = await ask("1", ["a", "b"], recover=True, epoch="9b", offset=4)
        assert result == {"recovered": False, "topics": {"a": unknown, "b": unknown}}
        position = {"epoch": "9b", "offset": 7, "recovered": True, "count": 3}
        gateway.answer = lambda op: {"ok": True, "accepted": ["a"], "rejected": [], "recovery": {"a": position}}
        result = await ask("1", ["a"], recover=True, epoch="9b", offset=4)
        assert result == {"recovered": True, "topics": {"a": position | {"recoverable": True}}}
        gateway.answer = lambda op: {"error": "not_found", "message": "gone"}
        assert (await ask("1", ["a"]))["topics"] == {"a": unknown}
        # Of no history: the client begins with the next message.
        for epoch, offset in (("nonsense", 1), ("9b", -1), ("9" * 17, 1), (None, 1), ("9b", None)):
            await ask("1", ["a"], recover=True, epoch=epoch, offset=offset)
        await ask("1", ["a"], epoch="9b", offset=4)
    here = {"epoch": 0x9B, "offset": 4}
    recovers = [operation.get("recover") for operation in gateway.operations]
    assert recovers == [{"a": here, "b": here}, {"a": here}, *[None] * 7]


async def test_connections_are_all_listed_or_none():
    def answer(op):
        listed = [{"id": str(n), "protocol": "wse" if n % 2 else "backend"} for n in range(min(total, op["limit"]))]
        return {"ok": True, "total": total, "connections": listed}

    async with FakeGateway() as gateway, started(gateway) as server:
        gateway.answer = answer
        total = 4
        assert await asyncio.to_thread(server.get_connections) == ["1", "3"]
        total = 1001
        with pytest.raises(NotSupportedError, match="1000 connections of its 1001"):
            await asyncio.to_thread(server.get_connections)


async def test_presence_is_read_to_its_end():
    users = [{"user": f"u{n}", "connections": n} | ({"data": {"n": n}} if n else {}) for n in range(3)]

    def answer(op):
        rest = [user for user in users if user["user"] > op.get("after", "")][: op.get("limit", 2)]
        return {"ok": True, "count": 3, "connections": 3, "users": rest, "more": rest[-1] != users[-1]}

    async with FakeGateway() as gateway, started(gateway) as server:
        gateway.answer = answer
        assert await asyncio.to_thread(server.presence, "room") == {
            "u0": {"data": {}, "connections": 0},
            "u1": {"data": {"n": 1}, "connections": 1},
            "u2": {"data": {"n": 2}, "connections": 2},
        }
        stats = {"num_users": 3, "num_connections": 3}
        assert await asyncio.to_thread(server.presence_stats, "room") == stats
        gateway.answer = lambda op: {"error": "unsupported", "message": "Presence is not kept"}
        with pytest.raises(NotSupportedError, match="presence = true"):
            await asyncio.to_thread(server.presence_stats, "room")


async def test_failures_are_logged_and_counted(caplog):
    async with FakeGateway() as gateway, started(gateway) as server:
        gateway.answer = lambda op: {"error": "forbidden" if op["op"] == "publish" else "not_found", "message": "no"}
        for _ in range(100):
            server.broadcast("a", "{}")
            server.send("gone", "{}")
        await until(lambda: server._outbox.failed == 100)
    told = [record.message for record in caplog.records if record.name == "fanfare_client.wse_server"]
    assert told and len(told) < 20 and all("publish was not done: forbidden: no" in text for text in told)


async def test_operations_that_are_not_answered_are_bounded(monkeypatch):
    monkeypatch.setattr(outbox, "OPEN_MAX", 10)
    async with FakeGateway() as gateway, started(gateway, timeout=0.3) as server:
        gateway.answer = lambda op: None
        for _ in range(10):
            server.send("1", "{}")
        with pytest.raises(TimeoutError, match="not done"):
            await asyncio.to_thread(server.send, "1", "{}")
        # Another link: whether those were done is not known, and there is room.
        gateway.links[-1].transport.abort()
        await until(lambda: server._outbox.open == 0)
        gateway.answer = lambda op: {"ok": True}
        server.send("1", '{"t":"late"}')
        await until(lambda: gateway.operations[-1].get("type") == "late")
    assert len(gateway.operations) == 11


async def test_threads_that_wait_for_room_end_with_the_server(monkeypatch):
    monkeypatch.setattr(outbox, "OPEN_MAX", 1)
    async with FakeGateway() as gateway, started(gateway) as server:
        gateway.answer = lambda op: None
        server.send("1", "{}")
        waiting = asyncio.create_task(asyncio.to_thread(server.send, "1", "{}"))
        await asyncio.sleep(0.1)
        await asyncio.to_thread(server.stop)
        with pytest.raises(RuntimeError, match="Not running"):
            await waiting


def test_what_is_no_envelope_is_refused_and_said_why():
    for text in ("plain", "[1]", "5", '"a"', "{", b"\x01", b"M:\x81\xa1t\xa1z", "[" * 100_000):
        with pytest.raises(NotSupportedError, match="own protocol"):
            envelope.parse(text)


@pytest.mark.parametrize(
    "text, expected",
    [
        ('{"t":"a","p":{"x":1}}', ("a", {"x": 1}, None)),
        ('U{"t":"a","p":5,"pri":10}', ("a", 5, 10)),
        ('S{"type":"a","payload":null}', ("a", None, None)),
        ('{"t":"a","pri":7}', ("a", {}, None)),
        ('{"x":1}', (None, {"x": 1}, None)),
        ('{"p":{}}', (None, {}, None)),
        (b'{"t":1,"id":"x","v":1,"ts":"now","seq":9,"c":"U"}', ("1", {}, None)),
    ],
)
def test_an_envelope_is_read_as_clients_do(text, expected, caplog):
    read = envelope.parse(text)
    assert (read.type, read.data, read.priority) == expected
    assert not caplog.records


def test_fields_that_are_lost_are_named_once(caplog):
    for _ in range(3):
        envelope.parse('{"t":"a","p":{},"colour":"red","cid":"7"}')
    assert [record.message.split(": ")[1] for record in caplog.records] == ["cid, colour"]


async def test_what_the_link_does_not_have_says_what_to_use_instead():
    async with FakeGateway() as gateway, started(gateway) as server:
        for call, instead in (
            (lambda: server.set_topic_acl("1", allow=["a*"]), "wse_topics"),
            (lambda: server.update_presence("1", {}), "presence_update"),
            (lambda: server.connect_cluster(["10.0.0.2:9999"]), "group="),
            (server.cluster_connected, "group="),
            (server.cluster_peers_count, "group="),
            (server.cluster_info, "group="),
            (lambda: server.reload_cluster_tls("a", "b", "c"), "group="),
            (server.get_cluster_dlq_entries, "dead-letters"),
            (lambda: server.get_queue_group_info("a"), "the gateway"),
        ):
            with pytest.raises(NotSupportedError, match=instead) as raised:
                call()
            # What applications of WSE catch.
            assert isinstance(raised.value, RuntimeError)
        assert gateway.operations == []


def test_arguments_of_other_types_are_refused_as_wse_does():
    server = WSEServer.__new__(WSEServer)
    server._is_running = True
    for call in (
        lambda: server.send("1", {"t": "x"}),
        lambda: server.send_event("1", "x"),
        lambda: server.broadcast("a", b"{}"),
        lambda: server.subscribe_connection("1", "abc"),
    ):
        with pytest.raises(TypeError):
            call()
    with pytest.raises(OverflowError):
        server.drain_inbound(-1, 10)


#: `__text_signature__` of the class in wse_server 2.5.1.
SIGNATURE = (
    "host, port, max_connections=1000, jwt_secret=None, jwt_issuer=None, jwt_audience=None, jwt_cookie_name=None, "
    "jwt_previous_secret=None, jwt_key_id=None, jwt_algorithm=None, jwt_private_key=None, "
    "max_inbound_queue_size=131072, recovery_enabled=False, recovery_buffer_size=128, recovery_ttl=300, "
    "recovery_max_messages=500, recovery_memory_budget=268435456, presence_enabled=False, "
    "presence_max_data_size=4096, presence_max_members=0, rate_limit_capacity=100000.0, rate_limit_refill=10000.0, "
    "max_message_size=1048576, ping_interval=25, idle_timeout=60, max_outbound_queue_bytes=16777216, "
    "max_subscriptions_per_connection=0"
)

#: Its methods, with their parameters.
METHODS = """
broadcast(topic, data) broadcast_all(data) broadcast_all_bytes(data) broadcast_local(topic, data) cluster_connected()
cluster_info() cluster_peers_count()
connect_cluster(peers, tls_cert=None, tls_key=None, tls_ca=None, cluster_port=None, seeds=None, cluster_addr=None)
disconnect(conn_id) drain(close_code=4300, close_reason='', timeout=30) drain_inbound(max_count=256, timeout_ms=50)
enable_drain_mode() get_cluster_dlq_entries() get_connection_count() get_connections() get_queue_group_info(topic)
get_topic_subscriber_count(topic) health_snapshot() inbound_dropped_count() inbound_queue_depth() is_running()
presence(topic) presence_stats(topic) prometheus_metrics() reload_cluster_tls(cert_path, key_path, ca_path)
send(conn_id, data) send_bytes(conn_id, data) send_event(conn_id, event, compression_threshold=1024)
set_callbacks(on_connect, on_message, on_disconnect) set_topic_acl(conn_id, allow=None, deny=None) start() stop()
subscribe_connection(conn_id, topics, presence_data=None, queue_group=None)
subscribe_with_recovery(conn_id, topics, recover=False, epoch=None, offset=None)
unsubscribe_connection(conn_id, topics=None) update_presence(conn_id, data)
"""


def test_calls_have_the_names_and_parameters_of_2_5_1():
    def written(function):
        parameters = list(inspect.signature(function).parameters.values())[1:]
        kept = [p for p in parameters if p.kind is not p.KEYWORD_ONLY]
        return ", ".join(str(p.replace(annotation=p.empty)) for p in kept)

    assert RustWSEServer is WSEServer
    assert written(WSEServer.__init__) == SIGNATURE
    methods = {name: method for name, method in vars(WSEServer).items() if not name.startswith("_")}
    theirs = METHODS.replace(") ", ")\n").strip().split("\n")
    assert sorted(f"{name}({written(method)})" for name, method in methods.items()) == sorted(theirs)


def test_options_that_moved_are_named_in_one_warning():
    with pytest.warns(UserWarning) as caught:
        WSEServer("0.0.0.0", 5007, 10_000, jwt_secret=b"x" * 32, recovery_enabled=True, presence_max_members=7)
    [warning] = caught
    assert warning.filename == __file__
    text = str(warning.message)
    for said in (
        "0.0.0.0:5007 is not opened",
        "max_connections: server.max_connections",
        "jwt_secret: auth.jwt_secret_file",
        "recovery_enabled: hub.history_size",
        "presence_max_members: none",
    ):
        assert said in text
    assert "xxx" not in text and "rate_limit" not in text
    with pytest.warns(UserWarning) as caught:
        WSEServer("0.0.0.0", 5007)
    assert "no effect" not in str(caught[0].message)


def test_what_needs_no_server_is_where_it_was():
    with pytest.raises(ImportError, match="from wse_server import rust_jwt_encode"):
        from fanfare_client.wse_server import rust_jwt_encode  # noqa: F401
    with pytest.raises(ImportError, match="cannot import name"):
        from fanfare_client.wse_server import nonsense  # noqa: F401


async def test_callbacks_get_each_client_in_order_and_acknowledge_when_they_return(caplog):
    objects = [connect(str(n)) for n in range(4)]
    objects += [message(str(n), {"n": k}) for k in range(20) for n in range(4)]
    objects += [message("0", "raw", raw=True), *(disconnect(str(n)) for n in range(4))]
    calls, held = {}, threading.Event()

    def on_message(conn, data):
        calls.setdefault(conn, []).append(data)
        if data == "raw":
            held.wait(30)
        if data == {"n": 7}:
            raise ValueError("of the application")

    async with FakeGateway(objects, batch=100) as gateway:
        server = server_of(gateway)
        server.set_callbacks(
            lambda conn, cookies: calls.setdefault(conn, []).append(("connect", cookies)),
            on_message,
            lambda conn: calls.setdefault(conn, []).append("disconnect"),
        )
        await asyncio.to_thread(server.start)
        await until(lambda: "raw" in calls.get("0", ()))
        await asyncio.sleep(0.1)
        assert gateway.acks == [] and server.drain_inbound(5, 0) == []
        held.set()
        await until(lambda: not gateway.pending)
        await asyncio.to_thread(server.stop)
    messages = [{"n": k} for k in range(20)]
    assert calls.pop("0") == [("connect", ""), *messages, "raw", "disconnect"]
    assert all(calls[conn] == [("connect", ""), *messages, "disconnect"] for conn in ("1", "2", "3"))
    assert sum("the callback for msg" in record.message for record in caplog.records) == 4


async def test_a_stop_waits_for_the_callbacks_that_have_begun():
    begun, go = threading.Event(), threading.Event()

    async with FakeGateway([message("1", {})]) as gateway:
        server = server_of(gateway)

        def on_message(conn, data):
            begun.set()
            go.wait(30)
            server.send(conn, '{"t":"done"}')

        server.set_callbacks(lambda *_: None, on_message, lambda *_: None)
        await asyncio.to_thread(server.start)
        await asyncio.to_thread(begun.wait, 30)
        stopping = asyncio.create_task(asyncio.to_thread(server.stop))
        await asyncio.sleep(0.1)
        go.set()
        await stopping
        assert [operation["type"] for operation in gateway.operations] == ["done"]
        await until(lambda: not gateway.pending)


async def test_a_callback_may_stop_the_server():
    async with FakeGateway([message("1", {})]) as gateway:
        server = server_of(gateway)
        server.set_callbacks(lambda *_: None, lambda *_: server.stop(), lambda *_: None)
        await asyncio.to_thread(server.start)
        await until(lambda: not server.is_running())


async def test_without_a_consumer_events_are_taken_and_done():
    async with FakeGateway([message("1", {"n": n}) for n in range(9)]) as gateway:
        server = server_of(gateway)
        await asyncio.to_thread(server.start)
        await until(lambda: not gateway.pending)
        assert server.drain_inbound() == []
        # Late, and from then on they are given.
        await asyncio.to_thread(server.enable_drain_mode)
        gateway.pending = [{"n": 10} | disconnect("1")]
        await gateway.take_back()
        assert await drain(server, 1) == [("disconnect", "1", None)]
        await asyncio.to_thread(server.stop)


async def test_it_starts_and_stops_and_starts_again():
    async with FakeGateway([message("1", {"n": 1})]) as gateway:
        server = server_of(gateway)
        server.enable_drain_mode()
        server.stop()
        assert not server.is_running() and server.drain_inbound(5, 10) == []
        sends = (lambda: server.send("1", "{}"), lambda: server.broadcast("a", "{}"))
        for call in (*sends, server.get_connection_count, server.drain):
            with pytest.raises(RuntimeError, match="Not running"):
                call()
        for _ in range(2):
            await asyncio.to_thread(server.start)
            with pytest.raises(RuntimeError, match="Already running"):
                server.start()
            assert server.is_running() and len(await drain(server, 2)) == 2
            server.send("1", '{"t":"a"}')
            await asyncio.to_thread(server.stop)
            assert not server.is_running() and server.drain_inbound(5, 10) == []
            server.stop()
        # What was posted is written before the end.
        assert [operation["op"] for operation in gateway.operations] == ["send", "send"]


async def test_where_the_gateway_is_comes_from_the_environment(monkeypatch):
    async with FakeGateway() as gateway:
        monkeypatch.setenv("FANFARE_URL", gateway.url)
        monkeypatch.setenv("FANFARE_API_KEY", "a key")
        with pytest.warns(UserWarning):
            server = WSEServer("0.0.0.0", 5007, group="jobs")
        await asyncio.to_thread(server.start)
        await asyncio.to_thread(server.stop)
        [(path, parameters, headers)] = gateway.parameters
        assert path == "/api/v1/backend" and parameters["group"] == ["jobs"]
        assert headers["Authorization"] == "Bearer a key"


async def test_the_start_is_refused_with_what_to_do():
    async with FakeGateway(status=404) as gateway:
        server = server_of(gateway)
        with pytest.raises(Exception, match="backend.enabled"):
            await asyncio.to_thread(server.start)
        assert not server.is_running()
