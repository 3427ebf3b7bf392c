"""What is measured: scenarios, each with variants that differ in one number."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Variant:
    name: str
    # loadgen's arguments.
    command: str
    # Row in the README's table; none where it has no row.
    row: str = ""
    # Arguments of perf/limit, none where it has nothing to compare with: {wire} and {sent} are the bytes
    # of a message from and to the server in the run before it, {join} the messages of a read. It
    # holds both ends, two files a connection, in one process.
    limit: str = ""
    # Whether the peers run it that can. Not where a burst would take the slower ones longer than a round.
    peers: bool = False
    # More of the gateways' environment, besides the scenario's.
    environment: tuple = ()

    @property
    def scenario(self):
        """loadgen's."""
        return self.command.split()[0]


@dataclass(frozen=True)
class Scenario:
    what: str
    variants: tuple
    # Who takes turns, besides the peers.
    contenders: tuple = ("gateway", "baseline", "limit")
    # Starts the gateway in production, and everybody has a token.
    token: bool = False
    # All gateways listen for TLS; gateway-tls does so in any scenario.
    tls: bool = False
    # Gateways that share a port, each with a generator of its own; see pair.py.
    processes: int = 1
    # More of the gateways' environment.
    environment: tuple = ()
    # The gateway stores in a file in the build's folder, on a real disk; {database} in the arguments is its path.
    has_store: bool = False
    # Server and generator share both cores, where a server's threads would otherwise wait for each other.
    share_cores: bool = False
    # Pairs of variants' names: the first one's rate as a part of the second's is what the scenario is
    # about. All variants take turns then, round by round.
    parts_of: tuple = ()


BRIDGE = "bridge --patience 60"
FAN = "fanout --subscribers 1000 --payload 128 --patience 30"
MESSENGER = "messenger --patience 30"
WSE = "wse --subscribers 1000 --patience 30"
INBOUND = "{} --connections 100 --size 175 --burst 64 --patience 30"


def joined(connections):
    """The limit of a fan-out: as many frames a write as the gateway joined."""
    return f"fanout --connections {connections} --frame {{wire}} --join {{join}}"


def burst(size, peers):
    return Variant(f"burst {size}", f"{FAN} --burst {size}", f"fan-out to 1,000, bursts of {size:,}", joined(1000), peers)


def full(name, send_buffer, row, peers=False):
    """Readers that are slower than the server: sockets are full. The limit writes a burst at a time."""
    work = 60
    limit = f"fanout --connections 1000 --frame {{wire}} --join 1024 --window 4 --work {work}"
    environment = ()
    if send_buffer:
        limit += f" --send-buffer {send_buffer}"
        environment = (("FANFARE_SERVER__SEND_BUFFER", f"{send_buffer}B"),)
    command = f"{FAN} --burst 1024 --window 4 --work {work}"
    return Variant(name, command, row, limit, environment=environment, peers=peers)


def echo(connections, in_flight):
    return f"echo --connections {connections} --in-flight {in_flight} --frame {{sent}} --answer {{wire}}"


