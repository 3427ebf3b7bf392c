"""What has no socket: acknowledgements, encodings, events, addresses."""

import random
import sys

import msgpack
import pytest

from fanfare_client.backend import Backend, Connect, Event, Gap, Message, Refused
from fanfare_client.backend.acks import Acks
from fanfare_client.backend.client import _endpoint
from fanfare_client.codec import codec_of
from fanfare_client.backend.errors import ProtocolError
from fanfare_client.backend.events import KINDS, read


@pytest.mark.parametrize("seed", range(50))
def test_acknowledged_is_what_has_nothing_unfinished_before_it(seed):
    chance = random.Random(seed)
    acks, done = Acks(), set()
    for _ in range(300):
        acks.received += chance.randrange(3)
        # Among them events that are done twice, and some that never came.
        seq = chance.randrange(-1, acks.received + 3)
        acks.done(seq)
        if 1 <= seq <= acks.received:
            done.add(seq)
        expected = 0
        while expected + 1 in done:
            expected += 1
        assert acks.up_to == expected
        assert acks.all_done == (expected == acks.received)
        assert len(acks._done) <= acks.received - acks.up_to


@pytest.mark.parametrize("name", ["json", "msgpack"])
def test_what_is_encoded_is_decoded(name):
    codec = codec_of(name)
    values = [{"data": value} for value in (None, 0, -1, 2**53, 1.5, "", "ä€😀\0", [], [1, [2]], {"a": {"b": []}})]
    for value in values:
        assert codec.decode(codec.encode(value)) == value
    assert codec.decode(codec.join([codec.encode(value) for value in values])) == values
    with pytest.raises(TypeError):
        codec.encode({"data": object()})


@pytest.mark.parametrize("name", ["json", "msgpack"])
def test_what_is_not_the_encoding_is_a_value_error(name):
    codec = codec_of(name)
    chance = random.Random(7)
    frames = [b"", b"[", b'{"a":', b"\xff\xfe", b"[1]]", b"[" * 100_000, b"\x91" * 100_000, b"\xc1"]
    frames += [chance.randbytes(chance.randrange(40)) for _ in range(2000)]
    for frame in frames:
        try:
            codec.decode(frame)
        except ValueError:
            pass


@pytest.mark.parametrize("number", ["1" * 5000, "-" + "1" * 5000, "1e999", "-1e999", "9" * 400 + ".5"])
def test_a_number_beyond_all_numbers_can_be_sent_back(number):
    # JSON allows it, and clients can send it. Python has a limit of digits, and infinity is no JSON.
    largest = sys.float_info.max * (-1 if number[0] == "-" else 1)
    json_codec, msgpack_codec = codec_of("json"), codec_of("msgpack")
    assert json_codec.decode(f"[{number},17]".encode()) == [largest, 17]
    # As the gateway makes it MessagePack.
    frame = msgpack.packb([{"data": [float(number)]}, 17])
    assert msgpack_codec.decode(frame) == [{"data": [largest]}, 17]
    for codec in (json_codec, msgpack_codec):
        assert codec.decode(codec.encode({"data": largest})) == {"data": largest}


@pytest.mark.parametrize("name", ["json", "msgpack"])
def test_what_the_gateway_would_not_take_is_an_error_here(name):
    codec = codec_of(name)
    nested = []
    for _ in range(61):
        nested = [nested]
    assert codec.decode(codec.encode({"data": nested})) == {"data": nested}
    for data in ([nested], {"a": nested}, float("nan"), float("inf")):
        with pytest.raises(ValueError):
            codec.encode({"data": data})
    for data in (b"bytes", object(), {1}):
        with pytest.raises(TypeError):
            codec.encode({"data": data})
    # Many brackets, and some in strings, are not deep.
    for data in ([[]] * 200, "[" * 200, ['\\"[', "\\"] * 200, [{"[": "]"}] * 200):
        assert codec.decode(codec.encode({"data": data})) == {"data": data}


@pytest.mark.parametrize("name", ["json", "msgpack"])
def test_half_a_surrogate_pair_can_be_sent_back(name):
    codec = codec_of(name)
    (said,) = codec_of("json").decode(b'["\\ud800x"]')
    assert codec.decode(codec.encode({"data": said}))["data"].endswith("x")


def test_events_have_what_the_gateway_says():
    raw = {"n": 17, "seq": 3, "event": "connect", "conn": "0-5-1", "dialect": "events", "endpoint": "prod",
           "user": "ann", "verified": True, "claims": {"role": "user"}, "ip": "127.0.0.1", "path": "/api/v1/ws",
           "query": "a=b", "headers": {"user-agent": "x"}, "time": 1}  # fmt: skip
    event = read(raw, None, KINDS)
    assert isinstance(event, Connect)
    assert (event.n, event.seq, event.conn, event.user, event.again) == (17, 3, "0-5-1", "ann", False)
    assert event.headers == {"user-agent": "x"} and event.claims == {"role": "user"}
    assert "0-5-1" in repr(event)
    gap = read({"n": 0, "seq": 1, "event": "gap", "lost": 12}, None, KINDS)
    assert isinstance(gap, Gap) and gap.lost == 12


def test_binary_is_bytes_in_both_encodings():
    for data in ("AAH/", b"\x00\x01\xff"):
        raw = {"n": 1, "seq": 1, "event": "message", "conn": "a", "data": data, "binary": True}
        event = read(raw, None, KINDS)
        assert isinstance(event, Message) and event.data == b"\x00\x01\xff"


def test_a_kind_of_a_later_gateway_is_an_event_with_its_object():
    event = read({"n": 1, "seq": 1, "event": "later", "more": 1}, None, KINDS)
    assert type(event) is Event and event.raw["more"] == 1


def test_what_is_no_event_is_a_protocol_error():
    for raw in (None, 1, [], {}, {"event": "connect"}, {"event": "connect", "seq": 1}, {"seq": 1}, {"event": [], "seq": 1}):
        with pytest.raises(ProtocolError):
            read(raw, None, KINDS)


def test_addresses():
    for url in ("ws://h:1", "ws://h:1/", "http://h:1", "ws://h:1/api/v1/backend"):
        assert _endpoint(url) == "ws://h:1/api/v1/backend"
    assert _endpoint("https://h/gateway/") == "wss://h/gateway/api/v1/backend"
    for url in ("h:1", "ftp://h", "ws://", "", "ws://h?group=a", "ws://h#a"):
        with pytest.raises(ValueError):
            _endpoint(url)


def test_arguments_are_checked_where_they_are_given():
    for wrong in ({"credit": 0}, {"ack": "never"}, {"format": "xml"}):
        with pytest.raises(ValueError):
            Backend("ws://h", **wrong)


def test_a_refusal_says_what_to_do():
    assert "backend.enabled" in str(Refused("ws://h", 404, "Not Found"))
    assert "token=" in str(Refused("ws://h", 401, "")) and "service" in str(Refused("ws://h", 403, ""))
    assert Refused("ws://h", 404, "").is_final and not Refused("ws://h", 503, "").is_final
