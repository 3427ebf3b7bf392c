"""Sockudo on its local adapter; every limit that would refuse load is out of the way."""

import subprocess
from pathlib import Path

PEERS = Path(__file__).resolve().parent.parent
SERVER = PEERS / ".installed" / "sockudo" / "bin" / "sockudo"


def version():
    shown = subprocess.run([SERVER, "--version"], capture_output=True, text=True)
    return "Sockudo " + shown.stdout.strip().rpartition(" ")[2]


def command(port, scratch, cores):
    limit = str(10**9)
    return [SERVER], {
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "ENVIRONMENT": "production",
        "RUST_LOG": "error",
        "SHUTDOWN_GRACE_PERIOD": "0",
        "METRICS_ENABLED": "false",
        "RATE_LIMITER_ENABLED": "false",
        # loadgen's --target sockudo knows key and secret.
        "SOCKUDO_DEFAULT_APP_ID": "app-id",
        "SOCKUDO_DEFAULT_APP_KEY": "app-key",
        "SOCKUDO_DEFAULT_APP_SECRET": "app-secret",
        "SOCKUDO_DEFAULT_APP_ENABLE_CLIENT_MESSAGES": "true",
        "SOCKUDO_DEFAULT_APP_MAX_CONNECTIONS": "20000",
        "SOCKUDO_DEFAULT_APP_MAX_CLIENT_EVENTS_PER_SECOND": limit,
        # A burst for one subscriber may wait as a whole.
        "WEBSOCKET_MAX_MESSAGES": "100000",
        "TOKIO_WORKER_THREADS": str(cores),
    }
