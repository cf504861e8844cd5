"""A request and its answer: read the body, wait for the model, stream events; notice that a client leaves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from kosmos2_core.answers import Answer
from kosmos2_serve.errors import HttpError, cancelled_error, late_error
from kosmos2_serve.guards import http_error
from kosmos2_serve.model_thread import ServedAnswer, ServeJob

if TYPE_CHECKING:
    from kosmos2_serve.app import Service

GRACE_S = 1.0  # after a deadline, for the model's thread to say so itself


class Exchange:
    """A request that is being answered.

    Args:
        service: The application's service.
        request: The request.
    """

    def __init__(self, service: Service, request: HttpRequest) -> None:
        self.service, self._request = service, request
        self.began_s = time.monotonic()

    @asynccontextmanager
    async def body(self) -> AsyncIterator[bytes]:
        """Read the body. Its memory is taken from the budget while the context is open."""
        budget, taken = self.service.budget, 0
        chunks = []
        try:
            async for chunk in self._request.stream():
                budget.take(len(chunk))
                taken += len(chunk)
                chunks.append(chunk)
            self.began_s = time.monotonic()
            yield b"".join(chunks)
        finally:
            budget.give_back(taken)

    async def answer(self, job: ServeJob) -> ServedAnswer:
        """Return the answer to a job.

        Raises:
            HttpError: The queue is full, the time is over, or the client has left.
        """
        self._add(job)
        waiting = asyncio.ensure_future(asyncio.wrap_future(job.future))
        gone = asyncio.ensure_future(self.gone())
        try:
            timeout_s = job.deadline_s + GRACE_S - time.monotonic()
            await asyncio.wait((waiting, gone), timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
            if waiting.done():
                return waiting.result()
            raise cancelled_error() if gone.done() else late_error()
        finally:
            gone.cancel()
            self._leave(job, waiting)

    def _add(self, job: ServeJob) -> None:
        try:
            self.service.model.add(job)
        except HttpError as error:
            job.refuse(error)  # gives its memory back
            raise

    def _leave(self, job: ServeJob, waiting: asyncio.Future[ServedAnswer]) -> None:
        if not job.future.done():
            self.service.model.cancel(job)
        waiting.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def gone(self) -> None:
        """Wait until the client has left."""
        while (await self._request.receive())["type"] != "http.disconnect":
            pass

    async def results(self, job: ServeJob) -> AsyncIterator[Answer | ServedAnswer | HttpError]:
        """Yield the answer so far after tokens, and at last the whole answer or an error.

        Of several tokens that arrive while the client takes one, the newest is yielded.
        """
        loop = asyncio.get_running_loop()
        newest: list[Answer] = []
        changed = asyncio.Event()

        def on_token(answer: Answer) -> None:
            newest[:] = [answer]
            loop.call_soon_threadsafe(changed.set)

        job.on_token = on_token
        self._add(job)
        waiting = asyncio.ensure_future(asyncio.wrap_future(job.future))
        waiting.add_done_callback(lambda _: changed.set())
        try:
            while not waiting.done():
                try:
                    await asyncio.wait_for(changed.wait(), job.deadline_s + GRACE_S - time.monotonic())
                except TimeoutError:
                    yield late_error()
                    return
                changed.clear()
                if newest and not waiting.done():
                    yield newest.pop()
            error = waiting.exception()
            yield waiting.result() if error is None else http_error(_as_exception(error))
        finally:
            self._leave(job, waiting)


def _as_exception(error: BaseException) -> Exception:
    return error if isinstance(error, Exception) else RuntimeError(type(error).__name__)


TokenEvent = Callable[[ServeJob, Answer], str]
AnswerEvent = Callable[[ServeJob, "ServedAnswer | HttpError", float], str]


class EventStream(Response):
    """A response of server-sent events. If there is an error before the first of them, it is a plain one.

    Args:
        exchange: The request.
        job: The job that answers it.
        token_event: Makes the event of an answer so far; an empty text sends nothing.
        answer_event: Makes the last event.
    """

    media_type = "text/event-stream"

    def __init__(
        self, exchange: Exchange, job: ServeJob, token_event: TokenEvent, answer_event: AnswerEvent
    ) -> None:
        super().__init__(headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._exchange, self._job = exchange, job
        self._token_event, self._answer_event = token_event, answer_event

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        gone = asyncio.ensure_future(self._exchange.gone())
        sending = asyncio.ensure_future(self._send_events(send))
        try:
            await asyncio.wait((gone, sending), return_when=asyncio.FIRST_COMPLETED)
            if not sending.done():
                raise cancelled_error()
            sending.result()
        finally:
            gone.cancel()
            sending.cancel()
            await asyncio.gather(gone, sending, return_exceptions=True)

    async def _send_events(self, send: Any) -> None:
        results = self._exchange.results(self._job)
        started = False
        try:
            async for result in results:
                if isinstance(result, HttpError) and not started:
                    raise result
                if not started:
                    started = True
                    await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
                if isinstance(result, Answer):
                    text = self._token_event(self._job, result)
                else:
                    text = self._answer_event(self._job, result, self._exchange.began_s)
                if text:
                    await send(
                        {
                            "type": "http.response.body",
                            "body": text.encode("utf-8", "replace"),
                            "more_body": True,
                        }
                    )
        finally:
            await results.aclose()  # type: ignore[attr-defined]
        await send({"type": "http.response.body", "body": b"", "more_body": False})
