"""A remote engine gives the answers of the engine, waits for its server, and names it when there is none."""

from __future__ import annotations

import base64
import json
import socket
import threading
import time

import numpy as np
import pytest
from live_server import Gate, fields, in_thread, live_server

from kosmos2_cli.main import main
from kosmos2_core.box_search import finish
from kosmos2_core.boxes import Box
from kosmos2_core.decoding import Decoding
from kosmos2_core.errors import InputError, TooLongError
from kosmos2_core.images import load_image
from kosmos2_core.requests import Ask, Caption, Chat, Complete, Describe, Locate
from kosmos2_serve.client import RemoteEngine, ServerAddress, ServerError

TEXT = "put [the orange cube] onto [the green plate]"
SHORT = Decoding(max_new_tokens=24)
REQUESTS = [
    Locate(TEXT),
    Locate("a ring; the cube", max_boxes=3, min_presence=0.0, zoom=True),
    Caption(),
    Describe(Box(0.7123456789, 0.35, 0.95, 0.65)),
    Ask("What is left of it?", Box(0.7, 0.35, 0.95, 0.65), ground=True),
    Chat("what is it?", (("hello", "hi"),)),
]


@pytest.fixture(scope="module")
def pixels(photo):
    return load_image(base64.b64decode(photo))


@pytest.fixture(scope="module")
def remote(server):
    return RemoteEngine(server.url)


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda request: type(request).__name__)
def test_a_remote_answer_is_the_local_one(remote, engine, pixels, request_):
    [answer] = remote.look(pixels).run(request_, decoding=SHORT)
    [expected] = engine.look(pixels).run(request_, decoding=SHORT)
    assert fields(answer) == fields(expected)
    assert answer.markdown == expected.markdown


def test_parts_and_streams_are_those_of_the_node(remote, engine, pixels):
    [answer] = finish(remote.locate_in_parts([([pixels], Locate(TEXT))]))
    assert fields(answer) == fields(engine.look(pixels).run(Locate(TEXT))[0])
    request = Ask("What is left of the cube?")
    *so_far, last = remote.stream([pixels], request, SHORT)
    assert so_far
    assert fields(last) == fields(engine.look(pixels).run(request, decoding=SHORT)[0])
    assert remote.min_presence == engine.min_presence
    assert (remote.device, remote.precision) == (f"{remote.address.url} (cpu)", "float32")


def test_errors_of_the_input_are_the_local_ones(remote, pixels):
    with pytest.raises(InputError, match="names nothing"):
        remote.look(pixels).run(Locate("..."))
    with pytest.raises(TooLongError):
        remote.look(pixels).run(Chat("why?", (("word " * 800, "word " * 800),)))
    with pytest.raises(InputError, match="Complete"):
        remote.look(pixels).run(Complete("An image of"))
    with pytest.raises(InputError, match="beams"):
        remote.look(pixels).run(Caption(), decoding=Decoding(beams=2))
    with pytest.raises(InputError, match="one image"):
        remote.look(pixels, pixels).run(Caption())


def test_a_jpeg_is_smaller_and_nearly_the_same(server, engine, pixels):
    jpeg = RemoteEngine(f"{server.url}?jpeg=95&model=tabletop-tiny")
    view, whole = jpeg.look(pixels), RemoteEngine(server.url).look(pixels)
    [answer], [expected] = view.run(Locate("the orange cube")), whole.run(Locate("the orange cube"))
    assert len(view.encoded()) < len(whole.encoded()) / 2
    assert answer.phrases[0].cells == expected.phrases[0].cells
    assert answer.phrases[0].boxes[0].score == pytest.approx(expected.phrases[0].boxes[0].score, abs=0.05)


def test_a_server_that_starts_later_is_waited_for(engine, pixels):
    """The first connection is refused; the server is started only then."""
    refused = threading.Event()
    with live_server(engine) as server:
        port = server.port
        remote = RemoteEngine(server.url, timeout_s=60)
        try_once = remote._try

        def watched(*arguments):
            try:
                return try_once(*arguments)
            except OSError:
                refused.set()
                raise

        remote._try = watched
    waiting, answers = in_thread(lambda: remote.look(pixels).run(Locate(TEXT)))
    assert refused.wait(60)
    with live_server(engine, port=port):
        waiting.join(60)
    assert fields(answers[0][0]) == fields(engine.look(pixels).run(Locate(TEXT))[0])
    assert remote.problem == ""


