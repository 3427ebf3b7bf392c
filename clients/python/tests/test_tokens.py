"""Functions that give tokens, and do not return, or return something else."""

import asyncio
import threading
from concurrent.futures import CancelledError, ThreadPoolExecutor

import pytest
from fake import FakeGateway
from fake_events import FakeEvents

from fanfare_client import GiveUp, connect, threads
from fanfare_client.backend import Backend
from fanfare_client.backend import client as backend
from fanfare_client.bridge import Account
from fanfare_client.client import backoff, tokens


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(backoff, "BACKOFF_FIRST", 0.02)
    monkeypatch.setattr(backoff, "BACKOFF_MAX", 0.1)


@pytest.fixture
def hanging():
    """A function that hangs in each thread that calls it, until the end of the test; what it does is told by events."""

    class Hanging:
        def __init__(self):
            self.calls = 0
            self.called = threading.Event()
            self.go_on = threading.Event()

        def __call__(self, *reason):
            self.calls += 1
            self.called.set()
            self.go_on.wait()
            return "token"

    hanging = Hanging()
    yield hanging
    hanging.go_on.set()


async def until(condition):
    while not condition():
        await asyncio.sleep(0.005)


MAKERS = [lambda token: connect("ws://127.0.0.1:1", token=token), lambda token: Account("ws://127.0.0.1:1", "a", token=token)]


@pytest.mark.parametrize("make", MAKERS)
async def test_a_function_that_does_not_return_takes_no_thread_of_the_application(make, hanging):
    pool = ThreadPoolExecutor(1)
    asyncio.get_running_loop().set_default_executor(pool)
    entering = asyncio.create_task(make(hanging).__aenter__())
    try:
        await until(hanging.called.is_set)
        assert await asyncio.wait_for(asyncio.to_thread(lambda: 7), 20) == 7
    finally:
        hanging.go_on.set()
        entering.cancel()
        await asyncio.wait({entering})


async def test_functions_that_do_not_return_are_bounded_and_a_later_call_may(monkeypatch, caplog, hanging):
    monkeypatch.setattr(tokens, "TOKEN_SECONDS", 0.02)
    monkeypatch.setattr(threads, "CALLS_MAX", 2)
    async with FakeEvents() as gateway:
        client = connect(gateway.url, token=hanging)
        entering = asyncio.create_task(client.__aenter__())
        await until(lambda: caplog.text.count("2 calls have not returned") > 2)
        assert hanging.calls == 2 and "no token in 0.02 s" in caplog.text
        monkeypatch.setattr(tokens, "TOKEN_SECONDS", 30.0)
        hanging.go_on.set()
        await entering
        assert gateway.handshakes[-1][0] == "Bearer token"
        await client.close()


def test_a_function_that_does_not_return_does_not_hold_up_the_end_of_the_program():
    code = """if True:
        import asyncio, threading
        from fanfare_client import connect

        called = threading.Event()

        def ask(reason):
            called.set()
            threading.Event().wait()

        async def main():
            entering = asyncio.create_task(connect("ws://127.0.0.1:1", token=ask).__aenter__())
            while not called.is_set():
                await asyncio.sleep(0.005)
            entering.cancel()
            await asyncio.wait({entering})

        asyncio.run(main())
        print("the end")
    """
    from gateway import program

    with program("-c", code) as process:
        printed, _ = process.communicate(timeout=30)
    assert (process.returncode, printed) == (0, "the end\n")


async def test_a_function_for_a_backends_token_is_called_in_a_thread_and_has_a_time_limit(monkeypatch, hanging):
    monkeypatch.setattr(backend, "BACKOFF_FIRST", 0.01)
    callers = []

    def ask():
        callers.append(threading.current_thread())
        return hanging() if len(callers) == 2 else f"token-{len(callers)}"

    async with FakeGateway() as gateway:
        async with Backend(gateway.url, token=ask):
            monkeypatch.setattr(tokens, "TOKEN_SECONDS", 0.02)
            await gateway.links[0].close()
            await until(lambda: len(callers) > 2)
            monkeypatch.setattr(tokens, "TOKEN_SECONDS", 30.0)
            await until(lambda: len(gateway.links) == 2)
        assert gateway.parameters[-1][2]["Authorization"] == f"Bearer token-{len(callers)}"
        assert threading.main_thread() not in callers
        # Without a first link there is nothing that would go on.
        monkeypatch.setattr(tokens, "TOKEN_SECONDS", 0.02)
        with pytest.raises(TimeoutError, match="no token in 0.02 s"):
            async with Backend(gateway.url, token=hanging):
                pass


async def test_a_function_that_gives_up_at_a_renewal_is_not_asked_until_the_token_has_ended(monkeypatch, caplog):
    monkeypatch.setattr("fanfare_client.client.renewal.RENEWAL_SECONDS_MIN", 0.01)
    reasons = []

    async def ask(reason):
        reasons.append(reason)
        if len(reasons) > 1:
            raise GiveUp("log in first")
        return "token"

    async with FakeEvents() as gateway:
        gateway.greeting = {"user": "ann", "expires_at": "2026-11-30T00:00:00.100Z"}
        async with connect(gateway.url, token=ask) as client:
            await asyncio.wait({client._dialogue._renewal})
            assert "no new token: log in first" in caplog.text
            assert reasons == ["first", "expired"] and client.state == "open"
            await gateway.say((4002, "Token expired"))
            await until(lambda: client.state == "ended")
            assert "log in first" in client.status.reason and reasons == ["first", "expired", "expired"]


def stop(*_):
    raise StopIteration


def cancel(*_):
    raise CancelledError


async def await_cancelled(*_):
    future = asyncio.get_running_loop().create_future()
    future.cancel()
    await future


@pytest.mark.parametrize("broken", [stop, cancel, await_cancelled])
async def test_whatever_a_function_raises_it_is_asked_again(broken, caplog):
    asked = []

    def ask(reason):
        asked.append(reason)
        return broken(reason) if len(asked) == 1 else "token"

    async with FakeEvents() as gateway, connect(gateway.url, token=ask):
        assert asked == ["first", "first"] and gateway.handshakes[-1][0] == "Bearer token"
    assert "no token: " in caplog.text
