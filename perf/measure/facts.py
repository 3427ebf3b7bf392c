"""What has to be known about the machine to make sense of a run."""

import datetime
import os
import platform
import resource
import subprocess
from pathlib import Path

from . import ROOT

SETTINGS = (
    "net/ipv4/tcp_congestion_control",
    "net/ipv4/tcp_rmem",
    "net/ipv4/tcp_wmem",
    "net/core/somaxconn",
    "net/ipv4/ip_local_port_range",
    "kernel/perf_event_paranoid",
)


def host_facts():
    cpu = [line.split(":", 1)[1].strip() for line in read("/proc/cpuinfo").splitlines() if line.startswith("model name")]
    memory = next((line.split()[1] for line in read("/proc/meminfo").splitlines() if line.startswith("MemTotal")), "0")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "cpu": cpu[0] if cpu else platform.machine(),
        "cores": os.cpu_count(),
        "governor": read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor") or "none (fixed, or the host's)",
        "virtual_machine": "hypervisor" in read("/proc/cpuinfo"),
        "memory_gib": round(int(memory) / 2**20, 1),
        "kernel": platform.release(),
        "load": read("/proc/loadavg").split(" ")[0],
        "open_files": {"soft": soft, "hard": hard},
        "sysctl": {name.replace("/", "."): read(f"/proc/sys/{name}") for name in SETTINGS},
        "rustc": output("rustc", "--version"),
        "commit": output("git", "describe", "--always", "--dirty"),
    }


def read(path):
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def output(*command):
    try:
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout.strip()
    except OSError:
        return ""
