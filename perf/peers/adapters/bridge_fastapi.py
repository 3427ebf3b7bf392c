"""The bridge protocol on FastAPI and uvicorn (perf/peers/bridge_fastapi.py): one process, one core."""

from importlib import metadata
from pathlib import Path

PEERS = Path(__file__).resolve().parent.parent
HOME = PEERS / ".installed" / "bridge_fastapi"
PYTHON = HOME / "bin" / "python"


def version():
    (packages,) = HOME.glob("lib/python*/site-packages")
    found = {package.name: package.version for package in metadata.distributions(path=[str(packages)])}
    return f"FastAPI {found['fastapi']}, uvicorn {found['uvicorn']}"


def command(port, scratch, cores):
    return [PYTHON, PEERS / "bridge_fastapi.py", "--port", str(port)], {}
