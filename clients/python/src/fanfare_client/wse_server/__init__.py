"""WSE's standalone server on the gateway: an application moves by changing an import.

    from fanfare_client.wse_server import RustWSEServer

What else the package `wse_server` has, such as `rust_jwt_encode`, is there as before: it needs no server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from ..backend import BackendError, LinkLost, OperationError, Refused
from .errors import NotSupportedError
from .server import WSEServer

#: The name in `wse_server`.
RustWSEServer = WSEServer

__all__ = [
    "BackendError",
    "LinkLost",
    "NotSupportedError",
    "OperationError",
    "Refused",
    "RustWSEServer",
    "WSEServer",
]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> NoReturn:
        if name.startswith(("rust_", "Rust", "Event", "DeliveryGuarantee")):
            raise ImportError(f"{name} needs no server and is where it was: from wse_server import {name}")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
