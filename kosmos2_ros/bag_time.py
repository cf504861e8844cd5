"""The time of a recording while it is played: runs at some rate, stands while paused, can be awaited."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class BagTime:
    def __init__(
        self, rate: float, at_ns: int, paused: bool = False, clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        """It stands at this time until it is started."""
        self._rate, self._clock_s = rate, clock_s
        self._at_ns, self._since_s = at_ns, clock_s()  # then it was this time
        self._started, self._paused, self._ended = False, paused, False
        self._news = threading.Condition()

    def start(self, at_ns: int) -> None:
        """It is this time now, and goes on."""
        with self._news:
            self._at_ns, self._since_s, self._started = at_ns, self._clock_s(), True
            self._news.notify_all()

    def now_ns(self) -> int:
        with self._news:
            return self._now_ns()

    def pause(self, paused: bool) -> None:
        with self._news:
            self._at_ns, self._since_s = self._now_ns(), self._clock_s()
            self._paused = paused
            self._news.notify_all()

    def end(self) -> None:
        with self._news:
            self._ended = True
            self._news.notify_all()

    def wait_until(self, at_ns: int) -> bool:
        """Whether that time has come; else it never will."""
        with self._news:
            while not self._ended:
                missing_s = (at_ns - self._now_ns()) / 1e9 / self._rate
                if missing_s <= 0:
                    return True
                self._news.wait(missing_s if self._runs else None)
            return False

    @property
    def _runs(self) -> bool:
        return self._started and not self._paused

    def _now_ns(self) -> int:
        if not self._runs:
            return self._at_ns
        return self._at_ns + round((self._clock_s() - self._since_s) * self._rate * 1e9)
