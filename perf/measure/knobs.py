"""What can be turned, and the load under which it should matter."""

from dataclasses import dataclass, field

FAN = "fanout --subscribers 1000 --payload 128 --patience 30"
IDLE = "idle --connections 3000 --settle 0.5 --patience 60"
LOOPBACK_RPS = "/sys/class/net/lo/queues/rx-0/rps_cpus"

# What a report is asked for: rate, server's CPU time and memory, latency.
BUSY = ("per_second", "cpu_ns")
PACED = ("cpu_ns", "p50_us", "p99_us")


@dataclass(frozen=True)
class Side:
    """One position of a knob."""
    # As the table names it.
    name: str
    # The gateway's environment.
    env: dict = field(default_factory=dict)
    # The host's settings: sysctls by name, files under /sys by path.
    host: dict = field(default_factory=dict)
    shards: int = 1
    # More of loadgen's arguments.
    load: str = ""
    # Reads /metrics this many times a second.
    scrapes: int = 0


@dataclass(frozen=True)
class Knob:
    name: str
    # Heading in the table.
    part: str
    # loadgen's arguments; "compressed" for measure/compressed.py.
    load: str
    # The default, or what is usual; and the other position.
    a: Side
    b: Side
    fields: tuple = BUSY
    # "apart": each has a core of its own. "shared": both may use both, and only CPU time per unit counts.
    # "roaming": the server may use both, the generator its own.
    cores: str = "apart"


def sysctl(name, a, b, load, fields=BUSY):
    return Knob(name, "host", load, Side(a, host={name: a}), Side(b, host={name: b}), fields)


def key(name, a, b, load, fields=BUSY, cores="apart"):
    """A key of the gateway's configuration."""
    variable = "FANFARE_" + name.partition(",")[0].upper().replace(".", "__")
    return Knob(name, "gateway", load, Side(a, env={variable: a}), Side(b, env={variable: b}), fields, cores)


def lagging(name, a, b, both):
    """A key that decides about subscribers that do not read; little of what they lag is in the kernel."""
    variable, both = "FANFARE_" + name.upper().replace(".", "__"), {"FANFARE_SERVER__SEND_BUFFER": "32KiB", **both}
    load = "slow --subscribers 20 --slow 20 --payload 8192 --burst 16 --patience 3"
    sides = (Side(value, env={**both, variable: value}) for value in (a, b))
    return Knob(name, "gateway", load, *sides, ("per_second", "cpu_ns", "rss"))


KNOBS = (
    sysctl("net.ipv4.tcp_congestion_control", "cubic", "bbr", f"{FAN} --burst 64"),
    sysctl("net.ipv4.tcp_wmem", "4096 16384 4194304", "4096 16384 65536", f"{FAN} --burst 1024"),
    sysctl("net.ipv4.tcp_notsent_lowat", "4294967295", "16384", f"{FAN} --burst 1024"),
    sysctl("net.core.somaxconn", "4096", "16", "connect --concurrency 512", ("per_second", "cpu_ns", "p99_us")),
    sysctl("net.core.busy_poll", "0", "50", "fanout --subscribers 200 --payload 128 --rate 1000", PACED),
    Knob("interrupts (RPS of lo)", "host", f"{FAN} --burst 64",
         Side("the sender's core", host={LOOPBACK_RPS: "0"}), Side("the generator's core", host={LOOPBACK_RPS: "{generator_mask}"})),
    Knob("server.shards, one or two", "gateway", f"{FAN} --burst 256", Side("1"), Side("2", shards=2), BUSY, "shared"),
    Knob("server.shards, two or four on two cores", "gateway", f"{FAN} --burst 256",
         Side("2", shards=2), Side("4", shards=4), BUSY, "shared"),
    key("server.pin_threads", "true", "false", f"{FAN} --burst 64", cores="roaming"),
    key("server.huge_pages, at rest", "false", "true", IDLE, ("rss_per_connection", "rss_after")),
    key("server.huge_pages, 10,000 topics", "false", "true", "topics --topics 10000 --subscribers 10 --burst 64"),
    key("server.max_unsent", "128KiB", "0B", f"{FAN} --burst 1024"),
    key("server.send_buffer", "0B", "32KiB", f"{FAN} --burst 1024"),
    key("hub.flush_delay", "0s", "1ms", "fanout --subscribers 200 --payload 128 --rate 2000", PACED),
    key("hub.history_size", "0", "1000", "publish --publishers 100 --payload 129 --burst 64"),
    lagging("hub.slow_consumer", "disconnect", "conflate", {"FANFARE_HUB__MAX_LAG": "1MiB"}),
    lagging("hub.max_lag", "16MiB", "1MiB", {"FANFARE_HUB__SLOW_CONSUMER": "drop-oldest"}),
    key("websocket.deflate", "false", "true", "compressed", ("cpu_ns", "wire_bytes")),
    key("websocket.ping_interval", "30s", "1s", IDLE, ("cpu_share",)),
    key("log.level", "info", "debug", "connect --concurrency 64"),
    Knob("/metrics, read 10 times a second", "gateway", f"{FAN} --burst 64", Side("not read"), Side("read", scrapes=10)),
    Knob("MIMALLOC_PURGE_DELAY", "gateway", IDLE,
         Side("1000"), Side("-1 (never)", env={"MIMALLOC_PURGE_DELAY": "-1"}), ("rss_per_connection", "rss_after")),
    Knob("bursts on the way", "clients", f"{FAN} --burst 64", Side("1"), Side("8", load="--window 8")),
    Knob("format", "clients", f"{FAN} --burst 64", Side("json", load="--format json"), Side("msgpack", load="--format msgpack")),
)
