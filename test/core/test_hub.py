"""Checkpoints from a hub: a real server on this machine, the real client, each in a process of its own,
since the client reads its settings when it is imported."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from peer import make_peer, make_processor, save_peer, shape

from kosmos2_core.engine import Engine
from kosmos2_core.errors import ModelError
from kosmos2_core.hub import checkpoint_folder

NAME, COMMIT = "robots/kosmos-2-small", "0123456789" * 4
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    processor = make_processor(size=28, queries=4)
    folder = tmp_path_factory.mktemp("checkpoint")
    save_peer(make_peer(shape(f"{len(processor.tokenizer)} 32 1 64 2", "32 64 1 2 28 14", 4)), folder)
    processor.tokenizer.save_pretrained(folder)
    (folder / "pytorch_model.bin").write_bytes(b"pickled")
    return folder


class Hub:
    """The part of the hub's protocol that a download speaks."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.asked = folder, []
        self.damaged = ""  # the file that is sent with one byte wrong

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(handler):
                self.answer(handler, send=False)

            def do_GET(handler):
                self.answer(handler, send=True)

            def log_message(handler, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, handler, send):
        path = handler.path.partition("?")[0]
        self.asked.append(path)
        about, body = self.page(path)
        handler.send_response(404 if "X-Error-Code" in about else 200)
        for name, value in about.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        if send:
            handler.wfile.write(body)

    def page(self, path):
        """Headers and body."""
        api, files = f"/api/models/{NAME}", f"/{NAME}/resolve/{COMMIT}/"
        if path == f"{api}/revision/main":
            return {}, json.dumps({"id": NAME, "modelId": NAME, "sha": COMMIT, "siblings": []}).encode()
        if path.startswith(f"{api}/revision/"):
            return {"X-Error-Code": "RevisionNotFound"}, b""
        if path == f"{api}/tree/{COMMIT}":
            return {}, json.dumps([self.entry(file) for file in self.folder.iterdir()]).encode()
        file = self.folder / path.removeprefix(files)
        if path.startswith(files) and file.is_file():
            content = bytearray(file.read_bytes())
            etag = hashlib.sha256(content).hexdigest() if self.large(file) else self.git_hash(file)
            if file.name == self.damaged:
                content[len(content) // 2] ^= 1
            return {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT}, bytes(content)
        return {"X-Error-Code": "RepoNotFound"}, b""

    def entry(self, file):
        entry = {"type": "file", "path": file.name, "size": file.stat().st_size, "oid": self.git_hash(file)}
        if self.large(file):
            digest = hashlib.sha256(file.read_bytes()).hexdigest()
            entry["lfs"] = {"oid": digest, "size": entry["size"], "pointerSize": 130}
        return entry

    @staticmethod
    def large(file):
        return file.suffix == ".safetensors"

    @staticmethod
    def git_hash(file):
        content = file.read_bytes()
        return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@pytest.fixture
def hub(checkpoint):
    hub = Hub(checkpoint)
    yield hub
    hub.server.shutdown()
    hub.server.server_close()


CHILD = """
import json, sys
from kosmos2_core.errors import ModelError
from kosmos2_core.hub import checkpoint_folder
try:
    print(checkpoint_folder(**json.loads(sys.argv[1])))
except ModelError as error:
    print("refused:", error)
"""


@pytest.fixture
def find(hub, tmp_path):
    """checkpoint_folder in a fresh process: the folder it printed, or its one sentence."""
    environment = os.environ | {
        "HF_ENDPOINT": f"http://127.0.0.1:{hub.server.server_port}",
        "HF_HOME": str(tmp_path),
        "HF_HUB_OFFLINE": "0",
        "NO_PROXY": "127.0.0.1",
    }

    def run(name=NAME, **settings):
        command = [sys.executable, "-c", CHILD, json.dumps(settings | {"name": name})]
        return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=True)

    return run


def test_a_checkpoint_is_downloaded_once_with_progress(hub, find):
    first = find()
    assert "%" in first.stderr
    assert not any(path.endswith(".bin") for path in hub.asked)
    Engine.load(first.stdout.strip(), device="cpu")
    hub.asked.clear()
    assert find().stdout == find(offline=True).stdout == first.stdout
    assert hub.asked == []


@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json"])
def test_a_file_that_is_not_what_the_hub_says_is_refused_and_fetched_again(hub, find, file):
    hub.damaged = file
    assert find().stdout.startswith(f"refused: {file} is not what the hub says it is")
    hub.damaged = ""
    assert find().stdout.endswith(f"{COMMIT}\n")


def test_what_cannot_be_downloaded_is_one_sentence(hub, find):
    assert find(offline=True).stdout.startswith(f"refused: {NAME} is not on this machine")
    assert "no revision v9" in find(revision="v9").stdout
    assert "check the name" in find(name="robots/other").stdout
    hub.server.shutdown()
    hub.server.server_close()
    assert "the hub cannot be reached" in find().stdout


@pytest.mark.parametrize("name", ["nowhere", "/no/such/folder", "a/b/c", "../up", "a b/c", ""])
def test_what_is_no_name_is_said(name):
    with pytest.raises(ModelError, match="there is no folder"):
        checkpoint_folder(name)
