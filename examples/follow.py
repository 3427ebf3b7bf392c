#!/usr/bin/env python3
"""Follows topics through lost connections and restarts, and goes on where it was when it is started again.

    python3 examples/follow.py orders 'room.*'
    python3 examples/follow.py --positions ./positions.json orders

Prints each event as a line; a gap, which is what is missing, goes to the standard error. With --positions it notes where
it stands after each event, and begins there the next time. A token, where the gateway asks for one, is in
FANFARE_TOKEN.

Needs Python 3.10 or newer and, in a virtual environment, `pip install ./clients/python`. Ctrl-C ends it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from pathlib import Path

from fanfare_client import Closed, Gap, RequestError, Status, Subscription, connect


class Places:
    """Where each subscription stands, in a file. Replaced as a whole, so that half of it is never read."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._places: dict[str, str] = {}
        if path is not None and path.exists():
            self._places = json.loads(path.read_text())

    def of(self, name: str) -> str | None:
        return self._places.get(name)

    def note(self, name: str, position: str | None) -> None:
        if self._path is None or position is None or self._places.get(name) == position:
            return
        self._places[name] = position
        new = self._path.with_suffix(".new")
        new.write_text(json.dumps(self._places))
        new.replace(self._path)


async def follow(subscription: Subscription, places: Places) -> None:
    async for event in subscription:
        if isinstance(event, Gap):
            # An application loads its state anew here.
            print(f"{event.topic}: {event.lost or 'some'} events are missing", file=sys.stderr, flush=True)
        else:
            print(event.topic, json.dumps(event.data, ensure_ascii=False), flush=True)
        places.note(subscription.name, subscription.position)


def show(status: Status) -> None:
    again = "" if status.delay is None else f"; again in {status.delay:.1f} s"
    print(f"{status.state} {status.reason}".rstrip() + again, file=sys.stderr, flush=True)


async def main() -> None:
    options = arguments().parse_args()
    places = Places(options.positions)
    async with connect(options.url, token=os.environ.get("FANFARE_TOKEN")) as client:
        client.on("state", show)
        loops = []
        for name in options.topics:
            since = places.of(name)
            last = options.last if since is None and "*" not in name else None
            loops.append(follow(client.subscribe(name, since=since, last=last), places))
        await asyncio.gather(*loops)


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("topics", nargs="+", metavar="TOPIC", help="a topic, or a pattern such as 'room.*'")
    parser.add_argument("--url", default="ws://127.0.0.1:8080/api/v1/ws/demo", help="the gateway (%(default)s)")
    parser.add_argument("--last", type=int, metavar="N", help="begin with the newest N events of each topic")
    parser.add_argument("--positions", type=Path, metavar="FILE", help="where to note the positions")
    return parser


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        sys.exit(130)
    except (Closed, RequestError, ValueError) as error:
        sys.exit(f"follow: {error}")
