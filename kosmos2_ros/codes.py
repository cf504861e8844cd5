"""Why a query was not answered, as the services' error codes say it."""

from __future__ import annotations

from enum import IntEnum

from kosmos2_core.errors import Kosmos2Error


class Code(IntEnum):
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


class QueryError(Kosmos2Error):
    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code
