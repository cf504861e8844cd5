"""Checkpoints: from safetensors files to the model and back, in the peer's format."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import torch
from huggingface_hub import errors
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from kosmos2_core.config import config_to_json, read_config
from kosmos2_core.errors import ModelError
from kosmos2_core.files import read_json
from kosmos2_core.model import Decoder, Kosmos2, sinusoids

ONE_FILE = "model.safetensors"
INDEX = "model.safetensors.index.json"

EMBEDDING = "text_model.model.embed_tokens.weight"

# Our parameter names and the checkpoint's, by the beginning and by the part that differs.
NAMES = (
    (r"^vision\.whole$", "vision_model.model.embeddings.class_embedding"),
    (r"^vision\.patches\.", "vision_model.model.embeddings.patch_embedding."),
    (r"^vision\.positions\.", "vision_model.model.embeddings.position_embedding."),
    (r"^vision\.pre_norm\.", "vision_model.model.pre_layrnorm."),
    (r"^vision\.post_norm\.", "vision_model.model.post_layernorm."),
    (r"^vision\.blocks\.(\d+)\.attention_norm\.", r"vision_model.model.encoder.layers.\1.layer_norm1."),
    (r"^vision\.blocks\.(\d+)\.mlp_norm\.", r"vision_model.model.encoder.layers.\1.layer_norm2."),
    (r"^vision\.blocks\.(\d+)\.(fc\d)\.", r"vision_model.model.encoder.layers.\1.mlp.\2."),
    (r"^vision\.blocks\.(\d+)\.attention\.", r"vision_model.model.encoder.layers.\1.self_attn."),
    (r"^connector\.dense\.", "image_to_text_projection.dense."),
    (r"^connector\.queries$", "image_to_text_projection.latent_query"),
    (r"^connector\.attention\.", "image_to_text_projection.x_attn."),
    (r"^decoder\.embedding\.", "text_model.model.embed_tokens."),
    (r"^decoder\.norm\.", "text_model.model.layer_norm."),
    (r"^decoder\.blocks\.(\d+)\.attention_norm\.", r"text_model.model.layers.\1.self_attn_layer_norm."),
    (
        r"^decoder\.blocks\.(\d+)\.attention\.inner_norm\.",
        r"text_model.model.layers.\1.self_attn.inner_attn_ln.",
    ),
    (r"^decoder\.blocks\.(\d+)\.attention\.", r"text_model.model.layers.\1.self_attn."),
    (r"^decoder\.blocks\.(\d+)\.ffn_norm\.", r"text_model.model.layers.\1.final_layer_norm."),
    (r"^decoder\.blocks\.(\d+)\.inner_norm\.", r"text_model.model.layers.\1.ffn.ffn_layernorm."),
    (r"^decoder\.blocks\.(\d+)\.(fc\d)\.", r"text_model.model.layers.\1.ffn.\2."),
)
# Older checkpoints hold these too: the tied output layer, and tables that are computed.
REDUNDANT_TENSORS = re.compile(r"text_model\.lm_head\.weight|.*\.position_ids|.*\.embed_positions\.weights")


def load_model(folder: Path, device: torch.device | str = "cpu", dtype: torch.dtype | None = None) -> Kosmos2:
    """The model in a checkpoint's folder, strictly: what is missing, extra, misshapen or not finite is
    an error. dtype None keeps the checkpoint's."""
    config = read_config(folder / "config.json")
    with torch.device("meta"):
        model = Kosmos2(config)
    expected = {checkpoint_name(name): (name, p) for name, p in model.named_parameters()}
    where = tensor_files(folder)
    missing, extra = expected.keys() - where.keys(), where.keys() - expected.keys()
    extra = {name for name in extra if not REDUNDANT_TENSORS.fullmatch(name)}
    for names, what in ((missing, "lacks"), (extra, "has, besides the model's,")):
        if names:
            raise ModelError(f"the checkpoint in {folder} {what} {_some(names)}: it is not a Kosmos-2's.")
    for name in sorted(expected, key=lambda name: name != EMBEDDING):
        own, parameter = expected[name]
        tensor = read_tensor(where[name], name, parameter.shape, torch.device(device), dtype)
        dtype = tensor.dtype  # the embedding's, first, is everyone's
        assign_parameter(model, own, tensor)
    fill_position_table(model)
    return model.eval()


