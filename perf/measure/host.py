"""The host's settings, changed for a while and always put back."""

import os
import signal
from contextlib import contextmanager
from pathlib import Path

from . import Failed

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def path_of(name):
    """Of a sysctl by its name, or a file under /sys by its path."""
    return Path(name) if name.startswith("/") else Path("/proc/sys") / name.replace(".", "/")


def current(name):
    """What holds now. Files under /sys that list all choices have the one that holds in brackets."""
    text = path_of(name).read_text().strip()
    if "[" in text:
        return text.partition("[")[2].partition("]")[0]
    return " ".join(text.split())


def why_not(values):
    """Why these settings cannot be changed here; nothing if they can."""
    for name in values:
        path = path_of(name)
        if not path.exists():
            return f"{name} is not on this machine"
        # Root may open what the kernel then refuses to write; the value that holds is always allowed.
        try:
            write(name, current(name))
        except OSError as error:
            return f"{name} cannot be set here: {error.strerror}"
    return ""


@contextmanager
def changed(values):
    """The host with these settings, by name. Whatever ends this, the old ones are put back."""
    before = {}
    try:
        for name, value in values.items():
            before[name] = current(name)
            try:
                write(name, value)
            except OSError as error:
                raise Failed(f"{name} cannot be {value!r} here: {error.strerror}") from error
        yield
    finally:
        with undisturbed():
            put_back(before)


def put_back(before):
    stuck = []
    for name, value in reversed(before.items()):
        try:
            write(name, value)
        except OSError as error:
            stuck.append(f"{name} was {value!r}: {error.strerror}")
    if stuck:
        raise Failed("not put back: " + "; ".join(stuck))


@contextmanager
def undisturbed():
    """Without being stopped half-way by Ctrl-C or its like."""
    handlers = {number: signal.signal(number, signal.SIG_IGN) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def write(name, value):
    descriptor = os.open(path_of(name), os.O_WRONLY)
    try:
        os.write(descriptor, f"{value}\n".encode())
    finally:
        os.close(descriptor)
