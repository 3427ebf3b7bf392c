"""Coroutine functions are tests, too; each has a generous deadline."""

import asyncio
import inspect
import os
import re
import zlib

import pytest
from gateway import Gateway

DEADLINE = 60.0

# A proxy of the environment is not for gateways on this machine.
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    test = pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names})

    async def within_deadline():
        await asyncio.wait_for(test, DEADLINE)

    asyncio.run(within_deadline())
    return True


@pytest.fixture(scope="session")
def gateway(tmp_path_factory):
    """One that asks for tokens, for all tests that need nothing else."""
    with Gateway(tmp_path_factory.mktemp("gateway")) as gateway:
        yield gateway


@pytest.fixture
def own(tmp_path):
    """Starts gateways that end with the test."""
    started = []

    def start(*, mode="dev", config="", **settings):
        started.append(Gateway(tmp_path, mode=mode, config=config, **settings).start())
        return started[-1]

    yield start
    for gateway in started:
        gateway.stop()


@pytest.fixture
def topic(request):
    """A topic, or the beginning of several, of this test alone."""
    name = request.node.name
    return f"{re.sub('[^a-z0-9]+', '-', name[5:45])}-{zlib.crc32(name.encode()):x}"
