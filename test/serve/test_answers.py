"""The server's answers are those of the engine, one by one, in batches and in streams."""

from __future__ import annotations

import base64
import threading
from itertools import pairwise

import numpy as np
import pytest
from live_server import Gate, fields, in_thread, live_server

from kosmos2_core.boxes import Box
from kosmos2_core.decoding import Decoding
from kosmos2_core.images import load_image
from kosmos2_core.requests import Ask, Caption, Chat, Describe, Locate
from kosmos2_serve.wire import answer_of

SHORT = Decoding(max_new_tokens=24)
TEXT = "put [the orange cube] onto [the green plate]"


@pytest.fixture(scope="module")
def view(engine, photo):
    return engine.look(base64.b64decode(photo))


@pytest.mark.parametrize(
    ("path", "body", "request_"),
    [
        ("locate", {"text": TEXT}, Locate(TEXT)),
        (
            "locate",
            {"text": "a ring", "max_boxes": 3, "min_score": 0.2, "min_presence": 0.1, "zoom": True},
            Locate("a ring", 3, 0.2, zoom=True, min_presence=0.1),
        ),
        ("caption", {"max_tokens": 24}, Caption()),
        (
            "describe",
            {"region": [0.7, 0.35, 0.95, 0.65], "max_tokens": 24},
            Describe(Box(0.7, 0.35, 0.95, 0.65)),
        ),
        (
            "describe",
            {"region": [448, 168, 608, 312], "max_tokens": 24},
            Describe(Box(0.7, 0.35, 0.95, 0.65)),
        ),
        (
            "ask",
            {"question": "What is left of the cube?", "ground": True, "max_tokens": 24},
            Ask("What is left of the cube?", ground=True),
        ),
        (
            "chat",
            {"question": "what is it?", "turns": [{"question": "hello", "answer": "hi"}], "max_tokens": 24},
            Chat("what is it?", (("hello", "hi"),)),
        ),
    ],
)
def test_an_answer_is_the_engine_s(server, view, photo, path, body, request_):
    status, answer = server.post(f"/v1/{path}", {"image": photo, **body})
    [expected] = view.run(request_, decoding=SHORT)
    assert status == 200
    assert fields(answer_of(answer)) == fields(expected)
    assert (answer["width"], answer["height"], answer["model"]) == (640, 480, "tabletop-tiny")
    assert answer["markdown"] == expected.markdown


def test_a_stream_gives_every_token_and_then_the_answer(server, photo):
    body = {"image": photo, "question": "What is left of the cube?", "ground": True}
    *tokens, (last, answer) = server.events("/v1/ask", {**body, "stream": True})
    assert {name for name, _ in tokens} == {"token"}
    assert last == "answer"
    texts = [value["text"] for _, value in tokens]
    assert all(after.startswith(before) for before, after in pairwise(texts))
    _, whole = server.post("/v1/ask", body)
    assert answer["markdown"] == whole["markdown"]
    assert answer["timings"]["total_s"] > 0


def test_requests_that_wait_become_a_batch(engine, photo, monkeypatch):
    with live_server(engine) as server:
        gate = Gate(server, monkeypatch)
        phrases = ["a ring", "the cube", "the plate", "the banana"]
        calls = [in_thread(server.post, "/v1/locate", {"image": photo, "text": phrases[0]})]
        gate.until_added(1)
        assert gate.reached.wait(60)
        calls += [
            in_thread(server.post, "/v1/locate", {"image": photo, "text": text}) for text in phrases[1:]
        ]
        gate.until_added(3)
        gate.opened.set()
        answers = []
        for thread, results in calls:
            thread.join()
            answers += results
        metrics = server.metrics()
        assert metrics['kosmos2_batch_size_count{kind="locate"}'] == 2
        assert metrics['kosmos2_batch_size_sum{kind="locate"}'] == 4
        assert metrics["kosmos2_images_encoded_total"] == 1  # for all questions about it
        assert metrics["kosmos2_image_cache_hits_total"] == 3
    view = engine.look(base64.b64decode(photo))
    for text, (status, answer) in zip(phrases, answers, strict=True):
        assert status == 200
        assert fields(answer_of(answer)) == fields(view.run(Locate(text))[0])
    assert [answer["timings"]["batch"] for _, answer in answers] == [1, 3, 3, 3]


def test_a_bad_request_in_a_batch_costs_the_others_nothing(engine, photo, monkeypatch):
    with live_server(engine, max_text_bytes=100_000) as server:
        gate = Gate(server, monkeypatch)
        first = in_thread(server.post, "/v1/ask", {"image": photo, "question": "what is it?"})
        gate.until_added(1)
        assert gate.reached.wait(60)
        long = in_thread(
            server.post, "/v1/locate", {"image": photo, "text": "[mug] " + "word " * 3000 + "[a cup]"}
        )
        good = in_thread(server.post, "/v1/locate", {"image": photo, "text": "the cube"})
        gate.until_added(2)
        gate.opened.set()
        for thread, _ in (first, long, good):
            thread.join()
    assert good[1][0][0] == 200
    status, answer = long[1][0]
    assert status == 400
    assert answer["error"]["code"] == "too_long"


