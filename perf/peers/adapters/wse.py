"""WSE behind the least application that can publish (perf/peers/wse.py)."""

from importlib import metadata
from pathlib import Path

PEERS = Path(__file__).resolve().parent.parent
HOME = PEERS / ".installed" / "wse"
PYTHON = HOME / "bin" / "python"


def version():
    (packages,) = HOME.glob("lib/python*/site-packages")
    (package,) = metadata.distributions(name="wse-server", path=[str(packages)])
    return f"WSE {package.version}"


def command(port, scratch, cores):
    return [PYTHON, PEERS / "wse.py", str(port)], {}
