"""WSE's server, with its calls, on the gateway's link."""

from __future__ import annotations

import functools
import json
import logging
import os
import re
import ssl as tls
import threading
import time
import urllib.error
import urllib.request
import warnings
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from typing import Any, NoReturn, TypeVar
from urllib.parse import quote, urlsplit, urlunsplit

from ..backend import Answer, BackendError, OperationError
from ..backend.client import PATH
from ..codec import Json
from ..handshake import Proxy, credential
from ..threads import IsForked, LoopThread
from .callbacks import Callbacks
from .envelope import Envelope, of, parse, plain
from .errors import NotSupportedError
from .inbound import Inbound, Inbox, Translator
from .link import ServerBackend, ServerLink
from .options import notice
from .outbox import Outbox

log = logging.getLogger("fanfare_client.wse_server")

T = TypeVar("T")


class WSEServer:
    """An application of WSE's server 2.5.1 on the gateway, which serves the clients.

        server = WSEServer("0.0.0.0", 5007, gateway="ws://127.0.0.1:8080")
        server.enable_drain_mode()
        server.start()
        while server.is_running():
            for kind, conn, data in server.drain_inbound(256, 50):
                ...

    Different from WSE's: events come **at least once**. What `drain_inbound` has given is acknowledged when it is
    called the next time; if the process ends in between, it comes again, to the next one or to another process of
    the group. Clients stay connected meanwhile: they connect to the gateway, and what they say waits there. Those
    that an application has not heard of, because they came before it did, are introduced by a connect before their
    next message. Subscriptions of clients are the gateway's: `subscription_update` does not come.

    Where the application is too slow, the gateway refuses clients' messages and tells them; nothing is dropped in
    silence. Memory here is bounded by `credit` times the size of a client's message, and what waits to be sent by
    4 MiB.

    From any thread, and from signals' handlers. Several threads that call `drain_inbound` take turns.
    """

    def __init__(
        self,
        host: str,
        port: int,
        max_connections: int = 1000,
        jwt_secret: bytes | None = None,
        jwt_issuer: str | None = None,
        jwt_audience: str | None = None,
        jwt_cookie_name: str | None = None,
        jwt_previous_secret: bytes | None = None,
        jwt_key_id: str | None = None,
        jwt_algorithm: str | None = None,
        jwt_private_key: bytes | None = None,
        max_inbound_queue_size: int = 131_072,
        recovery_enabled: bool = False,
        recovery_buffer_size: int = 128,
        recovery_ttl: int = 300,
        recovery_max_messages: int = 500,
        recovery_memory_budget: int = 268_435_456,
        presence_enabled: bool = False,
        presence_max_data_size: int = 4096,
        presence_max_members: int = 0,
        rate_limit_capacity: float = 100_000.0,
        rate_limit_refill: float = 10_000.0,
        max_message_size: int = 1_048_576,
        ping_interval: int = 25,
        idle_timeout: int = 60,
        max_outbound_queue_bytes: int = 16_777_216,
        max_subscriptions_per_connection: int = 0,
        *,
        gateway: str | None = None,
        api_key: str | None = None,
        group: str = "default",
        dialects: Iterable[str] = ("wse",),
        credit: int = 4096,
        timeout: float = 30.0,
        ssl: tls.SSLContext | None = None,
        proxy: Proxy = True,
    ) -> None:
        """WSE's options are the gateway's now, and have no effect: a warning names the keys of its configuration.

        - `gateway`: its address, as `ws://127.0.0.1:8080`; by default that of `FANFARE_URL`, or this one.
        - `api_key`: an API key, or a token with the role "service"; by default `FANFARE_API_KEY`.
        - `group`: each group gets everything; within one, all events of a client go to one process.
        - `dialects`: the protocols whose clients the application is told of.
        - `credit`: events that may be in hand at once, 1 to 1,000,000.
        - `timeout`: how long an operation waits for a link or for room, and how long for its answer, in seconds.
        - `ssl`: for `wss://`, the certificates to trust.
        - `proxy`: the address of a proxy, None for none, or True for that of the environment.
        """
        given = dict(locals())
        warnings.warn(notice(host, port, given), stacklevel=2)
        self._url = gateway or os.environ.get("FANFARE_URL") or "ws://127.0.0.1:8080"
        key = api_key or os.environ.get("FANFARE_API_KEY")
        self._api_key = credential(key) if key else None
        self._dialects = frozenset(dialects)
        self._timeout = timeout
        self._ssl = ssl
        self._proxy = proxy
        self._options = {
            "token": self._api_key,
            "group": group,
            "credit": credit,
            "filter": ("connect", "message", "disconnect"),
            "timeout": timeout,
            "ssl": ssl,
            "proxy": proxy,
        }
        self._codec = Json(plain)
        self._has_drain_mode = False
        self._callbacks: Callbacks | None = None
        #: What was sent with an id of the application's own: once for each connection.
        self._sent_ids: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._sent_lock = threading.Lock()
        #: From the start to the stop.
        self._thread: LoopThread | None = None
        self._since = 0.0
        self._is_running = False
        self._renew()

    def _renew(self) -> None:
        self._translator = Translator(self._dialects)
        self._inbox = Inbox(self._translator, self._wake)
        self._outbox = Outbox(self._wake, self._timeout)
        make_link = functools.partial(ServerLink, self._inbox, self._outbox)
        self._backend = ServerBackend(make_link, self._url, **self._options)

    # Lifecycle

    def start(self) -> None:
        """Attaches to the gateway, and waits until it is there.

        Raises `Refused` where the gateway will have none of it, with what to do.
        """
        if self._is_running:
            raise RuntimeError("Already running")
        self._thread = LoopThread("fanfare-wse-server")
        try:
            self._run(self._backend.__aenter__())
        except BaseException:
            self._end_thread()
            raise
        self._is_running, self._since = True, time.monotonic()
        if not self._has_drain_mode:
            # Without callbacks, too, events are taken: the gateway would refuse messages when too many wait.
            self._callbacks = self._callbacks or Callbacks(_ignore, _ignore, _ignore)
            self._callbacks.start(self._inbox)

    def stop(self) -> None:
        """Writes what waits to be written, acknowledgements too, and leaves the gateway.

        Clients stay connected. What `drain_inbound` gave last comes again, unless it was called since.
        """
        if not self._is_running:
            return
        if self._callbacks is not None and not self._has_drain_mode:
            # What they send is sent.
            self._callbacks.stop()
        self._is_running = False
        self._outbox.close()
        try:
            with suppress(IsForked):
                self._run(self._close())
        finally:
            self._end_thread()

    def drain(self, close_code: int = 4300, close_reason: str = "", timeout: int = 30) -> None:
        """Takes no more events: `drain_inbound` acknowledges what it gave and gives none. Call `stop` then.

        Clients are not closed, since another process of the group, or the next one, goes on with them; to close
        them, stop the gateway.
        """
        self._need_running()
        self._inbox.drain()

    def is_running(self) -> bool:
        """Whether it was started and not stopped. A link that is lost is made anew."""
        return self._is_running

    # Events

    def enable_drain_mode(self) -> None:
        """Has events wait for `drain_inbound`. Call it before `start`: those of before are nobody's."""
        if self._is_running and self._callbacks is not None and not self._has_drain_mode:
            self._callbacks.stop()
        self._has_drain_mode = True

    def drain_inbound(self, max_count: int = 256, timeout_ms: int = 50) -> list[Inbound]:
        """The next events, at most so many; none after `timeout_ms` without one.

        Acknowledges what it gave before: this is done, and does not come again. Have it done within the gateway's
        `backend.ack_timeout` (30 s). Each event is a tuple:

        - `("auth_connect", conn, user)`: a client with a token, `("connect", conn, cookies)`: one without. The
          gateway passes no credentials on: there are no cookies in it.
        - `("msg", conn, dict)`, `("raw", conn, str)` for text that is no JSON object, `("bin", conn, bytes)`.
        - `("disconnect", conn, None)`.
        """
        if max_count < 0 or timeout_ms < 0:
            raise OverflowError("can't convert negative int to unsigned")
        if not self._has_drain_mode:
            return []
        return self._inbox.take(max_count, timeout_ms / 1000)

    def set_callbacks(
        self,
        on_connect: Callable[[str, str], Any],
        on_message: Callable[[str, Any], Any],
        on_disconnect: Callable[[str], Any],
    ) -> None:
        """Has these called in threads, in place of drain mode: one call at a time for a client, in order.

        `on_message` is given a dict, str or bytes. Events are acknowledged when their calls have returned.
        """
        if self._is_running:
            raise RuntimeError("set_callbacks is called before start")
        self._callbacks = Callbacks(on_connect, on_message, on_disconnect)

    def inbound_dropped_count(self) -> int:
        """Events that the gateway dropped; with `backend.full = "refuse"` there are none."""
        return self._translator.lost

    def inbound_queue_depth(self) -> int:
        """Events that have come and were not taken."""
        return self._inbox.depth

    # Sending. These return once queued; what the gateway does not do is logged.

    def send(self, conn_id: str, data: str) -> None:
        """Sends `{"t": type, "p": payload}`, a JSON text, to a connection. One that is gone is not told of."""
        self._need_text(data)
        self._send(conn_id, parse(data))

    def send_bytes(self, conn_id: str, data: bytes) -> None:
        """As `send`. The gateway chooses text, compressed or msgpack frames by what the client can read."""
        self._send(conn_id, parse(bytes(data)))

    def send_event(self, conn_id: str, event: dict[str, Any], compression_threshold: int = 1024) -> int:
        """Sends an event to a connection: bytes of its JSON, 0 where one with its `id` was sent to it before."""
        if not isinstance(event, dict):
            raise TypeError(f"{type(event).__name__!r} object is not an instance of 'dict'")
        size = len(self._codec.encode(event))
        if "id" in event and not self._is_new(conn_id, str(event["id"])):
            return 0
        self._send(conn_id, of(event))
        return size

    def broadcast_all(self, data: str) -> None:
        """Sends `{"t": type, "p": payload}`, a JSON text, to all clients of the gateway."""
        self._need_text(data)
        self._broadcast_all(parse(data))

    def broadcast_all_bytes(self, data: bytes) -> None:
        """As `broadcast_all`."""
        self._broadcast_all(parse(bytes(data)))

    def broadcast_local(self, topic: str, data: str) -> None:
        """As `broadcast`: how far a topic reaches is the gateway's configuration."""
        self.broadcast(topic, data)

    def broadcast(self, topic: str, data: str) -> None:
        """Publishes `{"t": type, "p": payload}`, a JSON text, to the subscribers of a topic."""
        self._need_text(data)
        envelope = parse(data)
        self._post("publish", {"topic": topic, "data": envelope.data} | _given(type=envelope.type))

    # Connections

    def get_connection_count(self) -> int:
        """Connections of the gateway, of all protocols."""
        health = self._ask("health", {})
        return max(0, int(health["connections"]) - int(health["group"]["members"]))

    def get_connections(self) -> list[str]:
        """Ids of the clients of the application's protocols. Raises `NotSupportedError` where there are too many."""
        answer = self._ask("connections", {"limit": LISTED_MAX})
        listed = answer["connections"]
        if answer["total"] > len(listed):
            raise NotSupportedError(
                f"The gateway lists {len(listed)} connections of its {answer['total']}: keep the ids of connect "
                "and disconnect events"
            )
        return [item["id"] for item in listed if item["protocol"] in self._dialects]

    def disconnect(self, conn_id: str) -> None:
        """Closes a connection. Its client comes back, as it does in WSE."""
        self._post("disconnect", {"conn": conn_id, "code": CLOSE_COME_BACK})

    # Topics

    def subscribe_connection(
        self,
        conn_id: str,
        topics: list[str],
        presence_data: dict[str, Any] | None = None,
        queue_group: str | None = None,
    ) -> None:
        """Subscribes a client, whatever it may itself. It may also do so itself, if its token lets it.

        `presence_data` is what rosters say of its user; of a `queue_group` one member gets each message.
        """
        self._need_list(topics)
        if topics:
            fields = {"conn": conn_id, "topics": topics}
            self._post("subscribe", fields | _given(presence=presence_data, queue_group=queue_group))

    def subscribe_with_recovery(
        self,
        conn_id: str,
        topics: list[str],
        recover: bool = False,
        epoch: str | None = None,
        offset: int | None = None,
    ) -> dict[str, Any]:
        """Subscribes a client, and sends it first what it has missed since `offset` of `epoch`.

        The client is told by the gateway what was recovered. Clients that recover by themselves, each topic with
        its own position, need no call of the application.
        """
        self._need_list(topics)
        fields: dict[str, Any] = {"conn": conn_id, "topics": topics}
        if recover and (position := _position(epoch, offset)) is not None:
            fields["recover"] = dict.fromkeys(topics, position)
        try:
            recovery = self._ask("subscribe", fields).get("recovery") or {}
        except OperationError as error:
            if error.code != "not_found":
                raise
            recovery = {}
        unknown = {"epoch": None, "offset": 0, "recovered": False, "count": 0}
        positions = {topic: unknown | recovery.get(topic, {}) for topic in topics}
        for position in positions.values():
            position["recoverable"] = position["epoch"] is not None
        recovered = bool(positions) and all(position["recovered"] for position in positions.values())
        return {"recovered": recovered, "topics": positions}

    def unsubscribe_connection(self, conn_id: str, topics: list[str] | None = None) -> None:
        """Takes topics from a client, or all."""
        if topics is None:
            self._need_running()
            # What was posted before it is done when this is answered.
            self._ask("health", {})
            topics = self._topics_of(conn_id)
        self._need_list(topics)
        if topics:
            self._post("unsubscribe", {"conn": conn_id, "topics": topics})

    def set_topic_acl(
        self, conn_id: str, allow: list[str] | None = None, deny: list[str] | None = None
    ) -> NoReturn:
        """Is not there: what a client may is in its token."""
        _not_supported(
            "set_topic_acl",
            'clients subscribe themselves: give their tokens the claim wse_topics {"allow": [..], "deny": [..]}',
        )

    def get_topic_subscriber_count(self, topic: str) -> int:
        """Connections in a topic, where its namespace keeps presence."""
        return self.presence_stats(topic)["num_connections"]

    def get_queue_group_info(self, topic: str) -> NoReturn:
        """Is not there."""
        _not_supported("get_queue_group_info", "the gateway chooses the members, and leaves out those that are slow")

    # Presence

    def presence(self, topic: str) -> dict[str, dict[str, Any]]:
        """Who is in a topic: `{user: {"data": {..}, "connections": n}}`. One question for each thousand users."""
        users: dict[str, dict[str, Any]] = {}
        after: dict[str, str] = {}
        while True:
            answer = self._presence({"topic": topic} | after)
            for user in answer["users"]:
                users[user["user"]] = {"data": user.get("data") or {}, "connections": user["connections"]}
            if not answer.get("more") or not answer["users"]:
                return users
            after = {"after": answer["users"][-1]["user"]}

    def presence_stats(self, topic: str) -> dict[str, int]:
        """How many are in a topic: `{"num_users": n, "num_connections": n}`."""
        answer = self._presence({"topic": topic, "limit": 1})
        return {"num_users": answer["count"], "num_connections": answer["connections"]}

    def update_presence(self, conn_id: str, data: dict[str, Any]) -> NoReturn:
        """Is not there: the client says it."""
        _not_supported("update_presence", 'the client sends {"t": "presence_update", "p": {"topic": .., "data": ..}}')

    # Clusters

    def connect_cluster(
        self,
        peers: list[str],
        tls_cert: str | None = None,
        tls_key: str | None = None,
        tls_ca: str | None = None,
        cluster_port: int | None = None,
        seeds: list[str] | None = None,
        cluster_addr: str | None = None,
    ) -> NoReturn:
        """Is not there: a cluster is the gateways' affair, and processes of an application are a `group`."""
        _not_supported("connect_cluster", _CLUSTER)

    def cluster_connected(self) -> NoReturn:
        """Is not there."""
        _not_supported("cluster_connected", _CLUSTER)

    def cluster_peers_count(self) -> NoReturn:
        """Is not there."""
        _not_supported("cluster_peers_count", _CLUSTER)

    def cluster_info(self) -> NoReturn:
        """Is not there."""
        _not_supported("cluster_info", _CLUSTER)

    def reload_cluster_tls(self, cert_path: str, key_path: str, ca_path: str) -> NoReturn:
        """Is not there."""
        _not_supported("reload_cluster_tls", _CLUSTER)

    def get_cluster_dlq_entries(self) -> NoReturn:
        """Is not there."""
        _not_supported(
            "get_cluster_dlq_entries",
            f"{_CLUSTER}; messages that an application could not handle: GET /api/v1/dead-letters",
        )

    # Health

    def health_snapshot(self) -> dict[str, Any]:
        """WSE's keys, with `None` for what the gateway's /metrics has instead, and `gateway`: its own health."""
        health = self._ask("health", {})
        snapshot: dict[str, Any] = dict.fromkeys(_SNAPSHOT)
        snapshot["connections"] = max(0, health["connections"] - health["group"]["members"])
        snapshot["inbound_queue_depth"] = self._inbox.depth
        snapshot["inbound_dropped"] = self._translator.lost
        snapshot["operations_failed"] = self._outbox.failed
        snapshot["uptime_secs"] = time.monotonic() - self._since
        snapshot["gateway"] = health
        return snapshot

    def prometheus_metrics(self) -> str:
        """The gateway's metrics in Prometheus' text format, with WSE's names where they mean something."""
        self._need_running()
        return self._get("/metrics?names=wse&format=prometheus").decode()

    # With the gateway

    def _send(self, conn_id: str, envelope: Envelope) -> None:
        fields = {"conn": conn_id, "data": envelope.data}
        self._post("send", fields | _given(type=envelope.type, priority=envelope.priority))

    def _broadcast_all(self, envelope: Envelope) -> None:
        for dialect in sorted(self._dialects):
            fields = {"dialect": dialect, "data": envelope.data}
            self._post("broadcast", fields | _given(type=envelope.type))

    def _is_new(self, conn_id: str, id: str) -> bool:
        with self._sent_lock:
            if (conn_id, id) in self._sent_ids:
                return False
            self._sent_ids[conn_id, id] = None
            if len(self._sent_ids) > SENT_IDS_MAX:
                self._sent_ids.popitem(last=False)
            return True

    def _topics_of(self, conn_id: str) -> list[str]:
        try:
            connection = json.loads(self._get(f"/api/v1/connections/{quote(conn_id, safe='')}"))["connection"] or {}
        except OperationError:
            connection = {}
        return [topic for topic in connection.get("subscriptions", []) if not _is_inbox(topic)]

    def _presence(self, fields: dict[str, Any]) -> Answer:
        try:
            return self._ask("presence", fields)
        except OperationError as error:
            if error.code == "unsupported":
                raise NotSupportedError(f"{error.message}: presence = true of its namespace in fanfare.toml") from None
            raise

    def _post(self, op: str, fields: dict[str, Any]) -> None:
        self._need_running()
        self._outbox.post(op, fields)

    def _ask(self, op: str, fields: dict[str, Any]) -> Answer:
        self._need_running()
        return self._run(self._backend.ask(op, fields, again=True))

    def _get(self, path: str) -> bytes:
        """What the gateway answers beside the link's address. Raises `OperationError` where nothing is there."""
        parts = urlsplit(self._url)
        scheme = {"ws": "http", "wss": "https"}.get(parts.scheme, parts.scheme)
        prefix = parts.path.rstrip("/").removesuffix(PATH)
        url = urlunsplit((scheme, parts.netloc, prefix, "", "")) + path
        request = urllib.request.Request(url)
        if self._api_key:
            # The key is for the given address alone.
            request.add_unredirected_header("Authorization", f"Bearer {self._api_key}")
        try:
            with self._opener().open(request, timeout=self._timeout) as response:
                body: bytes = response.read()
                return body
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 404:
                    raise OperationError("not_found", f"the gateway has no {path}") from None
                raise BackendError(f"the gateway refuses {url}: {error}") from None
        except OSError as error:
            raise BackendError(f"the gateway does not answer {url}: {error}") from error

    def _opener(self) -> urllib.request.OpenerDirector:
        handlers: list[urllib.request.BaseHandler] = []
        if self._ssl is not None:
            handlers.append(urllib.request.HTTPSHandler(context=self._ssl))
        if self._proxy is not True:
            proxies = {} if self._proxy is None else {"http": self._proxy, "https": self._proxy}
            handlers.append(urllib.request.ProxyHandler(proxies))
        return urllib.request.build_opener(*handlers)

    # The link's thread

    def _wake(self) -> None:
        # Without a loop, or when it has ended, there is nothing to be written.
        with suppress(RuntimeError):
            if self._thread is not None:
                self._thread.loop.call_soon_threadsafe(self._backend.flush)

    async def _close(self) -> None:
        self._backend.flush()
        await self._backend.close()

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        if (thread := self._thread) is None:
            coroutine.close()
            raise RuntimeError("Not running")
        return thread.call(coroutine)

    def _end_thread(self) -> None:
        if self._thread is not None:
            self._thread.end()
            self._thread = None
        self._renew()

    # What is given

    def _need_running(self) -> None:
        if not self._is_running:
            raise RuntimeError("Not running")
        if (thread := self._thread) is not None:
            thread.check()

    @staticmethod
    def _need_text(data: object) -> None:
        if not isinstance(data, str):
            raise TypeError(f"{type(data).__name__!r} object is not an instance of 'str'")

    @staticmethod
    def _need_list(topics: object) -> None:
        if isinstance(topics, str):
            raise TypeError("topics is a list, not a str")


