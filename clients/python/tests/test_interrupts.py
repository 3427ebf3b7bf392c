"""Blocking code that is interrupted while it waits for an event."""

import signal

import pytest
from fake import FakeGateway, message
from fake_events import FakeEvents
from test_threads import signal_main

from fanfare_client.sync import Backend, connect
from fanfare_client.threads import LoopThread


@pytest.fixture
def thread():
    """Where the gateway is."""
    thread = LoopThread("a gateway")
    yield thread
    thread.end()


@pytest.fixture
def gateway(thread):
    gateway = FakeEvents()
    thread.call(gateway.__aenter__())
    yield gateway
    thread.call(gateway.__aexit__())


def interrupt_at(subscription):
    """Interrupts the main thread at the moment that the next item is taken for it."""
    buffer = subscription._inner.feed.buffer
    take = buffer.take

    def take_and_interrupt():
        item, buffer.take = take(), take
        signal_main(signal.SIGINT)
        return item

    buffer.take = take_and_interrupt


NAMES = [("news", "news", "7-0", "7-1"), ("room.*", "room.1", '{"room.*":"7-0"}', '{"room.*":"7-0","room.1":"7-1"}')]


@pytest.mark.parametrize("name, topic, before, behind", NAMES)
def test_an_event_that_was_taken_when_an_interrupt_came_is_given_by_the_next_call(thread, gateway, name, topic, before, behind):
    with connect(gateway.url) as client, client.subscribe(name) as news:
        assert news.position == before
        interrupt_at(news)
        thread.call(gateway.publish(topic, "first", "second"))
        with pytest.raises(KeyboardInterrupt):
            news.next()
        assert news.position == before
        assert news.next(timeout=20).data == "first" and news.position == behind
        assert news.next(timeout=20).data == "second"


@pytest.mark.parametrize("name, topic, before, behind", NAMES)
def test_a_stored_position_brings_again_what_an_interrupt_has_left(thread, gateway, name, topic, before, behind):
    with connect(gateway.url) as client:
        with pytest.raises(KeyboardInterrupt), client.subscribe(name) as news:
            interrupt_at(news)
            thread.call(gateway.publish(topic, "first"))
            news.next()
        assert news.position == before and news.next() is None
        with client.subscribe(name) as again:
            interrupt_at(again)
            thread.call(gateway.publish(topic, "second"))
            with pytest.raises(KeyboardInterrupt):
                again.next()
            left = again.position
            client.close()
            assert again.position == left
            assert again.next().data == "second" and again.position != left
            assert again.next() is None


@pytest.mark.parametrize("name, topic, before, behind", NAMES)
def test_a_position_is_behind_what_was_given(thread, gateway, name, topic, before, behind):
    with connect(gateway.url) as client, client.subscribe(name) as news:
        thread.call(gateway.publish(topic, "first", "second"))
        assert next(news).data == "first" and news.position == behind
        # And once nothing can be asked any more.
        assert next(news).data == "second"
        client.close()
        assert news.position == behind.replace("7-1", "7-2")


def test_an_interrupt_leaves_a_backends_events_for_the_next_call(thread):
    gateway = FakeGateway([message("a", n) for n in range(3)])
    thread.call(gateway.__aenter__())
    with Backend(gateway.url) as backend:
        take = backend._backend._take

        async def take_and_interrupt(*arguments):
            events, backend._backend._take = await take(*arguments), take
            signal_main(signal.SIGINT)
            return events

        backend._backend._take = take_and_interrupt
        with pytest.raises(KeyboardInterrupt):
            backend.next()
        assert [backend.next(timeout=20).data for _ in range(3)] == [0, 1, 2]
    thread.call(gateway.__aexit__())
