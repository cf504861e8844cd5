"""OpenAI's chat completions, so that its clients and the agents built on them work unchanged.

The newest image of the dialogue is looked at. System messages are ignored: the models follow no instructions.
The answer's text is grounded Markdown; `message.grounding` has the boxes with their scores.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response

from kosmos2_core.answers import Answer, Entity
from kosmos2_core.boxes import box_of_cells
from kosmos2_core.engine import Engine
from kosmos2_core.errors import InputError
from kosmos2_core.grounded_text import encode_grounded, parse_markdown
from kosmos2_core.prompts import locate_prompt_ids, prompt_ids
from kosmos2_core.requests import Locate
from kosmos2_serve.errors import HttpError
from kosmos2_serve.exchange import EventStream, Exchange
from kosmos2_serve.jobs import JobMaker, parse_body
from kosmos2_serve.model_thread import ServedAnswer, ServeJob
from kosmos2_serve.schemas import (
    AskBody,
    CaptionBody,
    ChatBody,
    ChatMessage,
    ChatTurn,
    CompletionBody,
    DescribeBody,
    ImageQuery,
    ImageUrl,
    LocateBody,
)

if TYPE_CHECKING:
    from kosmos2_serve.app import Service

TASKS = ("chat", "locate", "caption", "describe", "ask")
DEFAULT_TOKENS = 128
DONE = "data: [DONE]\n\n"


@dataclass(frozen=True)
class Conversation:
    """The messages of a request, as the models understand them.

    Args:
        question: The text of the last message.
        turns: The questions and answers before it.
        image: The newest image, as a data URL; None: there is none.
    """

    question: str
    turns: tuple[ChatTurn, ...]
    image: str | None


def conversation_of(messages: Sequence[ChatMessage]) -> Conversation:
    """Return the dialogue that messages hold.

    Raises:
        HttpError: There is no question at the end, or a message has several images.
    """
    question: str | None = None
    image, turns = None, []
    for message in messages:
        if message.role in ("system", "developer"):
            continue
        if message.role not in ("user", "assistant"):
            raise HttpError(
                400, f"a message has the role {message.role[:40]!r}: only user and assistant speak here."
            )
        text, images = _parts_of(message)
        if message.role == "assistant":
            if question is not None:
                turns.append(ChatTurn(question=question, answer=text))
            question = None
            continue
        if len(images) > 1:
            raise HttpError(400, f"a message has {len(images)} images: the model looks at one at a time.")
        image = images[0] if images else image
        question = text if question is None else f"{question}\n{text}"
    if question is None:
        raise HttpError(400, "the last message must be the user's: there is nothing to answer.")
    return Conversation(question.strip(), tuple(turns), image)


def _parts_of(message: ChatMessage) -> tuple[str, list[str]]:
    """Return the text of a message and the addresses of its images."""
    if message.content is None or isinstance(message.content, str):
        return message.content or "", []
    texts, images = [], []
    for part in message.content:
        if part.type == "text":
            texts.append(part.text)
        elif part.type == "image_url" and part.image_url is not None:
            url = part.image_url.url if isinstance(part.image_url, ImageUrl) else part.image_url
            if not url[:5].lower() == "data:":
                raise HttpError(400, "image_url must be a data URL: the server fetches no addresses.")
            images.append(url)
        else:
            raise HttpError(400, f"a message has a part of type {part.type[:40]!r}: send text and image_url.")
    return "\n".join(texts), images


def query_of(body: CompletionBody, maker: JobMaker) -> ImageQuery:
    """Return the request in the server's own form.

    Raises:
        HttpError: It asks for something that is not possible.
    """
    if body.n not in (None, 1):
        raise HttpError(400, f"n is {body.n}: there is one answer to each request.")
    if body.logprobs:
        raise HttpError(400, "logprobs are not given: leave the field out.")
    talk = conversation_of(body.messages)
    model, task = _model_and_task(body, talk, maker)
    if task != "chat" and talk.image is None:
        raise HttpError(400, f"the task {task} is about an image: send one as image_url.")
    common: dict[str, Any] = {"model": model, "image": talk.image, "stream": bool(body.stream)}
    if task == "locate":
        common |= {"max_boxes": body.max_boxes, "min_presence": body.min_presence}
        return LocateBody(text=talk.question, **common)
    common |= {
        "max_tokens": min(
            body.max_completion_tokens or body.max_tokens or DEFAULT_TOKENS, maker.options.max_tokens
        ),
        "temperature": body.temperature or 0.0,
        "top_p": body.top_p or 1.0,
        "seed": body.seed,
    }
    if task == "caption":
        return CaptionBody(ground=body.ground, **common)
    if task == "describe":
        if body.region is None:
            raise HttpError(400, "the task describe needs a region.")
        return DescribeBody(region=body.region, **common)
    if task == "ask":
        return AskBody(question=talk.question, region=body.region, ground=body.ground, **common)
    return ChatBody(question=talk.question, turns=list(talk.turns), ground=body.ground, **common)


def _model_and_task(body: CompletionBody, talk: Conversation, maker: JobMaker) -> tuple[str, str]:
    """Return the model and the task: by the field, by the model's name, or by what was sent."""
    name, _, suffix = body.model.rpartition(":")
    if body.model in maker.engines or suffix not in TASKS:
        name, suffix = body.model, ""
    task = body.task or suffix
    if not task:
        if not talk.question and talk.image:
            task = "caption"
        else:
            marked = bool(talk.image) and any(phrase.boxes is None for phrase in _phrases_of(talk.question))
            task = "locate" if marked else "chat"
    return maker.model_name(name), task


