"""Callbacks in place of `drain_inbound`."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

from .inbound import Inbound, Inbox

log = logging.getLogger("fanfare_client.wse_server")


class Callbacks:
    """Calls an application's functions in threads: clients in parallel, and each in order.

    A batch is acknowledged when all its calls have returned, and the next one is taken then.
    """

    def __init__(
        self,
        on_connect: Callable[[str, str], Any],
        on_message: Callable[[str, Any], Any],
        on_disconnect: Callable[[str], Any],
    ) -> None:
        self._on_connect = on_connect
        self._on_message = on_message
        self._on_disconnect = on_disconnect
        self._is_ending = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, inbox: Inbox) -> None:
        self._is_ending.clear()
        self._thread = threading.Thread(target=self._run, args=(inbox,), name="fanfare-callbacks", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Waits for the calls that have begun, unless it is called by one of them."""
        self._is_ending.set()
        if self._thread is not None and not threading.current_thread().name.startswith(WORKER):
            self._thread.join()

    def _run(self, inbox: Inbox) -> None:
        with ThreadPoolExecutor(WORKERS, WORKER) as pool:
            while not self._is_ending.is_set():
                lanes: dict[str | None, list[Inbound]] = {}
                for event in inbox.take(BATCH_MAX, POLL_SECONDS):
                    lanes.setdefault(event[1], []).append(event)
                wait([pool.submit(self._call, lane) for lane in lanes.values()])
            # What was called is done.
            inbox.take(0, 0)

    def _call(self, events: list[Inbound]) -> None:
        for kind, conn, data in events:
            try:
                if kind in ("connect", "auth_connect"):
                    # The user is in neither: WSE gives the cookies.
                    self._on_connect(str(conn), data if kind == "connect" else "")
                elif kind == "disconnect":
                    self._on_disconnect(str(conn))
                else:
                    self._on_message(str(conn), data)
            except Exception:
                log.exception("the callback for %s of %s failed", kind, conn)


#: Threads that call, and their names.
WORKERS = 32
WORKER = "fanfare-callback-"

#: Events that are taken at once, and how long is waited for some.
BATCH_MAX = 256
POLL_SECONDS = 0.2
