"""A gateway process and its credentials: FANFARE_BIN, or the debug build of this repository."""

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
import time
import urllib.request
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
BINARY = Path(
    os.environ.get("FANFARE_BIN") or REPOSITORY / os.environ.get("CARGO_TARGET_DIR", "target") / "debug" / "fanfare"
)
SECRET = "a secret of thirty-two characters"

#: Topics that tests name by what is true of them.
NAMESPACES = """
[namespace."room."]
presence = true
presence_grace = "0s"

[namespace."long."]
history_size = 20000

[namespace."short."]
history_size = 5

[namespace."closed."]
publish = "service"
subscribe = "service"

[namespace."lossy."]
slow_consumer = "drop-oldest"
max_lag = "256KiB"
"""


class Gateway:
    """A process of its own, on the same port after a restart."""

    def __init__(self, folder, *, mode="dev", config="", **settings):
        self.port = free_port()
        self.url = f"ws://127.0.0.1:{self.port}/wse"
        self.link_url = f"ws://127.0.0.1:{self.port}"
        self._config = folder / f"{self.port}.toml"
        self._config.write_text(NAMESPACES + config)
        self._arguments = ["--mode", mode]
        self._settings = {
            "AUTH__JWT_SECRET": SECRET,
            "EVENTS__PUBLISH": "authenticated",
            "EVENTS__SUBSCRIBE": "authenticated",
            "EVENTS__MAX_MESSAGE_SIZE": "1MiB",
            "HUB__HISTORY_SIZE": "100",
            "LOG__LEVEL": "warn",
            "SERVER__DRAIN_TIMEOUT": "500ms",
            "WSE__ENABLED": "true",
        } | settings

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

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

    def stop(self):
        self._process.send_signal(signal.SIGTERM)
        assert self._process.wait(30) == 0

    def request(self, path, body=None):
        """As a service, over HTTP."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": "Bearer " + token("app", role="service"), "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as response:
            return json.load(response)

    def publish(self, topic, payload, **fields):
        return self.request("/api/v1/publish", {"topic": topic, "payload": payload} | fields)


def free_port():
    """Below those that the system gives to outgoing connections: one of them may take it during a restart."""
    while True:
        port = random.SystemRandom().randrange(20_000, 30_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def token(user, *, seconds=600, secret=SECRET, **claims):
    def part(value):
        return base64.urlsafe_b64encode(value).rstrip(b"=")

    claims = {"sub": user, "exp": int(time.time()) + seconds} | claims
    signed = part(b'{"alg":"HS256","typ":"JWT"}') + b"." + part(json.dumps(claims).encode())
    return (signed + b"." + part(hmac.digest(secret.encode(), signed, hashlib.sha256))).decode()
