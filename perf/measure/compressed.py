"""Subscribers that ask for permessage-deflate, which loadgen has not: what compressing costs the server.

Messages come on a schedule, so that only the server's CPU time and bytes are compared. All subscribers count
messages by the server's own counters; one keeps every byte, and at the end each of its messages must be there, in
order and unchanged.
"""

import base64
import json
import os
import selectors
import socket
import struct
import threading
import time
import urllib.request
import zlib
from pathlib import Path

from . import Failed

SUBSCRIBERS = 100
BURST = 16
BURSTS_PER_SECOND = 100
PATIENCE_SECONDS = 10
# A message as applications send it: keys that repeat, and text.
TEXT = "The quick brown fox jumps over the lazy dog. " * 8


def run(address, pid, seconds, cores):
    """Loads the server for `seconds` of warm-up and of measuring; a report like loadgen's."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        return Load(address, pid).run(*seconds)
    finally:
        os.sched_setaffinity(0, before)


class Load:
    def __init__(self, address, pid):
        self.address, self.pid = address, pid
        self.kept = bytearray()
        self.stopped = threading.Event()

    def run(self, warmup, duration):
        subscribers = [self.connect(True) for _ in range(SUBSCRIBERS)]
        publisher = self.connect(False)
        for subscriber in subscribers:
            subscriber.sendall(frame({"type": "subscribe", "events": ["t"]}))
        readers = threading.Thread(target=self.drain, args=(subscribers, publisher))
        readers.start()
        try:
            wait_until(lambda: self.counters()["fanfare_subscriptions"] == SUBSCRIBERS, "not all subscriptions are there")
            number = self.publish(publisher, 0, warmup)
            began = self.look()
            number = self.publish(publisher, number, duration)
            ended = self.look()
            due = number * SUBSCRIBERS
            wait_until(lambda: self.counters()["fanfare_deliveries_total"] >= due, "not all messages are delivered")
            wait_until(lambda: len(numbers(bytes(self.kept))) >= number, "a subscriber lacks messages")
        finally:
            self.stopped.set()
            readers.join()
            for connection in [*subscribers, publisher]:
                connection.close()
        faults = [] if numbers(self.kept) == list(range(number)) else ["messages are lost or out of order"]
        deliveries = ended["fanfare_deliveries_total"] - began["fanfare_deliveries_total"]
        return {
            "unit": "deliveries",
            "failures": faults,
            "per_second": deliveries / (ended["time"] - began["time"]),
            "wire_bytes_per_message": (ended["fanfare_sent_bytes_total"] - began["fanfare_sent_bytes_total"]) / deliveries,
            "server": {
                "cpu_ns_per_unit": (ended["cpu_ns"] - began["cpu_ns"]) / deliveries,
                "cpu_share": (ended["cpu_ns"] - began["cpu_ns"]) / 1e9 / (ended["time"] - began["time"]),
            },
        }

    def connect(self, is_subscriber):
        host, port = self.address.split(":")
        connection = socket.create_connection((host, int(port)))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        extension = "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover\r\n" if is_subscriber else ""
        connection.sendall((
            f"GET /api/v1/ws/demo HTTP/1.1\r\nHost: {self.address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}\r\n{extension}\r\n"
        ).encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            # Byte by byte: what follows is for the reader.
            byte = connection.recv(1)
            if not byte:
                raise Failed("the server closed a connection during its handshake")
            head += byte
        if not head.startswith(b"HTTP/1.1 101"):
            raise Failed(f"no upgrade: {head.decode()}")
        connection.setblocking(True)
        return connection

    def drain(self, subscribers, publisher):
        selector = selectors.DefaultSelector()
        for connection in [*subscribers, publisher]:
            selector.register(connection, selectors.EVENT_READ)
        while not self.stopped.is_set():
            for key, _ in selector.select(0.1):
                received = key.fileobj.recv(1 << 18)
                if not received:
                    selector.unregister(key.fileobj)
                elif key.fileobj is subscribers[0]:
                    self.kept += received

    def publish(self, publisher, number, seconds):
        """Bursts on a schedule; returns the number of the next message."""
        began = time.monotonic()
        for burst in range(round(seconds * BURSTS_PER_SECOND)):
            time.sleep(max(0, began + burst / BURSTS_PER_SECOND - time.monotonic()))
            messages = ({"type": "publish", "event": "t", "data": {"n": number + at, "text": TEXT}} for at in range(BURST))
            publisher.sendall(b"".join(map(frame, messages)))
            number += BURST
        return number

    def look(self):
        counters = self.counters()
        tasks = Path(f"/proc/{self.pid}/task").iterdir()
        counters["cpu_ns"] = sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)
        counters["time"] = time.monotonic()
        return counters

    def counters(self):
        with urllib.request.urlopen(f"http://{self.address}/metrics?format=prometheus", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}


def wait_until(holds, otherwise):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        if time.monotonic() > deadline:
            raise Failed(otherwise)
        time.sleep(0.05)


def frame(message):
    """A masked text frame; the mask is 0, which leaves the payload as it is."""
    payload = json.dumps(message).encode()
    if len(payload) < 126:
        head = struct.pack("!BB", 0x81, 0x80 | len(payload))
    else:
        head = struct.pack("!BBH", 0x81, 0x80 | 126, len(payload))
    return head + bytes(4) + payload


def numbers(received):
    """The numbers of the events in what one subscriber received."""
    found, at = [], 0
    while at + 2 <= len(received):
        is_compressed, length, start = received[at] & 0x40, received[at + 1], at + 2
        if length == 126:
            length, start = struct.unpack_from("!H", received, at + 2)[0], at + 4
        elif length == 127:
            length, start = struct.unpack_from("!Q", received, at + 2)[0], at + 10
        payload = bytes(received[start : start + length])
        if len(payload) < length:
            break
        if is_compressed:
            payload = zlib.decompressobj(-15).decompress(payload + b"\x00\x00\xff\xff")
        message = json.loads(payload) if received[at] & 0x0F == 1 else {}
        if isinstance(message.get("data"), dict) and message["data"].get("text") == TEXT:
            found.append(message["data"]["n"])
        at = start + length
    return found
