"""The client for blocking code."""

import threading
import time

import pytest
from gateway import SECRET, token

import fanfare_client
from fanfare_client import Closed, Gap, RequestError, sync
from fanfare_client.sync import connect


def test_blocking_code_subscribes_publishes_and_asks(own):
    gateway = own()
    with connect(f"{gateway.url}/api/v1/ws/demo") as client:
        subscription = client.subscribe("orders")
        subscription.ready()
        assert [client.publish("orders", n) for n in range(3)] == [1, 2, 3]
        for n, event in zip(range(2), subscription):
            assert (event.data, event.position) == (n, subscription.position)
        assert subscription.next(timeout=10).data == 2 and subscription.next(timeout=0.01) is None
        assert client.query("server_info")["name"] == "fanfare" and client.state == "open"
        position = subscription.position
        subscription.unsubscribe()
        assert subscription.next() is None and list(subscription) == []
        client.publish("orders", 3)
        with client.subscribe("orders", since=position) as again:
            assert again.next(timeout=10).data == 3
        with pytest.raises(RequestError, match="UNKNOWN_COMMAND"):
            client.request({"type": "command", "command": "reboot"})
        assert client.session.client_id
    with pytest.raises(RuntimeError):
        client.publish("orders", 1)


def test_callbacks_may_call_the_client_and_run_in_threads(own):
    gateway = own()
    done, threads = threading.Event(), set()
    with connect(f"{gateway.url}/api/v1/ws/demo") as client:
        subscription = client.subscribe("a")

        def echo(event):
            threads.add(threading.current_thread().name)
            assert client.publish("b", event.data) >= 1
            if event.data == 9:
                done.set()

        subscription.on("event", echo)
        subscription.ready()
        for n in range(10):
            client.publish("a", n)
        assert done.wait(20) and all(name.startswith("fanfare-callback") for name in threads)


def test_it_survives_a_restart_and_a_token_may_block(own):
    gateway = own(AUTH__JWT_SECRET=SECRET)
    states = []

    def ask(reason):
        time.sleep(0.05)
        return token("ann")

    with connect(f"{gateway.url}/api/v1/ws", token=ask) as client:
        client.on("state", lambda status: states.append(status.state))
        subscription = client.subscribe("news")
        subscription.ready()
        gateway.stop()
        gateway.start()
        assert isinstance(subscription.next(timeout=30), Gap)
        client.authenticate(token("ann"))
        client.publish("news", 1)
        assert subscription.next(timeout=30).data == 1
    assert states[0] == "waiting" and states[-1] == "closed" and client.state == "closed"


def test_what_is_refused_is_raised_and_leaves_nothing_behind(own):
    gateway = own()
    before = threading.active_count()
    with pytest.raises(Closed, match="404"), connect(f"{gateway.url}/nothing/here"):
        pass
    assert threading.active_count() == before


def test_any_number_of_threads_may_close_a_client(own):
    gateway = own()
    for _ in range(5):
        before, errors = threading.active_count(), []
        ready, closers = threading.Barrier(4), []
        with connect(f"{gateway.url}/api/v1/ws/demo") as client:

            def close():
                ready.wait()
                try:
                    client.close()
                except BaseException as error:
                    errors.append(error)

            closers += [threading.Thread(target=close, daemon=True) for _ in range(3)]
            for closer in closers:
                closer.start()
            ready.wait()
        for closer in closers:
            closer.join(20)
            assert not closer.is_alive()
        assert errors == [] and client.state == "closed"
        assert threading.active_count() == before


def test_a_loop_ends_where_another_thread_closes_the_client_and_its_position_can_be_stored(own):
    gateway = own()
    handling, closed, got = threading.Event(), threading.Event(), []
    with connect(f"{gateway.url}/api/v1/ws/demo") as client:
        news, other = client.subscribe("news"), client.subscribe("other")
        news.ready()

        def read():
            for event in news:
                got.append((event.data, news.position))
                handling.set()
                closed.wait()
            got.append("the end")

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        epoch = news.position.split("-")[0]
        for n in (1, 2, 3):
            client.publish("news", n)
        handling.wait()
        # All three have come.
        while len(news._inner.feed.buffer._items) < 2:
            client.query("server_info")
        client.close()
        closed.set()
        reader.join(20)
        assert got == [(1, f"{epoch}-1"), (2, f"{epoch}-2"), (3, f"{epoch}-3"), "the end"]
        assert list(other) == []
        other.unsubscribe()
    assert news.position == f"{epoch}-3" and other.position is not None


def test_what_blocking_code_imports_is_what_its_client_gives():
    shared = [name for name in fanfare_client.__all__ if name not in ("Client", "Subscription", "connect")]
    assert [name for name in shared if getattr(sync, name) is not getattr(fanfare_client, name)] == []
