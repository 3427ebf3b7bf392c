"""How each peer is started: one module a peer, named as in perf/peers/setup.

    version()                       what runs, for the facts of a run
    command(port, scratch, cores)   command line and environment; `scratch` is an empty directory

A peer counts as installed when perf/peers/.installed/NAME/.complete exists.
"""

import importlib
from pathlib import Path

INSTALLED = Path(__file__).resolve().parent.parent / ".installed"

# What each can do, by loadgen's scenario, which has it as a --target there.
SCENARIOS = {
    "centrifugo": ("fanout", "connect", "idle"),
    "durable_streams": ("fanout",),
    "nchan": ("fanout",),
    "nats": ("fanout",),
    "sockudo": ("fanout",),
    "uwebsockets": ("fanout", "echo", "connect", "idle"),
    "wse": ("fanout", "wse"),
}
# Those that scenarios name for themselves.
OTHERS = ("bridge_fastapi",)


def is_installed(name):
    return (INSTALLED / name / ".complete").exists()


def adapter(name):
    return importlib.import_module(f"{__name__}.{name}")
