"""What grows: each series is one quantity that is raised while the rest stays."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Point:
    # Where it stands on the axis.
    x: int
    # Which line of the plot it belongs to.
    line: str
    # loadgen's arguments.
    command: str
    # Messages of one write of a publisher.
    burst: int = 1
    # Subscribers that each publication reaches.
    receivers: int = 0
    # Connections of the bare-socket limit beside it; none where there is nothing to compare with.
    limit: int | None = None
    shards: int = 1
    # Who serves: the gateway, or one of perf/peers.
    server: str = "gateway"
    # On both cores, which the generator shares: only CPU time counts then.
    both_cores: bool = False
    # More arguments for `fanfare serve`'s environment.
    environment: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Series:
    what: str
    points: tuple


# perf/limit holds both ends of its connections, and a process may hold 20,000 files here.
LIMIT_CONNECTIONS_MAX = 9_900
# As many subscribers as one process of 20,000 files can serve: the gateway keeps some for everything else.
CONNECTIONS_MAX = 18_900

SUBSCRIBERS = (1, 10, 100, 1_000, 5_000, 10_000, CONNECTIONS_MAX)
TOPICS = (1, 10, 100, 1_000, 10_000, 100_000)
# loadgen's smallest payload is 41 bytes: who sent it, its number and its time need room.
PAYLOADS = (41, 128, 512, 2_048, 8_192, 32_768, 65_536)
PUBLISHERS = (1, 4, 16, 64, 256)
SHARDS = (1, 2, 4)
IDLE = (1_000, 10_000, CONNECTIONS_MAX)
BESIDE_PEERS = (10, 100, 1_000, 5_000)

# The gateway and those that other gateways are measured by, with what the plot calls them.
SERVERS = {
    "gateway": "gateway", "uwebsockets": "uWebSockets", "centrifugo": "Centrifugo", "durable_streams": "durable-streams",
}

PATIENCE = "--patience 60"
PAYLOAD = 128
SUBSCRIBERS_OF_A_TOPIC = 10
TOPIC_CONNECTIONS_MAX = 2_000


def subscribers(count, burst):
    # 10,000 have the limit of 9,900 beside them, more have none.
    limit = min(count, LIMIT_CONNECTIONS_MAX) if count <= 10_000 else None
    return Point(count, f"burst {burst}", f"fanout --subscribers {count} --payload {PAYLOAD} --burst {burst} {PATIENCE}",
                 burst, count, limit)


def served(server, count):
    return Point(count, SERVERS[server], f"fanout --subscribers {count} --payload {PAYLOAD} --burst 64 {PATIENCE}",
                 64, count, server=server)


def topics(count):
    connections = min(TOPIC_CONNECTIONS_MAX, count * SUBSCRIBERS_OF_A_TOPIC)
    each = count * SUBSCRIBERS_OF_A_TOPIC // connections
    return Point(count, "burst 64",
                 f"topics --topics {count} --subscribers {SUBSCRIBERS_OF_A_TOPIC} --subs-per-conn {each} "
                 f"--payload {PAYLOAD} --burst 64 {PATIENCE}",
                 64, SUBSCRIBERS_OF_A_TOPIC, connections, environment={"FANFARE_EVENTS__MAX_SUBSCRIPTIONS": str(max(each, 50))})


def payload(size, burst):
    return Point(size, f"burst {burst}", f"fanout --subscribers 100 --payload {size} --burst {burst} {PATIENCE}",
                 burst, 100, 100, environment={"FANFARE_EVENTS__MAX_MESSAGE_SIZE": "128KiB"})


def publishers(count):
    return Point(count, "burst 1",
                 f"fanout --subscribers 1000 --payload {PAYLOAD} --burst 1 --publishers {count} {PATIENCE}", 1, 1000, 1000)


def shards(count, burst):
    return Point(count, f"burst {burst}", f"fanout --subscribers 1000 --payload {PAYLOAD} --burst {burst} {PATIENCE}",
                 burst, 1000, shards=count, both_cores=True)


def idle(count):
    return Point(count, "idle", f"idle --connections {count} --settle 1 {PATIENCE}")


def inbound(burst):
    return Point(burst, "publish", f"publish --publishers 100 --payload {PAYLOAD} --burst {burst}", burst)


SERIES = {
    "subscribers": Series(
        "one topic, 128-byte payload, one publisher in bursts of 64 and one at a time",
        tuple(subscribers(count, burst) for burst in (64, 1) for count in SUBSCRIBERS),
    ),
    "peers": Series(
        "one topic, 128-byte payload, one publisher in bursts of 64, through other servers as well",
        tuple(served(server, count) for server in SERVERS for count in BESIDE_PEERS),
    ),
    "topics": Series(
        "10 subscribers a topic, 2,000 connections or less, one publisher in bursts of 64 over all topics",
        tuple(topics(count) for count in TOPICS),
    ),
    "payload": Series(
        "one topic, 100 subscribers, bursts of 16 and one at a time",
        tuple(payload(size, burst) for burst in (16, 1) for size in PAYLOADS),
    ),
    "publishers": Series(
        "one topic, 1,000 subscribers, publishers that each send one message at a time",
        tuple(publishers(count) for count in PUBLISHERS),
    ),
    "shards": Series(
        "one topic, 1,000 subscribers, server and generator on the same two cores",
        tuple(shards(count, burst) for burst in (256, 1) for count in SHARDS),
    ),
    "memory": Series("silent connections", tuple(idle(count) for count in IDLE)),
    "inbound": Series(
        "publications that nobody receives, 100 publishers in bursts",
        tuple(inbound(burst) for burst in (1, 64)),
    ),
    "connects": Series(
        "connect, upgrade, greeting, close; 64 at a time",
        (Point(64, "connect", "connect --concurrency 64"),),
    ),
}
