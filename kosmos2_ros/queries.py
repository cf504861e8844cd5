"""The services: a request becomes a query for the worker, its result a response with boxes or a reason."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from concurrent.futures import TimeoutError as NotInTime
from dataclasses import dataclass
from functools import partial
from typing import Any

from kosmos2_core.boxes import Box, box_of_pixels
from kosmos2_core.decoding import Decoding
from kosmos2_core.errors import InputError
from kosmos2_core.requests import Ask, Caption, Describe, Request
from kosmos2_io.encodings import Fallback, check
from kosmos2_ros.camera import stamp_ns
from kosmos2_ros.codes import Code, QueryError
from kosmos2_ros.guard import report
from kosmos2_ros.mailbox import Frame
from kosmos2_ros.options import Options
from kosmos2_ros.replies import Replies
from kosmos2_ros.worker import Query, Result, Worker, said, timeout_error

GRACE_S = 0.1  # for the worker to say itself why an answer is late


@dataclass(frozen=True)
class Session:
    """What is there while the node is active."""

    worker: Worker
    replies: Replies


Sized = Callable[[int, int], Request]  # given the image's width and height


class Queries:
    """options, session: as they are now; no session while the node is not active. fallback: reads
    encodings that are not known here."""

    def __init__(
        self,
        options: Callable[[], Options],
        session: Callable[[], Session | None],
        logger: Any,
        fallback: Fallback | None = None,
    ) -> None:
        self.options, self._session, self._logger = options, session, logger
        self._fallback = fallback
        self._numbers = itertools.count(1)

    def locate(self, request: Any, response: Any) -> Any:
        return self._guarded(self._locate, request, response)

    def describe(self, request: Any, response: Any) -> Any:
        return self._guarded(self._describe, request, response)

    def ask(self, request: Any, response: Any) -> Any:
        return self._guarded(self._ask, request, response)

    def _guarded(self, answer: Callable[[Any, Any], None], request: Any, response: Any) -> Any:
        try:
            answer(request, response)
        except Exception as error:  # the border of the node: whoever asked gets an answer
            response.error, response.message = self.reason(error)
        return response

    def reason(self, error: Exception) -> tuple[int, str]:
        if isinstance(error, QueryError):
            return int(error.code), str(error)
        if isinstance(error, InputError):
            return int(Code.BAD_REQUEST), str(error)
        report(self._logger, error)
        return int(Code.MODEL_ERROR), said(error)

    def _locate(self, request: Any, response: Any) -> None:
        options = self.options()
        asked = options.locate(request.text, request.max_boxes or 1, request.min_score, request.zoom)
        result, name = self._answered(request, lambda width, height: asked)
        replies = self.session().replies
        response.frame = replies.frame(result, name)
        response.detections = replies.detections(result, name)
        if request.want_3d:
            placed = replies.placed(result)
            response.detections_3d = replies.detections_3d(result, name, placed)

    def _describe(self, request: Any, response: Any) -> None:
        def about(width: int, height: int) -> Request:
            box = _region(request.region, width, height)
            return Caption(request.detailed) if box is None else Describe(box)

        response.frame = self._frame(*self._answered(request, about))

    def _ask(self, request: Any, response: Any) -> None:
        self.options().check_text(request.question)

        def about(width: int, height: int) -> Request:
            return Ask(request.question, _region(request.region, width, height), request.ground)

        response.frame = self._frame(*self._answered(request, about))

    def _frame(self, result: Result, name: str) -> Any:
        return self.session().replies.frame(result, name)

    # What all of them, and dialogues, share.

    def session(self) -> Session:
        session = self._session()
        if session is None:
            raise QueryError(
                Code.INACTIVE, "the node is not active: configure and activate it, then ask again."
            )
        return session

    def _answered(self, request: Any, about: Sized) -> tuple[Result, str]:
        worker, query = self.session().worker, self.query(request, about)
        worker.ask(query)
        try:
            return query.future.result(query.deadline_s - time.monotonic() + GRACE_S), self.name()
        except NotInTime:
            query.cancelled.set()
            raise timeout_error() from None

    def query(self, request: Any, about: Sized) -> Query:
        """What any of the services and the action is asked, without what it is about."""
        options = self.options()
        deadline_s = time.monotonic() + (_seconds(request.timeout) or options.query_timeout_s)
        image = getattr(request, "image", None)
        camera = _named(request.camera, options.cameras)
        make = partial(
            Query,
            about,
            deadline_s,
            camera,
            decoding=Decoding(max_new_tokens=options.max_new_tokens, deadline_s=deadline_s),
        )
        if image is not None and len(image.data):
            check(image, self._fallback)
            return make(frame=Frame(request.camera, image, stamp_ns(image)))
        before = getattr(request, "not_before", None)
        return make(not_before_ns=before.sec * 10**9 + before.nanosec if before else 0)

    def name(self) -> str:
        """Of a request, where the standing commands count 1, 2, ..."""
        return f"q{next(self._numbers)}"


def _named(camera: str, cameras: tuple[str, ...]) -> str:
    if camera and camera not in cameras:
        raise InputError(f"there is no camera {camera[:60]!r}: ask about {', '.join(cameras) or 'none'}.")
    return camera or cameras[0]


def _seconds(duration: Any) -> float:
    if duration.sec < 0:
        raise InputError(f"the timeout is {duration.sec} s: give 0 for the node's own, or more.")
    return float(duration.sec + duration.nanosec / 1e9)


def _region(region: Any, width: int, height: int) -> Box | None:
    """None: all zero, no region."""
    corners = region.x_min, region.y_min, region.x_max, region.y_max
    return box_of_pixels(*corners, width, height) if any(corners) else None
