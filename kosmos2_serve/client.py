"""A model on another machine, used as if it were on this one.

    engine = RemoteEngine("http://box:8000")
    view = engine.look(image)
    [answer] = view.run(Locate("the red mug"))

`http://box:8000?jpeg=95` sends images as JPEG of this quality rather than as PNG, which is lossless;
`?model=NAME` names one of the server's models. A token comes from the environment variable KOSMOS2_TOKEN.

A request is tried again while its time lasts: after a refused or broken connection, and when the server is
full. This module needs nothing but the core and the standard library.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlsplit

import cv2

from kosmos2_core.answers import Answer
from kosmos2_core.box_search import Parts
from kosmos2_core.command_parser import split_command
from kosmos2_core.decoding import Decoding
from kosmos2_core.errors import InputError, ModelError, TooLongError
from kosmos2_core.grounded_text import write_markdown
from kosmos2_core.images import ImageSource, Pixels, load_image
from kosmos2_core.requests import Ask, Caption, Chat, Describe, GenerationRequest, Locate, Request
from kosmos2_serve.wire import TOKEN_VARIABLE, TOO_LONG, answer_of, is_server

DEFAULT_TIMEOUT_S = 30.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 1.0  # between two tries
POLL_S = 0.02  # how often a caller gets its turn while an answer is awaited
CONNECTIONS = 8
MAX_ANSWER_BYTES = 64 << 20
FULL = (429, 503)  # the server can answer later
DEFAULT_DECODING = Decoding()

T = TypeVar("T")
# Without them JPEG keeps colours at half the resolution, which moves boxes of small objects.
FULL_COLOURS = (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)
PNG_COMPRESSION = 1  # of 9: nearly as small, several times as fast


class ServerError(ModelError):
    """A server does not answer, or not as it should. The text names it."""


@dataclass(frozen=True)
class ServerAddress:
    """The address of a server, and how to send images to it.

    Args:
        url: The address without the options after it, as messages name it.
        host: The host.
        port: The port.
        secure: Use TLS.
        path: What comes before /v1.
        jpeg: Quality of JPEG, 1 to 100; None: PNG.
        model: Name of the model; None: the server's first.
    """

    url: str
    host: str
    port: int
    secure: bool
    path: str = ""
    jpeg: int | None = None
    model: str | None = None

    @classmethod
    def parse(cls, text: str) -> ServerAddress:
        """Return the address in a text such as `http://box:8000?jpeg=95&model=NAME`.

        Raises:
            InputError: It is no address of a server.
        """
        try:
            parts = urlsplit(text)
            port, host = parts.port, parts.hostname
            options = dict(parse_qsl(parts.query, strict_parsing=True)) if parts.query else {}
        except ValueError as error:
            raise InputError(f"{text} is not an address such as http://box:8000 ({error}).") from None
        if not is_server(text) or not host or parts.username is not None or parts.fragment:
            raise InputError(f"the server {text} is not an address such as http://box:8000.")
        if unknown := sorted(set(options) - {"jpeg", "model"}):
            raise InputError(f"the server {text} has the option {unknown[0]}: known are jpeg and model.")
        jpeg = options.get("jpeg")
        if jpeg is not None and not (jpeg.isdecimal() and 1 <= int(jpeg) <= 100):
            raise InputError(f"the server {text} has jpeg={jpeg}: it is a quality from 1 to 100.")
        secure = parts.scheme.lower() == "https"
        url = f"{parts.scheme.lower()}://{parts.netloc}{parts.path.rstrip('/')}"
        return cls(
            url,
            host,
            port or (443 if secure else 80),
            secure,
            parts.path.rstrip("/"),
            int(jpeg) if jpeg else None,
            options.get("model"),
        )


@dataclass(frozen=True, eq=False)
class RemoteView:
    """Images to ask a server about. They are compressed once.

    Args:
        images: The images, RGB.
        engine: The engine that answers.
    """

    images: tuple[Pixels, ...]
    engine: RemoteEngine
    data: list[str] = field(default_factory=list, repr=False)

    def run(self, *requests: Request, decoding: Decoding = DEFAULT_DECODING) -> list[Answer]:
        """Answer requests about these images, see `RemoteEngine.run`."""
        return self.engine.run([(self, request) for request in requests], decoding)

    def stream(self, request: GenerationRequest, decoding: Decoding = DEFAULT_DECODING) -> Iterator[Answer]:
        """Answer a request about these images token by token, see `RemoteEngine.stream`."""
        return self.engine.stream(self, request, decoding)

    def encoded(self) -> str | None:
        """Return the image as requests hold it; None: there is none."""
        if len(self.images) > 1:
            raise InputError(f"a server answers about one image: this view has {len(self.images)}.")
        if not self.data and self.images:
            self.data.append(compress(self.images[0], self.engine.address.jpeg))
        return self.data[0] if self.data else None


RemoteImages = RemoteView | Sequence[ImageSource]


def compress(pixels: Pixels, jpeg: int | None) -> str:
    """Return the Base64 of an image as PNG, or as JPEG of a quality."""
    bgr = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    if jpeg is None:
        data = cv2.imencode(".png", bgr, (cv2.IMWRITE_PNG_COMPRESSION, PNG_COMPRESSION))[1]
    else:
        data = cv2.imencode(".jpg", bgr, (cv2.IMWRITE_JPEG_QUALITY, jpeg, *FULL_COLOURS))[1]
    return base64.b64encode(data.tobytes()).decode()


class RemoteEngine:
    """A model that a server runs. It has the methods of `kosmos2_core.engine.Engine` that make sense for one.

    Attributes:
        weights: None, since the server has them.

    Args:
        address: The address of the server, see the module's text.
        timeout_s: Time of a request with all its tries, where its decoding states no deadline.
        token: The bearer token; None: that of the environment variable KOSMOS2_TOKEN, if it is set.

    Raises:
        InputError: The address is none.
        ServerError: The server does not answer in this time, or has no such model.
    """

    weights = None

    def __init__(self, address: str, timeout_s: float = DEFAULT_TIMEOUT_S, token: str | None = None) -> None:
        self.address = ServerAddress.parse(address)
        self.timeout_s = timeout_s
        self._token = os.environ.get(TOKEN_VARIABLE) if token is None else token
        self._local = threading.local()  # each thread has a connection
        self._threads = ThreadPoolExecutor(CONNECTIONS, "kosmos2-remote")
        self._failing_since_s: float | None = None
        self._reason = ""
        self._model = self._describe()

    # What the server says about its model.

    @property
    def device(self) -> str:
        """The server, and the device that its model runs on."""
        return f"{self.address.url} ({self._model['device']})"

    @property
    def precision(self) -> str:
        """The precision that the model computes in."""
        return str(self._model["precision"])

    @property
    def min_presence(self) -> float:
        """The presence below which a phrase gets no box, unless a request sets another one."""
        return float(self._model["min_presence"])

    @property
    def problem(self) -> str:
        """A sentence if the last try failed, else an empty text."""
        since_s = self._failing_since_s
        if since_s is None:
            return ""
        return f"{self.address.url} has not answered for {time.monotonic() - since_s:.0f} s: {self._reason}."

    def _describe(self) -> dict[str, Any]:
        listed = self._request("GET", "/v1/models", None, time.monotonic() + self.timeout_s)
        try:
            models = {str(model["id"]): dict(model) for model in listed["data"]}
            name = self.address.model or next(iter(models))
            if name in models:
                return {key: models[name][key] for key in ("device", "precision", "min_presence")}
        except (KeyError, TypeError, ValueError, StopIteration):
            raise ServerError(f"{self.address.url} is no server of kosmos2: check the address.") from None
        raise ServerError(f"{self.address.url} has no model {name}: it has {', '.join(models)}.")

    # The methods of an engine.

    def look(self, *images: ImageSource) -> RemoteView:
        """Return a view of the images of one prompt."""
        return RemoteView(tuple(map(load_image, images)), self)

    def run(
        self, jobs: Sequence[tuple[RemoteImages, Request]], decoding: Decoding = DEFAULT_DECODING
    ) -> list[Answer]:
        """Answer many requests, all of them at the same time.

        Raises:
            InputError: A request is of no use, or of a kind that a server does not answer.
            ServerError: The server does not answer in time.
        """
        calls = [self._call(images, request, decoding) for images, request in jobs]
        return [call.future.result() for call in self._start(calls)]

    def locate_in_parts(self, jobs: Sequence[tuple[RemoteImages, Locate]]) -> Parts[list[Answer]]:
        """Answer Locate requests; yield every 20 ms meanwhile. A generator that is closed ends them."""
        calls = [self._call(images, request, DEFAULT_DECODING) for images, request in jobs]
        try:
            self._start(calls)
            waiting = {call.future for call in calls}
            while waiting := wait(waiting, POLL_S).not_done:
                yield
            return [call.future.result() for call in calls]
        finally:
            for call in calls:
                call.cancel()

    def stream(
        self, images: RemoteImages, request: GenerationRequest, decoding: Decoding = DEFAULT_DECODING
    ) -> Iterator[Answer]:
        """Yield the answer so far after each token, and at last the whole answer with scores.

        To cancel, stop iterating: the server then ends the answer.

        Raises:
            InputError, ServerError: As for `run`.
        """
        call = self._call(images, request, decoding)
        body = call.body | {"stream": True}
        connection, response = self._send("POST", call.path, body, call.deadline_s)
        finished = False
        try:
            for name, value in self._events(connection, response, call.deadline_s):
                if name == "error":
                    self._raise_refusal(int(value.get("status", 0)), value)
                yield self._read(partial(answer_of, value))
                finished = name == "answer"
        finally:
            connection.close()
        if not finished:
            raise self._failure("it broke off its answer")

    def _events(
        self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse, deadline_s: float
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        name = ""
        while True:
            self._set_timeout(connection, deadline_s)
            try:
                raw = response.readline(MAX_ANSWER_BYTES)
            except (OSError, http.client.HTTPException, ValueError) as error:
                raise self._failure(_reason(error)) from None
            line = raw.decode("utf-8", "replace").rstrip("\r\n")
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                yield name, self._read(partial(json.loads, line.removeprefix("data: ")))
            elif not raw:
                return

    # Calls.

    def _call(self, images: RemoteImages, request: Request, decoding: Decoding) -> RemoteCall:
        view = images if isinstance(images, RemoteView) else self.look(*images)
        path, body = body_of(request, decoding)
        body |= {"image": view.encoded(), "model": self.address.model}
        deadline_s = decoding.deadline_s or time.monotonic() + self.timeout_s
        return RemoteCall(path, body, deadline_s)

    def _start(self, calls: Sequence[RemoteCall]) -> Sequence[RemoteCall]:
        for call in calls:
            self._threads.submit(self._answer, call)
        return calls

    def _answer(self, call: RemoteCall) -> None:
        """Answer a call, in a thread of the pool."""
        try:
            value = self._request("POST", call.path, call.body, call.deadline_s, call)
            call.future.set_result(self._read(partial(answer_of, value)))
        except BaseException as error:  # the caller gets it
            call.future.set_exception(error)

    def _read(self, parse: Callable[[], T]) -> T:
        try:
            return parse()
        except (KeyError, TypeError, ValueError, InputError, RecursionError):
            raise self._failure("its answer cannot be read: it has another version") from None

    def _request(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None,
        deadline_s: float,
        call: RemoteCall | None = None,
    ) -> dict[str, Any]:
        connection, response = self._send(method, path, body, deadline_s, call)
        try:
            data = response.read(MAX_ANSWER_BYTES)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise self._failure(_reason(error)) from None
        value: dict[str, Any] = self._read(lambda: dict(json.loads(data)))
        return value

    def _send(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None,
        deadline_s: float,
        call: RemoteCall | None = None,
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        """Send a request, while there is time again and again; return the connection and the response."""
        pause_s = FIRST_PAUSE_S
        while True:
            wait_s = pause_s
            try:
                connection, response = self._try(method, path, body, deadline_s, call)
                if response.status < 400:
                    self._failing_since_s = None
                    return connection, response
                refusal = self._refusal(response)
                if response.status not in FULL:
                    self._raise_refusal(response.status, refusal)
                reason = _message(refusal)
                with suppress(ValueError):
                    wait_s = float(response.getheader("Retry-After", ""))
            except (OSError, http.client.HTTPException) as error:
                self._drop_connection()
                reason = _reason(error)
            if call and call.cancelled.is_set():
                raise ServerError(f"the request to {self.address.url} was cancelled.")
            left_s = deadline_s - time.monotonic()
            if left_s <= FIRST_PAUSE_S:
                raise self._failure(reason)
            time.sleep(min(wait_s, left_s - FIRST_PAUSE_S / 2))
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def _try(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None,
        deadline_s: float,
        call: RemoteCall | None,
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        left_s = deadline_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("timed out")
        headers = {"Accept": "application/json, text/event-stream"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        data = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            data = json.dumps(body | {"timeout_s": left_s}).encode()
        connection = self._connection()
        if call:
            call.connection = connection
        self._set_timeout(connection, deadline_s)
        connection.request(method, self.address.path + path, data, headers)
        return connection, connection.getresponse()

    def _connection(self) -> http.client.HTTPConnection:
        """Return this thread's connection, which is opened when it is used."""
        connection: http.client.HTTPConnection | None = getattr(self._local, "connection", None)
        if connection is None:
            host, port = self.address.host, self.address.port
            if self.address.secure:
                connection = http.client.HTTPSConnection(host, port, context=ssl.create_default_context())
            else:
                connection = http.client.HTTPConnection(host, port)
            self._local.connection = connection
        return connection

    def _drop_connection(self) -> None:
        if (connection := getattr(self._local, "connection", None)) is not None:
            connection.close()
            self._local.connection = None

    @staticmethod
    def _set_timeout(connection: http.client.HTTPConnection, deadline_s: float) -> None:
        left_s = max(deadline_s - time.monotonic(), 0.01)
        connection.timeout = left_s
        if connection.sock is not None:
            connection.sock.settimeout(left_s)

    def _refusal(self, response: http.client.HTTPResponse) -> dict[str, Any]:
        try:
            return dict(json.loads(response.read(MAX_ANSWER_BYTES)))
        except (ValueError, TypeError):
            return {}

    def _raise_refusal(self, status: int, refusal: dict[str, Any]) -> None:
        """Raise the error of a refused request: an InputError if the input is to blame."""
        message, error = _message(refusal), refusal.get("error")
        kind, code = (error.get("type"), error.get("code")) if isinstance(error, dict) else ("", "")
        if kind == "invalid_request_error":
            raise (TooLongError if code == TOO_LONG else InputError)(message)
        raise ServerError(f"{self.address.url} refuses the request: {message or f'status {status}'}")

    def _failure(self, reason: str) -> ServerError:
        if self._failing_since_s is None:
            self._failing_since_s = time.monotonic()
        self._reason = reason
        return ServerError(f"{self.address.url} does not answer ({reason}): check that the server runs.")


