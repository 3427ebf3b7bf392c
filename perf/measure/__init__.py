"""What perf/run, perf/flame and perf/counts share."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
RESULTS = ROOT / "perf" / "results"


class Failed(Exception):
    """Something did not work; the text says what."""
