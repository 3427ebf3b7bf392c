"""Blocking code that is interrupted."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from fanfare_client.threads import LoopThread

SOURCE = Path(__file__).parents[1] / "src"

#: Wait for a gateway that is not there.
PROGRAMS = (
    "from fanfare_client.sync import Backend; Backend('ws://127.0.0.1:1').__enter__()",
    "import logging; logging.basicConfig(level='INFO'); from fanfare_client.sync import connect; "
    "connect('ws://127.0.0.1:1').__enter__()",
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
