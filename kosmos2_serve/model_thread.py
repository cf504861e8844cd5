"""The thread that owns the models: requests that arrive together become batches.

Other threads only add jobs. The thread takes all jobs that wait and are alike (a model, a kind of request, a
way of decoding) into one batch, those with the nearest deadline first, and computes all running batches in
turn, a part at a time: a pass through the vision tower, a part of a box search, a token of every answer. So a
long answer delays no short one. A batch of box searches is finished before the next one of this model begins;
the jobs that arrive meanwhile become that one.

An idle thread waits for a few milliseconds before it begins, so that requests which were sent together are
computed together. A job whose deadline has passed or whose client has left is not computed.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Generator, Hashable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kosmos2_core.answers import Answer, check_finite
from kosmos2_core.decoding import Decoding
from kosmos2_core.engine import Engine, View
from kosmos2_core.errors import Kosmos2Error
from kosmos2_core.images import Pixels
from kosmos2_core.requests import GenerationRequest, Locate
from kosmos2_serve.errors import HttpError, cancelled_error, closing_error, late_error
from kosmos2_serve.metrics import ServeMetrics
from kosmos2_serve.options import ServeOptions

MAX_GENERATIONS = 2  # batches of generated texts of a model at the same time
ENCODED_TOGETHER = 8  # images in one pass through the vision tower: the next part can go on after it
HUNG_S = 60.0  # a model that has not finished a part for so long does not work any more

log = logging.getLogger("kosmos2.serve")


@dataclass(frozen=True, eq=False)
class ServedImage:
    """The image of a request.

    Args:
        digest: A digest of its file, the same for equal files.
        width: Width in pixels.
        height: Height in pixels.
        pixels: Its pixels; None: it was cached when the request arrived.
        view: Its encoding if it was cached.
    """

    digest: bytes
    width: int
    height: int
    pixels: Pixels | None = None
    view: View | None = None


@dataclass(frozen=True, eq=False)
class ServedAnswer:
    """An answer, and how it came about.

    Args:
        answer: The answer.
        heatmaps: For each phrase the probability of each cell, if the request asked for it.
        queue_s: Time before a batch took the request.
        model_s: Time from then to the answer.
        batch: Number of requests in that batch.
        image_cached: Whether the image's encoding was known.
    """

    answer: Answer
    heatmaps: tuple[NDArray[np.float32], ...] = ()
    queue_s: float = 0.0
    model_s: float = 0.0
    batch: int = 1
    image_cached: bool = False


@dataclass(eq=False)
class ServeJob:
    """A request that waits for its answer.

    Args:
        model: Name of the model.
        image: The image that it is about; None: it is about none.
        request: What is asked.
        deadline_s: When the client stops waiting, by time.monotonic.
        decoding: How a text is generated.
        heatmap: Compute where the phrases may be.
        on_token: Called in the model's thread with the answer so far after each token.
        alone: Compute it in no batch, because a batch with it failed.
    """

    model: str
    image: ServedImage | None
    request: Locate | GenerationRequest
    deadline_s: float
    decoding: Decoding = field(default_factory=Decoding)
    heatmap: bool = False
    on_token: Callable[[Answer], None] | None = None
    alone: bool = False
    arrived_s: float = field(default_factory=time.monotonic)
    cancelled: threading.Event = field(default_factory=threading.Event)
    future: Future[ServedAnswer] = field(default_factory=Future)

    @property
    def key(self) -> Hashable:
        """A key that jobs share which can be computed in one batch."""
        sampled = self.decoding.temperature > 0  # what is drawn must not depend on the batch
        particular = id(self) if self.alone or (sampled and not self.is_search) else None
        return self.model, self.is_search or self.decoding, particular

    @property
    def is_search(self) -> bool:
        """True if boxes are searched, false if a text is generated."""
        return isinstance(self.request, Locate)

    @property
    def slot(self) -> tuple[str, bool]:
        """The kind of batch, of which few may run at the same time."""
        return self.model, self.is_search

    def refuse(self, error: Exception) -> None:
        """End the job without an answer."""
        if not self.future.done():
            self.future.set_exception(error)


class ViewCache:
    """The encodings of the images that were used last, by model and content. Safe for threads.

    Args:
        count: Most images.
        size: Most bytes of their pixels and encodings.
    """

    def __init__(self, count: int, size: int) -> None:
        self._count, self._size = count, size
        self._views: OrderedDict[tuple[str, bytes], View] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, model: str, digest: bytes) -> View | None:
        """Return the encoding of an image, or None if it is not known."""
        with self._lock:
            if view := self._views.get((model, digest)):
                self._views.move_to_end((model, digest))
            return view

    def add(self, model: str, digest: bytes, view: View) -> None:
        """Keep an encoding; those that were not used for the longest time go."""
        with self._lock:
            if (model, digest) not in self._views:
                self._views[model, digest] = view
                self._bytes += _bytes_of(view)
            while self._views and (len(self._views) > self._count or self._bytes > self._size):
                self._bytes -= _bytes_of(self._views.popitem(last=False)[1])


def _bytes_of(view: View) -> int:
    return sum(image.nbytes for image in view.images) + sum(part.nbytes for part in view.features)


@dataclass(eq=False)
class RunningBatch:
    """Jobs that are computed together."""

    jobs: Sequence[ServeJob]
    began_s: float
    stopped: set[int] = field(default_factory=set)  # indices of the jobs that nobody waits for
    parts: Generator[None, None, None] = field(init=False)


class ModelThread:
    """Owns the models.

    Args:
        engines: The models by name.
        options: Limits of the queue, of batches and of the cache.
        metrics: Counts what is done.
    """

    def __init__(self, engines: Mapping[str, Engine], options: ServeOptions, metrics: ServeMetrics) -> None:
        self.cache = ViewCache(options.cached_images, options.cached_bytes)
        self._engines, self._options, self._metrics = engines, options, metrics
        self._waiting: list[ServeJob] = []
        self._running: deque[RunningBatch] = deque()
        self._changed = threading.Condition()
        self._open = 0  # jobs without an answer
        self._closing = False
        self._part_began_s: float | None = None
        self._thread = threading.Thread(target=self._loop, name="kosmos2-serve-model", daemon=True)

    # Called from other threads.

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def add(self, job: ServeJob) -> None:
        """Add a job; its future gets a ServedAnswer or an exception.

        Raises:
            HttpError: Too many jobs wait, or the server ends.
        """
        with self._changed:
            if self._closing:
                raise closing_error()
            if self._open >= self._options.max_queue:
                raise HttpError(
                    429, f"{self._open} requests are waiting already: ask again in a second.", "queue_full", 1
                )
            self._open += 1
            self._waiting.append(job)
            job.future.add_done_callback(self._note_end)
            self._changed.notify()

    def _note_end(self, _: object) -> None:
        with self._changed:
            self._open -= 1

    def cancel(self, job: ServeJob) -> None:
        """End a job whose client has left."""
        job.cancelled.set()
        with self._changed:
            self._changed.notify()

    def close(self, timeout_s: float) -> bool:
        """Take no more jobs, finish those that are there, and end the thread.

        Returns:
            True if the thread ended in time.
        """
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    @property
    def ready(self) -> bool:
        """True if new jobs will be answered."""
        began_s = self._part_began_s
        hung = began_s is not None and time.monotonic() - began_s > HUNG_S
        return self._thread.is_alive() and not self._closing and not hung

    @property
    def waiting(self) -> int:
        """The number of jobs that no batch has taken."""
        return len(self._waiting)

    # The loop.

    def _loop(self) -> None:
        while batch := self._next_batch():
            self._part_began_s = time.monotonic()
            if self._continue(batch):
                self._running.append(batch)
            self._part_began_s = None

    def _next_batch(self) -> RunningBatch | None:
        """Return the batch whose turn it is, or None at the end."""
        with self._changed:
            while True:
                self._drop_late()
                self._begin_batches()
                if self._running:
                    return self._running.popleft()
                if self._closing and not self._waiting:
                    return None
                self._changed.wait(self._seconds_to_batch())

    def _seconds_to_batch(self) -> float | None:
        """Return how long to wait for more jobs; None: until there are some."""
        if not self._waiting:
            return None
        first_s = min(job.arrived_s for job in self._waiting)
        return max(first_s + self._options.batch_wait_s - time.monotonic(), 0.0)

    def _drop_late(self) -> None:
        """Refuse the waiting jobs that nobody waits for any more."""
        now_s = time.monotonic()
        for job in self._waiting:
            if job.cancelled.is_set():
                job.refuse(cancelled_error())
            elif job.deadline_s <= now_s:
                job.refuse(late_error())
        self._waiting = [job for job in self._waiting if not job.future.done()]

    def _begin_batches(self) -> None:
        """Take waiting jobs into batches, as many as may run."""
        idle = not self._running
        if idle and len(self._waiting) < self._options.max_batch and self._seconds_to_batch():
            return
        self._waiting.sort(key=lambda job: job.deadline_s)
        running = [batch.jobs[0].slot for batch in self._running]
        for key in dict.fromkeys(job.key for job in self._waiting):
            alike = [job for job in self._waiting if job.key == key][: self._options.max_batch]
            slot = alike[0].slot
            if running.count(slot) < (1 if alike[0].is_search else MAX_GENERATIONS):
                running.append(slot)
                self._begin(alike)

    def _begin(self, jobs: Sequence[ServeJob]) -> None:
        taken = set(map(id, jobs))
        self._waiting = [job for job in self._waiting if id(job) not in taken]
        batch = RunningBatch(jobs, time.monotonic())
        batch.parts = self._work(batch)
        self._running.append(batch)
        self._metrics.batches.labels(_kind(jobs[0])).observe(len(jobs))

    def _continue(self, batch: RunningBatch) -> bool:
        """Compute a part of a batch; return False if it is at its end."""
        self._stop_abandoned(batch)
        if len(batch.stopped) == len(batch.jobs) and all(job.future.done() for job in batch.jobs):
            batch.parts.close()
            return False
        try:
            next(batch.parts)
        except StopIteration:
            return False
        except Exception as error:  # the edge of the server: an error ends these jobs only
            self._fail(batch, error)
            return False
        return True

    def _stop_abandoned(self, batch: RunningBatch) -> None:
        """Note the jobs of a batch whose clients have left or whose time is over.

        A text that is late ends where it is; a search has nothing to give.
        """
        now_s = time.monotonic()
        for index, job in enumerate(batch.jobs):
            if job.cancelled.is_set():
                job.refuse(cancelled_error())
            elif job.deadline_s > now_s:
                continue
            elif job.is_search:
                job.refuse(late_error())
            batch.stopped.add(index)

    def _fail(self, batch: RunningBatch, error: Exception) -> None:
        """Refuse the only job of a batch; compute several again, each alone: one of them is to blame."""
        waiting = [job for job in batch.jobs if not job.future.done()]
        if len(batch.jobs) == 1:
            for job in waiting:
                job.refuse(error if isinstance(error, Kosmos2Error) else _unexpected(error))
            return
        for job in waiting:
            job.alone = True
        with self._changed:
            self._waiting += waiting

    # The work on a batch.

    def _work(self, batch: RunningBatch) -> Generator[None, None, None]:
        """Compute the answers of a batch and deliver them; yield after each part."""
        engine = self._engines[batch.jobs[0].model]
        cached = [job.image is None or self._known_view(job) is not None for job in batch.jobs]
        views = yield from self._encode(engine, batch.jobs)
        if batch.jobs[0].is_search:
            answers = yield from self._locate(engine, batch, views)
        else:
            answers = yield from self._generate(engine, batch, views)
        for index, (job, answer) in enumerate(zip(batch.jobs, answers, strict=True)):
            if job.future.done():
                continue
            check_finite(answer)
            maps: Sequence[NDArray[np.float32]] = ()
            if job.heatmap and isinstance(job.request, Locate):
                maps = yield from engine.heatmaps_in_parts(views[index], job.request)
            if not job.future.done():
                job.future.set_result(
                    ServedAnswer(
                        answer,
                        tuple(maps),
                        batch.began_s - job.arrived_s,
                        time.monotonic() - batch.began_s,
                        len(batch.jobs),
                        cached[index],
                    )
                )

    def _known_view(self, job: ServeJob) -> View | None:
        assert job.image is not None
        return job.image.view or self.cache.get(job.model, job.image.digest)

    def _encode(self, engine: Engine, jobs: Sequence[ServeJob]) -> Generator[None, None, list[View]]:
        """Return the view of each job. Images that are not known are encoded, equal ones once."""
        views: dict[bytes, View] = {}
        new: dict[bytes, Pixels] = {}
        for job in jobs:
            if job.image is None:
                continue
            digest, view = job.image.digest, self._known_view(job)
            if view is not None:
                views[digest] = view
            elif job.image.pixels is not None:
                new[digest] = job.image.pixels
        self._metrics.cache_hits.inc(sum(job.image is not None for job in jobs) - len(new))
        digests = list(new)
        for start in range(0, len(digests), ENCODED_TOGETHER):
            together = digests[start : start + ENCODED_TOGETHER]
            encoded = engine.look_many([[new[digest]] for digest in together])
            self._metrics.encoded.inc(len(together))
            for digest, view in zip(together, encoded, strict=True):
                # A feature is a part of the batch's tensor, which it would keep in memory.
                views[digest] = replace(view, features=tuple(part.clone() for part in view.features))
                self.cache.add(jobs[0].model, digest, views[digest])
            yield
        return [views[job.image.digest] if job.image else engine.look() for job in jobs]

    def _locate(
        self, engine: Engine, batch: RunningBatch, views: Sequence[View]
    ) -> Generator[None, None, list[Answer]]:
        pairs = [
            (view, job.request)
            for view, job in zip(views, batch.jobs, strict=True)
            if isinstance(job.request, Locate)
        ]
        return (yield from engine.locate_in_parts(pairs))

    def _generate(
        self, engine: Engine, batch: RunningBatch, views: Sequence[View]
    ) -> Generator[None, None, list[Answer]]:
        pairs: list[tuple[View, Any]] = [
            (view, job.request) for view, job in zip(views, batch.jobs, strict=True)
        ]
        parts = engine.generate_in_parts(pairs, batch.jobs[0].decoding, batch.stopped)
        while True:
            try:
                answer_so_far = next(parts)
            except StopIteration as stop:
                answers: list[Answer] = stop.value
                return answers
            if answer_so_far:
                self._metrics.tokens.inc(len(batch.jobs) - len(batch.stopped))
                for index, job in enumerate(batch.jobs):
                    if job.on_token and index not in batch.stopped:
                        job.on_token(answer_so_far(index))
            yield


def _kind(job: ServeJob) -> str:
    return "locate" if job.is_search else "generate"


def _unexpected(error: Exception) -> HttpError:
    """Log an exception and return the error that the client gets, without its text."""
    log.error("a request failed", exc_info=error)
    return HttpError(500, f"the model failed on this request ({type(error).__name__}): see the server's log.")
