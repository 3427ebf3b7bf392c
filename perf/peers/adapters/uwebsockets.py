"""uWebSockets behind a server of ours (perf/peers/uwebsockets.cpp): one thread."""

from pathlib import Path

PEERS = Path(__file__).resolve().parent.parent
SERVER = PEERS / ".installed" / "uwebsockets" / "uwebsockets"


def version():
    # Its sources say no more of their version than the first number.
    return "uWebSockets 20 (libuwebsockets-sys 0.0.10)"


def command(port, scratch, cores):
    return [SERVER, str(port)], {}