def save_model(model: Kosmos2, folder: Path) -> None:
    """Write a checkpoint that this module and the peer load."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {checkpoint_name(n): p.detach().contiguous().cpu() for n, p in model.named_parameters()}
    save_file(tensors, folder / ONE_FILE, metadata={"format": "pt"})
    (folder / "config.json").write_text(config_to_json(model.config), encoding="utf-8")


def checkpoint_name(name: str) -> str:
    for pattern, replacement in NAMES:
        renamed, count = re.subn(pattern, replacement, name)
        if count:
            return re.sub(r"(self_attn|x_attn)\.(q|k|v|out)\.", r"\1.\2_proj.", renamed)
    raise AssertionError(f"{name} has no name in a checkpoint")


def tensor_files(folder: Path) -> dict[str, Path]:
    """The file of each tensor: one file, or several with an index."""
    if (folder / INDEX).exists():
        files = _index_files(folder)
    elif (folder / ONE_FILE).exists():
        files = [folder / ONE_FILE]
    elif any(folder.glob("*.bin")) or any(folder.glob("*.pt*")):
        raise ModelError(f"{folder} holds pickled weights, which can run code: only safetensors are read.")
    else:
        raise ModelError(f"{folder} holds no {ONE_FILE}: name a folder with a Kosmos-2 checkpoint.")
    where: dict[str, Path] = {}
    for file in files:
        for name in _names_in(file):
            if name in where:
                raise ModelError(f"{name} is in {where[name].name} and in {file.name}: download it again.")
            where[name] = file
    return where


def _index_files(folder: Path) -> list[Path]:
    try:
        names = set(read_json(folder / INDEX)["weight_map"].values())
    except (KeyError, AttributeError, TypeError) as error:
        raise ModelError(
            f"{folder / INDEX} cannot be read ({error}): download the checkpoint again."
        ) from None
    for name in names:
        if not isinstance(name, str) or not re.fullmatch(r"[\w.-]+\.safetensors", name):
            raise ModelError(f"{folder / INDEX} names {name!r}, which is no file of this checkpoint.")
        if not (folder / name).exists():
            raise ModelError(f"{folder / name} is missing: download the checkpoint again.")
    return [folder / name for name in sorted(names)]


def _names_in(file: Path) -> Iterator[str]:
    try:
        with safe_open(file, framework="pt") as opened:
            yield from opened.keys()
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{file} cannot be read ({error}): download the checkpoint again.") from None


def read_tensor(
    file: Path, name: str, shape: torch.Size, device: torch.device, dtype: torch.dtype | None
) -> Tensor:
    """One tensor, checked. The file is opened for it alone, so that what was mapped for one tensor is
    given back before the next: a float32 file becomes a bfloat16 model without both in memory."""
    try:
        with safe_open(file, framework="pt") as opened:
            found = tuple(opened.get_slice(name).get_shape())
            if found != tuple(shape):
                raise ModelError(f"{name} in {file.name} has shape {found} where {tuple(shape)} is needed.")
            tensor: Tensor = opened.get_tensor(name)
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{file} cannot be read ({error}): download the checkpoint again.") from None
    if not tensor.is_floating_point():
        raise ModelError(f"{name} in {file.name} is {tensor.dtype}: only floating-point weights are known.")
    if not all(bound.isfinite() for bound in torch.aminmax(tensor)):
        raise ModelError(f"{name} in {file.name} has values that are not finite: download it again.")
    return tensor.to(device=device, dtype=dtype or tensor.dtype)


def assign_parameter(model: nn.Module, name: str, tensor: Tensor) -> None:
    """Put a tensor in a parameter's place, without a copy."""
    path, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(path), leaf, nn.Parameter(tensor, requires_grad=False))


