"""Show the progress of set-up: what runs, for how long, and about how long set-up takes in all.

On a terminal a line is rewritten twice a second. In a log each step is a line when it starts and another one
when it ends.
"""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TextIO

PREFIX = "set-up: "
REFRESH_S = 0.5
ERASE = "\r\x1b[K"


@dataclass
class Step:
    """A step that runs or is still to come."""

    expected_s: float
    title: str = ""
    started_s: float | None = None

    def remaining_s(self, now_s: float) -> float:
        elapsed_s = 0.0 if self.started_s is None else now_s - self.started_s
        return max(0.0, self.expected_s - elapsed_s)


class Progress:
    """The steps of a set-up.

    Args:
        stages: Stages that follow each other: how long each of their steps, which run side by side,
            takes on two cores, in seconds, by the step's name.
        stream: Where to print; a terminal gets a live line.
    """

    def __init__(self, stages: Sequence[Mapping[str, float]], stream: TextIO | None = None) -> None:
        self._stream = sys.stdout if stream is None else stream
        self._live = self._stream.isatty()
        self._stages = [{name: Step(seconds) for name, seconds in stage.items()} for stage in stages]
        self._start_s = time.monotonic()
        self._lock = threading.RLock()
        self._ended = threading.Event()
        self._painter: threading.Thread | None = None

    def say(self, text: str) -> None:
        """Print a line of its own, above the live line."""
        with self._lock:
            self._stream.write(f"{ERASE if self._live else ''}{PREFIX}{text}\n")
            self._stream.flush()

    @contextmanager
    def step(self, name: str, title: str, needed: bool = True) -> Iterator[None]:
        """Show a step while the body of the `with` statement runs, unless it has nothing to do."""
        if not needed:
            self._remove(name)
            yield
            return
        step = next(stage[name] for stage in self._stages if name in stage)
        with self._lock:
            step.title, step.started_s = title, time.monotonic()
            if not self._live:
                self.say(f"{title} ... ({self.times()})")
        self._paint_from_now_on()
        try:
            yield
        except BaseException:
            self._erase()
            raise
        finally:
            self._remove(name)
        self.say(f"{title}: done in {time.monotonic() - step.started_s:.0f} s")

    def times(self) -> str:
        """Return how long set-up has taken so far, and about how long it takes in all."""
        now_s = time.monotonic()
        elapsed_s = now_s - self._start_s
        with self._lock:
            remaining_s = sum(
                max((step.remaining_s(now_s) for step in stage.values()), default=0.0)
                for stage in self._stages
            )
        return f"{elapsed_s:.0f} s so far, about {elapsed_s + remaining_s:.0f} s in all"

    def _remove(self, name: str) -> None:
        with self._lock:
            for stage in self._stages:
                stage.pop(name, None)

    def _running(self) -> list[str]:
        steps = [step for stage in self._stages for step in stage.values()]
        return [step.title for step in steps if step.started_s is not None]

    def _paint_from_now_on(self) -> None:
        if self._live and self._painter is None:
            self._painter = threading.Thread(target=self._paint, daemon=True)
            self._painter.start()

    def _paint(self) -> None:
        while not self._ended.wait(REFRESH_S):
            with self._lock:
                if titles := self._running():
                    width = shutil.get_terminal_size().columns - 1
                    times = f" ({self.times()})"
                    text = f"{PREFIX}{' | '.join(titles)}"[: max(0, width - len(times))]
                    self._stream.write(f"{ERASE}{text}{times}")
                    self._stream.flush()

    def _erase(self) -> None:
        if self._live:
            with self._lock:
                self._stream.write(ERASE)
                self._stream.flush()

    def close(self) -> None:
        """Stop the live line and leave the terminal clean."""
        self._ended.set()
        if self._painter is not None:
            self._painter.join()
        self._erase()
