"""NATS with its WebSocket listener, neither TLS nor compression; Go uses the cores it is given."""

import subprocess
from pathlib import Path

PEERS = Path(__file__).resolve().parent.parent
SERVER = PEERS / ".installed" / "nats" / "nats-server"

CONFIGURATION = """\
# The listener for clients without WebSocket; it has to be somewhere.
listen: 127.0.0.1:-1
max_connections: 20000
# A burst for one subscriber may wait as a whole.
max_pending: 268435456
write_deadline: "60s"
websocket {{
    listen: "127.0.0.1:{port}"
    no_tls: true
    compression: false
}}
"""


def version():
    shown = subprocess.run([SERVER, "--version"], capture_output=True, text=True)
    return "NATS " + shown.stdout.strip().rpartition(" ")[2].removeprefix("v")


def command(port, scratch, cores):
    configuration = scratch / "nats.conf"
    configuration.write_text(CONFIGURATION.format(port=port))
    return [SERVER, "-c", configuration], {"GOMAXPROCS": str(cores)}