@dataclass(eq=False)
class RemoteCall:
    """A request to a server.

    Args:
        path: The path of the endpoint.
        body: The fields of the body.
        deadline_s: When its time is over, by time.monotonic.
    """

    path: str
    body: dict[str, Any]
    deadline_s: float
    future: Future[Answer] = field(default_factory=Future)
    cancelled: threading.Event = field(default_factory=threading.Event)
    connection: http.client.HTTPConnection | None = None

    def cancel(self) -> None:
        """End the request if it has no answer yet: the server then ends its work."""
        self.cancelled.set()
        if not self.future.done() and self.connection is not None and self.connection.sock is not None:
            with suppress(OSError):
                self.connection.sock.shutdown(2)


def body_of(request: Request, decoding: Decoding) -> tuple[str, dict[str, Any]]:
    """Return the path and the fields of a request, without its image.

    Raises:
        InputError: A server does not answer such a request.
    """
    if isinstance(request, Locate):
        text = request.text
        if request.splitter is not split_command:
            text = write_markdown(request.grounded())
        names = ("max_boxes", "min_score", "max_corners", "zoom", "min_presence")
        return "/v1/locate", {"text": text} | {name: getattr(request, name) for name in names}
    if decoding.beams > 1 or decoding.released or decoding.no_repeat != DEFAULT_DECODING.no_repeat:
        raise InputError("a server decodes greedily or by sampling: leave beams, released and no_repeat out.")
    text_fields = {
        "max_tokens": decoding.max_new_tokens,
        "temperature": decoding.temperature,
        "top_p": decoding.top_p,
        "seed": decoding.seed,
        "scores": decoding.scores,
    }
    match request:
        case Caption(detailed, ground):
            return "/v1/caption", text_fields | {"detailed": detailed, "ground": ground}
        case Describe(box, wording):
            return "/v1/describe", text_fields | {"region": list(box.pixels(1, 1)), "wording": wording}
        case Ask(question, region, ground):
            area = None if region is None else list(region.pixels(1, 1))
            return "/v1/ask", text_fields | {"question": question, "region": area, "ground": ground}
        case Chat(question, turns, ground):
            earlier = [{"question": asked, "answer": answer} for asked, answer in turns]
            return "/v1/chat", text_fields | {"question": question, "turns": earlier, "ground": ground}
    kind = type(request).__name__
    raise InputError(f"a server does not answer {kind} requests: use a model on this machine.")


def _message(refusal: dict[str, Any]) -> str:
    error = refusal.get("error")
    return str(error.get("message", "")) if isinstance(error, dict) else ""


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "its time is over"
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(reason)
