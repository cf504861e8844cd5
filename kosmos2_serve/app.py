"""The application: an ASGI app around engines.

    app = create_app(Engine.load("models/tabletop-tiny"), ServeOptions())

`guards` is its outermost layer, `jobs` reads requests, `model_thread` answers them. This file holds the
endpoints.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from kosmos2_core import __version__
from kosmos2_core.answers import Answer
from kosmos2_core.engine import Engine
from kosmos2_serve.completions import answer_completion
from kosmos2_serve.errors import HttpError
from kosmos2_serve.examples import EXAMPLES, EXAMPLES_FOLDER
from kosmos2_serve.exchange import EventStream, Exchange
from kosmos2_serve.guards import Application, RequestGuard
from kosmos2_serve.jobs import JobMaker, MemoryBudget, describe_models, parse_body
from kosmos2_serve.metrics import ServeMetrics
from kosmos2_serve.model_thread import ModelThread, ServedAnswer, ServeJob
from kosmos2_serve.openapi import OPERATIONS, api_description
from kosmos2_serve.options import ServeOptions
from kosmos2_serve.record_files import RecordFiles
from kosmos2_serve.schemas import (
    AskBody,
    CaptionBody,
    ChatBody,
    DescribeBody,
    ImageQuery,
    LocateBody,
    RecordBody,
)

PAGE_FOLDER = Path(__file__).parent / "page"
API_PAGE_FOLDER = Path(__file__).parent / "api_page"
READERS = 4  # threads that parse requests and decode images
CLOSE_TIMEOUT_S = 120.0  # for what runs at the end
BODIES: dict[str, type[ImageQuery]] = {
    "/v1/locate": LocateBody,
    "/v1/caption": CaptionBody,
    "/v1/describe": DescribeBody,
    "/v1/ask": AskBody,
    "/v1/chat": ChatBody,
}

PATHS = frozenset([*(operation.path for operation in OPERATIONS), "/openapi.json"])

Endpoint = Callable[[HttpRequest], Awaitable[Response]]


def create_app(engine: Engine | Mapping[str, Engine], options: ServeOptions | None = None) -> Application:
    """Return the application.

    Args:
        engine: The model, or several by name; the first answers requests that name none.
        options: Limits and features.
    """
    engines = dict(engine) if isinstance(engine, Mapping) else {"kosmos2": engine}
    return Service(engines, options or ServeOptions()).application()


class Service:
    """The state that the endpoints share.

    Args:
        engines: The models by name.
        options: Limits and features.
    """

    def __init__(self, engines: Mapping[str, Engine], options: ServeOptions) -> None:
        self.options, self.engines = options, engines
        self.metrics = ServeMetrics(lambda: self.model.waiting)
        self.model = ModelThread(engines, options, self.metrics)
        self.budget = MemoryBudget(options.max_memory_bytes)
        self.maker = JobMaker(engines, options, self.model.cache, self.budget)
        self.records = RecordFiles(options.records) if options.records else None
        self.readers = ThreadPoolExecutor(READERS, "kosmos2-serve-reader")
        self.created = int(time.time())

    def application(self) -> Application:
        """Return the ASGI app."""
        routes: list[Route | Mount] = [
            *(Route(path, self._query_endpoint(kind), methods=["POST"]) for path, kind in BODIES.items()),
            Route("/v1/chat/completions", self._complete, methods=["POST"]),
            Route("/v1/models", self._models),
            Route("/v1/models/{name:path}", self._model),
            Route("/v1/info", self._info),
            Route("/v1/examples", self._examples),
            Route("/v1/records", self._save_record, methods=["POST"]),
            Route("/healthz", self._health),
            Route("/readyz", self._ready),
            Route("/metrics", self._metrics_text),
            Route("/openapi.json", self._openapi),
        ]
        routes += [
            Mount("/docs", StaticFiles(directory=API_PAGE_FOLDER, html=True)),
            Mount("/examples", StaticFiles(directory=EXAMPLES_FOLDER)),
            Mount("/", StaticFiles(directory=PAGE_FOLDER, html=True)),
        ]
        inner = Starlette(routes=routes, lifespan=self._lifespan, exception_handlers={Exception: _raise})
        inner.add_exception_handler(404, _not_found)
        inner.add_exception_handler(405, _not_allowed)
        return RequestGuard(inner, self.options, self.metrics, PATHS)

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        self.model.start()
        try:
            yield
        finally:
            await asyncio.to_thread(self.model.close, CLOSE_TIMEOUT_S)
            self.readers.shutdown(wait=False, cancel_futures=True)

    async def read(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Run a function that parses or decodes in a thread of its own."""
        return await asyncio.get_running_loop().run_in_executor(self.readers, function, *arguments)

    # Questions about images.

    def _query_endpoint(self, kind: type[ImageQuery]) -> Endpoint:
        async def endpoint(request: HttpRequest) -> Response:
            exchange = Exchange(self, request)
            async with exchange.body() as data:
                body, job = await self.read(self._make_job, kind, data)
            if body.stream:
                return EventStream(exchange, job, self._token_event, self._answer_event)
            served = await exchange.answer(job)
            return JSONResponse(self.answer_body(job, served, exchange.began_s))

        return endpoint

    def _make_job(self, kind: type[ImageQuery], data: bytes) -> tuple[ImageQuery, ServeJob]:
        body = parse_body(kind, data)
        return body, self.maker.make(body)

    def answer_body(
        self, job: ServeJob, served: ServedAnswer | Answer, began_s: float | None = None
    ) -> dict[str, Any]:
        """Return the JSON of an answer, or of an answer so far."""
        answer = served.answer if isinstance(served, ServedAnswer) else served
        width, height = (job.image.width, job.image.height) if job.image else (0, 0)
        body = {"model": job.model, "width": width, "height": height, **answer.to_dict(width, height)}
        body["min_presence"] = self.engines[job.model].min_presence
        min_presence = getattr(job.request, "min_presence", None)
        if min_presence is not None:
            body["min_presence"] = min_presence
        if isinstance(served, ServedAnswer) and began_s is not None:
            for phrase, probabilities in zip(body["phrases"], served.heatmaps, strict=False):
                phrase["heatmap"] = [[round(float(value), 5) for value in row] for row in probabilities]
            body["timings"] = {
                "queue_s": served.queue_s,
                "model_s": served.model_s,
                "total_s": time.monotonic() - began_s,
                "batch": served.batch,
                "image_cached": served.image_cached,
            }
        return body

    def _token_event(self, job: ServeJob, answer: Answer) -> str:
        return _event("token", self.answer_body(job, answer))

    def _answer_event(self, job: ServeJob, result: ServedAnswer | HttpError, began_s: float) -> str:
        if isinstance(result, HttpError):
            return _event("error", result.to_dict())
        return _event("answer", self.answer_body(job, result, began_s))

    async def _complete(self, request: HttpRequest) -> Response:
        return await answer_completion(self, request)

    # Everything else.

    async def _models(self, request: HttpRequest) -> Response:
        return JSONResponse({"object": "list", "data": describe_models(self.engines, self.created)})

    async def _model(self, request: HttpRequest) -> Response:
        name = self.maker.model_name(request.path_params["name"])
        [model] = describe_models({name: self.engines[name]}, self.created)
        return JSONResponse(model)

    async def _info(self, request: HttpRequest) -> Response:
        limits = (
            "max_body_bytes",
            "max_text_bytes",
            "max_phrases",
            "max_tokens",
            "timeout_s",
            "max_timeout_s",
        )
        return JSONResponse(
            {
                "version": __version__,
                "models": list(self.engines),
                "records": self.records is not None,
                "examples": EXAMPLES,
                **{name: getattr(self.options, name) for name in limits},
            }
        )

    async def _examples(self, request: HttpRequest) -> Response:
        return JSONResponse(EXAMPLES)

    async def _save_record(self, request: HttpRequest) -> Response:
        if self.records is None:
            raise HttpError(403, "this server saves no records: start it with --records DIR.", "no_records")
        async with Exchange(self, request).body() as data:
            return JSONResponse(await self.read(self._store_record, self.records, data), 201)

    @staticmethod
    def _store_record(records: RecordFiles, data: bytes) -> dict[str, Any]:
        return records.save(parse_body(RecordBody, data))

    async def _health(self, request: HttpRequest) -> Response:
        return JSONResponse({"status": "alive"})

    async def _ready(self, request: HttpRequest) -> Response:
        ready = self.model.ready
        return JSONResponse({"status": "ready" if ready else "not ready"}, 200 if ready else 503)

    async def _metrics_text(self, request: HttpRequest) -> Response:
        return Response(self.metrics.text(), media_type=CONTENT_TYPE_LATEST)

    async def _openapi(self, request: HttpRequest) -> Response:
        return JSONResponse(api_description())


def _event(name: str, value: dict[str, Any]) -> str:
    return f"event: {name}\ndata: {json.dumps(value, ensure_ascii=False)}\n\n"


async def _raise(request: HttpRequest, error: Exception) -> Response:
    raise error  # to the guard, which answers it


async def _not_found(request: HttpRequest, error: Exception) -> Response:
    if request.url.path in PATHS:  # the files of the page were looked through after it
        return await _not_allowed(request, error)
    raise HttpError(404, f"there is no {request.url.path[:80]}: /docs lists what there is.")


async def _not_allowed(request: HttpRequest, error: Exception) -> Response:
    raise HttpError(
        405, f"{request.url.path[:80]} does not answer {request.method[:20]}: /docs says what it does."
    )
