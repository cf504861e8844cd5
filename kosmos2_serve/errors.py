"""Errors that end a request, with their HTTP status."""

from __future__ import annotations

from typing import Any

from kosmos2_core.errors import Kosmos2Error

TYPES = {  # by status, as OpenAI's clients know them
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    429: "rate_limit_error",
    499: "cancelled",
    500: "server_error",
    503: "server_error",
    504: "timeout_error",
}


class HttpError(Kosmos2Error):
    """A request that is not answered.

    Args:
        status: HTTP status.
        message: One sentence for a person.
        code: A short name for programs; None: the status says enough.
        retry_after_s: When to try again; 0: not said.
    """

    def __init__(self, status: int, message: str, code: str | None = None, retry_after_s: int = 0) -> None:
        super().__init__(message)
        self.status, self.code, self.retry_after_s = status, code, retry_after_s

    def to_dict(self) -> dict[str, Any]:
        """Return the body of the answer, in the shape that OpenAI's clients know."""
        kind = TYPES.get(self.status, "invalid_request_error")
        return {"error": {"message": str(self), "type": kind, "param": None, "code": self.code}}


def cancelled_error() -> HttpError:
    """Return the error of a request that its client has left. No one receives it; metrics count it."""
    return HttpError(499, "the client has left.")


def late_error() -> HttpError:
    """Return the error of a request whose time is over before it is answered."""
    return HttpError(504, "there was no answer in time: set a longer timeout_s, or ask less at once.", "late")


def closing_error() -> HttpError:
    """Return the error of a request that arrives while the server ends."""
    return HttpError(503, "the server is shutting down: ask another one, or again later.", "closing", 1)
