"""Checkpoints: what the peer saves loads here, what is saved here the peer loads, and nothing bad does."""

import hashlib
import json
import os
import pickle
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from peer import make_peer, make_processor, save_peer, shape
from safetensors.torch import load_file, save_file
from transformers import Kosmos2ForConditionalGeneration

from kosmos2_core.checkpoint import checkpoint_folder, load_model, save_model
from kosmos2_core.engine import Engine
from kosmos2_core.errors import ModelError

EMBEDDING = "text_model.model.embed_tokens.weight"


@pytest.fixture(scope="module")
def peer():
    return make_peer("small")


@pytest.fixture
def checkpoint(peer, tmp_path):
    return save_peer(peer, tmp_path / "checkpoint")


@torch.no_grad()
def same(model, other):
    mine, theirs = dict(model.named_parameters()), dict(other.named_parameters())
    return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_a_checkpoint_in_several_files_loads_the_same(peer, checkpoint, tmp_path):
    sharded = save_peer(peer, tmp_path / "sharded", max_shard_size="100KB")
    assert len(list(sharded.glob("*.safetensors"))) > 2
    assert same(load_model(checkpoint), load_model(sharded))


def test_what_is_saved_the_peer_loads_strictly(checkpoint, tmp_path):
    model = load_model(checkpoint)
    save_model(model, tmp_path / "ours")
    loaded, info = Kosmos2ForConditionalGeneration.from_pretrained(
        tmp_path / "ours", output_loading_info=True
    )
    assert not any(info.values()), info
    ids = torch.randint(4, 1200, (2, 20))
    with torch.no_grad():
        torch.testing.assert_close(
            model(ids), loaded.eval().text_model(input_ids=ids).logits, atol=1e-4, rtol=0
        )
    assert same(model, load_model(tmp_path / "ours"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_every_precision(checkpoint, dtype):
    model = load_model(checkpoint, dtype=dtype)
    assert {parameter.dtype for parameter in model.parameters()} == {dtype}
    assert model.decoder.position_table.dtype == dtype


def test_redundant_tensors_of_older_checkpoints_are_no_error(checkpoint):
    tensors = load_file(checkpoint / "model.safetensors")
    tensors["text_model.lm_head.weight"] = tensors[EMBEDDING].clone()
    tensors["vision_model.model.embeddings.position_ids"] = torch.arange(17)[None]
    save_file(tensors, checkpoint / "model.safetensors")
    load_model(checkpoint)


def change_tensor(change):
    def damage(folder):
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file({name: t.contiguous() for name, t in tensors.items()}, folder / "model.safetensors")

    return damage


def change_config(**values):
    def damage(folder):
        config = json.loads((folder / "config.json").read_text())
        for name, value in values.items():
            part = config[name] if isinstance(value, dict) else config
            part.update(value if isinstance(value, dict) else {name: value})
        (folder / "config.json").write_text(json.dumps(config))

    return damage


def change_bytes(change):
    def damage(folder):
        file = folder / "model.safetensors"
        file.write_bytes(change(file.read_bytes()))

    return damage


def write_index(**names):
    def damage(folder):
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))

    return damage


