"""How the clients come in, and how they are turned away."""

import asyncio
import time

import pytest
from gateway import token
from peer import VERSION, Peer, client, joined
from wire import CLOSE, TEXT, Tap, until
from wse_client import ConnectionState, WSEConnectionError

PAGE = "https://app.example.com"


async def test_connecting_takes_no_time(gateway):
    """1.4.3 waits ten seconds for a WSE server of its own version."""
    begun = time.monotonic()
    async with joined(gateway) as ann:
        assert time.monotonic() - begun < 8
        ready = (await ann.tap.message("server_ready"))["p"]
        assert ready["details"]["user_id"] == "ann"
        assert ready["details"]["connection_id"] == ann.client._connection.connection_id
        hello = (await ann.tap.message("server_hello"))["p"]
        assert hello["connection_id"] == ann.client._connection.connection_id
        assert hello["protocol_version"] == 1
        await until(lambda: ann.client.is_fully_ready and ann.client._server_features)
        # What both rely on without saying so.
        first = ann.tap.down[0]
        assert first.opcode == TEXT and first.json["t"] == "server_ready"
        await ann.settled()
        for message in ann.tap.down:
            assert "seq" not in message.json


async def test_each_client_is_written_to_in_its_own_form(gateway, topic):
    async with joined(gateway, topic) as ann:
        await ann.publish(topic, {"n": 1}, type="said")
        await ann.event("said")
        await ann.settled()
        hello = ann.tap.down.index(next(message for message in ann.tap.down if message.json.get("t") == "server_hello"))
        after = [message.payload.decode() for message in ann.tap.down[hello:] if message.opcode == TEXT]
        assert len(after) >= 4
        forms = ("WSE{", "U{", "S{") if VERSION == "1.4.3" else ('{"c":', '{"tp":')
        assert all(text.startswith(forms) for text in after)


async def test_the_topics_of_the_constructor_are_subscribed_to(gateway, topic):
    async with joined(gateway, topics=[topic + ".a", topic + ".b"]) as ann:
        await ann.tap.message("subscription_update")
        await ann.publish(topic + ".b", {"n": 1}, type="said")
        assert (await ann.event("said")).payload == {"n": 1}


@pytest.mark.parametrize("source", ["argument", "cookie", "bearer", "token", "access_token"])
async def test_a_credential_may_come_from(own, source):
    gateway = own(HTTP__ALLOWED_ORIGINS=PAGE)
    given = token("bob")
    options = {"user": None}
    if source == "argument":
        options["credential"] = given
    elif source == "cookie":
        # Which browsers send for every page: it counts with one that may connect.
        options["extra_headers"] = {"Cookie": f"a=b; access_token={given}", "Origin": PAGE}
    elif source == "bearer":
        options["extra_headers"] = {"Authorization": f"bearer {given}"}
    else:
        options["query"] = f"?{source}={given}"
    async with joined(gateway, **options) as bob:
        assert (await bob.tap.message("server_ready"))["p"]["details"]["user_id"] == "bob"


@pytest.mark.parametrize(
    "credential, code",
    [
        (None, "AUTH_REQUIRED"),
        ("undefined", "AUTH_REQUIRED"),
        ("not a token", "AUTH_FAILED"),
        (token("ann", secret="another secret of 32 characters."), "AUTH_FAILED"),
        (token("ann", seconds=-3600), "AUTH_FAILED"),
        (token(""), "AUTH_FAILED"),
    ],
    ids=["none", "undefined", "nonsense", "another secret", "expired", "no user"],
)
async def test_without_a_valid_credential_a_client_stays_out(gateway, credential, code):
    options = {"user": None}
    if credential == "undefined":
        options["extra_headers"] = {"Cookie": "access_token=undefined"}
    else:
        options["credential"] = credential
    await turned_away(gateway, code, **options)


async def test_a_page_that_may_not_connect_stays_out(own):
    gateway = own(HTTP__ALLOWED_ORIGINS=PAGE)
    await turned_away(gateway, "ORIGIN_NOT_ALLOWED", 4403, extra_headers={"Origin": "https://elsewhere.example.com"})


async def test_credentials_that_disagree_are_refused(gateway):
    headers = {"Cookie": "access_token=" + token("ann"), "Authorization": "Bearer " + token("bob")}
    await turned_away(gateway, "AUTH_FAILED", user=None, extra_headers=headers)


async def turned_away(gateway, code, close=4401, **options):
    """It is told why, is closed, and does not come back."""
    async with Tap(gateway.port) as tap:
        peer = Peer(client(tap.url, **options), tap)
        # A client that is refused waits for `server_ready` until its time is up.
        connecting = asyncio.create_task(peer.client.connect())
        try:
            error = await peer.event("error")
            assert error.payload["code"] == code and error.payload["message"]
            await until(lambda: peer.client.state is ConnectionState.ERROR)
            assert tap.closes() == [close]
            assert [message.opcode for message in tap.down] == [TEXT, CLOSE]
            await asyncio.sleep(0.3)
            assert tap.connections == 1
        finally:
            connecting.cancel()
            await peer.client.disconnect()


async def test_a_refusal_may_come_before_the_upgrade(own):
    gateway = own(WSE__REFUSE_WITH="http")
    for options in ({"user": None}, {"credential": "not a token"}):
        with pytest.raises(WSEConnectionError, match="401"):
            await client(gateway.url, **options).connect()
    async with joined(gateway):
        pass


async def test_in_demo_mode_a_client_needs_no_credential(own, topic):
    gateway = own(mode="demo", EVENTS__SUBSCRIBE="everyone", EVENTS__PUBLISH="everyone")
    async with joined(gateway, topic, user=None) as someone, joined(gateway, topic, user=None) as another:
        details = (await someone.tap.message("server_ready"))["p"]["details"]
        assert details["user_id"] == "anonymous-" + details["connection_id"]
        await another.publish(topic, {"n": 1}, type="said")
        assert (await someone.event("said")).payload == {"n": 1}


async def test_a_connection_beyond_the_limit_is_refused_before_the_upgrade(own):
    gateway = own(SERVER__MAX_CONNECTIONS="2")
    async with joined(gateway), joined(gateway):
        with pytest.raises(WSEConnectionError, match="503"):
            await client(gateway.url).connect()


async def test_a_token_that_ends_ends_its_connection(own, topic):
    gateway = own(AUTH__LEEWAY="0s")
    async with joined(gateway, topic, credential=token("ann", seconds=2)) as ann:
        await until(lambda: ann.tap.closes())
        # 4401: a client that has nothing better than this token would come back with it for ever.
        assert ann.tap.closes() == [4401]
        await until(lambda: ann.client.state is ConnectionState.ERROR)
