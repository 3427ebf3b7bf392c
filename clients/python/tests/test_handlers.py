"""Handlers of a backend that await what is cancelled elsewhere."""

import asyncio
import concurrent.futures

import pytest
from fake import FakeGateway, message

from fanfare_client import sync
from fanfare_client.backend import Backend


async def await_cancelled():
    future = asyncio.get_running_loop().create_future()
    future.cancel()
    await future


@pytest.mark.parametrize("is_error_too", [False, True])
async def test_a_handler_that_awaits_what_was_cancelled_has_failed_like_others(is_error_too):
    errors, handled, others = [], [], asyncio.Event()

    async def handle(event):
        if event.conn == "slow":
            await others.wait()
        elif event.data == 1:
            await await_cancelled()
        handled.append((event.conn, event.data))

    async def on_error(event, error):
        errors.append((event.data, str(error)))
        if is_error_too:
            await await_cancelled()

    async with FakeGateway([message("slow", 0), message("a", 1), message("a", 2)]) as gateway, Backend(gateway.url) as backend:
        running = asyncio.create_task(backend.run(handle, concurrency=2, on_error=on_error))
        if is_error_too:
            with pytest.raises(RuntimeError, match="awaited what was cancelled"):
                await running
        else:
            while handled != [("a", 2)]:
                await asyncio.sleep(0.005)
            others.set()
            while len(handled) < 2:
                await asyncio.sleep(0.005)
            backend.stop()
            await running
    assert errors == [(1, "the handler awaited what was cancelled")]


async def test_without_on_error_a_handler_that_awaits_what_was_cancelled_ends_run_with_an_error():
    async def handle(event):
        await await_cancelled()

    async with FakeGateway([message("a", 1)]) as gateway, Backend(gateway.url) as backend:
        with pytest.raises(RuntimeError, match="awaited what was cancelled"):
            await backend.run(handle)
    assert len(gateway.pending) == 1


async def test_a_run_that_is_cancelled_ends_its_handlers():
    began, ended = asyncio.Event(), []

    async def handle(event):
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(event.data)

    async with FakeGateway([message("a", 1)]) as gateway, Backend(gateway.url) as backend:
        running = asyncio.create_task(backend.run(handle, on_error=lambda event, error: ended.append(error)))
        await began.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    assert ended == [1]


async def test_a_blocking_handler_that_waits_for_what_was_cancelled_has_failed_like_others():
    errors = []

    def application():
        with sync.Backend(gateway.url) as backend:

            def handle(event):
                if event.data == 2:
                    return backend.stop()
                future = concurrent.futures.Future()
                future.cancel()
                future.result()

            backend.run(handle, on_error=lambda event, error: errors.append((event.data, str(error))))

    async with FakeGateway([message("a", 1), message("a", 2)]) as gateway:
        await asyncio.to_thread(application)
    assert errors == [(1, "the handler awaited what was cancelled")]
