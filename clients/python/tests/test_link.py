"""The link against a gateway that misbehaves as a real one cannot be made to."""

import asyncio
import logging

import pytest
from fake import Cutter, FakeGateway, connect, message

from fanfare_client import sync
from fanfare_client.backend import Backend, Connect, LinkLost, Message, OperationError, Refused, client, link


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Attempts to link follow each other without the waits of real life."""
    monkeypatch.setattr(client, "BACKOFF_FIRST", 0.01)
    monkeypatch.setattr(client, "BACKOFF_MAX", 0.02)


async def until(condition):
    while not condition():
        await asyncio.sleep(0.005)


def numbers(count, conn="a"):
    return [message(conn, n) for n in range(1, count + 1)]


async def test_the_parameters_and_the_token_are_told():
    async def token():
        return "secret"

    async with FakeGateway() as gateway:
        async with Backend(gateway.url, token=token, group="g", filter=["connect", "message"], credit=7):
            pass
    path, parameters, headers = gateway.parameters[0]
    assert path == "/api/v1/backend"
    assert parameters == {"group": ["g"], "filter": ["connect,message"], "credit": ["7"], "format": ["json"]}
    assert headers["Authorization"] == "Bearer secret"


async def test_an_event_is_acknowledged_when_the_next_one_is_asked_for():
    async with FakeGateway(numbers(3), batch=1) as gateway:
        gateway.credit = 1
        async with Backend(gateway.url, credit=1) as backend:
            assert (await anext(backend)).data == 1
            await asyncio.sleep(0.1)
            assert gateway.acks == []
            assert (await anext(backend)).data == 2
            assert gateway.acks == [1]
    # The second one was in hand when the link was closed.
    assert [event["data"] for event in gateway.pending] == [2, 3]


async def test_an_exception_in_the_loop_redelivers():
    async with FakeGateway(numbers(5)) as gateway:
        with pytest.raises(ZeroDivisionError):
            async with Backend(gateway.url) as backend:
                async for event in backend:
                    if event.data == 3:
                        raise ZeroDivisionError
        await until(lambda: gateway.pending[0]["data"] == 3)
        async with Backend(gateway.url) as backend:
            event = await anext(backend)
            assert (event.data, event.n, event.again) == (3, 3, True)


async def test_acknowledgements_are_joined():
    async with FakeGateway(numbers(900), batch=100) as gateway:
        async with Backend(gateway.url, credit=1000) as backend:
            async for event in backend:
                if event.data == 900:
                    event.ack()
                    break
            await until(lambda: not gateway.pending)
    assert gateway.acks[-1] == 900 and len(gateway.acks) < 20


async def test_by_hand_the_lowest_unfinished_one_holds_the_others():
    async with FakeGateway(numbers(3)) as gateway:
        async with Backend(gateway.url, ack="manual") as backend:
            events = [await anext(backend) for _ in range(3)]
            events[1].ack()
            events[2].ack()
            await asyncio.sleep(2 * link.ACK_SECONDS)
            assert gateway.acks == []
            events[0].ack()
            events[0].ack()
            await until(lambda: gateway.acks == [3])


@pytest.mark.parametrize("is_slow_done", [False, True])
async def test_what_is_taken_back_and_sent_again_on_the_same_link_is_handled_once(is_slow_done):
    blocked, seen = asyncio.Event(), []

    async def handler(event):
        seen.append(event.n)
        if event.conn == "slow":
            await blocked.wait()

    async with FakeGateway([message("slow", 1), *numbers(5), message("slow", 2)]) as gateway:
        async with Backend(gateway.url) as backend:
            task = asyncio.create_task(backend.run(handler))
            await until(lambda: len(seen) == 6)
            if is_slow_done:
                blocked.set()
                await asyncio.sleep(0)
            await gateway.take_back()
            await asyncio.sleep(0.05)
            await gateway.take_back()
            await asyncio.sleep(0.05)
            blocked.set()
            await until(lambda: not gateway.pending)
            gateway.pending.append(message("a", 9) | {"n": 9})
            await gateway._send_events(gateway.links[0])
            await until(lambda: not gateway.pending)
            task.cancel()
    assert seen == [1, 2, 3, 4, 5, 6, 7, 9]


async def test_by_hand_what_is_taken_back_comes_again():
    async with FakeGateway(numbers(1)) as gateway:
        async with Backend(gateway.url, ack="manual") as backend:
            first = await anext(backend)
            await gateway.take_back()
            again = await anext(backend)
            assert again.n == first.n and again.again and again.seq == 2


async def test_nothing_is_lost_wherever_the_link_is_cut(caplog):
    caplog.set_level(logging.CRITICAL)
    events = [connect("a"), *numbers(4)]
    position, cuts = 0, 1
    while cuts:
        position += 1
        async with FakeGateway(events, batch=2) as gateway, Cutter(gateway.port, position) as cutter:
            seen = []
            async with Backend(cutter.url) as backend:

                async def consume(backend=backend, seen=seen):
                    async for event in backend:
                        seen.append(event.n)

                task = asyncio.create_task(consume())
                await until(lambda gateway=gateway: not gateway.pending)
                backend.stop()
                await task
            cuts = cutter.cuts
        # In order, but for those that came again.
        first = list(dict.fromkeys(seen))
        assert first == list(range(1, 6)), f"cut at {position}: {seen}"
    assert position > 300


@pytest.mark.parametrize(
    "nonsense",
    [b"", "", "nonsense", "17", "null", "[17]", '[{"seq":1}]', '{"type":"connection_established"}', b"\xff\xff",
     '[{"n":1,"seq":2,"event":"gap","lost":1}]', '[{"n":1,"seq":"1","event":"gap","lost":1}]', "[" * 100_000, '{"id":[],"ok":true}'],
)  # fmt: skip
async def test_a_frame_that_makes_no_sense_costs_that_link_only(nonsense, caplog):
    async with FakeGateway(numbers(2)) as gateway:
        gateway.nonsense = [nonsense]
        async with Backend(gateway.url) as backend:
            assert (await anext(backend)).data == 1
            assert (await anext(backend)).data == 2
    assert len(gateway.links) == 2
    assert "next attempt" in caplog.text


async def test_an_error_without_an_id_is_logged_and_the_link_stays(caplog):
    async with FakeGateway() as gateway:
        async with Backend(gateway.url) as backend:
            await backend.health()
            await gateway.links[0].send('{"error":"invalid","message":"because"}')
            await backend.health()
    assert len(gateway.links) == 1 and "because" in caplog.text


async def test_operations_say_what_they_are_told_to():
    async with FakeGateway([message("a", {"id": 5}, id=5)]) as gateway:
        async with Backend(gateway.url) as backend:
            event = await anext(backend)
            await event.reply({"x": 1})
            await backend.publish("t", [1], type="x", key="k")
            await backend.send("d", conn="a")
            await backend.send("d", user="ann", type="note", priority=1)
            await backend.subscribe("a", ["t", "u"], recover={"t": {"last": 2}})
            await backend.unsubscribe("a", "t")
            await backend.disconnect(conn="a", code=4000, reason="bye")
            await backend.broadcast("d", dialect="wse")
            await backend.presence("t")
            await backend.connections(limit=3)
            await backend.health()
            await backend.broadcast("d", nowait=True)
            await backend.health()
            with pytest.raises(ValueError):
                await backend.send("d")
            with pytest.raises(TypeError):
                await backend.publish("t", object())
    operations = [{name: value for name, value in op.items() if name != "id"} for op in gateway.operations]
    assert operations == [
        {"op": "reply", "to": 1, "data": {"x": 1}},
        {"op": "publish", "topic": "t", "data": [1], "type": "x", "key": "k"},
        {"op": "send", "conn": "a", "data": "d"},
        {"op": "send", "user": "ann", "data": "d", "type": "note", "priority": 1},
        {"op": "subscribe", "conn": "a", "topics": ["t", "u"], "recover": {"t": {"last": 2}}},
        {"op": "unsubscribe", "conn": "a", "topics": ["t"]},
        {"op": "disconnect", "conn": "a", "code": 4000, "reason": "bye"},
        {"op": "broadcast", "data": "d", "dialect": "wse"},
        {"op": "presence", "topic": "t"},
        {"op": "connections", "limit": 3},
        {"op": "health"},
        {"op": "broadcast", "data": "d"},
        {"op": "health"},
    ]
    assert [op for op in gateway.operations if "id" not in op] == [{"op": "broadcast", "data": "d"}]


async def test_an_answer_is_the_gateways_or_an_operation_error():
    async with FakeGateway() as gateway:
        gateway.answer = lambda op: {"ok": True, "offset": 7} if op["op"] == "publish" else {
            "error": "not_found", "message": "No such connection"}  # fmt: skip
        async with Backend(gateway.url) as backend:
            assert await backend.publish("t", 1) == {"offset": 7}
            with pytest.raises(OperationError) as error:
                await backend.send(1, conn="x")
    assert error.value.code == "not_found" and "No such connection" in str(error.value)


async def test_operations_of_one_moment_share_a_frame_and_keep_their_order():
    async with FakeGateway() as gateway:
        async with Backend(gateway.url) as backend:
            await asyncio.gather(*(backend.publish("t", n) for n in range(1000)))
    assert [op["data"] for op in gateway.operations] == list(range(1000))
    assert len(gateway.frames) < 20


async def test_an_operation_in_flight_at_a_cut_is_told_and_one_with_a_key_repeated():
    async with FakeGateway() as gateway:
        async with Backend(gateway.url) as backend:
            gateway.close_with = 1012
            with pytest.raises(LinkLost, match="may or may not"):
                await backend.publish("t", 1)
            gateway.close_with = 1012
            assert await backend.publish("t", 2, key="k") == {}
            gateway.close_with = 1012
            assert await backend.health() == {}
    assert [op.get("data") for op in gateway.operations] == [1, 2, 2, None, None]


async def test_an_operation_that_is_too_large_is_told_so_and_not_repeated():
    async with FakeGateway() as gateway:
        async with Backend(gateway.url) as backend:
            gateway.close_with = 1009
            with pytest.raises(OperationError, match="max_message_size"):
                await backend.publish("t", "x" * 100_000, key="k")


async def test_an_answer_that_never_comes_times_out_and_a_late_one_harms_nothing():
    async with FakeGateway() as gateway:
        gateway.answer = lambda op: None
        async with Backend(gateway.url, timeout=1) as backend:
            with pytest.raises(TimeoutError):
                await backend.health()
            await gateway.links[0].send('{"id":1,"ok":true}')
            gateway.answer = lambda op: {"ok": True}
            assert await backend.health() == {}


async def test_a_reply_to_a_message_of_a_lost_link_is_not_sent():
    # Its number may be another client's message after a restart.
    async with FakeGateway(numbers(1)) as gateway:
        async with Backend(gateway.url) as backend:
            event = await anext(backend)
            await gateway.links[0].close()
            await until(lambda: event.link.is_lost)
            with pytest.raises(LinkLost):
                await event.reply("late")
            assert await event.reply("late", nowait=True) == {}
            event.ack()
            again = await anext(backend)
            assert again.again and again.n == event.n
            await again.reply("in time")
    assert [op["data"] for op in gateway.operations] == ["in time"]


@pytest.mark.parametrize("status", [400, 401, 403, 404])
async def test_a_refusal_at_first_is_raised(status):
    async with FakeGateway(status=status, detail="because") as gateway:
        with pytest.raises(Refused) as refused:
            async with Backend(gateway.url):
                pass
    assert refused.value.status == status and "because" in str(refused.value)
    assert len(gateway.parameters) == 1


async def test_a_redirect_is_a_refusal_and_no_one_else_gets_the_token():
    async with FakeGateway(status=302) as gateway, FakeGateway() as other:
        gateway.headers = {"Location": other.url}
        with pytest.raises(Refused, match="302"):
            await Backend(gateway.url, token="secret").__aenter__()
        assert not other.parameters


async def test_a_gateway_that_is_busy_or_restarting_is_tried_again():
    async with FakeGateway(status=503) as gateway:
        task = asyncio.create_task(Backend(gateway.url).__aenter__())
        await until(lambda: len(gateway.parameters) > 2)
        gateway.status = None
        backend = await task
        # Once linked, no refusal is final: behind a proxy, a restart may look like a 404.
        gateway.status = 404
        await gateway.links[0].close()
        await until(lambda: len(gateway.parameters) > 5)
        gateway.status = None
        assert await backend.health() == {}
        await backend.close()


async def test_the_gateways_own_wait_is_kept(monkeypatch):
    monkeypatch.setattr(client, "HINT_MAX", 1.0)
    async with FakeGateway(status=429) as gateway:
        gateway.headers = {"Retry-After": "3600"}
        task = asyncio.create_task(Backend(gateway.url).__aenter__())
        await asyncio.sleep(0.5)
        assert len(gateway.parameters) == 1
        gateway.status = None
        await (await task).close()


async def test_without_reconnect_a_lost_link_is_raised():
    with pytest.raises(LinkLost, match="no gateway at"):
        async with Backend("ws://127.0.0.1:1", reconnect=False):
            pass
    async with FakeGateway(numbers(1)) as gateway:
        async with Backend(gateway.url, reconnect=False) as backend:
            await anext(backend)
            await gateway.links[0].close(1012, "restart")
            with pytest.raises(LinkLost, match="1012 restart"):
                await anext(backend)
            with pytest.raises(LinkLost):
                await backend.health()


async def test_a_token_is_asked_for_at_each_attempt():
    tokens = iter(["one", RuntimeError("no token service"), "two"])

    def token():
        value = next(tokens)
        if isinstance(value, Exception):
            raise value
        return value

    async with FakeGateway() as gateway:
        async with Backend(gateway.url, token=token) as backend:
            await gateway.links[0].close()
            await until(lambda: len(gateway.links) == 2)
            assert await backend.health() == {}
        assert [headers["Authorization"] for *_, headers in gateway.parameters] == ["Bearer one", "Bearer two"]

        def broken():
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            async with Backend(gateway.url, token=broken):
                pass


async def test_handlers_run_in_parallel_and_in_order_per_client():
    events = [message(conn, n) for n in range(20) for conn in "abcdef"]
    running, most, seen = set(), 0, {}

    async def handler(event):
        nonlocal most
        assert event.conn not in running
        running.add(event.conn)
        most = max(most, len(running))
        await asyncio.sleep(0.002 if event.conn != "a" else 0.01)
        running.remove(event.conn)
        seen.setdefault(event.conn, []).append(event.data)

    async with FakeGateway(events, batch=7) as gateway:
        async with Backend(gateway.url) as backend:
            task = asyncio.create_task(backend.run(handler, concurrency=4))
            await until(lambda: not gateway.pending)
            backend.stop()
            await task
    assert most == 4
    assert seen == {conn: list(range(20)) for conn in "abcdef"}


async def test_only_what_has_nothing_unfinished_before_it_is_acknowledged():
    blocked = asyncio.Event()

    async def handler(event):
        if event.conn == "slow":
            await blocked.wait()

    async with FakeGateway([message("b", 1), message("slow", 2), message("b", 3), message("c", 4)]) as gateway:
        async with Backend(gateway.url) as backend:
            task = asyncio.create_task(backend.run(handler))
            await until(lambda: gateway.acks == [1])
            await asyncio.sleep(2 * link.ACK_SECONDS)
            assert gateway.acks == [1]
            blocked.set()
            await until(lambda: gateway.acks[-1] == 4)
            task.cancel()


async def test_a_handlers_exception_ends_run_and_its_event_comes_again():
    async def handler(event):
        if event.data == 2:
            raise ZeroDivisionError

    async with FakeGateway(numbers(3)) as gateway:
        async with Backend(gateway.url) as backend:
            with pytest.raises(ZeroDivisionError):
                await backend.run(handler)
        await until(lambda: gateway.pending[0]["data"] == 2)


async def test_with_on_error_the_event_is_done():
    failed = []

    async def handler(event):
        if event.data == 2:
            raise ZeroDivisionError

    async with FakeGateway(numbers(3)) as gateway:
        async with Backend(gateway.url) as backend:
            task = asyncio.create_task(backend.run(handler, on_error=lambda event, error: failed.append((event.n, error))))
            await until(lambda: not gateway.pending)
            backend.stop()
            await task
    assert [n for n, _ in failed] == [2] and isinstance(failed[0][1], ZeroDivisionError)


async def test_a_client_that_left_before_its_answer_does_not_end_run():
    async def handler(event):
        await event.reply("late")

    async with FakeGateway(numbers(3)) as gateway:
        gateway.answer = lambda op: {"error": "not_found", "message": "its client has left"}
        async with Backend(gateway.url) as backend:
            task = asyncio.create_task(backend.run(handler))
            await until(lambda: not gateway.pending)
            backend.stop()
            await task


async def test_a_cut_under_run_redelivers_and_does_not_end_it():
    seen = []

    async def handler(event):
        seen.append((event.n, event.again))
        if not event.again and event.n == 3:
            gateway.close_with = 1012
        await event.reply("done")

    async with FakeGateway(numbers(5), batch=5) as gateway:
        async with Backend(gateway.url) as backend:
            task = asyncio.create_task(backend.run(handler))
            await until(lambda: not gateway.pending)
            backend.stop()
            await task
    assert seen[:3] == [(1, False), (2, False), (3, False)]
    assert seen[-3:] == [(3, True), (4, True), (5, True)]


async def test_stop_lets_what_has_begun_end_and_leaves_the_rest():
    started, release = asyncio.Event(), asyncio.Event()

    async def handler(event):
        started.set()
        await release.wait()

    async with FakeGateway(numbers(3)) as gateway:
        async with Backend(gateway.url) as backend:
            task = asyncio.create_task(backend.run(handler))
            await started.wait()
            backend.stop()
            await asyncio.sleep(0.02)
            assert not task.done()
            release.set()
            await task
        await until(lambda: gateway.acks == [1])
    assert [event["data"] for event in gateway.pending] == [2, 3]


async def test_what_waits_is_written_before_the_link_is_closed():
    async with FakeGateway() as gateway:
        async with Backend(gateway.url) as backend:
            for n in range(300):
                await backend.publish("t", "x" * 10_000, nowait=True)
        await until(lambda: len(gateway.operations) == 300)


async def test_what_waits_to_be_written_is_bounded():
    async with FakeGateway() as gateway:
        async with Backend(gateway.url) as backend:
            gateway.answer = lambda op: {"ok": True}
            await asyncio.gather(*(backend.publish("t", "x" * 50_000, nowait=True) for _ in range(200)))
            assert backend._link._waiting_size <= link.WAITING_MAX + 60_000
            await backend.health()
    assert len(gateway.operations) == 201


async def test_two_loops_at_once_are_an_error():
    async with FakeGateway() as gateway:
        async with Backend(gateway.url) as backend:
            first = asyncio.create_task(backend._next())
            await asyncio.sleep(0)
            with pytest.raises(RuntimeError, match="one loop"):
                await anext(backend)
            first.cancel()
        with pytest.raises(RuntimeError, match="entered once"):
            async with backend:
                pass
    with pytest.raises(RuntimeError, match="async with"):
        await Backend("ws://127.0.0.1:1", timeout=1).health()


async def test_a_wait_for_an_event_can_be_given_up_without_loss():
    seen = []
    async with FakeGateway() as gateway:
        async with Backend(gateway.url) as backend:
            for n in range(1, 50):
                gateway.pending.append(message("a", n) | {"n": n})
                with pytest.raises(asyncio.TimeoutError):
                    while True:
                        seen.append((await asyncio.wait_for(anext(backend), 0.002)).data)
                await gateway._send_events(gateway.links[0])
            while len(seen) < 49:
                seen.append((await anext(backend)).data)
    assert seen == list(range(1, 50))


async def test_blocking_code_has_the_same():
    def application():
        with sync.Backend(gateway.url, credit=100) as backend:
            seen = []
            for event in backend:
                if isinstance(event, Message):
                    event.reply({"got": event.data})
                seen.append(type(event))
                if len(seen) == 4:
                    break
            assert seen == [Connect, sync.Message, sync.Message, sync.Message]
            assert backend.next(timeout=0.01) is None
            assert backend.publish("t", 1) == {}
            with pytest.raises(ValueError):
                backend.send(1)
        with pytest.raises(RuntimeError):
            backend.health()

    async with FakeGateway([connect("a"), *numbers(3)]) as gateway:
        await asyncio.to_thread(application)
        await until(lambda: not gateway.pending)


async def test_blocking_handlers_run_in_threads():
    seen = []

    def handler(event):
        event.reply(event.data)
        if event.data == 5:
            raise ZeroDivisionError
        seen.append(event.data)

    def application():
        with sync.Backend(gateway.url) as backend:

            def on_error(event, error):
                # Operations are allowed here, too.
                backend.publish("errors", str(error))
                backend.stop()

            backend.run(handler, concurrency=3, on_error=on_error)

    async with FakeGateway(numbers(5)) as gateway:
        await asyncio.to_thread(application)
        await until(lambda: not gateway.pending)
    assert seen == [1, 2, 3, 4]


async def test_a_refusal_is_raised_in_blocking_code():
    def application():
        with pytest.raises(Refused), sync.Backend(gateway.url):
            pass

    async with FakeGateway(status=401) as gateway:
        await asyncio.to_thread(application)


async def test_the_log_says_why_and_when(caplog):
    caplog.set_level(logging.INFO)
    async with FakeGateway() as gateway:
        async with Backend(gateway.url) as backend:
            await gateway.links[0].close(1001, "going away")
            await until(lambda: len(gateway.links) == 2)
            await backend.health()
    assert "the gateway closed the link: 1001 going away; next attempt in" in caplog.text
