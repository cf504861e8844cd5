"""A real server in this process: uvicorn on a free port, and what tests ask of it."""

from __future__ import annotations

import base64
import http.client
import json
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kosmos2_core.answers import Answer
from kosmos2_core.engine import Engine
from kosmos2_serve.app import Service
from kosmos2_serve.options import ServeOptions

JSON_HEADERS = {"Content-Type": "application/json"}
WAIT_S = 120


class LiveServer:
    """A server that runs in a thread.

    Args:
        engines: The models by name.
        options: Its options.
        port: Its port; 0: any free one.
    """

    def __init__(self, engines: Mapping[str, Engine], options: ServeOptions, port: int = 0) -> None:
        import uvicorn

        self.service = Service(engines, options)
        self.socket = socket.create_server(("127.0.0.1", port))
        self.port = self.socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        config = uvicorn.Config(
            self.service.application(), log_config=None, lifespan="on", http="h11", ws="none"
        )
        self.uvicorn = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.uvicorn.run, args=([self.socket],), daemon=True)

    def start(self) -> None:
        self.thread.start()

    def stop(self) -> None:
        """Tell the server to end, and wait until it has ended."""
        self.uvicorn.should_exit = True
        self.thread.join(WAIT_S)
        assert not self.thread.is_alive()
        self.socket.close()

    def send(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] = JSON_HEADERS
    ) -> tuple[int, bytes, dict[str, str]]:
        """Send a request and return status, body and headers (in lower case) of the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT_S)
        try:
            connection.request(method, path, body, dict(headers))
            response = connection.getresponse()
            given = {name.lower(): value for name, value in response.getheaders()}
            return response.status, response.read(), given
        finally:
            connection.close()

    def post(self, path: str, value: Any, headers: Mapping[str, str] = JSON_HEADERS) -> tuple[int, Any]:
        """Post JSON and return the status and the JSON of the answer."""
        status, body, _ = self.send("POST", path, json.dumps(value).encode(), headers)
        return status, json.loads(body)

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> tuple[int, Any]:
        status, body, _ = self.send("GET", path, None, headers or {})
        return status, json.loads(body)

    def events(self, path: str, value: Any) -> Iterator[tuple[str, Any]]:
        """Post JSON and yield the server-sent events; a generator that is closed closes the connection."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT_S)
        try:
            connection.request("POST", path, json.dumps(value).encode(), JSON_HEADERS)
            response = connection.getresponse()
            assert response.status == 200, response.read()
            name = ""
            for line in response:
                text = line.decode().rstrip("\n")
                if text.startswith("event: "):
                    name = text.removeprefix("event: ")
                elif text.startswith("data: "):
                    yield name, json.loads(text.removeprefix("data: "))
        finally:
            if connection.sock is not None:
                connection.sock.shutdown(socket.SHUT_RDWR)
            connection.close()

    def metrics(self) -> dict[str, float]:
        """Return all samples of /metrics by name and labels."""
        _, body, _ = self.send("GET", "/metrics")
        lines = [line for line in body.decode().splitlines() if not line.startswith("#")]
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}

    def total(self, prefix: str) -> float:
        """Return the sum of the samples whose name begins so."""
        return sum(value for name, value in self.metrics().items() if name.startswith(prefix))


@contextmanager
def live_server(engine: Engine | Mapping[str, Engine], port: int = 0, **options: Any) -> Iterator[LiveServer]:
    """Run a server during the block."""
    engines = dict(engine) if isinstance(engine, Mapping) else {"tabletop-tiny": engine}
    server = LiveServer(engines, ServeOptions(**options), port)
    server.start()
    try:
        yield server
    finally:
        server.stop()


class Gate:
    """Holds the model's thread at the vision tower until it is opened.

    Args:
        server: The server.
        monkeypatch: Undoes it after the test.
    """

    def __init__(self, server: LiveServer, monkeypatch: Any) -> None:
        engine = next(iter(server.service.engines.values()))
        self.reached, self.opened = threading.Event(), threading.Event()
        self._added = threading.Semaphore(0)
        look_many, add = engine.look_many, server.service.model.add

        def held(views: Any) -> Any:
            self.reached.set()
            assert self.opened.wait(WAIT_S)
            return look_many(views)

        def counted(job: Any) -> None:
            add(job)
            self._added.release()

        monkeypatch.setattr(engine, "look_many", held)
        monkeypatch.setattr(server.service.model, "add", counted)

    def until_added(self, count: int) -> None:
        """Wait until so many more jobs were added."""
        for _ in range(count):
            assert self._added.acquire(timeout=WAIT_S)


def in_thread(function: Any, *arguments: Any) -> tuple[threading.Thread, list[Any]]:
    """Call a function in a thread; its result is appended to the list."""
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(function(*arguments)), daemon=True)
    thread.start()
    return thread, results


def image_text(file: Path) -> str:
    """Return the Base64 of a file."""
    return base64.b64encode(file.read_bytes()).decode()


def fields(answer: Answer) -> tuple:
    """Return the fields of an answer that a client uses, with numbers rounded to what a batch keeps equal."""
    return (
        answer.text,
        answer.finished,
        answer.calibrated,
        [(e.phrase, e.start, e.end, e.cells, round(e.presence or 0, 4)) for e in answer.phrases],
        [
            tuple(round(v, 4) for v in (b.x1, b.y1, b.x2, b.y2, b.score))
            for e in answer.phrases
            for b in e.boxes
        ],
    )
