"""An exception in a callback would end the node, or vanish: here it becomes a line of the log."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

from kosmos2_core.errors import Kosmos2Error

EVERY_S = 5.0  # a broken camera would fill the log


def guarded(logger: Any, callback: Callable[[Any], None]) -> Callable[[Any], None]:
    """The same callback, after which the node goes on."""

    def call(message: Any) -> None:
        try:
            callback(message)
        except Exception as error:  # the border of the node
            report(logger, error)

    return call


def report(logger: Any, error: Exception) -> None:
    """Our own errors are a sentence; of others the log gets all."""
    if isinstance(error, Kosmos2Error):
        logger.warning(str(error), throttle_duration_sec=EVERY_S)
    else:
        logger.error("".join(traceback.format_exception(error)).rstrip(), throttle_duration_sec=EVERY_S)
