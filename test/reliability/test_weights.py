"""Row 11: checkpoints from strangers. What test/core.test_checkpoint.py does to the weights, and more.

All are loaded by one process, which has to live: a refused checkpoint takes nothing with it.
"""

import json
import shutil
import subprocess
import sys

import pytest
from core.test_checkpoint import DAMAGES, change_config

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
