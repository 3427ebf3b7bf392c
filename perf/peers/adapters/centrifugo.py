"""Centrifugo on its memory engine, for clients without a token: no history, presence, or compression. Go uses the cores it is given.

It joins up to 16 messages a frame. To wait for more (`client.write_delay`, batching by channel) takes its PRO edition: this one
has no such settings. What made no difference to a fan-out beyond the rounds' spread: GOGC at 400, or off with a memory limit;
write buffers of 16 KiB. Subscribers that ask for Protocol Buffers instead of JSON cost 2 to 5 % less in four pairs of rounds, as
each message is encoded once for all of a format: they stay with JSON, as the gateway's and most clients do.
"""

import json
import subprocess
from pathlib import Path

PEERS = Path(__file__).resolve().parent.parent
SERVER = PEERS / ".installed" / "centrifugo" / "centrifugo"


def configuration(port):
    return {
        "http_server": {"address": "127.0.0.1", "port": str(port)},
        "log": {"level": "error"},
        "client": {
            "allow_anonymous_connect_without_token": True,
            # A burst for one subscriber may wait as a whole.
            "queue_max_size": 268435456,
        },
        "channel": {
            "without_namespace": {
                "allow_subscribe_for_client": True,
                "allow_subscribe_for_anonymous": True,
                "allow_publish_for_client": True,
                "allow_publish_for_anonymous": True,
            },
        },
        "websocket": {
            # A burst is a frame.
            "message_size_limit": 67108864,
            "write_timeout": "60s",
            # Small ones save memory of idle connections, and cost a fan-out nothing.
            "read_buffer_size": 512,
            "write_buffer_size": 512,
            "use_write_buffer_pool": True,
        },
        "usage_stats": {"disabled": True},
        "shutdown": {"timeout": "1s"},
    }


def version():
    shown = subprocess.run([SERVER, "version"], capture_output=True, text=True)
    return "Centrifugo " + shown.stdout.split()[1].removeprefix("v")


def command(port, scratch, cores):
    written = scratch / "centrifugo.json"
    written.write_text(json.dumps(configuration(port)))
    return [SERVER, "--config", written], {"GOMAXPROCS": str(cores)}
