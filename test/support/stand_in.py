"""Models that do what a test says, in place of the engine."""

from __future__ import annotations

import threading

from kosmos2_core.answers import Answer, Entity
from kosmos2_core.boxes import Box
from kosmos2_core.requests import Chat, Locate

PATIENCE_S = 60.0
FOUND = Box(0.25, 0.5, 0.75, 1.0, 0.9)


def answer(text: str, boxes=(FOUND,), presence=0.9) -> Answer:
    cells = ((520, 1010),) * len(boxes)
    return Answer(text, (Entity(text, 0, len(text), tuple(boxes), presence, cells),))


class InParts:
    """The engine's way to work in parts and to stream, for models that only have `run`."""

    device, precision = "cpu", "float32"

    def locate_in_parts(self, jobs):
        answers = self.run(jobs)
        yield
        return answers

    def stream(self, seen, request, decoding):
        yield from self.run([(seen, request)], decoding)


class StandIn(InParts):
    """Answers at once, or each time `let` is released; raises `error` once; finds `boxes`."""

    def __init__(self, open_: bool = True) -> None:
        self.jobs, self.arrived, self.let = [], threading.Semaphore(0), threading.Semaphore(0)
        self.open, self.error, self.boxes = open_, None, (FOUND,)

    def pass_(self, jobs) -> None:
        self.jobs.append(jobs)
        self.arrived.release()
        if not self.open:
            assert self.let.acquire(timeout=PATIENCE_S)
        if self.error:
            error, self.error = self.error, None
            raise error

    def wait(self) -> None:
        """Until it is asked something."""
        assert self.arrived.acquire(timeout=PATIENCE_S), "the model was not called"

    def run(self, jobs, decoding=None):
        self.pass_(jobs)
        return [answer(_text(request), self.boxes) for _, request in jobs]

    def stream(self, seen, request, decoding):
        if not isinstance(request, Chat):
            yield from super().stream(seen, request, decoding)
            return
        for count in range(1, 4):
            self.pass_([(seen, request)])
            yield Answer(" ".join("abc"[:count]), finished=False)
        yield Answer("a b c", finished=True)


def _text(request) -> str:
    return request.grounded().text if isinstance(request, Locate) else type(request).__name__
