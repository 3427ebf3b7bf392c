"""A real gateway, FANFARE_BIN or the debug build of this repository, and a client of the events protocol."""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from websockets.asyncio.client import connect

PACKAGE = Path(__file__).parents[1]
REPOSITORY = PACKAGE.parents[1]
BINARY = Path(
    os.environ.get("FANFARE_BIN") or REPOSITORY / os.environ.get("CARGO_TARGET_DIR", "target") / "debug" / "fanfare"
)
SECRET = "a secret of thirty-two characters"

if not BINARY.exists():
    if os.environ.get("FANFARE_BIN"):
        raise FileNotFoundError(f"FANFARE_BIN: there is no {BINARY}")
    pytest.skip(f"no gateway: FANFARE_BIN is not set and there is no {BINARY}", allow_module_level=True)


class Gateway:
    """A process of its own, on the same port after a restart."""

    def __init__(self, folder, mode="demo", arguments=(), **settings):
        self.port = free_port()
        self.url = f"ws://127.0.0.1:{self.port}"
        self._config = folder / f"{self.port}.toml"
        self._config.write_text('[namespace."room."]\npresence = true\n')
        self._arguments = ["--mode", mode, *arguments]
        self._settings = {"BACKEND__ENABLED": "true", "LOG__LEVEL": "warn"} | settings

    def start(self):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("FANFARE_")}
        environment |= {f"FANFARE_{name}": value for name, value in self._settings.items()}
        listen = f"127.0.0.1:{self.port}"
        self._process = subprocess.Popen(
            [BINARY, "serve", *self._arguments, "--listen", listen, "--config", self._config, "--env-file", ""],
            env=environment,
            stdout=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 30
        while True:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://{listen}/health", timeout=5):
                return self
            assert self._process.poll() is None, "the gateway has ended"
            assert time.monotonic() < deadline, "the gateway does not answer"
            time.sleep(0.02)

    def stop(self, signal=signal.SIGTERM):
        self._process.send_signal(signal)
        self._process.wait(30)

    def pause(self):
        self._process.send_signal(signal.SIGSTOP)

    def resume(self):
        self._process.send_signal(signal.SIGCONT)

    def get(self, path):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as response:
            return json.load(response)

    def client(self, path="/api/v1/ws/demo"):
        return Client(self.url + path)


def free_port():
    """Below those that the system gives to outgoing connections: one of them may take it during a restart."""
    while True:
        port = random.SystemRandom().randrange(20_000, 30_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


class Client:
    """A client of the events protocol that knows nothing of this package."""

    def __init__(self, url):
        self._url = url

    async def __aenter__(self):
        self.socket = await connect(self._url)
        assert (await self.frame())["type"] == "connection_established"
        return self

    async def __aexit__(self, *_):
        await self.socket.close()

    async def say(self, frame):
        await self.socket.send(json.dumps(frame) if isinstance(frame, dict) else frame)

    async def frame(self):
        return json.loads(await asyncio.wait_for(self.socket.recv(), 20))

    async def ask(self, data, id=1):
        await self.say({"type": "app", "id": id, "data": data})
        return await self.frame()


def token(user, role=None, **claims):
    def part(value):
        return base64.urlsafe_b64encode(value).rstrip(b"=")

    claims = {"sub": user, "exp": int(time.time()) + 600} | ({"role": role} if role else {}) | claims
    signed = part(b'{"alg":"HS256","typ":"JWT"}') + b"." + part(json.dumps(claims).encode())
    return (signed + b"." + part(hmac.digest(SECRET.encode(), signed, hashlib.sha256))).decode()


def readme(text, file=PACKAGE / "README.md"):
    """The only Python of a README that has this in it."""
    blocks = [block.split("```")[0] for block in file.read_text().split("```python\n")[1:]]
    (found,) = [block for block in blocks if text in block]
    return found


@contextlib.contextmanager
def program(*arguments, **environment):
    """A program that uses this package."""
    environment = os.environ | {"PYTHONPATH": str(PACKAGE / "src"), "PYTHONWARNINGS": "error"} | environment
    process = subprocess.Popen([sys.executable, *arguments], env=environment, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()
