"""The bridge: against a real gateway, and against peers that answer with anything."""

import asyncio
import contextlib
import time

import pytest
from gateway import SECRET, token

from fanfare_client import Closed, sync
from fanfare_client.bridge import Account, AskError, Bridge, BridgeRefused, BridgeUnreachable, Pushed
from fanfare_client.client import backoff


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(backoff, "BACKOFF_FIRST", 0.05)


@contextlib.asynccontextmanager
async def answering(url, user, answer):
    """A user who does as `answer(message)` says, from the moment it is connected."""
    async with Account(url, user) as account:

        async def run():
            async for message in account:
                answer(message)

        task = asyncio.create_task(run())
        try:
            yield account
        finally:
            task.cancel()


def twice(message):
    if message.data.get("type") == "question":
        message.answer({"message": "I have read it."}, final=False)
        message.answer({"message": "Yes"})


async def test_users_are_pushed_to_and_asked(own):
    gateway = own()
    got = []

    def answer(message):
        got.append(message.data.get("message"))
        twice(message)

    async with Bridge(gateway.url.replace("ws", "http")) as bridge, answering(gateway.url, "alice", answer):
        assert await bridge.push("alice", {"message": "ä"}) is True
        assert await bridge.push("bob", {"message": "x"}) is False
        pairs = [("alice", {"message": "1"}), ("bob", {}), ("alice", {"message": "2"})]
        results = await bridge.push_batch(pairs)
        assert results == [Pushed("alice", True, None), Pushed("bob", False, None), Pushed("alice", True, None)]
        answers = [answer async for answer in bridge.ask("alice", {"type": "question", "message": "Deploy?"})]
        assert [answer["message"] for answer in answers] == ["I have read it.", "Yes"] and answers[-1]["is_final"]
        with pytest.raises(AskError, match="not connected"):
            _ = [answer async for answer in bridge.ask("bob", {"message": "x"})]

        async def ask():
            return [answer async for answer in bridge.ask("alice", {"type": "question"})]

        # Many at once.
        assert [len(answers) for answers in await asyncio.gather(ask(), ask(), ask())] == [2] * 3
        assert all(await asyncio.gather(*(bridge.push("alice", {"n": n}) for n in range(50))))
    assert got[:3] == ["ä", "1", "2"]


async def test_a_question_that_is_not_answered_says_so(own):
    gateway = own(BRIDGE__RESPONSE_TIMEOUT="100ms")
    async with Bridge(gateway.url) as bridge, answering(gateway.url, "alice", lambda message: None):
        with pytest.raises(AskError, match="Timeout"):
            _ = [answer async for answer in bridge.ask("alice", {"message": "x"})]


async def test_what_the_gateway_refuses_is_said(own):
    gateway = own(BRIDGE__API_KEY="the-key-of-the-bridge", HTTP__MAX_BODY_SIZE="1KiB")
    async with Bridge(gateway.url) as bridge:
        with pytest.raises(BridgeRefused, match="key=") as raised:
            await bridge.push("alice", {})
        assert raised.value.status == 401 and raised.value.__cause__ is None
    async with Bridge(gateway.url, key="the-key-of-the-bridge") as bridge:
        assert await bridge.push("alice", {}) is False
        for data, status in (({"message": "x" * 2000}, 413), ({"correlation_id": []}, 422)):
            with pytest.raises(BridgeRefused) as raised:
                _ = [answer async for answer in bridge.ask("alice", data)]
            assert raised.value.status == status and raised.value.detail
        assert await bridge.push("alice", {}) is False


async def test_a_user_comes_back_with_a_new_token_and_is_refused_without(own):
    gateway = own(AUTH__JWT_SECRET=SECRET, AUTH__LEEWAY="0s", BRIDGE__AUTH_REQUIRED="true")
    asked = []

    def ask(reason):
        asked.append(reason)
        return token("alice", exp=int(time.time()) + (5 if len(asked) == 1 else 60))

    async with Bridge(gateway.url, key=token("app", "service")) as bridge:
        async with Account(gateway.url, "alice", token=ask) as account:
            assert await bridge.push("alice", {"n": 1})
            assert (await anext(account)).data["n"] == 1
            while len(asked) < 2 or not await bridge.push("alice", {"n": 2}):
                await asyncio.sleep(0.05)
            assert asked == ["first", "expired"] and (await anext(account)).data["n"] == 2
        with pytest.raises(Closed):
            async with Account(gateway.url, "bob", token=token("alice")):
                pass


def test_blocking_code_pushes_and_asks(own):
    gateway = own()

    async def serve(done):
        async with answering(gateway.url, "alice", twice):
            await asyncio.to_thread(done)

    def work():
        with sync.Bridge(gateway.url) as bridge:
            assert bridge.push("alice", {"message": "x"}) and not bridge.push("bob", {})
            assert [result.is_delivered for result in bridge.push_batch([("alice", {}), ("bob", {})])] == [True, False]
            assert [answer["message"] for answer in bridge.ask("alice", {"type": "question"})][-1] == "Yes"
            for answer in bridge.ask("alice", {"type": "question"}):
                assert answer["message"] == "I have read it."
                break
            with pytest.raises(AskError):
                list(bridge.ask("bob", {}))

    asyncio.run(serve(work))


HOSTILE = [
    b"", b"x", b"HTTP/1.1 200 OK\r\n", b"SSH-2.0\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 abc OK\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{}", b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{x",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
    b"A" * 200_000, b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"[" * 100_000,
    b"HTTP/1.1 204 No\r\n\r\n", b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 502 Bad\r\nContent-Length: 2\r\n\r\n<>",
    b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\ndata: [1]\n\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ndata: {x\n",
]  # fmt: skip


@pytest.mark.parametrize("said", HOSTILE)
async def test_whatever_answers_is_an_error_of_the_bridge(said):
    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)
        with contextlib.suppress(OSError):
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = "http://127.0.0.1:%d" % server.sockets[0].getsockname()[1]
    async with server, Bridge(url, timeout=2) as bridge:
        with pytest.raises((BridgeUnreachable, BridgeRefused)):
            _ = [answer async for answer in bridge.ask("alice", {})]
        if b"data:" not in said:
            with pytest.raises((BridgeUnreachable, BridgeRefused)):
                await bridge.push("alice", {})


async def test_a_chunked_answer_may_be_cut_anywhere():
    whole = b'data: {"a":1}\r\n\r\n: comment\n\ndata: {"is_final":true}\n\n'

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for n in range(0, len(whole), 3):
            part = whole[n : n + 3]
            writer.write(b"%x;x=y\r\n%s\r\n" % (len(part), part))
            await asyncio.sleep(0)
        writer.write(b"0\r\nTrailer: x\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, Bridge("http://127.0.0.1:%d" % server.sockets[0].getsockname()[1]) as bridge:
        assert [answer async for answer in bridge.ask("alice", {})] == [{"a": 1}, {"is_final": True}]


async def test_without_a_gateway_it_is_unreachable():
    async with Bridge("http://127.0.0.1:1") as bridge:
        with pytest.raises(BridgeUnreachable):
            await bridge.push("alice", {})
    for url in ("x", "ftp://host", "http://"):
        with pytest.raises(ValueError):
            Bridge(url)
    with pytest.raises(ValueError):
        Bridge("http://host", key="x\r\nX-More: 1")
