"""From the body of a request to a job for the model's thread: parse, check the limits, read the image."""

from __future__ import annotations

import base64
import binascii
import difflib
import hashlib
import re
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from kosmos2_core.boxes import Box, box_of_numbers
from kosmos2_core.decoding import Decoding
from kosmos2_core.engine import Engine
from kosmos2_core.errors import InputError
from kosmos2_core.images import image_size, load_image
from kosmos2_core.requests import (
    DESCRIBE_PROMPTS,
    Ask,
    Caption,
    Chat,
    Describe,
    GenerationRequest,
    Locate,
)
from kosmos2_serve.errors import HttpError
from kosmos2_serve.model_thread import ServedImage, ServeJob, ViewCache
from kosmos2_serve.options import ServeOptions
from kosmos2_serve.schemas import (
    AskBody,
    CaptionBody,
    ChatBody,
    DescribeBody,
    GeneratedText,
    ImageQuery,
    LocateBody,
)

DIALOGUE_TEXTS = 16  # the turns of a dialogue may have this many times the bytes of a text
BYTES_PER_PIXEL = 3
DATA_URL = re.compile(r"data:[\w.+/-]*(?:;[\w.=+-]+)*;base64,", re.ASCII | re.IGNORECASE)

Body = TypeVar("Body", bound=BaseModel)


class MemoryBudget:
    """The memory that the bodies and images of all requests may occupy together.

    Args:
        size: Most bytes.
    """

    def __init__(self, size: int) -> None:
        self._free = size
        self._lock = threading.Lock()

    def take(self, count: int) -> None:
        """Take so many bytes.

        Raises:
            HttpError: They are not free.
        """
        with self._lock:
            if count > self._free:
                raise HttpError(
                    429,
                    "the images that wait fill the server's memory: ask again in a second.",
                    "memory_full",
                    1,
                )
            self._free -= count

    def give_back(self, count: int) -> None:
        """Give bytes back that were taken."""
        with self._lock:
            self._free += count


def parse_body(kind: type[Body], data: bytes) -> Body:
    """Return the body of a request.

    Raises:
        HttpError: It is not JSON, or not of this kind; the sentence names the first thing that is wrong.
    """
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        raise HttpError(400, _sentence(kind, error)) from None


def _sentence(kind: type[BaseModel], error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False)[0]
    name = ".".join(str(part) for part in first["loc"])[:80]
    if first["type"] == "json_invalid":
        return f"the body is not JSON that can be read ({first['msg'].removeprefix('Invalid JSON: ')})."
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(name, kind.model_fields, n=1)
        known = ", ".join(sorted(kind.model_fields))
        advice = f"did you mean {near[0]}?" if near else f"known fields are {known}."
        return f"the field {name!r} is not known: {advice}"
    if first["type"] == "missing":
        return f"the field {name} is missing."
    if not name:
        return f"the body must be a JSON object of the fields {', '.join(sorted(kind.model_fields))}."
    reason = first["msg"]
    return f"{name} cannot be used: {reason[:1].lower()}{reason[1:]}."


def image_bytes(text: str, name: str = "image") -> bytes:
    """Return the file that a request has as Base64 or as a data URL.

    Raises:
        HttpError: It is neither.
    """
    if text[:8].lower().startswith(("http:", "https:", "file:")):
        raise HttpError(400, f"{name} is an address, which the server does not fetch: send the image itself.")
    if match := DATA_URL.match(text[:200]):
        text = text[match.end() :]
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        data = b""
    if not data:
        raise HttpError(400, f"{name} is not the Base64 of an image file, nor a data URL with it.")
    return data


