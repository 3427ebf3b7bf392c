"""What the READMEs show of the client and the bridge, run as it stands there; and the package as it is installed."""

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from gateway import PACKAGE, REPOSITORY, program, readme

ADDRESS = "127.0.0.1:8080"


def at(gateway, code):
    """The code, at this gateway."""
    assert ADDRESS in code
    return code.replace(ADDRESS, f"127.0.0.1:{gateway.port}")


def run(*arguments, **environment):
    with program(*arguments, **environment) as process:
        printed, _ = process.communicate(timeout=30)
        assert process.returncode == 0
        return printed.splitlines()


def test_the_first_minutes_show_an_event(own):
    first, second = run("-c", at(own(), readme("published at")))
    assert first == "published at 1" and second.startswith("orders {'number': 1} ")


def test_the_main_readme_shows_the_client(own):
    code = readme("from fanfare_client import", REPOSITORY / "README.md")
    assert run("-c", at(own(), code)) == ["1 {'number': 1}"]


def test_blocking_code_is_shown(own):
    assert run("-c", at(own(), readme("from fanfare_client.sync import connect"))) == ["hello"]


@pytest.mark.parametrize("file", [PACKAGE / "README.md", REPOSITORY / "README.md"])
def test_a_loop_that_is_left_is_shown_with_what_ends_its_subscription(file):
    blocks = [block.split("```")[0] for block in file.read_text().split("```python\n")[1:]]
    left = [block for block in blocks if "subscribe(" in block and "break" in block]
    assert left and all("with client.subscribe(" in block for block in left)


async def test_callbacks_are_shown(own):
    gateway = own()
    with program("-c", at(gateway, readme('pings.on("event", answer)'))):
        async with gateway.client() as client:
            await client.say({"type": "subscribe", "events": ["pong"]})
            frame = await client.frame()
            while frame.get("type") != "event":
                await client.say({"type": "publish", "event": "ping", "data": 7})
                with contextlib.suppress(asyncio.TimeoutError):
                    frame = json.loads(await asyncio.wait_for(client.socket.recv(), 0.1))
            assert frame["data"] == 7


def test_the_bridge_is_shown(own):
    gateway = own()
    assert run("-c", at(gateway, readme("import AskError, Bridge"))) == ["alice is not connected", "no answer: User not connected"]
    with program("-c", at(gateway, readme("import Account"))):
        while (lines := run("-c", at(gateway, readme("import AskError, Bridge"))))[0] != "delivered":
            pass
        assert lines == ["delivered", "Yes"]


def test_tokens_are_shown():
    compile(readme("GiveUp"), "README.md", "exec")


def test_the_example_goes_on_where_it_was(own, tmp_path):
    gateway = own()
    arguments = [REPOSITORY / "examples" / "follow.py", "--url", f"{gateway.url}/api/v1/ws/demo",
                 "--positions", tmp_path / "positions.json", "orders", "room.*"]  # fmt: skip

    def publish(*events):
        from test_client_gateway import post

        post(gateway, "/api/v1/events/batch", [{"event": name, "data": data} for name, data in events])

    publish(("orders", "before"))
    with program(*arguments, "--last", "5") as process:
        assert process.stdout.readline() == 'orders "before"\n'
        publish(("room.1", {"ä": 1}))
        assert process.stdout.readline() == 'room.1 {"ä": 1}\n'
        while len(json.loads((tmp_path / "positions.json").read_text())) < 2:
            pass
    publish(("orders", 2), ("room.2", 3))
    with program(*arguments) as process:
        assert {process.stdout.readline(), process.stdout.readline()} == {"orders 2\n", "room.2 3\n"}


def test_the_package_is_built_and_works_where_nothing_else_is(own, tmp_path):
    """sdist, a wheel of it, and an environment with that wheel and what it depends on."""
    source = tmp_path / "source"
    shutil.copytree(PACKAGE, source, ignore=shutil.ignore_patterns("__pycache__"))
    quiet = {"check": True, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run([sys.executable, "-m", "build", "--no-isolation", "--outdir", tmp_path, source], **quiet)
    (wheel,) = tmp_path.glob("*.whl")
    assert list(tmp_path.glob("fanfare_client-*.tar.gz"))
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], **quiet)
    python = tmp_path / "venv" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python]
    subprocess.run([*pip, "install", "--no-deps", "--no-index", wheel], **quiet)
    # Its only dependency, from here: no network is needed.
    (packages,) = (tmp_path / "venv" / "lib").glob("*/site-packages")
    for name in {Path(file).parts[0] for file in metadata.files("websockets") if ".." not in Path(file).parts}:
        shutil.copytree(metadata.distribution("websockets").locate_file(name), packages / name)
    subprocess.run([*pip, "check"], **quiet)
    assert (packages / "fanfare_client" / "py.typed").exists()
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    code = at(own(), readme("published at"))
    done = subprocess.run([python, "-I", "-W", "error", "-c", code], env=environment, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0 and done.stdout.startswith("published at 1\n"), done.stderr


@pytest.mark.parametrize("module", ["", ".backend", ".bridge", ".client", ".sync", ".wse_server"])
def test_what_is_public_is_there_and_described(module):
    package = __import__(f"fanfare_client{module}", fromlist=["x"])
    assert package.__doc__
    for name in package.__all__:
        assert getattr(package, name).__doc__ or name in ("Answer", "State"), name