def fill_position_table(model: Kosmos2) -> None:
    """The computed tables, which no checkpoint holds, on the weights' device and in their precision."""
    decoder: Decoder = model.decoder
    weight = decoder.embedding.weight
    decoder.position_table = sinusoids(*decoder.position_table.shape).to(weight.device, weight.dtype)


def _some(names: set[str]) -> str:
    first = ", ".join(sorted(names)[:3])
    return first if len(names) <= 3 else f"{first} and {len(names) - 3} more"


FILES = ("*.json", "*.safetensors")  # no pickles
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def checkpoint_folder(name: str | Path, revision: str | None = None, offline: bool = False) -> Path:
    """The folder of a checkpoint; one of the hub is downloaded where it is not here yet."""
    if str(name) and Path(name).is_dir():
        return Path(name)
    _check_name(str(name))
    try:
        folder = Path(_snapshot(str(name), revision, offline=True))
        if offline or _mark(folder).exists():
            return folder
    except errors.LocalEntryNotFoundError:
        if offline:
            raise ModelError(f"{name} is not on this machine: `kosmos2 download {name}` first.") from None
    return download(str(name), revision)


def download(name: str, revision: str | None = None) -> Path:
    """The newest of this revision, whatever is here already; every file's hash is checked."""
    _check_name(name)
    try:
        folder = Path(_snapshot(name, revision, offline=False))
    except errors.RevisionNotFoundError:
        raise ModelError(f"{name} has no revision {revision}: see its page on the hub.") from None
    except errors.RepositoryNotFoundError:
        raise ModelError(
            f"there is no folder {name} here, and none to see of that name on the hub: check the name; a"
            " private or gated one needs `hf auth login`."
        ) from None
    except errors.LocalEntryNotFoundError:
        raise ModelError(
            f"there is no folder {name} here, and the hub cannot be reached: connect and try again, or name"
            " a folder."
        ) from None
    except Exception as error:  # its HTTP client's too, another one in each major version, and the disk's
        reason = str(error).split("\n")[0]
        raise ModelError(f"{name} could not be downloaded ({reason}): try again; it goes on.") from None
    for file in sorted(folder.iterdir()):
        check_hash(file)
    _mark(folder).parent.mkdir(exist_ok=True)
    _mark(folder).touch()
    return folder


def check_hash(file: Path) -> None:
    """A file of the cache is a link to content named by its hash: SHA-256, or git's of a small file. One
    that is not what its name says is deleted, so that the next download brings it again."""
    content = file.resolve()
    if len(content.name) == 64:
        digest = hashlib.sha256()
    elif len(content.name) == 40:
        digest = hashlib.sha1(b"blob %d\0" % content.stat().st_size, usedforsecurity=False)
    else:
        return  # a mirror that names content otherwise
    with content.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    if digest.hexdigest() != content.name:
        content.unlink()
        raise ModelError(f"{file.name} is not what the hub says it is: it was deleted, download it again.")


def _check_name(name: str) -> None:
    if not HUB_NAME.fullmatch(name):
        raise ModelError(
            f"there is no folder {name}: name a folder with a checkpoint, or one of the hub, as in"
            " microsoft/kosmos-2-patch14-224."
        )


def _snapshot(name: str, revision: str | None, offline: bool) -> str:
    return huggingface_hub.snapshot_download(
        name, revision=revision, allow_patterns=list(FILES), local_files_only=offline
    )


def _mark(folder: Path) -> Path:
    """The file that says that this snapshot's hashes were checked."""
    return folder.parents[1] / ".kosmos2-checked" / folder.name
