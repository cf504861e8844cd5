"""A camera's depth images, kept until the frames of the same stamps are answered."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from typing import Any

RECENT = 8  # depth comes a little before or after its image
EXPECTED = 16  # frames with the model at a time


class Depths:
    def __init__(self) -> None:
        self._recent: deque[tuple[int, Any]] = deque(maxlen=RECENT)
        self._expected: OrderedDict[int, tuple[int, Any] | None] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, stamp_ns: int, message: Any) -> None:
        with self._lock:
            self._recent.append((stamp_ns, message))
            for wanted_ns, held in self._expected.items():
                self._expected[wanted_ns] = _nearer(wanted_ns, held, (stamp_ns, message))

    def expect(self, stamp_ns: int) -> None:
        """A frame of this stamp goes to the model: what is nearest to it will be asked for."""
        with self._lock:
            best = self._expected.pop(stamp_ns, None)
            for one in self._recent:
                best = _nearer(stamp_ns, best, one)
            self._expected[stamp_ns] = best
            while len(self._expected) > EXPECTED:
                self._expected.popitem(last=False)

    def at(self, stamp_ns: int, slop_ns: int) -> Any | None:
        """The depth image of an expected stamp; None: there is none near enough."""
        with self._lock:
            best = self._expected.get(stamp_ns)
        return best[1] if best and abs(best[0] - stamp_ns) <= slop_ns else None

    def clear(self) -> None:
        with self._lock:
            self._recent.clear()
            self._expected.clear()


def _nearer(stamp_ns: int, a: tuple[int, Any] | None, b: tuple[int, Any]) -> tuple[int, Any]:
    return b if a is None or abs(b[0] - stamp_ns) < abs(a[0] - stamp_ns) else a
