"""Blocking code that is interrupted."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from fanfare_client.sync import Bridge
from fanfare_client.threads import LoopThread

SOURCE = Path(__file__).parents[1] / "src"

#: Wait for a gateway that is not there.
PROGRAMS = (
    "from fanfare_client.sync import Backend; Backend('ws://127.0.0.1:1').__enter__()",
    "from fanfare_client.sync import connect; connect('ws://127.0.0.1:1').__enter__()",
    "from fanfare_client.wse_server import WSEServer; WSEServer('', 1, gateway='ws://127.0.0.1:1').start()",
)


@pytest.mark.parametrize("code", PROGRAMS)
def test_ctrl_c_ends_what_waits_for_a_gateway_and_leaves_nothing_behind(code):
    environment = os.environ | {"PYTHONPATH": str(SOURCE)}
    arguments = [sys.executable, "-X", "dev", "-c", code]
    with subprocess.Popen(arguments, env=environment, stderr=subprocess.PIPE, text=True) as process:
        while "next attempt" not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
    assert process.returncode != 0 and said.rstrip().endswith("KeyboardInterrupt")
    assert "destroyed" not in said and "never awaited" not in said and "ResourceWarning" not in said


def test_a_thread_ends_what_runs_on_its_loop():
    ended = []

    async def forever():
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    async def begin():
        return asyncio.create_task(forever())

    thread = LoopThread("a thread")
    task = thread.call(begin())
    thread.end()
    assert ended == [True] and task.cancelled() and thread.loop.is_closed()


def test_a_call_while_a_thread_ends_is_refused_and_waits_for_nothing():
    refused = []

    async def nothing():
        pass

    def call():
        try:
            thread.call(nothing())
        except RuntimeError as error:
            refused.append(str(error))

    thread = LoopThread("a thread")
    caller, stop = threading.Thread(target=call, daemon=True), thread.loop.stop

    def call_and_stop():
        caller.start()
        caller.join(1)
        stop()

    thread.loop.stop = call_and_stop
    thread.end()
    caller.join(1)
    assert refused == ["a thread has ended"] and not caller.is_alive()


def test_a_thread_is_ended_once_however_many_ask_for_it():
    began, go_on, ended = threading.Event(), threading.Event(), []

    async def last():
        began.set()
        await asyncio.to_thread(go_on.wait)
        ended.append("last")

    def end():
        thread.end(last())
        ended.append("second")

    thread = LoopThread("a thread")
    first = threading.Thread(target=thread.end, args=(last(),), daemon=True)
    first.start()
    began.wait()
    second = threading.Thread(target=end, daemon=True)
    second.start()
    go_on.set()
    for caller in (first, second):
        caller.join(20)
        assert not caller.is_alive()
    assert ended == ["last", "second"] and thread.loop.is_closed()
    thread.end()


def signal_main(number):
    """To the main thread: another one might take it from the process, and the main one go on waiting."""
    signal.pthread_kill(threading.main_thread().ident, number)


def test_a_signals_handler_may_end_a_thread_that_is_being_ended():
    async def last():
        signal_main(signal.SIGUSR1)
        await asyncio.to_thread(handled.wait)

    def handle(*_):
        thread.end()
        handled.set()

    thread, handled = LoopThread("a thread"), threading.Event()
    before = signal.signal(signal.SIGUSR1, handle)
    try:
        thread.end(last())
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert handled.is_set() and thread.loop.is_closed()


def test_what_is_interrupted_has_ended_when_the_interrupt_goes_on():
    ended = []

    async def work():
        signal_main(signal.SIGINT)
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(1000):
                await asyncio.sleep(0)
            ended.append(True)

    thread = LoopThread("a thread")
    try:
        with pytest.raises(KeyboardInterrupt):
            thread.call(work())
        assert ended == [True]
    finally:
        thread.end()


def test_an_interrupted_question_is_an_interrupt_and_nothing_else():
    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        signal_main(signal.SIGINT)
        with contextlib.suppress(OSError):
            await reader.read()
        writer.close()

    async def listen():
        return await asyncio.start_server(serve, "127.0.0.1", 0)

    thread = LoopThread("a server")
    server = thread.call(listen())
    with Bridge("http://127.0.0.1:%d" % server.sockets[0].getsockname()[1]) as bridge:
        with pytest.raises(KeyboardInterrupt) as raised:
            list(bridge.ask("alice", {}))
        assert raised.value.__context__ is None
    thread.loop.call_soon_threadsafe(server.close)
    thread.end()


def test_an_interrupt_ends_what_drops_a_cancellation(monkeypatch):
    monkeypatch.setattr("fanfare_client.threads.CANCEL_SECONDS", 0.05)

    async def work():
        signal_main(signal.SIGINT)
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await asyncio.Event().wait()

    async def others():
        return len(asyncio.all_tasks()) - 1

    thread = LoopThread("a thread")
    with pytest.raises(KeyboardInterrupt):
        thread.call(work())
    assert thread.call(others()) == 0
    thread.end()
