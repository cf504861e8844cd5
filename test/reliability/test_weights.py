"""Row 11: checkpoints from strangers. What test/core.test_checkpoint.py does to the weights, and more.
Row 32: weights that change under a model that runs.

All are loaded by one process, which has to live: a refused checkpoint takes nothing with it.
"""

import hashlib
import json
import shutil
import subprocess
import sys

import pytest
from core.test_checkpoint import DAMAGES, change_config

from kosmos2_core.checkpoint import quantize_checkpoint
from kosmos2_core.quantized import choose_kernel
from kosmos2_core.weight_files import WeightFiles

DEEP = "[" * 100_000  # deeper than any reader goes

LOAD = """
import json, sys
from kosmos2_core.engine import Engine
from kosmos2_core.errors import ModelError

ran = []
code = ("pickle.find_class", "os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "socket.connect")

def attempt(folder):
    try:
        Engine.load(folder, device="cpu").tokenizer.encode("the ｍｕｇ \\u676f")
    except ModelError as error:
        return str(error)
    except BaseException as error:
        return f"{type(error).__name__}, which is no ModelError:\\n{error}"

good, *bad = sys.argv[1:]
assert attempt(good) is None  # what loading imports is imported now
sys.addaudithook(lambda event, arguments: ran.append(event) if event in code else None)
said = [attempt(folder) for folder in bad]
assert attempt(good) is None
print(json.dumps([said, ran]))
"""


def write(name, text):
    return lambda folder: (folder / name).write_text(text)


def link(name, target):
    def damage(folder):
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(target)

    return damage


def change_tokenizer(change):
    def damage(folder):
        description = json.loads((folder / "tokenizer.json").read_text())
        change(description)
        (folder / "tokenizer.json").write_text(json.dumps(description))

    return damage


def change_table(table):
    """Of what text is normalized by."""
    return change_tokenizer(lambda description: description["normalizer"].update(precompiled_charsmap=table))


def swap_locations(description):
    tokens = {token["content"]: token for token in description["added_tokens"]}
    one, other = tokens["<patch_index_0000>"], tokens["<patch_index_0001>"]
    one["id"], other["id"] = other["id"], one["id"]


def put_a_folder(folder):
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").mkdir()


MORE = {
    "the weights are a link to another file": (link("model.safetensors", "/etc/passwd"), "cannot be read"),
    "the weights are a link to a device": (link("model.safetensors", "/dev/zero"), "cannot be read"),
    "the weights are a link to themselves": (link("model.safetensors", "model.safetensors"), "holds no"),
    "the weights are a folder": (put_a_folder, "cannot be read"),
    "the config is a link to another file": (link("config.json", "/etc/passwd"), "cannot be read"),
    "the config is nested too deep": (write("config.json", DEEP), "cannot be read"),
    "the index is nested too deep": (write("model.safetensors.index.json", DEEP), "cannot be read"),
    "the tokenizer is nested too deep": (write("tokenizer.json", DEEP), "cannot be read"),
    "the tokenizer is no JSON": (write("tokenizer.json", "{"), "cannot be read"),
    "the tokenizer is a list": (write("tokenizer.json", "[]"), "cannot be read"),
    "the tokenizer is of another kind": (
        change_tokenizer(lambda description: description["model"].update(type="BPE")),
        "not a Unigram",
    ),
    "the tokenizer lacks control tokens": (
        change_tokenizer(lambda description: description.update(added_tokens=[])),
        "has no",
    ),
    "the location tokens are out of order": (change_tokenizer(swap_locations), "not a square grid in order"),
    "the tokenizer is larger than the model": (
        change_tokenizer(lambda description: description["added_tokens"][4].update(id=1 << 40)),
        "do not belong to the same checkpoint",
    ),
    "the tokenizer knows no unknown": (
        change_tokenizer(lambda description: description["model"].update(unk_id=None)),
        "tokenizer.json",
    ),
    "the normalizer has no table": (change_table(None), "tokenizer.json"),
    "the normalizer's table is cut off": (change_table("AAAAAAAA"), "tokenizer.json"),
    "a fraction is too large for a float": (
        change_config(text_config={"layer_norm_eps": 10**400}),
        "layer_norm_eps is",
    ),
    "there are absurdly many layers": (change_config(text_config={"layers": 10_000}), "layers is"),
    "there are absurdly many positions": (
        change_config(text_config={"max_position_embeddings": 1 << 20}),
        "max_position_embeddings is",
    ),
}
ALL = DAMAGES | MORE


