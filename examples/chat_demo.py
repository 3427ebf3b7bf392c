#!/usr/bin/env python3
"""A conversation over the gateway: alice, bob, charlie and a bot, each a fanfare-chat of its own.

Starts a gateway in demo mode and the four clients as processes, lets them talk, prints what each of them sees, and
checks it: direct messages encrypted from end to end, broadcasts, a signed command, and what comes back to a
user who was away. Ends with 0 when all of it was as it should be.

    cargo build --release && python3 examples/chat_demo.py
"""

import argparse
import collections
import json
import os
import pathlib
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
USERS = ["alice", "bob", "charlie", "bot"]
PATIENCE = 20.0  # seconds, for anything to happen
LINES_MAX = 1000  # of a client, that are remembered


_printing = threading.Lock()


def show(name: str, marker: str, line: str) -> None:
    """Prints a line as a whole: several threads do."""
    with _printing:
        print(f"{name:>8} {marker} {line}", flush=True)


class Failed(Exception):
    """The conversation is not as it should be."""


def program(name: str) -> str:
    """The program as it was built last."""
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    built = [path for path in (target / "release" / name, target / "debug" / name) if path.exists()]
    if not built:
        raise Failed(f"there is no {name} in {target}: cargo build --release, or --{name} PATH")
    return str(max(built, key=lambda path: path.stat().st_mtime))


