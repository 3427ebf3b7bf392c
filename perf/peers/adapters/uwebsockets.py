"""uWebSockets by way of socketify, its binding for Python (perf/peers/uwebsockets.py)."""

from importlib import metadata
from pathlib import Path

PEERS = Path(__file__).resolve().parent.parent
HOME = PEERS / ".installed" / "uwebsockets"
PYTHON = HOME / "bin" / "python"


def version():
    (packages,) = HOME.glob("lib/python*/site-packages")
    (package,) = metadata.distributions(name="socketify", path=[str(packages)])
    return f"uWebSockets in socketify {package.version}"


def command(port, scratch, cores):
    return [PYTHON, PEERS / "uwebsockets.py", str(port)], {}