def test_a_full_server_is_asked_again(engine, pixels, photo, monkeypatch):
    with live_server(engine, max_queue=1) as server:
        remote = RemoteEngine(server.url, timeout_s=60)
        gate = Gate(server, monkeypatch)
        first = in_thread(server.post, "/v1/locate", {"image": photo, "text": "the cube"})
        gate.until_added(1)
        refusal, full = remote._refusal, threading.Event()

        def noted(response):
            full.set()
            return refusal(response)

        monkeypatch.setattr(remote, "_refusal", noted)
        waiting, answers = in_thread(lambda: remote.look(pixels).run(Locate("the plate")))
        assert full.wait(60)
        gate.opened.set()
        waiting.join(60)
        first[0].join()
    assert answers[0][0].phrases[0].boxes


def test_a_server_that_is_gone_is_named_in_time(engine, pixels):
    with live_server(engine) as server:
        remote = RemoteEngine(server.url, timeout_s=0.3)
    began_s = time.monotonic()
    with pytest.raises(ServerError, match=remote.address.url):
        finish(remote.locate_in_parts([([pixels], Locate(TEXT))]))
    assert time.monotonic() - began_s >= 0.2  # it was tried for the whole time
    assert remote.address.url in remote.problem
    with pytest.raises(ServerError, match="check that the server runs"):
        list(remote.stream([pixels], Caption()))
    with pytest.raises(ServerError, match=remote.address.url):
        RemoteEngine(server.url, timeout_s=0.1)


def test_what_is_no_server_of_kosmos2_is_named():
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer():
            connection, _ = listening.accept()
            connection.recv(10_000)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
            connection.close()

        in_thread(answer)
        with pytest.raises(ServerError, match="cannot be read"):
            RemoteEngine(f"http://127.0.0.1:{listening.getsockname()[1]}", timeout_s=5)


def test_parts_that_are_closed_end_the_request(engine, pixels, monkeypatch):
    with live_server(engine) as server:
        remote = RemoteEngine(server.url, timeout_s=60)
        gate, gone = Gate(server, monkeypatch), threading.Event()
        cancel = server.service.model.cancel
        monkeypatch.setattr(server.service.model, "cancel", lambda job: (cancel(job), gone.set()))
        parts = remote.locate_in_parts([([pixels], Locate(TEXT))])
        next(parts)
        gate.until_added(1)
        parts.close()
        assert gone.wait(60)
        gate.opened.set()


@pytest.mark.parametrize(
    "address",
    [
        "http://",
        "http://box:port",
        "http://box:99999",
        "http://a@box",
        "http://box?jpeg=0",
        "http://box?png=1",
    ],
)
def test_a_wrong_address_is_refused_in_a_sentence(address):
    with pytest.raises(InputError, match=r"server|address"):
        ServerAddress.parse(address)


def test_an_address_has_a_port_a_path_and_options():
    address = ServerAddress.parse("https://box/robots/?jpeg=90&model=mine")
    assert (address.url, address.port, address.path) == ("https://box/robots", 443, "/robots")
    assert (address.jpeg, address.model, address.secure) == (90, "mine", True)


def test_commands_ask_a_server(server, engine, capsys, tmp_path, root, photo):
    file = tmp_path / "desk.png"
    file.write_bytes(base64.b64decode(photo))
    assert main(["locate", TEXT, str(file), "--json", "--model", server.url]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert [phrase["boxes"][0]["box_px"] for phrase in answer["phrases"]] == pytest.approx(
        np.array([e.boxes[0].pixels(640, 480) for e in engine.look(file).run(Locate(TEXT))[0].phrases])
    )
    assert main(["eval", "scenes", "--model", server.url, "--out", str(tmp_path / "out")]) == 2
    assert "is a server" in capsys.readouterr().err


def test_a_token_of_the_environment_opens_the_server(engine, monkeypatch):
    monkeypatch.setenv("KOSMOS2_TOKEN", "the-right-token")
    with live_server(engine, token="the-right-token") as server:
        assert RemoteEngine(server.url).min_presence == engine.min_presence
        with pytest.raises(ServerError, match="token is missing or wrong"):
            RemoteEngine(server.url, token="a-wrong-token")
