"""uWebSockets by way of socketify, its binding for Python (uwebsockets_app.py)."""

from importlib import metadata
from pathlib import Path

HOME = Path(__file__).parent / ".installed" / "uwebsockets"
PYTHON = HOME / "bin" / "python"


def version():
    (packages,) = HOME.glob("lib/python*/site-packages")
    (package,) = metadata.distributions(name="socketify", path=[str(packages)])
    return f"uWebSockets in socketify {package.version}"


def command(port, scratch, cores):
    return [PYTHON, Path(__file__).with_name("uwebsockets_app.py"), str(port)], {}
