"""The thread that owns the model. Its loop: a query first, then a token of a dialogue or a part of a batch.

Callbacks only leave things here: frames in mailboxes, queries in a bounded queue, the command. All frames
that wait become one batch, so cameras share the model and none is served twice before another is served
once. A batch is done in parts, so that queries and dialogues do not wait for the whole of it. It belongs to
the command that it began with: its results are published under that command's id, even if the command has
changed meanwhile; the next batch belongs to the newest command. No rclpy here.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Protocol

from kosmos2_core.answers import Answer
from kosmos2_core.decoding import Decoding
from kosmos2_core.errors import InputError, Kosmos2Error, ModelError
from kosmos2_core.images import Pixels
from kosmos2_core.localizer import Parts
from kosmos2_core.requests import Locate, Request
from kosmos2_ros.books import Outcome
from kosmos2_ros.codes import Code, QueryError
from kosmos2_ros.mailbox import Frame, Mailbox

PLAIN = Decoding()
MAX_TALKS = 4  # dialogues at a time
RECENT = 256  # results that latencies are told of
WITHDRAWN = "the command was withdrawn meanwhile"


class Model(Protocol):
    """What the worker needs of `kosmos2_core.engine.Engine`."""

    def run(self, jobs: list[Any], decoding: Decoding) -> list[Answer]: ...
    def locate_in_parts(self, jobs: list[Any]) -> Parts[list[Answer]]: ...
    def stream(self, seen: list[Pixels], request: Any, decoding: Decoding) -> Iterator[Answer]: ...


@dataclass(frozen=True)
class Command:
    id: str
    request: Locate


@dataclass(frozen=True)
class Limits:
    """What may change while the thread runs; 0: no limit."""

    max_age_ns: int = 0  # of a frame's stamp, at the start and at publication
    max_rate_hz: float = 0.0  # of each camera's results
    queue_size: int = 8  # queries that wait
    hang_s: float = 10.0  # the model is given up as hung


@dataclass(frozen=True, eq=False)
class Result:
    """An answer about a frame."""

    frame: Frame
    pixels: Pixels
    answer: Answer
    inference_ns: int
    command: Command | None = None  # None: a query's


@dataclass(eq=False)
class Query:
    """A request from outside; its future gets a Result or a QueryError."""

    request: Callable[[int, int], Request]  # given the image's width and height
    deadline_s: float  # by time.monotonic
    camera: str = ""
    decoding: Decoding = PLAIN
    frame: Frame | None = None  # an image that came with it
    not_before_ns: int = 0
    hear: Callable[[Answer, Pixels], None] | None = None  # of a dialogue: told the answer so far, by tokens
    cancelled: threading.Event = field(default_factory=threading.Event)
    future: Future[Result] = field(default_factory=Future)


@dataclass(eq=False)
class Talk:
    """A dialogue's turn that is being answered."""

    query: Query
    frame: Frame
    pixels: Pixels
    pieces: Iterator[Answer]
    answer: Answer
    spent_ns: int = 0


@dataclass(eq=False)
class Batch:
    """The newest frames of all cameras, which are being grounded for one command."""

    command: Command
    seen: list[tuple[Frame, Pixels]]
    parts: Parts[list[Answer]]
    began_s: float
    spent_ns: int = 0


