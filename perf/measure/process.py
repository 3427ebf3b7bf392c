"""A server on cores of its own, from start to end."""

import os
import resource
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager

from . import Failed

READY_SECONDS_MAX = 20
STOP_SECONDS_MAX = 15
# A master listens before its worker is there.
SETTLE_SECONDS = 0.3


def prepare():
    """What a program that starts servers needs: files, and to stop them when it is told to stop."""
    raise_file_limit()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def raise_file_limit():
    """Soft to hard; children inherit it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def pinned(cores, command):
    """The command on these cores. exec through taskset keeps the process id."""
    return ["taskset", "-c", ",".join(map(str, cores)), *map(str, command)]


@contextmanager
def running(command, environment, port, log, ready_seconds_max=READY_SECONDS_MAX):
    """A server that listens on `port`, as the process id that loadgen looks at."""
    with log.open("w") as output:
        process = subprocess.Popen(
            command, env={**os.environ, **environment},
            stdout=output, stderr=output, stdin=subprocess.DEVNULL,
        )
    try:
        wait_until_ready(process, port, log, ready_seconds_max)
        yield worker(process.pid)
    finally:
        stop(process)


def wait_until_ready(process, port, log, seconds_max):
    deadline = time.monotonic() + seconds_max
    while time.monotonic() < deadline:
        if process.poll() is not None:
            tail = log.read_text()[-500:].strip()
            raise Failed(f"server ended with status {process.returncode} before it listened. {tail}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            time.sleep(SETTLE_SECONDS)
            return
        except OSError:
            time.sleep(0.05)
    raise Failed(f"server does not listen after {seconds_max} s")


def worker(pid):
    """The process that serves: a master's only child, or else the process itself."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as children:
            pids = children.read().split()
    except OSError:
        return pid
    return int(pids[0]) if len(pids) == 1 else pid


def stop(process):
    process.terminate()
    try:
        process.wait(STOP_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
