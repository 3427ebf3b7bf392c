"""Blocking code in processes that are forked, as the workers of servers are."""

import os

import pytest
from fake import FakeGateway
from fake_events import FakeEvents
from fake_http import answering

from fanfare_client.threads import LoopThread

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")

#: Runs `child()` in a fork of the process, and waits for its end.
FORK = """
import os, signal, sys, traceback
def forked(child):
    sys.stdout.flush()
    process = os.fork()
    if process == 0:
        # What hangs ends, and with it the pipe that the test reads.
        signal.alarm(20)
        try:
            child()
        except BaseException:
            traceback.print_exc(file=sys.stdout)
        finally:
            sys.stdout.flush()
            os._exit(0)
    os.waitpid(process, 0)
def refused(function, *arguments):
    try:
        function(*arguments)
    except RuntimeError as error:
        print(error)
"""


#: Forks a process that ends as others do, with its finalizers.
END = """
sys.stdout.flush()
if (process := os.fork()) == 0:
    sys.exit()
os.waitpid(process, 0)
"""


def run(code, url):
    from gateway import program

    with program("-c", FORK + code, url, PYTHONWARNINGS="ignore") as process:
        printed, _ = process.communicate(timeout=30)
        assert process.returncode == 0
        return printed.splitlines()


@pytest.fixture
def thread():
    """Where the gateway is."""
    thread = LoopThread("a gateway")
    yield thread
    thread.end()


def test_a_client_of_another_process_is_an_error_and_the_other_one_goes_on(thread):
    code = """
from fanfare_client.sync import connect
with connect(sys.argv[1]) as client:
    news = client.subscribe("news")
    news.ready()
    def child():
        refused(client.publish, "news", 1)
        refused(news.next)
        print(news.position)
        news.unsubscribe()
        client.close()
    forked(child)
    print(client.publish("news", 2))
"""
    gateway = FakeEvents()
    thread.call(gateway.__aenter__())
    lines = run(code, gateway.url)
    thread.call(gateway.__aexit__())
    error = "fanfare-client runs in the process that this one was forked from: make one in each process"
    assert lines == [error, error, "7-0", "1"]


@pytest.mark.parametrize("kind", ["Backend", "WSEServer"])
def test_a_link_of_another_process_is_an_error(thread, kind):
    code = {
        "Backend": """
from fanfare_client.sync import Backend
with Backend(sys.argv[1]) as backend:
    def child():
        refused(backend.next)
        refused(backend.health)
        backend.stop()
        backend.close()
    forked(child)
    print(backend.health())
""",
        "WSEServer": """
from fanfare_client.wse_server import WSEServer
server = WSEServer("", 1, gateway=sys.argv[1])
server.enable_drain_mode()
server.start()
def child():
    refused(server.broadcast_all, '{"t":"a","p":{}}')
    refused(server.get_connection_count)
    server.stop()
forked(child)
print(server._ask("health", {}))
server.stop()
""",
    }[kind]
    gateway = FakeGateway()
    thread.call(gateway.__aenter__())
    error, second, answer = run(code, gateway.url)
    thread.call(gateway.__aexit__())
    assert error == second and error.endswith("make one in each process") and answer == "{}"


def test_a_bridge_that_is_made_before_a_fork_serves_each_process():
    code = """
from fanfare_client.sync import Bridge
bridge = Bridge(sys.argv[1])
def child():
    print(bridge.push("alice", {"from": "a child"}))
    bridge.close()
    refused(bridge.push, "alice", {})
forked(child)
print(bridge.push("alice", {"from": "the parent"}))
forked(child)
print(bridge.push("alice", {"from": "the parent"}))
bridge.close()
refused(bridge.push, "alice", {})
"""
    with answering() as (url, requests):
        lines = run(code, url)
    ended = "fanfare-bridge has ended"
    assert lines == ["True", ended, "True", "True", ended, "True", ended]
    assert [len(heads) for heads in requests] == [1, 2, 1]


def test_the_end_of_a_fork_costs_the_other_process_nothing(thread):
    bridge = """
from fanfare_client.sync import Bridge
bridge = Bridge(sys.argv[1])
bridge.push("alice", {"n": 1})
END
print(bridge.push("alice", {"n": 2}))
bridge.close()
"""
    with answering() as (url, requests):
        assert run(bridge.replace("END", END), url) == ["True"]
    assert [len(heads) for heads in requests] == [2]
    client = """
from fanfare_client.sync import connect
client = connect(sys.argv[1]).__enter__()
client.publish("news", 1)
END
print(client.publish("news", 2))
client.close()
"""
    gateway = FakeEvents()
    thread.call(gateway.__aenter__())
    assert run(client.replace("END", END), gateway.url) == ["2"]
    assert len(gateway.sockets) == 1
    thread.call(gateway.__aexit__())
