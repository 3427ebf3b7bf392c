"""One round of one point: a fresh server, loadgen, the server's own counters, and the limit beside it."""

import copy
import json
import os
import threading
import urllib.request
from contextlib import contextmanager

from measure import contenders
from measure.facts import read
from measure.scenarios import Scenario, joined

# The limit is a loop that does nothing else: it needs no long look.
LIMIT_SHARE = 0.25
SAMPLE_SECONDS = 0.25
COUNTERS = ("deliveries_total", "writes_total")


def measure(options, point, scratch):
    """loadgen's report and the server's counters of a round, and the limit's figures if the point has one."""
    server = contenders.Server(point.server, options, Scenario(what="", variants=()))
    server.shards = point.shards
    if point.both_cores:
        server.cores = server.generator_cores = [options.server_core, options.generator_core]
    path = scratch / "report.json"
    path.unlink(missing_ok=True)
    with environment(point.environment), server.started(scratch / "server.log") as (pid, arguments):
        address = arguments[arguments.index("--url") + 1].removeprefix("ws://")
        command = server.generator(point.command.split(), [*arguments, "--pid", pid], path,
                                   (options.warmup, options.duration))
        with Sampler(address if point.server == "gateway" else None) as sampler:
            contenders.finish(command, path)
    report = json.loads(path.read_text())
    line = figures(report, sampler)
    limit = None
    if point.limit and not line["failures"]:
        shorter = copy.copy(options)
        shorter.duration = options.duration * LIMIT_SHARE
        # As many frames a write as the gateway had, by its own count.
        writes = {**report, "messages_per_read": 1 / line["writes"] if line["writes"] else line["join"]}
        whole = contenders.run_limit(shorter, joined(point.limit), writes, scratch / "limit")
        limit = {"per_second": whole["per_second"], "cpu_ns": whole["server"]["cpu_ns_per_unit"],
                 "join": whole["join"], "frame_bytes": whole["wire_bytes_per_message"]}
    return line, rounded(limit)


def figures(report, sampler):
    """What is kept of a round. `writes` are for one delivery."""
    server = report.get("server") or {}
    memory = report.get("memory") or {}
    counted = sampler.each()
    return rounded({
        "per_second": report["per_second"],
        "cpu_ns": server.get("cpu_ns_per_unit"),
        "server_share": server.get("cpu_share"),
        "generator_share": report["generator_cpu_share"],
        "bottleneck": report.get("bottleneck"),
        "join": report.get("messages_per_read"),
        "frame_bytes": report.get("wire_bytes_per_message"),
        "writes": counted.get("writes_total"),
        "rss_before": memory.get("before_bytes"),
        "rss": memory.get("with_bytes"),
        "rss_after": memory.get("after_bytes"),
        "kernel_bytes": sampler.slab_growth(),
        "failures": report["failures"],
    })


def rounded(values):
    """Six digits are more than a measurement has."""
    return values and {name: float(f"{value:.6g}") if isinstance(value, float) else value for name, value in values.items()}


@contextmanager
def environment(more):
    """Adds to what the server inherits."""
    os.environ.update(more)
    try:
        yield
    finally:
        for name in more:
            del os.environ[name]


class Sampler:
    """Looks at the gateway's counters, if it is one, and the kernel's memory four times a second, so that connecting and
    leaving stay out of what a delivery takes."""

    def __init__(self, address):
        self.url = address and f"http://{address}/metrics"
        self.samples, self.slab = [], [slab_bytes()]
        self.done = threading.Event()
        self.thread = threading.Thread(target=self.look, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        self.thread.join()

    def look(self):
        while not self.done.wait(SAMPLE_SECONDS):
            self.slab.append(slab_bytes())
            if not self.url:
                continue
            try:
                with urllib.request.urlopen(self.url, timeout=5) as answer:
                    self.samples.append(json.load(answer))
            except OSError:
                # A server at its limit may answer late; the next look counts.
                continue

    def each(self):
        """The counters by delivery, between the first and the last look at the load."""
        most = max((sample["connections"] for sample in self.samples), default=0)
        loaded = [sample for sample in self.samples if sample["connections"] == most and sample["deliveries_total"]]
        if len(loaded) < 2:
            return {}
        grown = {name: loaded[-1][name] - loaded[0][name] for name in COUNTERS}
        deliveries = grown["deliveries_total"]
        return {name: value / deliveries for name, value in grown.items()} if deliveries else {}

    def slab_growth(self):
        return max(self.slab) - self.slab[0]


def slab_bytes():
    """The kernel's own objects: sockets, files, and what epoll knows of them."""
    lines = (line.split() for line in read("/proc/meminfo").splitlines())
    return next((int(words[1]) * 1024 for words in lines if words[0] == "Slab:"), 0)


def prepare_process(options):
    """This program's own looks happen on the generator's core."""
    os.sched_setaffinity(0, {options.generator_core})
