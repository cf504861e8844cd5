"""Images from web addresses, read from a server on this machine."""

import http.server
import json
import socket
import threading

import pytest
from PIL import Image

from kosmos2_cli import image_sources
from kosmos2_cli.image_sources import download_image, read_images
from kosmos2_core.errors import InputError


@pytest.fixture(scope="module")
def server(photos):
    """The address of a server that sends the photos, and some files that are not images."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            files = {"/0.png": (photos / "0.png").read_bytes(), "/page.html": b"<html>"}
            path = self.path.partition("?")[0]
            if path == "/endless.png":
                self.send_response(200)
                self.end_headers()
                while self.send_chunk():
                    pass
            elif path in files:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(files[path])
            else:
                self.send_error(404, "Not Found")

        def send_chunk(self):
            try:
                return self.wfile.write(bytes(1 << 16))
            except OSError:  # the client has seen enough
                return 0

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def test_an_image_at_an_address_is_located_in_and_saved(kosmos2, server, tmp_path):
    code, out, err = kosmos2("locate", "the mug", f"{server}/0.png?size=1", "--json", "--save", tmp_path)
    assert (code, err) == (0, "")
    assert json.loads(out)["image"] == f"{server}/0.png?size=1"
    assert Image.open(tmp_path / "0.png").size == (80, 60)


def test_files_and_addresses_are_read_in_order(server, photos):
    names = [name for name, _ in read_images([str(photos / "1.png"), f"{server}/0.png"])]
    assert names == [str(photos / "1.png"), f"{server}/0.png"]


def test_what_is_at_the_address_is_no_image(server):
    with pytest.raises(InputError, match=r"page\.html is not an image that can be read: it must be"):
        download_image(f"{server}/page.html")


def test_nothing_is_at_the_address(server):
    with pytest.raises(InputError, match="the server answers 404 Not Found"):
        download_image(f"{server}/nothing.png")


def test_an_image_that_is_too_large_is_not_downloaded_to_its_end(server, monkeypatch):
    monkeypatch.setattr(image_sources, "MAX_DOWNLOAD_BYTES", 3_000_000)
    with pytest.raises(InputError, match=r"is larger than 3 MB, the limit"):
        download_image(f"{server}/endless.png")


def test_a_server_that_is_too_slow_is_given_up(server, monkeypatch):
    monkeypatch.setattr(image_sources, "DOWNLOAD_TIMEOUT_S", 0.0)
    with pytest.raises(InputError, match="took longer than 0 s"):
        download_image(f"{server}/endless.png")


def test_without_a_network_a_sentence_says_so_before_the_model_is_loaded(capsys):
    from kosmos2_cli.main import main

    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # nobody listens
        address = f"http://127.0.0.1:{unused.getsockname()[1]}/0.png"
        assert main(["locate", "the mug", address, "--model", "no/such/folder"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"{address} cannot be downloaded" in error
    assert "check the address and the network connection" in error


@pytest.mark.parametrize("address", ["http://", "http://[bad/0.png"])
def test_an_address_that_is_none_is_a_sentence(address):
    with pytest.raises(InputError, match="cannot be downloaded"):
        download_image(address)