def _phrases_of(markdown: str) -> Sequence[Any]:
    try:
        return parse_markdown(markdown).phrases
    except InputError as error:
        raise HttpError(400, str(error)) from None


async def answer_completion(service: Service, request: HttpRequest) -> Response:
    """Answer a request to /v1/chat/completions."""
    exchange = Exchange(service, request)

    def make(data: bytes) -> tuple[CompletionBody, ServeJob]:
        body = parse_body(CompletionBody, data)
        return body, service.maker.make(query_of(body, service.maker))

    async with exchange.body() as data:
        body, job = await service.read(make, data)
    writer = CompletionWriter(service, body, job)
    if body.stream:
        return EventStream(exchange, job, writer.token_event, writer.last_events)
    return JSONResponse(writer.whole(await exchange.answer(job)))


class CompletionWriter:
    """Writes the answer to a request in OpenAI's form.

    Args:
        service: The application's service.
        body: The request.
        job: The job that answers it.
    """

    def __init__(self, service: Service, body: CompletionBody, job: ServeJob) -> None:
        self._service, self._body, self._job = service, body, job
        self._id, self._created = f"chatcmpl-{uuid.uuid4().hex}", int(time.time())
        self._sent = ""

    def whole(self, served: ServedAnswer) -> dict[str, Any]:
        """Return the whole answer."""
        answer = served.answer
        message = {
            "role": "assistant",
            "content": answer.markdown,
            "refusal": None,
            "grounding": self._grounding(served),
        }
        choice = {
            "index": 0,
            "message": message,
            "logprobs": None,
            "finish_reason": "stop" if answer.finished else "length",
        }
        return self._head("chat.completion") | {"choices": [choice], "usage": self._usage(answer)}

    def token_event(self, job: ServeJob, answer: Answer) -> str:
        """Return the event with the text that is certain by now, if there is any."""
        certain = certain_markdown(answer)
        return self._text_event(certain) if certain.startswith(self._sent) else ""

    def last_events(self, job: ServeJob, result: ServedAnswer | HttpError, began_s: float) -> str:
        """Return the events at the end."""
        if isinstance(result, HttpError):
            return _data(result.to_dict())
        answer = result.answer
        markdown = with_boxes_of_cells(answer, self._grid).markdown
        rest = self._text_event(markdown) if markdown.startswith(self._sent) else ""
        reason = "stop" if answer.finished else "length"
        end = self._chunk({"grounding": self._grounding(result)}, reason)
        options = self._body.stream_options
        usage = self._head("chat.completion.chunk") | {"choices": [], "usage": self._usage(answer)}
        return rest + _data(end) + (_data(usage) if options and options.include_usage else "") + DONE

    @property
    def _engine(self) -> Engine:
        return self._service.engines[self._job.model]

    @property
    def _grid(self) -> int:
        return self._engine.control.grid

    def _text_event(self, markdown: str) -> str:
        new = markdown[len(self._sent) :]
        if not new:
            return ""
        delta = {"content": new} if self._sent else {"role": "assistant", "content": new}
        self._sent = markdown
        return _data(self._chunk(delta, None))

    def _chunk(self, delta: dict[str, Any], reason: str | None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return self._head("chat.completion.chunk") | {"choices": [choice]}

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self._id, "object": kind, "created": self._created, "model": self._body.model}

    def _grounding(self, served: ServedAnswer) -> dict[str, Any]:
        return self._service.answer_body(self._job, served)

    def _usage(self, answer: Answer) -> dict[str, int]:
        """Return the numbers of tokens: those of the prompt with its image, and of the answer's text."""
        engine, request = self._engine, self._job.request
        if isinstance(request, Locate):
            prompt, answered = sum(map(len, locate_prompt_ids(engine.tokenizer, request))), 0
        else:
            prompt = len(prompt_ids(engine.tokenizer, request))
            answered = len(encode_grounded(engine.tokenizer, parse_markdown(answer.markdown)))
        if self._job.image:
            prompt += engine.model.config.latent_query_num + 2
        return {
            "prompt_tokens": prompt,
            "completion_tokens": answered,
            "total_tokens": prompt + answered,
        }


def certain_markdown(answer: Answer) -> str:
    """Return the beginning of an answer so far that nothing which comes later can change.

    Words become a phrase only when its boxes are complete. Until then they count as dropped, or the phrase
    has no box. A space at the end may go, before a full stop.
    """
    end = len(answer.text.rstrip())
    if answer.dropped or not all(phrase.boxes for phrase in answer.phrases):
        complete = [phrase.end for phrase in answer.phrases if phrase.boxes]
        end = max(complete, default=0)
    phrases = tuple(phrase for phrase in answer.phrases if phrase.end <= end and phrase.boxes)
    return replace(answer, text=answer.text[:end], phrases=phrases).markdown


def with_boxes_of_cells(answer: Answer, grid: int) -> Answer:
    """Return an answer whose boxes are those of their cells, as in the answers so far."""

    def of_cells(entity: Entity) -> Entity:
        boxes = tuple(box for pair in entity.cells if (box := box_of_cells(*pair, grid)))
        return replace(entity, boxes=boxes) if len(boxes) == len(entity.boxes) else entity

    return replace(answer, phrases=tuple(map(of_cells, answer.phrases)))


def _data(value: dict[str, Any]) -> str:
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n"
