#!/usr/bin/env python3
"""A chat that was written for WSE's server: of its code only the import has changed.

    FANFARE_BACKEND__ENABLED=true fanfare serve --mode demo
    pip install ./clients/python                    # in a virtual environment
    python3 examples/wse_app.py

Clients of WSE connect to ws://127.0.0.1:8080/wse. Each is in the topic "chat", and may send

    {"t":"say","p":{"text":"hello"}}
    {"t":"who","p":{}}

The gateway is the one of FANFARE_URL. Where it asks services for a credential, put an API key or a token into
FANFARE_API_KEY. Ctrl-C ends it; clients stay connected, and what they say then waits for the next one.
"""

import json
import os

# It was: from wse_server import RustWSEServer
from fanfare_client.wse_server import RustWSEServer

secret = os.environ.get("JWT_SECRET")
server = RustWSEServer("127.0.0.1", 5007, jwt_secret=secret.encode() if secret else None)
names: dict[str, str] = {}


def publish(kind: str, **payload: str) -> None:
    server.broadcast("chat", json.dumps({"t": kind, "p": payload}))


def handle(kind: str, conn: str, data: object) -> None:
    if kind in ("auth_connect", "connect"):
        names[conn] = str(data) if kind == "auth_connect" else f"guest {conn}"
        server.subscribe_connection(conn, ["chat"])
        server.send_event(conn, {"t": "welcome", "p": {"name": names[conn]}})
        publish("joined", name=names[conn])
    elif kind == "msg":
        match data:
            case {"t": "say", "p": {"text": str(text)}}:
                publish("said", name=names[conn], text=text)
            case {"t": "who"}:
                server.send_event(conn, {"t": "here", "p": {"names": sorted(names.values())}})
    elif kind == "disconnect":
        publish("left", name=names.pop(conn))


def main() -> None:
    server.enable_drain_mode()
    server.start()
    print("the chat is open", flush=True)
    try:
        while server.is_running():
            for kind, conn, data in server.drain_inbound(256, 50):
                print(kind, conn, data, flush=True)
                if conn is not None:
                    handle(kind, conn, data)
    except KeyboardInterrupt:
        server.stop()


if __name__ == "__main__":
    main()
