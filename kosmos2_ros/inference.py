"""The thread that owns the model. Its loop: first a query, then one token of a dialogue or one part of a
batch.

Other threads only leave work: frames in the frame store, queries in a bounded queue, the current command. All
frames that wait become one batch, so cameras share the model, and no camera is served twice before another is
served once. A batch is computed in parts so that queries and dialogues do not wait for the whole of it. A
batch belongs to the command it began with: its results are published under that command's id even if the
command has changed since; the next batch belongs to the newest command. This file does not import rclpy.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from kosmos2_core.answers import Answer, check_finite
from kosmos2_core.box_search import Parts
from kosmos2_core.decoding import Decoding
from kosmos2_core.errors import InputError, ModelError
from kosmos2_core.images import Pixels
from kosmos2_core.requests import Locate, Request
from kosmos2_io.stamps import NS_PER_S
from kosmos2_ros.errors import Code, RequestError, deactivated_error, public_message, timeout_error
from kosmos2_ros.frames import CameraFrame, FrameOutcome, FrameStore
from kosmos2_ros.work import CurrentCommand, InferenceResult, PendingQuery, QueryQueue

MAX_DIALOGUES = 4  # dialogues that are answered at the same time
RECENT_RESULTS = 256  # results that latencies are reported of
RECENT_STEPS = 32  # steps of the model that tell how long a step may take
HANG_FACTOR = 3  # a step that takes so many times as long as the longest of them is not merely slow
WITHDRAWN = "the command was withdrawn meanwhile"


class GroundingModel(Protocol):
    """The part of `kosmos2_core.engine.Engine` that the node uses."""

    @property
    def device(self) -> Any: ...
    @property
    def precision(self) -> str: ...
    def locate_in_parts(self, jobs: list[Any]) -> Parts[list[Answer]]: ...
    def stream(self, seen: list[Pixels], request: Any, decoding: Decoding) -> Iterator[Answer]: ...


@dataclass(frozen=True)
class InferenceLimits:
    """Limits that may change while the thread runs; 0 means no limit."""

    max_age_ns: int = 0  # of a frame, when the model starts on it and when its result is published
    max_rate_hz: float = 0.0  # results of each camera per second
    queue_size: int = 8  # queries that may wait
    hang_s: float = 10.0  # a step that takes longer, and far longer than those before, counts as hung


@dataclass(eq=False)
class DialogueTurn:
    """A turn of a dialogue that is being answered."""

    query: PendingQuery
    frame: CameraFrame
    pixels: Pixels
    answers: Iterator[Answer]  # the answer so far, after each token
    answer: Answer
    inference_ns: int = 0


@dataclass(eq=False)
class FrameBatch:
    """The newest frames of all cameras, which are being grounded for one command."""

    command: CurrentCommand
    images: list[tuple[CameraFrame, Pixels]]
    parts: Parts[list[Answer]]
    began_s: float
    inference_ns: int = 0


class InferenceThread:
    """Owns the model while the node is active.

    Args:
        model: The engine, or a stand-in.
        frames: Where frames come from; their outcomes are counted there.
        publish: Takes each result of the stream, in this thread.
        to_rgb: Converts an image message to RGB pixels.
        now_ns: The time of the clock that frames are stamped by.
        log_error: Logs an unexpected exception.
        limits: Limits, which may be replaced at any time.
        step_s: How long a step of this model took before, such as its warm-up; 0: not known.
    """

    def __init__(
        self,
        model: GroundingModel,
        frames: FrameStore,
        publish: Callable[[InferenceResult], None],
        to_rgb: Callable[[Any], Pixels],
        now_ns: Callable[[], int],
        log_error: Callable[[Exception], None],
        limits: InferenceLimits,
        step_s: float = 0.0,
    ) -> None:
        self.limits = limits
        self.recent: deque[tuple[int, int]] = deque(maxlen=RECENT_RESULTS)  # age and inference time, ns
        self._model, self._frames = model, frames
        self._publish, self._to_rgb, self._now_ns, self._log_error = publish, to_rgb, now_ns, log_error
        self._command: CurrentCommand | None = None
        self._queries = QueryQueue(frames, now_ns)
        self._dialogues: deque[DialogueTurn] = deque()
        self._batch: FrameBatch | None = None
        self._due_s = dict.fromkeys(frames, 0.0)  # when the next result of each camera is due
        self._dialogue_was_last = False
        self._stopping = False
        self._steps_s = deque([step_s], maxlen=RECENT_STEPS)
        self._progress_s: float | None = None  # when the model last finished a step; None: it is idle
        self._changed = frames.changed  # guards the work that waits, and is notified when there is more
        self._thread = threading.Thread(target=self._loop, name="kosmos2-model", daemon=True)

    # Called from other threads.

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, timeout_s: float) -> bool:
        """Stop the thread and refuse all queries that wait.

        Returns:
            True if the thread ended in time. It cannot be ended while the model computes.
        """
        with self._changed:
            self._stopping = True
            self._command = None  # results of a hung model must not be published later
            self._changed.notify()
        self._thread.join(timeout_s)
        self._refuse_all(deactivated_error())
        return not self._thread.is_alive()

    @property
    def command(self) -> CurrentCommand | None:
        """The current command; None: frames are not grounded."""
        return self._command

    @command.setter
    def command(self, command: CurrentCommand | None) -> None:
        with self._changed:
            self._command = command
            self._changed.notify()

    def ask(self, query: PendingQuery) -> None:
        """Put a query into the queue.

        Raises:
            RequestError: The queue is full, the model hangs, or the thread is stopping.
        """
        with self._changed:
            if self._stopping:
                raise RequestError(Code.INACTIVE, "the node is not active: activate it and ask again.")
            if self.hung:
                raise RequestError(Code.BUSY, f"{self.why_hung}.")
            if len(self._queries) >= self.limits.queue_size:
                raise RequestError(
                    Code.BUSY,
                    f"{len(self._queries)} queries are waiting already: ask again when one is answered.",
                )
            self._queries.add(query)
            self._changed.notify()

    @property
    def busy_s(self) -> float:
        """Seconds that the model has worked on its present step; 0 if it is idle."""
        since_s = self._progress_s
        return 0.0 if since_s is None else time.monotonic() - since_s

    @property
    def hung(self) -> bool:
        """True if the present step takes longer than `limits.hang_s`, and far longer than those before it.

        A step is a pass through the model: an image, a token or a part of a search. A model that is slow but
        finishes its steps is not hung.
        """
        return self.busy_s > max(self.limits.hang_s, HANG_FACTOR * max(tuple(self._steps_s)))

    @property
    def why_hung(self) -> str:
        """A sentence about a model that hangs, without its full stop."""
        return f"the model has not answered for {self.busy_s:.0f} s: restart the node"

    @property
    def alive(self) -> bool:
        """True while the thread runs."""
        return self._thread.is_alive()

    @property
    def queue_length(self) -> int:
        """The number of queries that wait and of dialogues that are being answered."""
        return len(self._queries) + len(self._dialogues)

    # The loop.

    def _loop(self) -> None:
        while work := self._wait_for_work():
            self._progress_s = time.monotonic()
            work()
            self._note_progress()
            self._progress_s = None
        if self._batch:
            self._end_batch(self._batch, FrameOutcome.EXPIRED, "the node was deactivated")

    def _note_progress(self) -> None:
        """Note that the model finished a step, and how long it took."""
        now_s = time.monotonic()
        self._steps_s.append(now_s - (self._progress_s or now_s))
        self._progress_s = now_s

    def _wait_for_work(self) -> Callable[[], None] | None:
        """Return the next piece of work, or None to stop."""
        with self._changed:
            while not self._stopping:
                self._queries.refuse_late(self.limits.max_age_ns)
                work = self._next_query() or self._next_token_or_frames()
                if work:
                    return work
                self._changed.wait(self._seconds_to_next_event())
        return None

    def _next_token_or_frames(self) -> Callable[[], None] | None:
        """Alternate between dialogues and frames if there are both."""
        self._dialogue_was_last = not self._dialogue_was_last and bool(self._dialogues)
        if self._dialogue_was_last:
            return self._continue_dialogue
        return (
            self._next_part() or self._new_batch() or (self._continue_dialogue if self._dialogues else None)
        )

    def _seconds_to_next_event(self) -> float | None:
        """Return the seconds until a deadline passes or a camera is due, or None if there is neither."""
        times = self._queries.deadlines_s()
        if self._command:
            times += [self._due_s[name] for name, camera in self._frames.items() if camera.latest.waiting]
        return max(min(times) - time.monotonic(), 0.0) if times else None

    # Queries.

    def _next_query(self) -> Callable[[], None] | None:
        """Return the work on the first query that can be answered now, or None."""
        if (found := self._queries.pop(self.limits.max_age_ns)) is None:
            return None
        query, frame = found
        return lambda: self._answer(query, frame)

    def _answer(self, query: PendingQuery, frame: CameraFrame) -> None:
        try:
            self._frames.expect_depth(frame)
            pixels = self._to_rgb(frame.message)
            if query.on_token:
                self._begin_dialogue(query, frame, pixels)
                return
            request = query.make_request(pixels.shape[1], pixels.shape[0])
            began_ns = time.perf_counter_ns()
            answer = self._compute(pixels, request, query)
            check_finite(answer)
            inference_ns = time.perf_counter_ns() - began_ns
            query.future.set_result(InferenceResult(frame, pixels, answer, inference_ns))
        except Exception as error:  # the asker gets any error as an answer, and the loop continues
            self._refuse(query, error)

    def _compute(self, pixels: Pixels, request: Request, query: PendingQuery) -> Answer:
        """Answer a query. Each step counts as progress, and after each the query can end."""
        answer: Answer | None = None
        for step in self._steps_of(pixels, request, query.decoding):
            answer = step
            if self._stopping:
                raise deactivated_error()
            if query.cancelled.is_set():
                raise timeout_error()
            self._note_progress()
        assert answer is not None
        return answer

    def _steps_of(self, pixels: Pixels, request: Request, decoding: Decoding) -> Iterator[Answer | None]:
        """Yield after each step of the model; what is yielded last is the answer."""
        if isinstance(request, Locate):
            [answer] = yield from self._model.locate_in_parts([([pixels], request)])
            yield answer
        else:
            yield from self._model.stream([pixels], request, decoding)

    def _refuse(self, query: PendingQuery, error: Exception) -> None:
        if isinstance(error, RequestError):
            query.future.set_exception(error)
        elif isinstance(error, InputError):
            query.future.set_exception(RequestError(Code.BAD_REQUEST, str(error)))
        else:
            self._log_error(error)
            query.future.set_exception(RequestError(Code.MODEL_ERROR, public_message(error)))

    def _refuse_all(self, error: RequestError) -> None:
        """Refuse everything that waits, after the end: an answer will not come."""
        with self._changed:
            self._queries.refuse_all(error)
            for turn in self._dialogues:
                turn.query.future.set_exception(error)
            self._dialogues.clear()
        for _, camera in self._frames.items():
            camera.latest.clear()

    # Dialogues.

    def _begin_dialogue(self, query: PendingQuery, frame: CameraFrame, pixels: Pixels) -> None:
        if len(self._dialogues) >= MAX_DIALOGUES:
            raise RequestError(
                Code.BUSY, f"{MAX_DIALOGUES} dialogues are being answered already: ask again later."
            )
        request = query.make_request(pixels.shape[1], pixels.shape[0])
        answers = self._model.stream([pixels], request, query.decoding)
        self._dialogues.append(DialogueTurn(query, frame, pixels, answers, Answer("", finished=False)))

    def _continue_dialogue(self) -> None:
        """Generate one token of the dialogue whose turn it is."""
        turn = self._dialogues.popleft()
        try:
            if self._generate_token(turn):
                self._dialogues.append(turn)
            else:
                turn.query.future.set_result(
                    InferenceResult(turn.frame, turn.pixels, turn.answer, turn.inference_ns)
                )
        except Exception as error:  # as for queries
            self._refuse(turn.query, error)

    def _generate_token(self, turn: DialogueTurn) -> bool:
        """Return False if the answer is complete or was cancelled."""
        query = turn.query
        if query.cancelled.is_set():
            return False
        if query.deadline_s <= time.monotonic():
            raise timeout_error()
        began_ns = time.perf_counter_ns()
        answer = next(turn.answers, None)
        turn.inference_ns += time.perf_counter_ns() - began_ns
        if answer is None:
            check_finite(turn.answer)
            return False
        turn.answer = answer
        if query.on_token:
            query.on_token(answer, turn.pixels)
        return True

    # Frames.

    def _next_part(self) -> Callable[[], None] | None:
        """Return the next part of the batch that was begun, or None."""
        batch = self._batch
        return (lambda: self._continue_batch(batch)) if batch else None

    def _new_batch(self) -> Callable[[], None] | None:
        """Return the start of a batch of all frames that wait and are due, or None."""
        command = self._command
        if command is None:
            return None
        now_s = time.monotonic()
        waiting = [
            camera.latest
            for name, camera in self._frames.items()
            if camera.latest.waiting and self._due_s[name] <= now_s
        ]
        frames = [frame for latest in waiting if (frame := latest.pop())]
        return (lambda: self._begin_batch(frames, command)) if frames else None

    def _begin_batch(self, frames: list[CameraFrame], command: CurrentCommand) -> None:
        images = [(frame, pixels) for frame in frames if (pixels := self._pixels(frame)) is not None]
        if images:
            parts = self._model.locate_in_parts([([pixels], command.request) for _, pixels in images])
            self._batch = FrameBatch(command, images, parts, time.monotonic())
            self._continue_batch(self._batch)

    def _continue_batch(self, batch: FrameBatch) -> None:
        """Compute one part of a batch; publish its results after the last part."""
        if self._command is None:
            self._end_batch(batch, FrameOutcome.EXPIRED, WITHDRAWN)
            return
        began_ns = time.perf_counter_ns()
        try:
            next(batch.parts)
        except StopIteration as stop:
            batch.inference_ns += time.perf_counter_ns() - began_ns
            self._finish_batch(batch, stop.value)
        except Exception as error:  # an error costs these frames only
            self._fail_batch(batch, error)
        else:
            batch.inference_ns += time.perf_counter_ns() - began_ns

    def _finish_batch(self, batch: FrameBatch, answers: list[Answer]) -> None:
        try:
            for answer in answers:
                check_finite(answer)
        except ModelError as error:
            self._fail_batch(batch, error)
            return
        self._batch = None
        for (frame, pixels), answer in zip(batch.images, answers, strict=True):
            self._deliver(InferenceResult(frame, pixels, answer, batch.inference_ns, batch.command))
            if self.limits.max_rate_hz > 0:
                self._due_s[frame.camera] = batch.began_s + 1 / self.limits.max_rate_hz

    def _fail_batch(self, batch: FrameBatch, error: Exception) -> None:
        self._log_error(error)
        self._end_batch(batch, FrameOutcome.FAILED, type(error).__name__)

    def _end_batch(self, batch: FrameBatch, outcome: FrameOutcome, reason: str) -> None:
        """End a batch without results."""
        self._batch = None
        batch.parts.close()
        for frame, _ in batch.images:
            self._frames.finish(frame, outcome, reason)

    def _pixels(self, frame: CameraFrame) -> Pixels | None:
        """Return the pixels of a frame, or None if it is not used and its outcome is counted."""
        if self._too_old(frame):
            self._frames.finish(frame, FrameOutcome.EXPIRED, "too old before the model was free")
            return None
        try:
            self._frames.expect_depth(frame)
            return self._to_rgb(frame.message)
        except InputError as error:
            self._frames.finish(frame, FrameOutcome.REJECTED, str(error))
        except Exception as error:  # an error in the conversion costs this frame only
            self._log_error(error)
            self._frames.finish(frame, FrameOutcome.REJECTED, type(error).__name__)
        return None

    def _deliver(self, result: InferenceResult) -> None:
        frame = result.frame
        if self._command is None:
            self._frames.finish(frame, FrameOutcome.EXPIRED, WITHDRAWN)
        elif self._too_old(frame):
            self._frames.finish(frame, FrameOutcome.EXPIRED, "too old when it was answered")
            age_s = frame.age_ns(self._now_ns()) / NS_PER_S
            self._log_error(
                InputError(
                    f"an answer is dropped because its image is {age_s:.1f} s old: raise max_frame_age_s, or"
                    " ask for fewer phrases at once."
                )
            )
        else:
            try:
                self._publish(result)
            except Exception as error:  # as for the model
                self._log_error(error)
                self._frames.finish(frame, FrameOutcome.FAILED, type(error).__name__)
            else:
                self.recent.append((frame.age_ns(self._now_ns()), result.inference_ns))
                self._frames.finish(frame, FrameOutcome.PROCESSED)

    def _too_old(self, frame: CameraFrame) -> bool:
        return frame.too_old(self._now_ns(), self.limits.max_age_ns)
