"""An application of the published WSE server: subscriptions with recovery, publishing, echo, and what tests ask for.

Started with a port and the secret of tokens. Prints a line when it listens.
"""

import json
import sys

from wse_server import RustWSEServer

server = RustWSEServer(
    "127.0.0.1",
    int(sys.argv[1]),
    jwt_secret=sys.argv[2].encode(),
    recovery_enabled=True,
    recovery_buffer_size=1024,
)
server.enable_drain_mode()
server.start()
print("listening", flush=True)


def answer(conn, kind, payload):
    server.send(conn, json.dumps({"c": "WSE", "t": kind, "p": payload, "v": 1}, separators=(",", ":")))


def subscription(conn, asked):
    topics = asked.get("topics", [])
    if asked.get("action") == "unsubscribe":
        server.unsubscribe_connection(conn, topics)
        return answer(conn, "subscription_update", {"action": "unsubscribe", "success": True, "success_topics": topics})
    recovery = {}
    for topic in topics:
        place = (asked.get("recovery") or {}).get(topic)
        if place:
            result = server.subscribe_with_recovery(conn, [topic], True, place["epoch"], place["offset"])
        else:
            result = server.subscribe_with_recovery(conn, [topic])
        recovery.update(result.get("topics", result))
    recovery = {topic: place for topic, place in recovery.items() if isinstance(place, dict)}
    answered = {"action": "subscribe", "success": True, "success_topics": topics, "failed_topics": []}
    answer(conn, "subscription_update", answered | {"topics": topics, "recovery": recovery})


while True:
    for event, conn, data in server.drain_inbound(256, 50):
        if event != "msg":
            continue
        kind, payload = data.get("t"), data.get("p") or {}
        if kind == "subscription_update":
            subscription(conn, payload)
        elif kind == "publish":
            message = {"t": payload["type"], "p": payload["data"]}
            server.broadcast(payload["topic"], json.dumps(message))
        elif kind == "echo":
            server.send_event(conn, {"t": "echoed", "p": payload})
        elif kind == "cut":
            server.disconnect(conn)
        elif kind == "sync_request":
            answer(conn, "snapshot_complete", {"success": True})