#: A code after which WSE's clients connect again.
CLOSE_COME_BACK = 4300

#: Connections that the gateway lists at once.
LISTED_MAX = 1000

#: Ids of events that are remembered, of all connections.
SENT_IDS_MAX = 50_000

_CLUSTER = "processes of one application are a group (group=); what clusters is the gateway, by its own configuration"

#: The keys of WSE's snapshot.
_SNAPSHOT = (
    "connections",
    "inbound_queue_depth",
    "inbound_dropped",
    "cluster_connected",
    "cluster_peer_count",
    "cluster_messages_sent",
    "cluster_messages_delivered",
    "cluster_messages_dropped",
    "cluster_bytes_sent",
    "cluster_bytes_received",
    "cluster_reconnect_count",
    "cluster_unknown_message_types",
    "cluster_dlq_size",
    "uptime_secs",
    "recovery_enabled",
    "recovery_topic_count",
    "recovery_total_bytes",
    "presence_enabled",
    "presence_topics",
    "presence_total_users",
)


def _ignore(*_: object) -> None:
    """The callbacks of an application that has none."""


def _is_inbox(topic: str) -> bool:
    """A user's own topic, which every connection of the user has."""
    return topic.startswith("user:") and topic.endswith(":events")


def _position(epoch: str | None, offset: int | None) -> dict[str, int] | None:
    """A position as the link has it: clients of WSE are given epochs as hexadecimal digits."""
    if epoch is None or offset is None or offset < 0 or not re.fullmatch("[0-9a-fA-F]{1,16}", epoch):
        return None
    return {"epoch": int(epoch, 16), "offset": offset}


def _given(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _not_supported(what: str, instead: str) -> NoReturn:
    raise NotSupportedError(f"{what} is not there on the gateway's link: {instead}")