class JobMaker:
    """Makes jobs of requests. Its methods may take long, and may be called in any thread.

    Args:
        engines: The models by name; the first one answers requests that name none.
        options: Limits.
        cache: Images in it are not decoded again.
        budget: Where the memory of decoded images is taken from; the job's end gives it back.
    """

    def __init__(
        self,
        engines: Mapping[str, Engine],
        options: ServeOptions,
        cache: ViewCache,
        budget: MemoryBudget,
    ) -> None:
        self.engines, self.options = engines, options
        self._cache, self._budget = cache, budget

    def model_name(self, name: str | None) -> str:
        """Return the name of the model that a request asks for.

        Raises:
            HttpError: There is no such model.
        """
        if name is None:
            return next(iter(self.engines))
        if name not in self.engines:
            known = ", ".join(self.engines)
            raise HttpError(
                404, f"there is no model {name[:80]!r}: this server has {known}.", "model_not_found"
            )
        return name

    def make(self, body: ImageQuery) -> ServeJob:
        """Return the job of a request.

        Raises:
            HttpError, InputError: The request cannot be used, or there is no memory for its image.
        """
        model = self.model_name(body.model)
        self._check_texts(body)
        deadline_s = self.deadline_s(body.timeout_s)
        decoding = self._decoding(body) if isinstance(body, GeneratedText) else Decoding()
        image, taken = self._image(model, body.image)
        try:
            request = self._request(body, image)
        except BaseException:
            self._budget.give_back(taken)
            raise
        heatmap = isinstance(body, LocateBody) and body.heatmap
        job = ServeJob(model, image, request, deadline_s, decoding, heatmap)
        job.future.add_done_callback(lambda _: self._budget.give_back(taken))
        return job

    def deadline_s(self, timeout_s: float | None) -> float:
        """Return when a request's time is over, by time.monotonic."""
        return time.monotonic() + min(timeout_s or self.options.timeout_s, self.options.max_timeout_s)

    def _decoding(self, body: GeneratedText) -> Decoding:
        if body.max_tokens > self.options.max_tokens:
            raise HttpError(
                400, f"max_tokens is {body.max_tokens}: this server gives at most {self.options.max_tokens}."
            )
        return Decoding(
            max_new_tokens=body.max_tokens,
            temperature=body.temperature,
            top_p=body.top_p,
            seed=body.seed,
            scores=body.scores,
        )

    def _image(self, model: str, text: str | None) -> tuple[ServedImage | None, int]:
        """Return the image of a request, and how many bytes were taken for it."""
        if text is None:
            return None, 0
        data = image_bytes(text)
        digest = hashlib.blake2b(data).digest()
        if view := self._cache.get(model, digest):
            height, width = view.images[0].shape[:2]
            return ServedImage(digest, width, height, None, view), 0
        width, height = image_size(data)
        taken = width * height * BYTES_PER_PIXEL
        self._budget.take(taken)
        try:
            pixels = load_image(data)
        except BaseException:
            self._budget.give_back(taken)
            raise
        height, width = pixels.shape[:2]
        return ServedImage(digest, width, height, pixels), taken

    def _request(self, body: ImageQuery, image: ServedImage | None) -> Locate | GenerationRequest:
        width, height = (image.width, image.height) if image else (1, 1)
        match body:
            case LocateBody():
                return self._locate(body)
            case CaptionBody():
                return Caption(body.detailed, body.ground)
            case DescribeBody():
                return Describe(_region(body.region, width, height), body.wording or DESCRIBE_PROMPTS[0])
            case AskBody():
                region = _region(body.region, width, height) if body.region else None
                return Ask(body.question, region, body.ground)
            case ChatBody():
                turns = tuple((turn.question, turn.answer) for turn in body.turns)
                return Chat(body.question, turns, body.ground)
        raise TypeError(type(body))

    def _locate(self, body: LocateBody) -> Locate:
        request = Locate(
            body.text,
            body.max_boxes,
            body.min_score,
            body.max_corners,
            body.zoom,
            min_presence=body.min_presence,
        )
        count, most = len(request.grounded().phrases), self.options.max_phrases
        if count > most:
            raise InputError(f"the text has {count} phrases, more than {most}: ask for fewer at once.")
        return request

    def _check_texts(self, body: ImageQuery) -> None:
        for name in ("text", "question", "wording"):
            self._check_text(name, getattr(body, name, None) or "")
        if isinstance(body, ChatBody):
            turns = "".join(turn.question + turn.answer for turn in body.turns)
            self._check_text("turns", turns, DIALOGUE_TEXTS)

    def _check_text(self, name: str, text: str, factor: int = 1) -> None:
        most = factor * self.options.max_text_bytes
        if len(text) > most or len(text.encode("utf-8", "replace")) > most:
            raise InputError(f"{name} has more than {most:,} bytes: shorten it.")


def _region(numbers: Sequence[float], width: int, height: int) -> Box:
    x1, y1, x2, y2 = numbers
    return box_of_numbers(x1, y1, x2, y2, width, height)


def describe_models(engines: Mapping[str, Engine], created: int) -> list[dict[str, Any]]:
    """Return what /v1/models says about each model."""
    return [
        {
            "id": name,
            "object": "model",
            "created": created,
            "owned_by": "kosmos2",
            "device": str(engine.device),
            "precision": engine.precision,
            "calibrated": engine.calibration is not None,
            "min_presence": engine.min_presence,
            "grid": engine.control.grid,
        }
        for name, engine in engines.items()
    ]
