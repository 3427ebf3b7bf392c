"""Coroutine functions are tests, too; each has a generous deadline."""

import asyncio
import inspect
import os

import pytest

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


@pytest.fixture
def own(tmp_path):
    """Starts gateways that end with the test."""
    started = []

    def start(**settings):
        from gateway import Gateway

        started.append(Gateway(tmp_path, **settings).start())
        return started[-1]

    yield start
    for gateway in started:
        gateway.stop()
