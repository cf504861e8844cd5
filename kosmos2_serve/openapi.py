"""The description of the API in OpenAPI 3.1, made of the schemas."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from kosmos2_core import __version__
from kosmos2_serve.schemas import (
    AnswerBody,
    AskBody,
    CaptionBody,
    ChatBody,
    Completion,
    CompletionBody,
    DescribeBody,
    ErrorBody,
    ExampleScene,
    LocateBody,
    RecordBody,
    RecordSaved,
    ServedModel,
    ServedModels,
    ServerInfo,
)

REFERENCE = "#/components/schemas/{model}"


@dataclass(frozen=True)
class Operation:
    """A path of the API.

    Args:
        path: The path.
        summary: What it does.
        answer: The schema of its answer; None: it is no JSON.
        body: The schema of its body; None: it is a GET.
        streams: It can answer with server-sent events.
        many: The answer is a list.
        status: The status of success.
    """

    path: str
    summary: str
    answer: type[BaseModel] | None = None
    body: type[BaseModel] | None = None
    streams: bool = False
    many: bool = False
    status: int = 200


OPERATIONS = (
    Operation("/v1/locate", "Find phrases in an image.", AnswerBody, LocateBody, True),
    Operation("/v1/caption", "Describe an image.", AnswerBody, CaptionBody, True),
    Operation("/v1/describe", "Describe a box of an image.", AnswerBody, DescribeBody, True),
    Operation("/v1/ask", "Answer a question about an image.", AnswerBody, AskBody, True),
    Operation("/v1/chat", "Answer the next question of a dialogue.", AnswerBody, ChatBody, True),
    Operation("/v1/chat/completions", "OpenAI's chat completions.", Completion, CompletionBody, True),
    Operation("/v1/models", "List the models.", ServedModels),
    Operation("/v1/models/{name}", "Describe a model.", ServedModel),
    Operation("/v1/info", "Say what the server offers, and its limits.", ServerInfo),
    Operation("/v1/examples", "List the images that come with the server.", ExampleScene, many=True),
    Operation("/v1/records", "Save a training record.", RecordSaved, RecordBody, status=201),
    Operation("/healthz", "Say that the process is alive."),
    Operation("/readyz", "Say whether requests are answered: status 200 or 503."),
    Operation("/metrics", "Give the metrics in Prometheus's format."),
)


@cache
def api_description() -> dict[str, Any]:
    """Return the description."""
    used = [model for operation in OPERATIONS for model in (operation.answer, operation.body)]
    models: list[type[BaseModel]] = [ErrorBody, *(model for model in used if model)]
    ordered = list(dict.fromkeys(models))
    _, definitions = models_json_schema([(model, "validation") for model in ordered], ref_template=REFERENCE)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "kosmos2",
            "version": __version__,
            "description": "Ask about images, get text with boxes. docs/serve.md has examples.",
        },
        "paths": {operation.path: _path(operation) for operation in OPERATIONS},
        "components": {
            "schemas": definitions["$defs"],
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
    }


def _path(operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "summary": operation.summary,
        "operationId": operation.path.strip("/").translate(str.maketrans("/{}", "___")),
        "responses": {
            str(operation.status): {"description": "The answer.", **_contents(operation)},
            "default": {"description": "What is wrong.", **_json(_reference(ErrorBody))},
        },
    }
    if "{name}" in operation.path:
        name = {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}
        described["parameters"] = [name]
    if operation.body is None:
        return {"get": described}
    described["requestBody"] = {"required": True, **_json(_reference(operation.body))}
    return {"post": described}


def _contents(operation: Operation) -> dict[str, Any]:
    if operation.answer is None:
        return {}
    schema = _reference(operation.answer)
    contents = _json({"type": "array", "items": schema} if operation.many else schema)
    if operation.streams:
        contents["content"]["text/event-stream"] = {"schema": {"type": "string"}}
    return contents


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": schema}}}


def _reference(model: type[BaseModel]) -> dict[str, Any]:
    return {"$ref": REFERENCE.format(model=model.__name__)}