SCENARIOS = {
    "fanout": Scenario(
        "1 topic, 1,000 subscribers, 128-byte payload, one publisher in bursts",
        (
            burst(64, True),
            burst(256, True),
            burst(1024, True),
            burst(10000, False),
            Variant("burst 64, 8 on the way", f"{FAN} --burst 64 --window 8", "bursts of 64, 8 on the way", joined(1000)),
        ),
    ),
    "fanout-single": Scenario(
        "the same, one publish at a time",
        (Variant("burst 1", f"{FAN} --burst 1", "one publication at a time", joined(1000), True),),
    ),
    "fanout-paced": Scenario(
        "200,000 deliveries/s over 200 connections on a schedule: latency",
        (Variant("1,000 messages/s", "fanout --subscribers 200 --payload 128 --rate 1000",
                 "200,000 deliveries/s to 200, on a schedule",
                 "paced --connections 200 --rate 1000 --frame {wire}", True),),
    ),
    "fanout-large": Scenario(
        "1 topic, 10,000 subscribers",
        (Variant("burst 64", "fanout --subscribers 10000 --payload 128 --burst 64 --patience 60",
                 "fan-out to 10,000, bursts of 64", joined(9900)),),
    ),
    "fanout-full": Scenario(
        "1,000 subscribers that read more slowly than the server writes, bursts of 1,024, 4 on the way; by the send buffer",
        (
            full("the kernel's own", None, "slow readers, bursts of 1,024, 4 on the way", peers=True),
            full("4 MiB", 4 << 20, ""),
            full("1 MiB", 1 << 20, "the same with `server.send_buffer` of 1 MiB"),
            full("512 KiB", 512 << 10, ""),
            full("256 KiB", 256 << 10, ""),
            full("128 KiB", 128 << 10, "the same with 128 KiB"),
        ),
        ("gateway", "limit"),
    ),
    "shards": Scenario(
        "the gateway with two shards on both cores against one shard on one: CPU per delivery",
        (Variant("burst 256", f"{FAN} --burst 256", "two shards on both cores, bursts of 256"),),
        ("gateway", "gateway-2"),
    ),
    "topics": Scenario(
        "10,000 topics with 10 subscribers each, 50 topics a connection",
        (Variant("burst 64", "topics --topics 10000 --subscribers 10 --burst 64",
                 "10,000 topics, 10 subscribers each", joined(2000)),),
    ),
    "echo": Scenario(
        "100 connections, 32 messages in flight on each",
        (Variant("32 in flight", "echo --connections 100 --in-flight 32",
                 "echo, 100 connections, 32 in flight", echo(100, 32), True),),
    ),
    "echo-single": Scenario(
        "100 connections, and one, with one message in flight on each",
        (
            Variant("100 connections", "echo --connections 100 --in-flight 1",
                    "echo, 100 connections, 1 in flight", echo(100, 1), True),
            Variant("1 connection", "echo --connections 1 --in-flight 1", "echo, 1 connection, 1 in flight", echo(1, 1), True),
        ),
    ),
    "ping": Scenario(
        "events ping and pong, 100 connections, 32 in flight on each",
        (Variant("32 in flight", "echo --ping --connections 100 --in-flight 32",
                 "events `ping`, 32 in flight", echo(100, 32)),),
    ),
    "publish": Scenario(
        "inbound frames of 175 bytes that nobody receives, 100 publishers",
        (Variant("burst 64", "publish --publishers 100 --payload 129 --burst 64", "publications nobody receives",
                 "inbound --connections 100 --burst 64 --window 2 --frame {sent} --answer {wire}"),),
    ),
    "backend": Scenario(
        "inbound messages of 175 bytes that an application acknowledges, beside publications as large; 100 clients",
        (
            Variant("publications", "publish --publishers 100 --payload 129 --burst 64"),
            Variant("one application", "backend --connections 100 --size 175 --burst 64 --patience 30",
                    "messages to an application, acknowledged"),
            Variant("one application, 100,000/s", "backend --connections 100 --size 175 --rate 100000 --patience 30",
                    "the same, 100,000/s on a schedule"),
        ),
        ("gateway",),
        environment=(("FANFARE_BACKEND__ENABLED", "true"),),
        parts_of=(("one application", "publications"),),
    ),
    "wse": Scenario(
        "the wse protocol beside the events protocol and WSE's own server: 1,000 subscribers, bursts of 64; and inbound, "
        "100 clients",
        (
            Variant("events", f"{FAN} --burst 64", limit=joined(1000)),
            Variant("wse", f"{WSE} --payload 128 --burst 64", "fan-out to 1,000 clients of wse, bursts of 64", joined(1000),
                    peers=True),
            Variant("wse, 1,024 bytes", f"{WSE} --payload 1024 --burst 64", limit=joined(1000)),
            Variant("wse, 1,024 bytes, compressed", f"{WSE} --payload 1024 --burst 64 --compression",
                    "the same with 1,024 bytes, compressed", joined(1000)),
            Variant("inbound, events", INBOUND.format("backend")),
            Variant("inbound, wse", INBOUND.format("wse --inbound"), "messages of wse clients to an application, acknowledged"),
        ),
        environment=(
            ("FANFARE_BACKEND__ENABLED", "true"),
            # What is measured is what the gateway can take, not what it lets one client send.
            ("FANFARE_WSE__RATE_CAPACITY", "0"),
        ),
        parts_of=(
            ("wse", "events"),
            ("wse, 1,024 bytes, compressed", "wse, 1,024 bytes"),
            ("inbound, wse", "inbound, events"),
        ),
    ),
    "connect": Scenario(
        "connect, upgrade, greeting, close",
        (Variant("64 at a time", "connect --concurrency 64", "connect, upgrade, greet, close",
                 "connect --concurrency 64", True),),
    ),
    "connect-token": Scenario(
        "the same with an HS256 token",
        (Variant("64 at a time", "connect --concurrency 64", "the same with an HS256 token",
                 # With a token a request is as large as this.
                 "connect --concurrency 64 --request 335"),),
        ("gateway", "limit"),
        token=True,
    ),
    "tls-connect": Scenario(
        "connect, upgrade, greeting, close over TLS, full handshakes, against a bare accept loop on rustls",
        (Variant("64 at a time", "connect --concurrency 64", "connect over TLS, full handshakes"),),
        ("gateway", "limit-tls"),
        tls=True,
    ),
    "tls-resume": Scenario(
        "the same with sessions that are resumed, by tickets",
        (Variant("64 at a time", "connect --concurrency 64 --resume-sessions", "the same with resumed sessions"),),
        ("gateway", "limit-tls"),
        tls=True,
    ),
    "fanout-tls": Scenario(
        "fan-out over TLS against the same without",
        (
            Variant("burst 64", f"{FAN} --burst 64", "fan-out to 1,000 over TLS, bursts of 64"),
            Variant("burst 256", f"{FAN} --burst 256", "the same, bursts of 256"),
        ),
        ("gateway", "gateway-tls"),
    ),
    "idle": Scenario(
        "9,000 silent connections: memory",
        (Variant("9,000", "idle --connections 9000 --patience 60", "9,000 idle connections", peers=True),),
    ),
    "idle-18900": Scenario(
        "18,900 silent connections, as many as a process with 20,000 files holds: memory",
        (Variant("18,900", "idle --connections 18900 --source-addresses 2 --patience 120", "18,900 idle connections"),),
    ),
    "idle-tls": Scenario(
        "9,000 silent connections over TLS: memory",
        (Variant("9,000", "idle --connections 9000 --patience 120", "9,000 idle connections over TLS"),),
        ("gateway",),
        tls=True,
    ),
    "idle-wse": Scenario(
        "9,000 silent connections of the wse protocol: memory",
        (Variant("9,000", "idle --connections 9000 --transport wse --patience 60", "9,000 idle connections of wse"),),
        ("gateway",),
    ),
    "idle-37800": Scenario(
        "37,800 silent connections to two gateways on one port: memory",
        (Variant("2 processes", "idle --connections 18900 --source-addresses 4 --patience 120",
                 "37,800 idle connections, two processes on one port"),),
        ("gateway",),
        processes=2,
    ),
    "bridge": Scenario(
        "pushes over HTTP to 1,000 users, and questions whose answers stream back",
        (
            Variant("push, 64 connections", f"{BRIDGE} push --connections 64", "pushes over HTTP, 64 connections"),
            Variant("push, 1,000/s on a schedule", f"{BRIDGE} push --connections 64 --rate 1000"),
            Variant("batches of 100, 64 connections", f"{BRIDGE} batch --connections 64 --batch 100",
                    "pushes in batches of 100"),
            Variant("200 calls of 3 answers and a final one", f"{BRIDGE} send --calls 200 --answers 3",
                    "200 calls at a time, 4 answers each"),
            Variant("200 calls, pushes and batches of 500 beside",
                    f"{BRIDGE} send --calls 200 --answers 3 --beside 8 --batch 500",
                    "the same, pushes and batches beside"),
        ),
        ("gateway", "bridge_fastapi"),
    ),
    "messenger": Scenario(
        "stored messages beside a bare loop of batched inserts, broadcasts to 1,000 users, and logins",
        (
            Variant("direct", f"{MESSENGER} direct --users 200 --in-flight 32 --database {{database}}",
                    "direct messages, stored, delivered and acknowledged"),
            Variant("50 broadcasts/s to 1,000", f"{MESSENGER} broadcast --users 1000 --rate 50",
                    "broadcasts to 1,000 users, 50/s on a schedule"),
            Variant("logins", f"{MESSENGER} login", "logins by a signature, two requests each"),
        ),
        ("gateway",),
        # What is measured is what the gateway can take, not what it lets one user send.
        environment=(("FANFARE_MESSENGER__RATE_LIMIT", "0"),),
        has_store=True,
        share_cores=True,
    ),
    "slow": Scenario(
        "999 subscribers that read and one that does not",
        (Variant("burst 64", "slow --subscribers 999 --slow 1 --burst 64 --patience 20",
                 "one of 1,000 subscribers does not read", joined(1000)),),
    ),
}
