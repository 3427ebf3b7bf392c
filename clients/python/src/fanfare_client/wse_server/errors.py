"""What cannot be done on the link to the gateway."""

from __future__ import annotations

from ..backend import BackendError


class NotSupportedError(BackendError, NotImplementedError):
    """A call of WSE's server that the gateway's link does not have; the text says what to use instead."""
