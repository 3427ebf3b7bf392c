"""What can go wrong, and what to do about it."""

from __future__ import annotations


class BackendError(Exception):
    """The base of every error of this package."""


class LinkLost(BackendError):
    """The link was cut before the gateway answered: the operation may or may not have been done.

    Also raised for an answer to a message of an earlier link. That message comes again.
    """


class OperationError(BackendError):
    """The gateway did not do an operation.

    `code` is one of `invalid`, `not_found`, `unsupported`, `forbidden`, `too_large`, `busy` and `unknown_op`;
    `message` says why.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class Refused(BackendError):
    """The gateway refused the link with an HTTP status; the text says what to do."""

    def __init__(self, url: str, status: int, detail: str, retry_after: float | None = None) -> None:
        super().__init__(url, status, detail)
        self.url = url
        self.status = status
        self.detail = detail
        #: Seconds after which the gateway would have the next attempt, where it says so.
        self.retry_after = retry_after

    @property
    def is_final(self) -> bool:
        """Whether another attempt with the same arguments would be refused, too."""
        return self.status < 500 and self.status not in (408, 425, 429)

    def __str__(self) -> str:
        said = f"{self.url} refused the link with status {self.status}"
        if self.detail:
            said += f": {self.detail}"
        advice = _ADVICE.get(self.status)
        return f"{said}\n{advice}" if advice else said


class ProtocolError(BackendError):
    """The peer does not speak the protocol of the link."""


_ADVICE = {
    200: "Something else than a gateway answers there: give the gateway's address without a path, "
    "as ws://127.0.0.1:8080.",
    400: "One of group, filter, credit and format is not what the gateway takes.",
    401: 'The gateway asks applications for a credential: token=, a token with the role "service" or an API key. '
    "A callable is asked again for each attempt, for tokens that expire.",
    403: 'The credential is not one of a service: the token needs the role "service".',
    404: "Set backend.enabled = true in the gateway's configuration (FANFARE_BACKEND__ENABLED=true), and give "
    "its address without a path, as ws://127.0.0.1:8080.",
    429: "The gateway has as many groups or members as it takes: backend.max_groups, backend.max_members.",
}
