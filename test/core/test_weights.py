"""Checkpoints: what the peer saves loads here, what is saved here the peer loads, and nothing bad does."""

import json
import pickle
import subprocess
import sys

import pytest
import torch
from peer import make_peer, save_peer
from safetensors.torch import load_file, save_file
from transformers import Kosmos2ForConditionalGeneration

from kosmos2_core.errors import ModelError
from kosmos2_core.weights import load_model, save_model

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
from kosmos2_core.weights import load_model

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
