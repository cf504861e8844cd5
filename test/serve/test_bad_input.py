"""Bad input is refused with one clear sentence as JSON, and the server goes on."""

from __future__ import annotations

import base64
import http.client
import json
import logging
import socket
import struct
import zlib

import pytest
from live_server import JSON_HEADERS, live_server

from kosmos2_core.errors import InputError
from kosmos2_serve.server import check_exposure, read_token

SCRIPT = "<script>alert(1)</script>"


def png_of(width: int, height: int) -> str:
    """Return a PNG whose header says that it is so large, and that holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return encoded(
        b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


# Each kind: path, body (a dict; None stands for the photo in the field image), and words of the sentence.
KINDS = {
    "not JSON": ("locate", b"{", "not JSON"),
    "empty body": ("locate", b"", "not JSON"),
    "a list": ("locate", b"[]", "JSON object"),
    "a number": ("locate", b"3", "JSON object"),
    "deep JSON": ("locate", b'{"image":' + b"[" * 100_000, "not JSON"),
    "bytes that are no UTF-8": ("locate", b'{"image": "\xff"}', "not JSON"),
    "half a surrogate": ("locate", b'{"text": "\\ud800"}', "not JSON"),
    "no image": ("locate", {"text": "a mug"}, "image is missing"),
    "no text": ("locate", {"image": None}, "text is missing"),
    "image is null": ("caption", b'{"image": null}', "image cannot be used"),
    "image is a number": ("caption", {"image": 3}, "image cannot be used"),
    "empty image": ("caption", {"image": ""}, "not the Base64"),
    "no Base64": ("caption", {"image": "%%%"}, "not the Base64"),
    "text file": ("caption", {"image": encoded(b"hello world")}, "is not an image"),
    "HTML file": ("caption", {"image": encoded(SCRIPT.encode())}, "is not an image"),
    "GIF": ("caption", {"image": encoded(b"GIF89a" + b"\0" * 40)}, "is not an image"),
    "SVG": ("caption", {"image": encoded(b"<svg xmlns='http://www.w3.org/2000/svg'/>")}, "is not an image"),
    "bomb": ("caption", {"image": png_of(60_000, 60_000)}, "too large"),
    "bomb of one row": ("caption", {"image": png_of(2_000_000_000, 1)}, "too large"),
    "damaged PNG": ("caption", {"image": png_of(640, 480)}, "damaged"),
    "address as image": ("caption", {"image": "http://169.254.169.254/latest"}, "does not fetch"),
    "file as image": ("caption", {"image": "file:///etc/passwd"}, "does not fetch"),
    "path as image": ("caption", {"image": "../../etc/passwd"}, "not the Base64"),
    "misspelt field": ("locate", {"image": None, "text": "a", "max_boxs": 2}, "did you mean max_boxes"),
    "unknown field": ("locate", {"image": None, "text": "a", SCRIPT: 1}, "is not known"),
    "no boxes": ("locate", {"image": None, "text": "a", "max_boxes": 0}, "max_boxes"),
    "too many boxes": ("locate", {"image": None, "text": "a", "max_boxes": 10**9}, "max_boxes"),
    "text for a number": ("locate", {"image": None, "text": "a", "max_boxes": "two"}, "max_boxes"),
    "score above 1": ("locate", {"image": None, "text": "a", "min_score": 1.5}, "min_score"),
    "NaN": ("locate", b'{"image": "", "text": "a", "min_score": NaN}', "min_score"),
    "nothing to locate": ("locate", {"image": None, "text": "..."}, "names nothing"),
    "unclosed mark": ("locate", {"image": None, "text": "put [the mug away"}, "without its `]`"),
    "box in the text": ("locate", {"image": None, "text": "[a](9,9,1,1)"}, "x1,y1,x2,y2"),
    "too many phrases": ("locate", {"image": None, "text": "; ".join(["a mug"] * 40)}, "phrases"),
    "long text": ("locate", {"image": None, "text": "x" * 5000}, "bytes"),
    "empty question": ("ask", {"image": None, "question": "  "}, "question is empty"),
    "long dialogue": (
        "chat",
        {"question": "a", "turns": [{"question": "x" * 9000, "answer": "y" * 9000}] * 4},
        "turns has more than",
    ),
    "too many tokens": ("ask", {"image": None, "question": "a", "max_tokens": 100_000}, "at most 256"),
    "region of three": ("describe", {"image": None, "region": [0, 0, 1]}, "region"),
    "empty region": ("describe", {"image": None, "region": [0.5, 0.5, 0.5, 0.5]}, "x1"),
    "region outside": ("describe", {"image": None, "region": [900, 900, 990, 990]}, "x1"),
    "region of infinity": ("describe", b'{"image": "", "region": [0, 0, 1, 1e999]}', "region"),
    "wording without a mark": ("describe", {"image": None, "region": [0, 0, 1, 1], "wording": "It"}, "mark"),
    "region of nothing": ("ask", {"image": None, "question": "why?", "region": [0, 0, 1, 1]}, "mark it"),
    "no time": ("caption", {"image": None, "timeout_s": 0}, "timeout_s"),
    "unknown model": ("caption", {"image": None, "model": "../../etc/passwd"}, "no model"),
    "unknown role": (
        "chat/completions",
        {"model": "tabletop-tiny", "messages": [{"role": "root", "content": "a"}]},
        "role",
    ),
    "no messages": ("chat/completions", {"model": "tabletop-tiny", "messages": []}, "messages"),
    "image by address": (
        "chat/completions",
        {
            "model": "tabletop-tiny",
            "messages": [
                {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://a.b/c.png"}}]}
            ],
        },
        "data URL",
    ),
    "records without a folder": ("records", {"image": None, "items": [{"text": "[a]()"}]}, "--records"),
}


def assert_refusal(body: bytes, words: str) -> None:
    error = json.loads(body)["error"]
    assert words in error["message"]
    assert "Traceback" not in body.decode()
    assert error["message"].rstrip().endswith((".", "?"))
    assert "\n" not in error["message"]
    assert error["type"]


@pytest.mark.parametrize("kind", KINDS)
def test_bad_input_is_refused_in_one_sentence(server, photo, kind):
    path, body, words = KINDS[kind]
    if isinstance(body, dict):
        body = json.dumps(body | {"image": photo} if body.get("image", "") is None else body).encode()
    status, answer, headers = server.send("POST", f"/v1/{path}", body)
    assert 400 <= status < 500, answer
    assert_refusal(answer, words)
    assert headers["content-type"] == "application/json"  # a browser shows HTML in a sentence as text


def test_a_server_that_was_given_bad_input_still_answers(server, photo):
    assert server.post("/v1/locate", {"image": photo, "text": "the cube"})[0] == 200


def test_a_form_of_a_foreign_page_is_refused(server):
    """Such requests need no permission from the server, so they must have no effect."""
    for content_type in (
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=a",
    ):
        status, answer, _ = server.send("POST", "/v1/locate", b"{}", {"Content-Type": content_type})
        assert status == 415
        assert_refusal(answer, "application/json")


def test_a_long_body_is_refused_before_it_is_read(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.putrequest("POST", "/v1/locate")
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", str(100_000_000))
    connection.endheaders()
    response = connection.getresponse()  # no byte of the body was sent
    assert response.status == 413
    assert_refusal(response.read(), "longer than 3 MB")


def test_a_long_body_without_a_stated_length_is_refused(server):
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        connection.sendall(
            b"POST /v1/locate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        try:
            for _ in range(60):
                connection.sendall(chunk)
        except OSError:  # the server has closed the connection
            pass
        assert b" 413 " in connection.recv(200)


def test_a_slow_body_times_out(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.putrequest("POST", "/v1/locate")
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", "100")
    connection.endheaders(b"{")
    response = connection.getresponse()
    assert response.status == 408
    assert_refusal(response.read(), "took longer")


def test_images_that_fill_the_memory_are_refused_for_now(engine, photo):
    with live_server(engine, max_memory_bytes=500_000) as server:
        status, answer, headers = server.send(
            "POST", "/v1/locate", json.dumps({"image": photo, "text": "the cube"}).encode()
        )
        assert (status, headers["retry-after"]) == (429, "1")
        assert_refusal(answer, "memory")


def test_a_token_is_needed_and_is_never_logged(engine, photo, caplog):
    caplog.set_level(logging.DEBUG)
    secret = "a-secret-of-the-test"
    body = {"image": photo, "text": "the cube"}
    with live_server(engine, token=secret) as server:
        tried = {
            name: server.post("/v1/locate", body, {**JSON_HEADERS, **headers})[0]
            for name, headers in {
                "none": {},
                "wrong": {"Authorization": "Bearer a-secret-of-the-tesT"},
                "prefix": {"Authorization": "Bearer a-secret"},
                "scheme": {"Authorization": f"Basic {secret}"},
                "right": {"Authorization": f"Bearer {secret}"},
            }.items()
        }
        refused = [server.send("GET", path)[0] for path in ("/metrics", "/v1/models", "/v1/info")]
        open_to_all = [server.send("GET", path)[0] for path in ("/healthz", "/readyz", "/")]
    assert tried == {"none": 401, "wrong": 401, "prefix": 401, "scheme": 401, "right": 200}
    assert refused == [401, 401, 401]
    assert open_to_all == [200, 200, 200]
    assert secret not in caplog.text


def test_an_address_has_a_rate(engine):
    with live_server(engine, rate_hz=0.001, burst=3) as server:
        statuses = [server.send("GET", "/v1/models")[0] for _ in range(4)]
        _, answer, headers = server.send("GET", "/v1/models")
        assert server.send("GET", "/healthz")[0] == 200
    assert statuses == [200, 200, 200, 429]
    assert int(headers["retry-after"]) > 900
    assert_refusal(answer, "requests per second")


def test_a_page_with_a_name_of_its_own_does_not_reach_a_local_server(engine):
    with live_server(engine, local_only=True) as server:
        hosts = ("evil.example:8000", "127.0.0.1.evil.example", "localhost:8000", "127.0.0.1", "[::1]:8000")
        statuses = [server.send("GET", "/v1/models", None, {"Host": host})[0] for host in hosts]
    assert statuses == [403, 403, 200, 200, 200]


def test_other_machines_need_a_token():
    for host in ("127.0.0.1", "::1", "localhost"):
        check_exposure(host, None, False)
    check_exposure("0.0.0.0", "a-secret", False)
    check_exposure("0.0.0.0", None, True)
    with pytest.raises(InputError, match="--insecure"):
        check_exposure("0.0.0.0", None, False)


def test_a_token_file_is_private_and_holds_a_token(tmp_path, monkeypatch):
    monkeypatch.delenv("KOSMOS2_TOKEN", raising=False)
    file = tmp_path / "token"
    file.write_text("a-long-secret\n")
    file.chmod(0o644)
    with pytest.raises(InputError, match="chmod 600"):
        read_token(file)
    file.chmod(0o600)
    assert read_token(file) == "a-long-secret"
    file.write_text("two words")
    with pytest.raises(InputError, match="no token"):
        read_token(file)
    with pytest.raises(InputError, match="cannot be read"):
        read_token(tmp_path / "absent")
    assert read_token(None) is None
    monkeypatch.setenv("KOSMOS2_TOKEN", "from-the-environment")
    assert read_token(None) == "from-the-environment"


@pytest.mark.parametrize(
    "path", ["/../setup.py", "/%2e%2e/setup.py", "/examples/..%2fapp.py", "/docs/../app.py"]
)
def test_files_outside_the_page_are_not_given(server, path):
    assert server.send("GET", path)[0] == 404


def test_pages_load_scripts_from_the_server_only(server):
    for path in ("/", "/docs/", "/openapi.json"):
        status, body, headers = server.send("GET", path)
        policy = headers["content-security-policy"]
        assert status == 200
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert "unsafe" not in policy
        assert b"https://" not in body.replace(b"https://github.com", b"")
        assert headers["x-content-type-options"] == "nosniff"
