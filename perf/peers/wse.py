"""What WSE leaves to the application: who subscribes to what, and that publications are broadcast.

Drain mode, which WSE's documentation names as the fast one: the GIL is taken once for a batch of messages.
"""

import json
import sys

from wse_server import RustWSEServer

server = RustWSEServer(
    "127.0.0.1", int(sys.argv[1]), max_connections=20_000, max_outbound_queue_bytes=256 << 20
)
server.enable_drain_mode()
server.start()
while True:
    for kind, connection, message in server.drain_inbound(1024, 50):
        if kind != "msg":
            continue
        payload = message["p"]
        if message["t"] == "publish":
            event = {"c": "U", "t": "event", "p": payload}
            server.broadcast_local(payload["topic"], json.dumps(event, separators=(",", ":")))
        elif message["t"] == "subscription_update":
            topics = payload["topics"]
            server.subscribe_connection(connection, topics)
            answer = {"action": "subscribe", "success": True, "success_topics": topics}
            server.send(connection, json.dumps({"c": "WSE", "t": "subscription_update", "p": answer}))
