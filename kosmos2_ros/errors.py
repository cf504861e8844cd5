"""Why a request was not answered, and the edge of the node where exceptions end."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from enum import IntEnum
from typing import Any

from kosmos2_core.errors import Kosmos2Error

LOG_PERIOD_S = 5.0  # at most one line per place and period: a broken camera would fill the log


class Code(IntEnum):
    """The error codes of the services and of the action, as the interface files define them."""

    OK = 0
    BAD_REQUEST = 1
    NO_IMAGE = 2
    STALE = 3
    BUSY = 4
    TIMEOUT = 5
    NO_DEPTH = 6
    NO_TRANSFORM = 7
    MODEL_ERROR = 8
    INACTIVE = 9


class RequestError(Kosmos2Error):
    """A request that gets no answer.

    Args:
        code: The error code of the response.
        message: One sentence for a person.
    """

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code


def timeout_error() -> RequestError:
    """Return the error of a request that was not answered before its deadline."""
    return RequestError(
        Code.TIMEOUT, "there was no answer in time: set a longer timeout, or ask less at once."
    )


def deactivated_error() -> RequestError:
    """Return the error of a request that the node was deactivated before."""
    return RequestError(Code.INACTIVE, "the node was deactivated: activate it and ask again.")


def public_message(error: Exception) -> str:
    """Return a sentence about an error that may be sent to other machines.

    Messages of the project's own errors are sent. Messages of other exceptions can contain paths and
    addresses, so only their type is named.
    """
    if isinstance(error, Kosmos2Error):
        return str(error)
    return f"the model failed on this request ({type(error).__name__}): the node continues, see its log."


def callback_errors(logger: Any, callback: Callable[[Any], None]) -> Callable[[Any], None]:
    """Return the callback with its exceptions logged: an exception in a callback would end the executor."""

    def call(message: Any) -> None:
        try:
            callback(message)
        except Exception as error:  # the edge of the node
            log_error(logger, error)

    return call


def log_error(logger: Any, error: Exception) -> None:
    """Log the project's own errors as one sentence, and any other exception with its traceback."""
    if isinstance(error, Kosmos2Error):
        logger.warning(str(error), throttle_duration_sec=LOG_PERIOD_S)
    else:
        logger.error(_with_traceback(error), throttle_duration_sec=LOG_PERIOD_S)


def log_failure(logger: Any, consequence: str, error: Exception) -> None:
    """Log that something failed that somebody asked for: always, and at level ERROR.

    Args:
        logger: The node's logger.
        consequence: What follows from it, as the beginning of the line.
        error: The project's own errors are logged as their sentence, others with their traceback.
    """
    reason = str(error) if isinstance(error, Kosmos2Error) else _with_traceback(error)
    logger.error(f"{consequence}: {reason}")


def _with_traceback(error: Exception) -> str:
    return "".join(traceback.format_exception(error)).rstrip()