def test_the_cache_forgets_the_images_that_were_not_used(engine, photo):
    with live_server(engine, cached_images=1) as server:
        other = base64.b64encode(make_png(7)).decode()
        for image in (photo, photo, other, photo):
            assert server.post("/v1/locate", {"image": image, "text": "the cube"})[0] == 200
        assert server.metrics()["kosmos2_images_encoded_total"] == 3


def make_png(value: int) -> bytes:
    import cv2

    return cv2.imencode(".png", np.full((32, 32, 3), value, np.uint8))[1].tobytes()


def test_a_heat_map_is_high_in_the_box_and_low_elsewhere(server, photo):
    _, answer = server.post("/v1/locate", {"image": photo, "text": "[the orange cube]", "heatmap": True})
    [phrase] = answer["phrases"]
    heat = np.array(phrase["heatmap"])
    x1, y1, x2, y2 = phrase["boxes"][0]["box_unit"]
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    assert heat.shape == (32, 32)
    assert x1 <= (column + 0.5) / 32 <= x2
    assert y1 <= (row + 0.5) / 32 <= y2
    assert heat.max() == pytest.approx(phrase["presence"], abs=0.1)
    assert heat[0, 0] < 0.01


def test_two_models_are_asked_by_name(engine, photo):
    with live_server({"first": engine, "second": engine}) as server:
        named = [server.get("/v1/models")[1]["data"][number]["id"] for number in (0, 1)]
        answered = [
            server.post("/v1/locate", {"image": photo, "text": "the cube", "model": model})[1]["model"]
            for model in (None, "second")
        ]
    assert named == ["first", "second"]
    assert answered == ["first", "second"]


def test_a_client_that_leaves_ends_its_answer(engine, photo, monkeypatch):
    """The generation is held after its first token until the server has noticed that the client left."""
    closed, noticed = threading.Event(), threading.Event()
    generate_in_parts = engine.generate_in_parts

    def held(*arguments):
        parts, tokens = generate_in_parts(*arguments), 0
        try:
            for part in parts:
                yield part
                tokens += part is not None
                if tokens == 1:
                    assert noticed.wait(60)
        finally:
            closed.set()

    monkeypatch.setattr(engine, "generate_in_parts", held)
    with live_server(engine) as server:
        cancel = server.service.model.cancel

        def cancelled(job):
            cancel(job)
            noticed.set()

        monkeypatch.setattr(server.service.model, "cancel", cancelled)
        events = server.events("/v1/caption", {"image": photo, "detailed": True, "stream": True})
        assert next(events)[0] == "token"
        events.close()
        assert closed.wait(60)
        assert server.metrics()["kosmos2_tokens_total"] <= 2
        assert server.total('kosmos2_requests_total{endpoint="/v1/caption",status="499"}') == 1


def test_a_request_that_is_late_is_refused_and_a_full_queue_says_when_to_come_back(
    engine, photo, monkeypatch
):
    with live_server(engine, max_queue=2) as server:
        gate = Gate(server, monkeypatch)
        body = {"image": photo, "text": "the cube"}
        first = in_thread(server.post, "/v1/locate", body)
        gate.until_added(1)
        assert gate.reached.wait(60)
        late = in_thread(server.post, "/v1/locate", {**body, "timeout_s": 0.01})
        gate.until_added(1)
        status, _, headers = server.send("POST", "/v1/locate", json_of(body))
        assert (status, headers["retry-after"]) == (429, "1")
        gate.opened.set()
        for thread, _ in (first, late):
            thread.join()
        assert (first[1][0][0], late[1][0][0]) == (200, 504)


def json_of(value):
    import json

    return json.dumps(value).encode()


def test_a_shutdown_finishes_what_runs_and_takes_nothing_new(engine, photo, monkeypatch):
    with live_server(engine) as server:
        gate = Gate(server, monkeypatch)
        running = in_thread(server.post, "/v1/locate", {"image": photo, "text": "the cube"})
        gate.until_added(1)
        assert gate.reached.wait(60)
        server.uvicorn.should_exit = True
        gate.opened.set()
        running[0].join()
        assert running[1][0][0] == 200
    with pytest.raises(ConnectionError):
        server.get("/healthz")


def test_every_request_is_counted(engine, photo):
    with live_server(engine) as server:
        sent = [
            server.send("GET", "/healthz")[0],
            server.send("GET", "/nothing")[0],
            server.send("DELETE", "/v1/locate")[0],
            server.send("POST", "/v1/locate", b"{")[0],
            server.post("/v1/locate", {"image": photo, "text": "the cube"})[0],
        ]
        assert sent == [200, 404, 405, 400, 200]
        assert server.total("kosmos2_requests_total") == len(sent)
        assert server.total("kosmos2_request_seconds_count") == len(sent) + 1  # and the metrics themselves


def test_pixels_are_those_of_the_upright_image(engine, server):
    """A photograph that is stored on its side is turned, like on the command line."""
    import io

    from PIL import Image

    content = io.BytesIO()
    exif = Image.Exif()
    exif[274] = 6
    Image.new("RGB", (40, 20)).save(content, "JPEG", exif=exif)
    status, answer = server.post(
        "/v1/locate", {"image": base64.b64encode(content.getvalue()).decode(), "text": "the cube"}
    )
    assert (status, answer["width"], answer["height"]) == (200, 20, 40)
    assert load_image(content.getvalue()).shape[:2] == (40, 20)
