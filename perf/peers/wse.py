"""WSE behind the least application that can publish (wse_app.py)."""

from importlib import metadata
from pathlib import Path

HOME = Path(__file__).parent / ".installed" / "wse"
PYTHON = HOME / "bin" / "python"


def version():
    (packages,) = HOME.glob("lib/python*/site-packages")
    (package,) = metadata.distributions(name="wse-server", path=[str(packages)])
    return f"WSE {package.version}"


def command(port, scratch, cores):
    return [PYTHON, Path(__file__).with_name("wse_app.py"), str(port)], {}
