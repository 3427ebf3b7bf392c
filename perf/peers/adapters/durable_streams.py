"""Electric's durable-streams, which keeps its streams in files: without its log, and without waiting for a disk.

What made no difference beyond the rounds' spread: `--tail-cache-bytes`, `--read-offload`, and with files in memory its log.
"""

import tempfile
from pathlib import Path

PEERS = Path(__file__).resolve().parent.parent
SERVER = PEERS / ".installed" / "durable_streams" / "bin" / "durable-streams-server"

# A file system in memory, so that no disk is measured: the others do not store.
MEMORY = Path("/dev/shm")

# The directories of a run, which are removed when it ends.
directories = []


def version():
    # It does not say.
    return "durable-streams 0.1.5"


def command(port, scratch, cores):
    directory = tempfile.TemporaryDirectory(prefix="fanfare-peer-", dir=MEMORY if MEMORY.is_dir() else scratch)
    directories.append(directory)
    return [
        SERVER, "--host", "127.0.0.1", "--port", str(port), "--worker-threads", str(cores),
        "--durability", "memory", "--data-dir", directory.name,
    ], {"RUST_LOG": "error"}