class Process:
    """A child whose lines are read, printed with its name, and waited for."""

    def __init__(self, name: str, arguments: list[str], prints: bool = True) -> None:
        self.name = name
        self.seen: collections.deque[str] = collections.deque(maxlen=LINES_MAX)
        self.lines: queue.Queue[str | None] = queue.Queue()
        # The environment of the caller may name another server, or a key.
        environment = {name: value for name, value in os.environ.items() if name in ("PATH", "TZ", "HOME", "TMPDIR")}
        self.child = subprocess.Popen(
            arguments,
            env=environment | {"FANFARE_ENV_FILE": ""},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            # Ctrl-C is for this program, which ends the others.
            start_new_session=True,
        )
        threading.Thread(target=self._read, args=(prints,), daemon=True).start()

    def _read(self, prints: bool) -> None:
        assert self.child.stdout
        for line in self.child.stdout:
            line = line.rstrip("\n")
            if prints:
                show(self.name, "|", line)
            self.lines.put(line)
        self.lines.put(None)

    def say(self, line: str) -> None:
        """Types a line."""
        show(self.name, ">", line)
        assert self.child.stdin
        self.child.stdin.write(line + "\n")
        self.child.stdin.flush()

    def sees(self, *parts: str) -> str:
        """Waits for the next line with all these parts."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                line = self.lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                line = None
            if line is None:
                last = "\n".join(list(self.seen)[-10:])
                raise Failed(f"{self.name} does not see {' '.join(parts)!r}, its last lines are:\n{last}")
            self.seen.append(line)
            if all(part in line for part in parts):
                return line

    def times(self, part: str) -> int:
        """How many of the lines so far have this part."""
        while not self.lines.empty():
            if (line := self.lines.get()) is not None:
                self.seen.append(line)
        return sum(part in line for line in self.seen)

    def ends(self) -> None:
        """Waits for the end, in good order."""
        code = self.child.wait(PATIENCE)
        if code != 0:
            raise Failed(f"{self.name} has ended with {code}")

    def stop(self) -> None:
        """Ends it, whatever it does."""
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
            try:
                self.child.wait(10)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()


class Demo:
    """The processes of a conversation."""

    def __init__(self, chat: str, folder: str) -> None:
        self.chat = chat
        self.folder = folder
        self.url = ""
        self.processes: list[Process] = []

    def start(self, name: str, arguments: list[str], prints: bool = True) -> Process:
        """Starts a process, which ends with the demo."""
        process = Process(name, arguments, prints)
        self.processes.append(process)
        return process

    def start_gateway(self, path: str) -> None:
        """Starts the gateway on a free port."""
        arguments = [path, "serve", "--mode", "demo", "--listen", "127.0.0.1:0"]
        gateway = self.start("gateway", arguments, prints=False)
        line = gateway.sees("listening", "address")
        address = line.split("address")[1].lstrip('=":').split()[0].split('"')[0]
        self.url = f"http://{address}"
        show("gateway", "|", self.url)

    def connect(self, user: str, *arguments: str) -> Process:
        """Starts the client of a user, and waits until it is connected."""
        key = os.path.join(self.folder, f"{user}.key")
        command = [self.chat, "--server", self.url, "--user", user, "--key-file", key, *arguments]
        client = self.start(user, command)
        client.sees("connected as", user)
        return client

    def stop(self) -> None:
        """Ends all, the gateway last."""
        for process in reversed(self.processes):
            process.stop()


def is_away(client: Process, user: str) -> None:
    """Waits until the server knows that a user has gone, which it may find out a moment later."""
    deadline = time.monotonic() + PATIENCE
    while True:
        client.say("/users")
        if user in client.sees("offline:"):
            return
        if time.monotonic() > deadline:
            raise Failed(f"{user} does not become offline")
        time.sleep(0.2)


def talk(demo: Demo) -> list[Process]:
    """The conversation. Returns the clients, which are connected."""
    alice, bob, charlie = (demo.connect(user) for user in USERS[:3])
    people = [alice, bob, charlie]

    bot = demo.connect("bot", "--auto-announce", "--auto-mode", "--auto-interval", "3", "--username", "Bot")
    for client in people:
        client.sees("bot -> broadcast [VERIFIED]: Bot is now online")

    alice.say("!Good morning, everyone")
    for client in (bob, charlie, bot):
        client.sees("alice -> broadcast [VERIFIED]: Good morning, everyone")

    alice.say("@bob The key is under the third flowerpot")
    bob.sees("alice -> bob [VERIFIED] [ENCRYPTED]: The key is under the third flowerpot")
    bob.say("direct alice I have it, thank you")
    alice.sees("bob -> alice [VERIFIED] [ENCRYPTED]: I have it, thank you")

    charlie.say("/quit")
    charlie.ends()
    is_away(alice, "charlie")
    alice.say("@charlie Dinner at eight?")
    alice.sees("charlie is not connected, and gets it later")
    bob.say("!Charlie is away, I will cook")
    alice.sees("bob -> broadcast [VERIFIED]: Charlie is away, I will cook")

    charlie = demo.connect("charlie")
    charlie.sees("alice -> charlie [VERIFIED] [ENCRYPTED]: Dinner at eight?")
    charlie.sees("bob -> broadcast [VERIFIED]: Charlie is away, I will cook")
    charlie.say("@alice I am back, and hungry")
    alice.sees("charlie -> alice [VERIFIED] [ENCRYPTED]: I am back, and hungry")

    alice.say("/cmd user_count")
    reply = json.loads(alice.sees("server -> alice", "count").split(": ", 1)[1])
    if not reply["success"] or reply["result"]["count"] < len(USERS):
        raise Failed(f"the server counts other users: {reply}")
    alice.say("/users")
    alice.sees("online:", *USERS)
    alice.sees("bot -> broadcast [VERIFIED]: Auto message from Bot at")

    if charlie.times("Dinner at eight?") != 1 or charlie.times("Charlie is away") != 1:
        raise Failed("charlie has seen a message twice")
    return [alice, bob, charlie, bot]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fanfare", metavar="PATH", help="the gateway; as it was built last, without this")
    parser.add_argument("--fanfare-chat", metavar="PATH", help="the client; likewise")
    parser.add_argument("--server", metavar="URL", help="a gateway that runs already, without these users")
    parser.add_argument("--stay", action="store_true", help="do not end with the conversation: join it, until Ctrl-C")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        with tempfile.TemporaryDirectory(prefix="chat_demo.") as folder:
            demo = Demo(options.fanfare_chat or program("fanfare-chat"), folder)
            try:
                if options.server:
                    demo.url = options.server
                else:
                    demo.start_gateway(options.fanfare or program("fanfare"))
                clients = talk(demo)
                if options.stay:
                    print(f"\nJoin: {demo.chat} --server {demo.url} --user you --key-file you.key", flush=True)
                    signal.pause()
                for client in clients:
                    client.stop()
                    client.ends()
            finally:
                demo.stop()
    except KeyboardInterrupt:
        return 0
    except Failed as failed:
        print(f"chat_demo: {failed}", file=sys.stderr)
        return 1
    show("demo", "|", "all of it was as it should be")
    return 0


if __name__ == "__main__":
    sys.exit(main())
