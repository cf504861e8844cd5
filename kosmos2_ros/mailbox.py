"""A camera's newest frame. What comes in replaces what waits, and is counted; nothing queues up."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import Any

from kosmos2_ros.books import Books, Outcome


@dataclass(frozen=True, eq=False)
class Frame:
    """An image message as it came, and when."""

    camera: str
    message: Any  # sensor_msgs Image or CompressedImage
    stamp_ns: int
    arrived_s: float = field(default_factory=time.monotonic)

    def age_ns(self, now_ns: int) -> int:
        """By its stamp, never negative; a camera that sets none is as old as its arrival."""
        if self.stamp_ns == 0:
            return int((time.monotonic() - self.arrived_s) * 1e9)
        return max(now_ns - self.stamp_ns, 0)


class Mailbox:
    def __init__(self) -> None:
        self.books = Books()
        self._waiting: Frame | None = None
        self._newest: Frame | None = None
        self._lock = threading.Lock()

    def put(self, frame: Frame) -> None:
        self.books.receive()
        with self._lock:
            replaced, self._waiting, self._newest = self._waiting, frame, frame
        if replaced:
            self.books.settle(Outcome.REPLACED)

    def reject(self, reason: str) -> None:
        """What came is no frame."""
        self.books.receive()
        self.books.settle(Outcome.REJECTED, reason)

    def take(self) -> Frame | None:
        """The frame that waits; it is with the taker then, who settles it."""
        with self._lock:
            taken, self._waiting = self._waiting, None
        return taken

    @property
    def waiting(self) -> bool:
        return self._waiting is not None

    @property
    def newest(self) -> Frame | None:
        """The last that came, taken or not: queries are about it."""
        return self._newest

    def clear(self) -> None:
        """What waits is given up: the camera is no longer listened to."""
        if self.take():
            self.books.settle(Outcome.EXPIRED, "the node was deactivated")
        self._newest = None
