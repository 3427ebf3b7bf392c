#!/usr/bin/env python3
"""An application on the backend link: greets each client, answers its requests, and lets it go.

    FANFARE_BACKEND__ENABLED=true fanfare serve --mode demo
    pip install ./clients/python                    # in a virtual environment
    python3 examples/backend.py

Then connect to ws://127.0.0.1:8080/api/v1/ws/demo, as the page on http://127.0.0.1:8080/ does, and send

    {"type":"app","id":1,"data":{"ask":"time"}}
    {"type":"app","data":"bye"}

Where the gateway asks services for a credential, put a token or an API key into FANFARE_TOKEN. Ctrl-C ends
it; what it was told and had not done then comes again to the next one.
"""

import argparse
import asyncio
import os
import signal
import sys
import time

from fanfare_client.backend import Backend, BackendError, Connect, Disconnect, Event, Message


class Application:
    def __init__(self, backend: Backend) -> None:
        self.backend = backend

    async def handle(self, event: Event) -> None:
        """Called for several clients at once, and for one client in order."""
        match event:
            case Connect():
                say(event, f"came from {event.ip}")
                await self.backend.send({"hello": event.user or "guest"}, conn=event.conn, type="greeting")
            case Message(data={"data": {"ask": "time"}}):
                say(event, "asks for the time")
                await event.reply({"time": time.strftime("%H:%M:%S")})
            case Message(data={"data": "bye"}):
                say(event, "says bye")
                await self.backend.disconnect(conn=event.conn, code=1000, reason="bye")
            case Message():
                say(event, f"says {event.data}")
            case Disconnect():
                say(event, f"left after {event.seconds:.1f} s: {event.cause}")


def say(event: Event, text: str) -> None:
    print(f"{event.raw.get('conn', '-')}  {text}", flush=True)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="ws://127.0.0.1:8080", help="the gateway (%(default)s)")
    parser.add_argument("--group", default="default", help="each group gets everything, its members share it (%(default)s)")
    options = parser.parse_args()
    async with Backend(options.url, group=options.group, token=os.environ.get("FANFARE_TOKEN")) as backend:
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, backend.stop)
        print(f"linked to {options.url}", flush=True)
        await backend.run(Application(backend).handle)


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except (BackendError, ValueError) as error:
        sys.exit(f"backend: {error}")
