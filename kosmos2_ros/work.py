"""Work that other threads leave for the inference thread, the queue of queries, and the results.

A query waits in the queue until a frame that it accepts has arrived, or until its deadline. No rclpy in this
file.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

from kosmos2_core.answers import Answer
from kosmos2_core.decoding import Decoding
from kosmos2_core.images import Pixels
from kosmos2_core.requests import Locate, Request
from kosmos2_io.stamps import NS_PER_S
from kosmos2_ros.errors import Code, RequestError, timeout_error
from kosmos2_ros.frames import CameraFrame, FrameStore

DEFAULT_DECODING = Decoding()

RequestMaker = Callable[[int, int], Request]  # from the width and height of the image


@dataclass(frozen=True)
class CurrentCommand:
    """The request that every frame is answered for, and the id that its results carry."""

    id: str
    request: Locate


@dataclass(frozen=True, eq=False)
class InferenceResult:
    """An answer about a frame."""

    frame: CameraFrame
    pixels: Pixels  # (height, width, 3), RGB
    answer: Answer
    inference_ns: int
    command: CurrentCommand | None = None  # None: the answer to a query

    @property
    def size_px(self) -> tuple[int, int]:
        """Width and height of the image."""
        height, width = self.pixels.shape[:2]
        return width, height


@dataclass(eq=False)
class PendingQuery:
    """A service request or a dialogue turn; its future gets an InferenceResult or a RequestError.

    Args:
        make_request: Makes the request for the engine, once the size of the image is known.
        deadline_s: When the asker stops waiting, by time.monotonic.
        camera: Whose newest frame it is about.
        decoding: How text is generated.
        frame: The image that came with the request; None: the camera's newest.
        not_before_ns: Wait for a frame with this stamp or a later one; 0: any fresh frame.
        on_token: For a dialogue: called with the answer so far after each token.
        cancelled: Set by the asker to end the work.
    """

    make_request: RequestMaker
    deadline_s: float
    camera: str = ""
    decoding: Decoding = DEFAULT_DECODING
    frame: CameraFrame | None = None
    not_before_ns: int = 0
    on_token: Callable[[Answer, Pixels], None] | None = None
    cancelled: threading.Event = field(default_factory=threading.Event)
    future: Future[InferenceResult] = field(default_factory=Future)


class QueryQueue:
    """Queries that wait for the model, in the order in which they came.

    Its user holds the lock `frames.changed` during every call.

    Args:
        frames: Where frames come from.
        now_ns: The time of the clock that frames are stamped by.
    """

    def __init__(self, frames: FrameStore, now_ns: Callable[[], int]) -> None:
        self._frames, self._now_ns = frames, now_ns
        self._queries: deque[PendingQuery] = deque()

    def __len__(self) -> int:
        return len(self._queries)

    def add(self, query: PendingQuery) -> None:
        """Append a query."""
        self._queries.append(query)

    def deadlines_s(self) -> list[float]:
        """Return the deadlines of all queries, by time.monotonic."""
        return [query.deadline_s for query in self._queries]

    def pop(self, max_age_ns: int) -> tuple[PendingQuery, CameraFrame] | None:
        """Remove the first query that can be answered now; refuse those before it that cannot be answered.

        Args:
            max_age_ns: The highest age of a frame; 0: any age.

        Returns:
            The query and the frame it is about, or None if all queries wait for a newer frame.
        """
        for query in list(self._queries):
            try:
                frame = query.frame or self._frame_of(query, max_age_ns)
            except RequestError as error:
                self._refuse(query, error)
                continue
            if frame:
                self._queries.remove(query)
                return query, frame
        return None

    def refuse_late(self, max_age_ns: int) -> None:
        """Refuse the queries whose deadline has passed or that were cancelled."""
        now_s = time.monotonic()
        for query in list(self._queries):
            if query.deadline_s <= now_s or query.cancelled.is_set():
                self._refuse(query, self._why_late(query, max_age_ns))

    def refuse_all(self, error: RequestError) -> None:
        """Refuse all queries."""
        for query in list(self._queries):
            self._refuse(query, error)

    def _refuse(self, query: PendingQuery, error: RequestError) -> None:
        self._queries.remove(query)
        query.future.set_exception(error)

    def _why_late(self, query: PendingQuery, max_age_ns: int) -> RequestError:
        try:
            frame = query.frame or self._frame_of(query, max_age_ns)
        except RequestError as error:
            return error
        if frame:
            return timeout_error()
        if self._frames[query.camera].latest.newest is None:
            return _no_image(query.camera)
        return RequestError(
            Code.STALE, "no frame as new as requested arrived in time: is the camera still sending?"
        )

    def _frame_of(self, query: PendingQuery, max_age_ns: int) -> CameraFrame | None:
        """Return the newest frame if it is new enough, or None to wait for a newer one.

        Raises:
            RequestError: The camera has sent nothing, or nothing recent.
        """
        newest = self._frames[query.camera].latest.newest
        if query.not_before_ns:
            return newest if newest and newest.stamp_ns >= query.not_before_ns else None
        if newest is None:
            raise _no_image(query.camera)
        if newest.too_old(now_ns := self._now_ns(), max_age_ns):
            age_s = newest.age_ns(now_ns) / NS_PER_S
            raise RequestError(
                Code.STALE, f"the newest frame is {age_s:.1f} s old: is the camera still sending?"
            )
        return newest


def _no_image(camera: str) -> RequestError:
    name = f" {camera}" if camera else ""
    return RequestError(
        Code.NO_IMAGE, f"the camera{name} has sent no image: is it on, and is its topic right?"
    )