class Bomb:
    """Writes a file where it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return open, (str(self.mark), "w")


def leave_a_pickle(folder):
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(folder / "exploded")))


def disguise_a_pickle(folder):
    (folder / "model.safetensors").write_bytes(pickle.dumps(Bomb(folder / "exploded")))


def overlap_tensors(data: bytes) -> bytes:
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    names = [name for name in header if name != "__metadata__"]
    header[names[1]]["data_offsets"] = header[names[0]]["data_offsets"]
    text = json.dumps(header).encode().ljust(length)
    return len(text).to_bytes(8, "little") + text + data[8 + length :]


NAN = float("nan")
DAMAGES = {
    "a tensor is missing": (change_tensor(lambda t: t.pop(EMBEDDING)), "lacks text_model.model.embed_tokens"),
    "a tensor is extra": (change_tensor(lambda t: t.update(spy=torch.ones(1))), "spy"),
    "a tensor has another shape": (change_tensor(lambda t: t.update({EMBEDDING: t[EMBEDDING][1:]})), "shape"),
    "a tensor has a NaN": (change_tensor(lambda t: t[EMBEDDING].view(-1)[7].fill_(NAN)), "not finite"),
    "a tensor is infinite": (
        change_tensor(lambda t: t[EMBEDDING].view(-1)[7].fill_(-1 / 0.5e-323)),
        "not finite",
    ),
    "a tensor is whole numbers": (
        change_tensor(lambda t: t.update({EMBEDDING: t[EMBEDDING].long()})),
        "int64",
    ),
    "tensors overlap": (change_bytes(overlap_tensors), "cannot be read"),
    "the file is cut off": (change_bytes(lambda data: data[: len(data) // 2]), "cannot be read"),
    "the header is huge": (change_bytes(lambda data: b"\xff" * 8 + data[8:]), "cannot be read"),
    "the file is empty": (change_bytes(lambda data: b""), "cannot be read"),
    "the file is a pickle": (disguise_a_pickle, "cannot be read"),
    "there is only a pickle": (leave_a_pickle, "pickled"),
    "the index leads out of the folder": (write_index(a="../../secret.safetensors"), "../../secret"),
    "the index names an absolute path": (write_index(a="/etc/secret.safetensors"), "/etc/secret"),
    "the index names what is not there": (write_index(a="gone.safetensors"), "gone.safetensors is missing"),
    "the index is no index": (
        lambda f: (f / "model.safetensors.index.json").write_text("[]"),
        "cannot be read",
    ),
    "there is no config": (lambda f: (f / "config.json").unlink(), "does not exist"),
    "the config is no JSON": (lambda f: (f / "config.json").write_text("{"), "JSON"),
    "the config is another model's": (change_config(model_type="bert"), "'bert'"),
    "the model is absurdly large": (change_config(text_config={"embed_dim": 1 << 40}), "embed_dim"),
    "a size is no number": (change_config(vision_config={"patch_size": "14; rm"}), "patch_size"),
    "a size is negative": (change_config(text_config={"layers": -1}), "layers"),
    "the heads do not divide": (change_config(text_config={"attention_heads": 7}), "7 attention heads"),
    "the activation is unknown": (change_config(vision_config={"hidden_act": "os.system"}), "hidden_act"),
    "the output layer is untied": (change_config(tie_word_embeddings=False), "output layer"),
}


@pytest.mark.parametrize("what", DAMAGES)
def test_a_damaged_checkpoint_is_one_clear_error(checkpoint, what):
    damage, words = DAMAGES[what]
    damage(checkpoint)
    with pytest.raises(ModelError) as error:
        load_model(checkpoint)
    assert words in str(error.value)
    assert "\n" not in str(error.value)
    assert not (checkpoint / "exploded").exists()


def test_a_float32_file_becomes_bfloat16_without_both_in_memory(tmp_path):
    """The peak of a process that loads, above that of one that only imports: at most 1.3 times the model
    in memory plus the largest tensor."""
    text = {"vocab_size": 20000, "embed_dim": 512, "layers": 16, "ffn_dim": 2048, "attention_heads": 8}
    peer = make_peer({"text_config": text, "vision_config": {"num_hidden_layers": 1}})
    save_peer(peer, tmp_path)
    sizes = [parameter.numel() for parameter in peer.parameters()]
    resident, largest = 2 * sum(sizes), 4 * max(sizes)
    code = f"""
import torch
from pathlib import Path
from kosmos2_core.config import Config
from kosmos2_core.model import Kosmos2
from kosmos2_core.checkpoint import load_model

def peak():  # the process's own: `ru_maxrss` begins with that of the process it came from
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line]
    return int(line.split()[1]) * 1024

with torch.device("meta"):
    Kosmos2(Config())  # imports more of torch
Path("/proc/self/clear_refs").write_text("5")  # peaks begin anew
before = peak()
model = load_model(Path({str(tmp_path)!r}), dtype=torch.bfloat16)
print(peak() - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert resident < int(done.stdout) <= 1.3 * resident + largest


NAME, COMMIT = "robots/kosmos-2-small", "0123456789" * 4
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def published(tmp_path_factory):
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
def hub(published):
    hub = Hub(published)
    yield hub
    hub.server.shutdown()
    hub.server.server_close()


CHILD = """
import json, sys
from kosmos2_core.errors import ModelError
from kosmos2_core.checkpoint import checkpoint_folder
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
