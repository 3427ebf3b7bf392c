"""Two gateways on one port, each loaded by a generator of its own at the same time.

A process holds as many connections as it may open files, so more than that takes several. The
kernel deals the connections out; each generator's go to both gateways, and no generator
can look at the memory of one. So that is done here: before any connection, while all are held, and when
all have left.
"""

import json
import os
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path

from . import Failed
from .contenders import Server
from .process import free_port, stop

# Generators hold their connections until those of the other are there, too.
HOLD_SECONDS = 20
ARRIVE_SECONDS_MAX = 150
SETTLE_SECONDS = 2
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def contender(name, options, scenario):
    """Who runs a scenario: one server, or several."""
    return Servers(name, options, scenario) if scenario.processes > 1 else Server(name, options, scenario)


class Servers:
    """A gateway in several processes, under one scenario that holds connections."""

    def __init__(self, name, options, scenario):
        self.options = options
        self.servers = [Server(name, options, scenario) for _ in range(scenario.processes)]

    def run(self, command, stem):
        """Starts all, loads them, stops them, and returns a report like loadgen's for a single one."""
        port = free_port()
        connections = int(command[command.index("--connections") + 1]) * len(self.servers)
        reports = [Path(f"{stem}-{number}.json") for number, _ in enumerate(self.servers)]
        with ExitStack() as stack:
            started = [
                stack.enter_context(server.started(Path(f"{stem}-{number}.log"), port=port))
                for number, server in enumerate(self.servers)
            ]
            pids = [pid for pid, _ in started]
            time.sleep(SETTLE_SECONDS)
            before = Look(pids)
            generators = []
            for server, (_, arguments), report in zip(self.servers, started, reports):
                seconds = (0, self.options.duration + HOLD_SECONDS)
                generator = subprocess.Popen(
                    server.generator(command, arguments, report, seconds),
                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                )
                stack.callback(stop, generator)
                generators.append(generator)
            wait_for_all(connections, before, generators)
            held = Look(pids)
            for generator in generators:
                generator.wait()
            # They have looked at the gateways' memory, too, and so have waited.
            after = Look(pids)
        for report in reports:
            if not report.exists():
                raise Failed("loadgen ended without a report")
        merged = merge([json.loads(report.read_text()) for report in reports], before, held, after)
        Path(f"{stem}.json").write_text(json.dumps(merged, indent=2) + "\n")
        return merged


class Look:
    """What the gateways and the kernel hold at one moment."""

    def __init__(self, pids):
        self.pids = pids
        self.files = [open_files(pid) for pid in pids]
        self.rss = [rss_bytes(pid) for pid in pids]
        self.unreclaimable, self.kernel = kernel_bytes()


def wait_for_all(connections, before, generators):
    """Until the gateways hold this many connections, and have settled."""
    deadline = time.monotonic() + ARRIVE_SECONDS_MAX
    while sum(map(open_files, before.pids)) - sum(before.files) < connections:
        if any(generator.poll() is not None for generator in generators):
            raise Failed("a generator ended before all connections were there")
        if time.monotonic() > deadline:
            raise Failed(f"not all of {connections} connections came in {ARRIVE_SECONDS_MAX} s")
        time.sleep(0.1)
    time.sleep(SETTLE_SECONDS)


def merge(reports, before, held, after):
    """One report of all, as far as it is about connections that are held."""
    connections = sum(report["count"] for report in reports)
    processes = [
        {
            "connections": files - files_before,
            "before_bytes": first, "with_bytes": second, "after_bytes": third,
            "per_connection_bytes": (second - first) / max(files - files_before, 1),
        }
        for files, files_before, first, second, third in zip(
            held.files, before.files, before.rss, held.rss, after.rss)
    ]
    each = 1 / max(connections, 1)
    return {
        "unit": reports[0]["unit"],
        "count": connections,
        "per_second": 0.0,
        "generator_cpu_share": max(report["generator_cpu_share"] for report in reports),
        "generator_cpu_ns_per_unit": max(report["generator_cpu_ns_per_unit"] for report in reports),
        "memory": {
            "connections": connections,
            "before_bytes": sum(before.rss), "with_bytes": sum(held.rss), "after_bytes": sum(after.rss),
            "per_connection_bytes": (sum(held.rss) - sum(before.rss)) * each,
            "processes": processes,
        },
        "kernel_memory": {
            "before_bytes": before.kernel, "with_bytes": held.kernel, "after_bytes": after.kernel,
            "per_connection_bytes": (held.kernel - before.kernel) * each,
            "unreclaimable_per_connection_bytes": (held.unreclaimable - before.unreclaimable) * each,
        },
        "failures": [failure for report in reports for failure in report["failures"]],
    }


def open_files(pid):
    """Linux 6.2 and newer say how many by the directory's size. To list them would have the kernel make
    an inode for each, which is what is measured."""
    directory = f"/proc/{pid}/fd"
    return os.stat(directory).st_size or len(os.listdir(directory))


def rss_bytes(pid):
    with open(f"/proc/{pid}/statm") as statm:
        return int(statm.read().split()[1]) * PAGE_BYTES


def kernel_bytes():
    """Unreclaimable and all, of the whole machine: as loadgen's report (loadgen/src/kernel.rs)."""
    with open("/proc/meminfo") as meminfo:
        kib = {name: int(value.split()[0]) for name, value in (line.split(":") for line in meminfo)}
    with open("/proc/net/sockstat") as sockstat:
        tcp = next(line for line in sockstat if line.startswith("TCP:")).split()
    parts = ("SUnreclaim", "SReclaimable", "KernelStack", "PageTables")
    buffers = int(tcp[tcp.index("mem") + 1]) * PAGE_BYTES
    return kib["SUnreclaim"] * 1024, sum(kib[part] for part in parts) * 1024 + buffers