@pytest.mark.row(
    *(11, "attacks by weights: pickles, bad tensors, bad indexes, links, other files"),
    "15 checkpoints or more; no code run, one clear sentence each, the process lives",
)
def test_no_checkpoint_runs_code_or_ends_the_process(make_folder, tmp_path, record_property):
    good = make_folder()
    folders = [tmp_path / str(number) for number in range(len(ALL))]
    for folder, (damage, _) in zip(folders, ALL.values(), strict=True):
        shutil.copytree(good, folder)
        damage(folder)
    loaded = subprocess.run([sys.executable, "-c", LOAD, good, *folders], capture_output=True, text=True)
    assert loaded.returncode == 0, loaded.stderr
    said, ran = json.loads(loaded.stdout)
    unclear = {
        what: sentence
        for (what, (_, words)), sentence in zip(ALL.items(), said, strict=True)
        if sentence is None or words not in sentence or "\n" in sentence
    }
    record_property("figure", f"{len(ALL)} checkpoints, {len(ALL) - len(unclear)} of them one clear sentence")
    assert unclear == {}
    assert ran == []
    assert not any((folder / "exploded").exists() for folder in folders)


# Row 32. In a process of its own, since a mapped file that is truncated would end this one.

CHANGE = """
import json, os, sys
import numpy as np
from kosmos2_core.engine import Engine
from kosmos2_core.requests import Locate

folder, file, quantize = sys.argv[1:]
engine = Engine.load(folder, device="cpu", quantize=quantize)
picture = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)

def answer():
    [found] = engine.run([([picture], Locate("the mug", min_presence=0.0))])
    box = found.phrases[0].boxes[0]
    return [box.x1, box.y1, box.x2, box.y2, box.score, found.phrases[0].presence]

said = [answer()]
changed = [engine.weights.changed()]
size = os.path.getsize(file)
with open(file, "r+b") as stream:
    stream.seek(size // 4)
    stream.write(os.urandom(size // 2))
said.append(answer())
changed.append(engine.weights.changed())
os.truncate(file, 0)
said.append(answer())
print(json.dumps([said, changed]))
"""


@pytest.mark.row(
    *(32, "weights overwritten and truncated under a model that runs"),
    "unchanged answers; the change is known",
)
@pytest.mark.parametrize("quantize", ["none", "int8"])
def test_a_model_does_not_change_with_its_files(make_folder, quantize, record_property):
    if quantize == "int8" and choose_kernel() is None:
        pytest.skip("there is no fast int8 kernel for this processor")
    folder = make_folder()
    file = folder / "model.safetensors"
    if quantize == "int8":
        quantized = folder.with_name("quantized")
        quantize_checkpoint(folder, quantized)
        folder, file = quantized, quantized / "model.int8.safetensors"
    ended = subprocess.run(
        [sys.executable, "-c", CHANGE, folder, file, quantize], capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    said, changed = json.loads(ended.stdout)
    assert said[1:] == said[:1] * 2
    assert changed == [False, True]
    record_property("figure", f"{quantize}: the same answers, and the change is known")


def test_the_hash_is_that_of_the_file(make_folder):
    file = make_folder() / "model.safetensors"
    weights = WeightFiles([file])
    assert weights.digest() == hashlib.sha256(file.read_bytes()).hexdigest()
    assert not weights.changed()
    file.unlink()
    assert weights.changed()
