"""Messages in WSE's envelope, as applications write them, and what the link carries of them."""

from __future__ import annotations

import datetime
import json
import logging
from dataclasses import dataclass
from typing import Any

from .errors import NotSupportedError

log = logging.getLogger("fanfare_client.wse_server")


@dataclass(slots=True)
class Envelope:
    """What the gateway writes into each client's own protocol."""

    type: str | None
    data: Any
    #: 1, 3, 5, 8 or 10.
    priority: int | None


def parse(text: str | bytes) -> Envelope:
    """The envelope that a frame is. Raises `NotSupportedError` for what is none: the gateway writes nothing else."""
    # Category prefixes of WSE 1.x.
    for prefix in ("WSE{", "S{", "U{"):
        if isinstance(text, str) and text.startswith(prefix):
            text = text[len(prefix) - 1 :]
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise NotSupportedError(
            "The gateway frames messages in each client's own protocol, so frames of the application's own are "
            'not sent: give a JSON object {"t": type, "p": payload}'
        )
    return of(value)


def of(value: dict[str, Any]) -> Envelope:
    """The envelope of an object. One that has neither type nor payload is payload."""
    kind = value.get("t", value.get("type"))
    if "p" in value:
        data = value["p"]
    elif "payload" in value:
        data = value["payload"]
    elif kind is None:
        return Envelope(None, value, None)
    else:
        data = {}
    if not value.keys() <= _WRITTEN_ANEW:
        _tell_lost(value.keys() - _WRITTEN_ANEW)
    priority = value.get("pri")
    return Envelope(None if kind is None else str(kind), data, priority if priority in PRIORITIES else None)


def plain(value: Any) -> Any:
    """Values that JSON does not have, as WSE writes them."""
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, bytes | bytearray):
        return value.hex()
    return str(value)


PRIORITIES = (1, 3, 5, 8, 10)

#: Fields that are carried, and those that the gateway writes itself.
_WRITTEN_ANEW = frozenset(("c", "t", "type", "p", "payload", "id", "seq", "ts", "v", "pri"))

_told: set[str] = set()


def _tell_lost(fields: set[str]) -> None:
    new = fields - _told
    if new:
        _told.update(new)
        log.warning("beside t and p, fields of an envelope do not reach clients: %s", ", ".join(sorted(new)))