class Worker:
    """publish: called with each stream result, in this thread. to_rgb: a message's pixels. now_ns: the
    clock that frames are stamped by. report: told what an unexpected error was. look: told of each frame
    that goes to the model."""

    def __init__(
        self,
        model: Model,
        cameras: Mapping[str, Mailbox],
        publish: Callable[[Result], None],
        to_rgb: Callable[[Any], Pixels],
        now_ns: Callable[[], int],
        report: Callable[[Exception], None],
        limits: Limits,
        look: Callable[[Frame], None] = lambda frame: None,
    ) -> None:
        self.model, self.cameras, self.limits = model, cameras, limits
        self._publish, self._to_rgb, self._now_ns, self._report = publish, to_rgb, now_ns, report
        self._look = look
        self._command: Command | None = None
        self._queries: deque[Query] = deque()
        self._talks: deque[Talk] = deque()
        self._batch: Batch | None = None
        self._due_s = dict.fromkeys(cameras, 0.0)  # when each camera's next result may be
        self._talked = False
        self._stopping = False
        self._busy_since: float | None = None
        self.recent: deque[tuple[int, int]] = deque(maxlen=RECENT)  # age and inference, ns
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._loop, name="kosmos2-model", daemon=True)

    # From other threads.

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float) -> bool:
        """Whether the thread ended in time; it cannot be ended while the model hangs."""
        with self._news:
            self._stopping = True
            self._command = None  # what a hung model answers later is for nobody
            self._news.notify()
        self._thread.join(timeout_s)
        self._give_up(QueryError(Code.INACTIVE, "the node was deactivated: activate it and ask again."))
        return not self._thread.is_alive()

    def put(self, frame: Frame) -> None:
        self.cameras[frame.camera].put(frame)
        with self._news:
            self._news.notify()

    @property
    def command(self) -> Command | None:
        return self._command

    @command.setter
    def command(self, command: Command | None) -> None:
        with self._news:
            self._command = command
            self._news.notify()

    def ask(self, query: Query) -> None:
        """Put a query into the queue. QueryError: there is no room, or no hope."""
        with self._news:
            if self._stopping:
                raise QueryError(Code.INACTIVE, "the node is not active: activate it and ask again.")
            if self.hung:
                raise QueryError(
                    Code.BUSY, f"the model has not answered for {self.busy_s:.0f} s: restart the node."
                )
            if len(self._queries) >= self.limits.queue_size:
                raise QueryError(
                    Code.BUSY, f"{len(self._queries)} queries wait already: ask again when one is answered."
                )
            self._queries.append(query)
            self._news.notify()

    @property
    def busy_s(self) -> float:
        """How long the model has been at its present work."""
        since = self._busy_since
        return 0.0 if since is None else time.monotonic() - since

    @property
    def hung(self) -> bool:
        return self.busy_s > self.limits.hang_s

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def queued(self) -> int:
        return len(self._queries) + len(self._talks)

    # The loop.

    def _loop(self) -> None:
        while work := self._wait_for_work():
            self._busy_since = time.monotonic()
            work()
            self._busy_since = None
        if self._batch:
            self._drop(self._batch, Outcome.EXPIRED, "the node was deactivated")

    def _wait_for_work(self) -> Callable[[], None] | None:
        """None: stop."""
        with self._news:
            while not self._stopping:
                self._drop_late()
                work = self._query() or self._talk_or_frames()
                if work:
                    return work
                self._news.wait(self._next_s())
        return None

    def _talk_or_frames(self) -> Callable[[], None] | None:
        """By turns, where there are both."""
        self._talked = not self._talked and bool(self._talks)
        if self._talked:
            return self._talk
        return self._next_part() or self._new_batch() or (self._talk if self._talks else None)

    def _next_s(self) -> float | None:
        """In how many seconds to look again, if nothing comes: a deadline, or a camera's turn."""
        times = [query.deadline_s for query in self._queries]
        if self._command:
            times += [self._due_s[name] for name, box in self.cameras.items() if box.waiting]
        return max(min(times) - time.monotonic(), 0.0) if times else None

    # Queries.

    def _drop_late(self) -> None:
        now_s = time.monotonic()
        for query in [one for one in self._queries if one.deadline_s <= now_s or one.cancelled.is_set()]:
            self._queries.remove(query)
            query.future.set_exception(self._why_late(query))

    def _why_late(self, query: Query) -> QueryError:
        try:
            frame = query.frame or self._frame_of(query)
        except QueryError as error:
            return error
        if frame:
            return timeout_error()
        if self.cameras[query.camera].newest is None:
            return _no_image(query.camera)
        return QueryError(
            Code.STALE, "no frame as new as asked for came in time: is the camera still sending?"
        )

    def _query(self) -> Callable[[], None] | None:
        """The first that can be answered now."""
        for query in self._queries:
            try:
                frame = query.frame or self._frame_of(query)
            except QueryError as error:
                self._queries.remove(query)
                query.future.set_exception(error)
                return self._query()
            if frame:
                self._queries.remove(query)
                return lambda: self._answer(query, frame)
        return None

    def _frame_of(self, query: Query) -> Frame | None:
        """The newest that will do; None: wait for one."""
        newest = self.cameras[query.camera].newest
        if query.not_before_ns:
            return newest if newest and newest.stamp_ns >= query.not_before_ns else None
        if newest is None:
            raise _no_image(query.camera)
        if self._too_old(newest):
            age_s = newest.age_ns(self._now_ns()) / 1e9
            raise QueryError(
                Code.STALE, f"the newest frame is {age_s:.1f} s old: is the camera still sending?"
            )
        return newest

    def _answer(self, query: Query, frame: Frame) -> None:
        try:
            self._look(frame)
            pixels = self._to_rgb(frame.message)
            if query.hear:
                self._begin(query, frame, pixels)
                return
            request = query.request(pixels.shape[1], pixels.shape[0])
            [answer], spent_ns = self._run([([pixels], request)], query.decoding)
            query.future.set_result(Result(frame, pixels, answer, spent_ns))
        except Exception as error:  # whatever it was, the asker hears of it and the loop goes on
            self._refuse(query, error)

    def _refuse(self, query: Query, error: Exception) -> None:
        if isinstance(error, QueryError):
            query.future.set_exception(error)
        elif isinstance(error, InputError):
            query.future.set_exception(QueryError(Code.BAD_REQUEST, str(error)))
        else:
            self._report(error)
            query.future.set_exception(QueryError(Code.MODEL_ERROR, said(error)))

    # Dialogues.

    def _begin(self, query: Query, frame: Frame, pixels: Pixels) -> None:
        if len(self._talks) >= MAX_TALKS:
            raise QueryError(Code.BUSY, f"{MAX_TALKS} dialogues are being answered: ask again later.")
        request = query.request(pixels.shape[1], pixels.shape[0])
        pieces = self.model.stream([pixels], request, query.decoding)
        self._talks.append(Talk(query, frame, pixels, pieces, Answer("", finished=False)))

    def _talk(self) -> None:
        """One token of the dialogue whose turn it is."""
        talk = self._talks.popleft()
        query = talk.query
        began_ns = time.perf_counter_ns()
        try:
            if query.cancelled.is_set():
                self._close(talk)
                return
            if query.deadline_s <= time.monotonic():
                raise timeout_error()
            piece = next(talk.pieces, None)
            talk.spent_ns += time.perf_counter_ns() - began_ns
            if piece is None:
                _check_finite(talk.answer)
                self._close(talk)
                return
            talk.answer = piece
            if query.hear:
                query.hear(piece, talk.pixels)
            self._talks.append(talk)
        except Exception as error:  # as for queries
            self._refuse(query, error)

    @staticmethod
    def _close(talk: Talk) -> None:
        talk.query.future.set_result(Result(talk.frame, talk.pixels, talk.answer, talk.spent_ns))

    # Frames.

    def _next_part(self) -> Callable[[], None] | None:
        """The next part of the batch that was begun."""
        batch = self._batch
        return (lambda: self._continue(batch)) if batch else None

    def _new_batch(self) -> Callable[[], None] | None:
        """All frames that wait and are due."""
        command = self._command
        if command is None:
            return None
        now_s = time.monotonic()
        ready = [name for name, box in self.cameras.items() if box.waiting and self._due_s[name] <= now_s]
        frames = [frame for name in ready if (frame := self.cameras[name].take())]
        return (lambda: self._begin_batch(frames, command)) if frames else None

    def _begin_batch(self, frames: list[Frame], command: Command) -> None:
        seen = [(frame, pixels) for frame in frames if (pixels := self._pixels(frame)) is not None]
        if seen:
            parts = self.model.locate_in_parts([([pixels], command.request) for _, pixels in seen])
            self._batch = Batch(command, seen, parts, time.monotonic())
            self._continue(self._batch)

    def _continue(self, batch: Batch) -> None:
        """Do one part of a batch; publish its results after the last."""
        if self._command is None:
            self._drop(batch, Outcome.EXPIRED, WITHDRAWN)
            return
        began_ns = time.perf_counter_ns()
        try:
            next(batch.parts)
        except StopIteration as done:
            batch.spent_ns += time.perf_counter_ns() - began_ns
            self._finish(batch, done.value)
        except Exception as error:  # whatever it was, the next frames are tried
            self._fail(batch, error)
        else:
            batch.spent_ns += time.perf_counter_ns() - began_ns

    def _finish(self, batch: Batch, answers: list[Answer]) -> None:
        try:
            for answer in answers:
                _check_finite(answer)
        except ModelError as error:
            self._fail(batch, error)
            return
        self._batch = None
        for (frame, pixels), answer in zip(batch.seen, answers, strict=True):
            self._deliver(Result(frame, pixels, answer, batch.spent_ns, batch.command))
            if self.limits.max_rate_hz > 0:
                self._due_s[frame.camera] = batch.began_s + 1 / self.limits.max_rate_hz

    def _fail(self, batch: Batch, error: Exception) -> None:
        self._report(error)
        self._drop(batch, Outcome.FAILED, type(error).__name__)

    def _drop(self, batch: Batch, outcome: Outcome, reason: str) -> None:
        """End a batch without results."""
        self._batch = None
        batch.parts.close()
        for frame, _ in batch.seen:
            self._settle(frame, outcome, reason)

    def _pixels(self, frame: Frame) -> Pixels | None:
        """None: not used, and settled."""
        if self._too_old(frame):
            self._settle(frame, Outcome.EXPIRED, "too old before the model was free")
            return None
        try:
            self._look(frame)
            return self._to_rgb(frame.message)
        except InputError as error:
            self._settle(frame, Outcome.REJECTED, str(error))
        except Exception as error:  # a bug in the conversion costs this frame only
            self._report(error)
            self._settle(frame, Outcome.REJECTED, type(error).__name__)
        return None

    def _deliver(self, result: Result) -> None:
        frame = result.frame
        if self._command is None:
            self._settle(frame, Outcome.EXPIRED, WITHDRAWN)
        elif self._too_old(frame):
            self._settle(frame, Outcome.EXPIRED, "too old when it was answered")
        else:
            try:
                self._publish(result)
            except Exception as error:  # as for the model
                self._report(error)
                self._settle(frame, Outcome.FAILED, type(error).__name__)
            else:
                self.recent.append((frame.age_ns(self._now_ns()), result.inference_ns))
                self._settle(frame, Outcome.PROCESSED)

    def _settle(self, frame: Frame, outcome: Outcome, reason: str = "") -> None:
        self.cameras[frame.camera].books.settle(outcome, reason)

    def _too_old(self, frame: Frame) -> bool:
        return 0 < self.limits.max_age_ns < frame.age_ns(self._now_ns())

    def _run(self, jobs: list[Any], decoding: Decoding) -> tuple[list[Answer], int]:
        began_ns = time.perf_counter_ns()
        answers = self.model.run(jobs, decoding)
        for answer in answers:
            _check_finite(answer)
        return answers, time.perf_counter_ns() - began_ns

    def _give_up(self, error: QueryError) -> None:
        """After the end: nobody waits for an answer that will not come."""
        with self._news:
            for query in [*self._queries, *(talk.query for talk in self._talks)]:
                query.future.set_exception(error)
            self._queries.clear()
            self._talks.clear()
        for box in self.cameras.values():
            box.clear()


def _check_finite(answer: Answer) -> None:
    """Broken weights and overflows show as NaN; Box itself refuses such corners."""
    numbers = [one.presence for one in answer.phrases] + [
        box.score for one in answer.phrases for box in one.boxes
    ]
    if any(number is not None and not 0 <= number <= 1 for number in numbers):
        raise ModelError("the model's numbers are not finite: check the checkpoint, or choose another dtype.")


def timeout_error() -> QueryError:
    return QueryError(Code.TIMEOUT, "there was no answer in time: allow more, or ask less at once.")


def _no_image(camera: str) -> QueryError:
    return QueryError(
        Code.NO_IMAGE, f"the camera{' ' * bool(camera)}{camera} has sent no image: is it on, its topic right?"
    )


def said(error: Exception) -> str:
    """For other machines: our own sentences, but nothing of strange errors, which name paths and
    addresses."""
    if isinstance(error, Kosmos2Error):
        return str(error)
    return f"the model failed on this ({type(error).__name__}): the node goes on, its log says more."
