"""Checkpoints: find or download one, read its weights strictly, and write one that `transformers` can load.

A name is a folder, or a repository of the Hugging Face hub. What is on this machine is used as it is, without
asking the network, so that a robot starts the same way every time; `kosmos2 download` fetches the newest
version. Only safetensors are read: pickled weights can run code.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from kosmos2_core.config import config_to_json, read_config
from kosmos2_core.errors import InputError, ModelError
from kosmos2_core.files import new_folder, read_json
from kosmos2_core.linear import Linear
from kosmos2_core.model import Attention, Kosmos2
from kosmos2_core.quantized import (
    Kernel,
    QuantizedEmbedding,
    QuantizedLinear,
    QuantizedMatrix,
    quantize_matrix,
    stack_matrices,
)
from kosmos2_core.regular_files import check_regular_file

# Weights.

ONE_FILE = "model.safetensors"
INDEX = "model.safetensors.index.json"
README = "README.md"
# The weights of a quantised checkpoint. `transformers` does not look for this name, and could not use them.
QUANTIZED_FILE = "model.int8.safetensors"
SCALES = "_scales"  # ends the name of the scales of a quantised matrix, after the matrix's name

EMBEDDING = "text_model.model.embed_tokens.weight"

# Names of our parameters, as patterns, and what the checkpoint's format has in their place.
NAMES = (
    (r"^vision\.class_embedding$", "vision_model.model.embeddings.class_embedding"),
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
# Older checkpoints hold these too: the output layer, which is shared, and tables that are computed.
REDUNDANT_TENSORS = re.compile(r"text_model\.lm_head\.weight|.*\.position_ids|.*\.embed_positions\.weights")


def load_model(
    folder: Path,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    kernel: Kernel | None = None,
) -> Kosmos2:
    """Load the model in a checkpoint's folder.

    Args:
        folder: The checkpoint's folder.
        device: Where the weights go.
        dtype: Their precision; None: that of the checkpoint's embedding.
        kernel: Computes the products with quantised weights, in float32; None: the weights are not
            quantised, and those of a quantised checkpoint are converted to floating point.

    Raises:
        ModelError: A tensor is missing, unknown, of another shape or not finite, or a file is damaged.
    """
    with torch.device("meta"):
        model = Kosmos2(read_config(folder / "config.json"))
    files = _model_files(folder, model)
    matrices = matrix_names(model)
    if kernel:
        dtype = torch.float32
        for name, attention in self_attentions(model):
            attention.fuse(_read_qkv(files, name, attention, kernel))
    parameters = {checkpoint_name(name): (name, value.shape) for name, value in model.named_parameters()}
    # Without the biases of fused layers, which have their values already.
    parameters = {name: known for name, known in parameters.items() if name in files}
    for name in sorted(parameters, key=lambda name: name != EMBEDDING):
        parameter_name, shape = parameters[name]
        if parameter_name in matrices and (kernel or name + SCALES in files):
            matrix = read_matrix(files, name, shape)
            if kernel:
                assign_matrix(model, parameter_name, matrix, kernel)
                continue
            tensor = matrix.dequantized(dtype or torch.float32).to(device)
        else:
            tensor = read_tensor(files[name], name, shape, torch.device(device), dtype)
        dtype = tensor.dtype  # the embedding is read first and decides for all
        assign_parameter(model, parameter_name, tensor)
    model.decoder.fill_position_table()
    return model.eval()


def _model_files(folder: Path, model: Kosmos2) -> dict[str, Path]:
    """Return the file of each tensor of a checkpoint that has exactly the tensors that the model needs."""
    files = tensor_files(folder)
    needed = {checkpoint_name(name) for name, _ in model.named_parameters()}
    scales = {checkpoint_name(name) + SCALES for name in matrix_names(model)}
    unknown = {name for name in files.keys() - needed - scales if not REDUNDANT_TENSORS.fullmatch(name)}
    for names, verb in ((needed - files.keys(), "lacks"), (unknown, "has, besides the model's,")):
        if names:
            raise ModelError(
                f"the checkpoint in {folder} {verb} {_shortened(names)}: it is not a Kosmos-2 checkpoint."
            )
    return files


def self_attentions(model: Kosmos2) -> Iterator[tuple[str, Attention]]:
    """Yield names and modules of the attentions whose queries, keys and values come from the same tokens."""
    for name, module in model.named_modules():
        if isinstance(module, Attention) and module is not model.connector.attention:
            yield name, module


def _read_qkv(files: Mapping[str, Path], name: str, attention: Attention, kernel: Kernel) -> QuantizedLinear:
    """Read the projections of an attention to queries, keys and values as one layer."""
    matrices, biases = [], []
    for leaf in "qkv":
        layer = attention.get_submodule(leaf)
        weight, bias = (checkpoint_name(f"{name}.{leaf}.{part}") for part in ("weight", "bias"))
        matrices.append(read_matrix(files, weight, layer.get_parameter("weight").shape))
        shape = layer.get_parameter("bias").shape
        biases.append(read_tensor(files[bias], bias, shape, torch.device("cpu"), torch.float32))
    return QuantizedLinear(stack_matrices(matrices), kernel, torch.cat(biases))


def matrix_names(model: Kosmos2) -> set[str]:
    """Return the names of the model's weights that can be quantised: all linear layers and the embedding."""
    linear = {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, Linear)}
    return linear | {"decoder.embedding.weight"}


def is_quantized(folder: Path) -> bool:
    """Return whether a checkpoint has quantised weights alone; others in its folder are read first."""
    return (folder / QUANTIZED_FILE).exists() and not any(
        (folder / name).exists() for name in (ONE_FILE, INDEX)
    )


def quantize_checkpoint(source: Path, target: Path) -> None:
    """Write a checkpoint with quantised weights, and the other files of the source, to a new folder.

    The source's README is left out: it says how to use weights that are not quantised.

    Raises:
        ModelError: The source cannot be used, or is quantised already.
        InputError: The target exists or cannot be written.
    """
    if is_quantized(source):
        raise ModelError(f"{source} is quantised already: name the checkpoint that it was made from.")
    with torch.device("meta"):
        model = Kosmos2(read_config(source / "config.json"))
    files, matrices = _model_files(source, model), matrix_names(model)
    tensors: dict[str, Tensor] = {}
    for parameter_name, parameter in model.named_parameters():
        name = checkpoint_name(parameter_name)
        if parameter_name in matrices:
            tensors[name], tensors[name + SCALES] = read_matrix(files, name, parameter.shape)
        else:
            tensors[name] = read_tensor(files[name], name, parameter.shape, torch.device("cpu"), None)
    try:
        with new_folder(target) as folder:
            folder.mkdir()
            save_file(tensors, folder / QUANTIZED_FILE, metadata={"format": "pt"})
            for file in source.iterdir():
                if file.is_file() and file.suffix != ".safetensors" and file.name not in (INDEX, README):
                    shutil.copyfile(file, folder / file.name)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"{target} cannot be written to ({reason}): choose a folder on a disk with room."
        ) from None


def save_model(model: Kosmos2, folder: Path) -> None:
    """Write weights and configuration to a folder, for this module and for `transformers`."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        checkpoint_name(name): value.detach().contiguous().cpu() for name, value in model.named_parameters()
    }
    save_file(tensors, folder / ONE_FILE, metadata={"format": "pt"})
    (folder / "config.json").write_text(config_to_json(model.config), encoding="utf-8")


def checkpoint_name(name: str) -> str:
    """Return the name in a checkpoint of one of the model's parameters."""
    for pattern, replacement in NAMES:
        renamed, count = re.subn(pattern, replacement, name)
        if count:
            return re.sub(r"(self_attn|x_attn)\.(q|k|v|out)\.", r"\1.\2_proj.", renamed)
    raise AssertionError(f"{name} has no name in a checkpoint")


def tensor_files(folder: Path) -> dict[str, Path]:
    """Return the file of each tensor in a checkpoint: one file, or several with an index.

    Raises:
        ModelError: There are no weights, only pickled ones, or a tensor is in two files.
    """
    if (folder / INDEX).exists():
        files = _indexed_files(folder)
    elif (folder / ONE_FILE).exists():
        files = [folder / ONE_FILE]
    elif is_quantized(folder):
        files = [folder / QUANTIZED_FILE]
    elif any(folder.glob("*.bin")) or any(folder.glob("*.pt*")):
        raise ModelError(f"{folder} holds pickled weights, which can run code: only safetensors are read.")
    else:
        raise ModelError(f"{folder} holds no {ONE_FILE}: name a folder with a Kosmos-2 checkpoint.")
    file_of: dict[str, Path] = {}
    for file in files:
        for name in _tensor_names(file):
            if name in file_of:
                raise ModelError(
                    f"{name} is in {file_of[name].name} and in {file.name}: download the checkpoint again."
                )
            file_of[name] = file
    return file_of


def _indexed_files(folder: Path) -> list[Path]:
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


def _tensor_names(file: Path) -> Iterator[str]:
    try:
        check_regular_file(file)
        with safe_open(file, framework="pt") as opened:
            yield from opened.keys()
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{file} cannot be read ({error}): download the checkpoint again.") from None


def read_tensor(
    file: Path, name: str, shape: torch.Size, device: torch.device, dtype: torch.dtype | None
) -> Tensor:
    """Read, check and copy one tensor.

    The file is mapped into memory, and a change of it would change the tensor. So the tensor is copied. The
    file is opened for this tensor alone, so that the pages mapped for it are released before the next: a
    float32 file becomes a bfloat16 model without both in memory.

    Raises:
        ModelError: The tensor has another shape, is no floating-point one, or is not finite.
    """
    tensor = _read_raw(file, name, shape)
    if not tensor.is_floating_point():
        raise ModelError(f"{name} in {file.name} is {tensor.dtype}: only floating-point weights are known.")
    if not all(bound.isfinite() for bound in torch.aminmax(tensor)):
        raise ModelError(f"{name} in {file.name} has values that are not finite: download it again.")
    return tensor.to(device=device, dtype=dtype or tensor.dtype, copy=True)


def _read_raw(file: Path, name: str, shape: torch.Size) -> Tensor:
    """Read one tensor, which is the mapped file, and check its shape."""
    try:
        with safe_open(file, framework="pt") as opened:
            found = tuple(opened.get_slice(name).get_shape())
            if found != tuple(shape):
                raise ModelError(f"{name} in {file.name} has shape {found} where {tuple(shape)} is needed.")
            tensor: Tensor = opened.get_tensor(name)
            return tensor
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{file} cannot be read ({error}): download the checkpoint again.") from None


def read_matrix(files: Mapping[str, Path], name: str, shape: torch.Size) -> QuantizedMatrix:
    """Read a quantised matrix, or read one in floating point and quantise it.

    Raises:
        ModelError: A tensor has another shape or type, or is not finite.
    """
    if name + SCALES not in files:
        return quantize_matrix(read_tensor(files[name], name, shape, torch.device("cpu"), None))
    values = _read_raw(files[name], name, shape).clone()
    if values.dtype != torch.int8:
        raise ModelError(f"{name} in {files[name].name} is {values.dtype}: with scales, it must be int8.")
    scales_name = name + SCALES
    scales = read_tensor(files[scales_name], scales_name, shape[:1], torch.device("cpu"), torch.float32)
    return QuantizedMatrix(values, scales)


def assign_matrix(model: nn.Module, name: str, matrix: QuantizedMatrix, kernel: Kernel) -> None:
    """Replace the layer of a weight by one with quantised weights."""
    path = name.removesuffix(".weight")
    parent, _, leaf = path.rpartition(".")
    is_embedding = isinstance(model.get_submodule(path), nn.Embedding)
    layer = QuantizedEmbedding(matrix, kernel) if is_embedding else QuantizedLinear(matrix, kernel)
    setattr(model.get_submodule(parent), leaf, layer)


def assign_parameter(model: nn.Module, name: str, tensor: Tensor) -> None:
    """Replace a parameter by a tensor, without a copy."""
    path, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(path), leaf, nn.Parameter(tensor, requires_grad=False))


def _shortened(names: set[str]) -> str:
    first = ", ".join(sorted(names)[:3])
    return first if len(names) <= 3 else f"{first} and {len(names) - 3} more"


# The Hugging Face hub. Its library is imported only when a name is no folder: that takes half a second.

FILES = ("*.json", "*.safetensors")  # no pickles
HUB_NAME = re.compile(r"(?=.{,96}$)[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def checkpoint_folder(name: str | Path, revision: str | None = None, offline: bool = False) -> Path:
    """Return the folder of a checkpoint, after downloading it if it is not on this machine.

    Args:
        name: A folder, or a name on the hub.
        revision: A revision on the hub; None: the main branch.
        offline: Never use the network.

    Raises:
        ModelError: It is neither a folder nor a name on the hub, or it cannot be downloaded.
    """
    if os.path.isdir(name):  # False also for a name that is too long for a file
        return Path(name)
    _check_hub_name(str(name))
    from huggingface_hub import errors

    try:
        folder = _snapshot(str(name), revision, offline=True)
        if offline or _checked_mark(folder).exists():
            return folder
    except errors.LocalEntryNotFoundError:
        if offline:
            raise ModelError(f"{name} is not on this machine: run `kosmos2 download {name}` first.") from None
    return download(str(name), revision)


def download(name: str, revision: str | None = None) -> Path:
    """Download the newest files of a checkpoint, check their hashes, and return the folder.

    Args:
        name: A name on the hub.
        revision: A revision; None: the main branch.

    Raises:
        ModelError: There is no such checkpoint or revision, the hub cannot be reached, or a file is damaged.
    """
    _check_hub_name(name)
    from huggingface_hub import errors

    try:
        folder = _snapshot(name, revision, offline=False)
    except errors.RevisionNotFoundError:
        raise ModelError(f"{name} has no revision {revision}: see its page on the hub.") from None
    except errors.RepositoryNotFoundError:
        raise ModelError(
            f"there is no folder {name}, and no such checkpoint on the hub: check the name; a private or"
            " gated one needs `hf auth login`."
        ) from None
    except errors.LocalEntryNotFoundError:
        raise ModelError(
            f"there is no folder {name}, and the hub cannot be reached: connect and try again, or name"
            " a folder."
        ) from None
    except Exception as error:  # also from its HTTP client, which changes with the version, and from the disk
        reason = str(error).split("\n")[0]
        raise ModelError(
            f"{name} could not be downloaded ({reason}): run the same command again to resume."
        ) from None
    for file in sorted(folder.iterdir()):
        check_hash(file)
    _checked_mark(folder).parent.mkdir(exist_ok=True)
    _checked_mark(folder).touch()
    return folder


def check_hash(file: Path) -> None:
    """Check a file of the hub's cache, which is a link to content named by its hash.

    The hash is SHA-256, or git's for a small file. A damaged file is deleted, so that the next download
    fetches it again.

    Raises:
        ModelError: The content has another hash.
    """
    content = file.resolve()
    if len(content.name) == 64:
        digest = hashlib.sha256()
    elif len(content.name) == 40:
        digest = hashlib.sha1(b"blob %d\0" % content.stat().st_size, usedforsecurity=False)
    else:
        return  # a mirror that names content in another way
    with content.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    if digest.hexdigest() != content.name:
        content.unlink()
        raise ModelError(
            f"{file.name} is not what the hub says it is: it was deleted, download the checkpoint again."
        )


def _check_hub_name(name: str) -> None:
    if not HUB_NAME.fullmatch(name):
        raise ModelError(
            f"there is no folder {name}: name a folder with a checkpoint, or one on the hub, as in"
            " microsoft/kosmos-2-patch14-224."
        )


def _snapshot(name: str, revision: str | None, offline: bool) -> Path:
    import huggingface_hub

    return Path(
        huggingface_hub.snapshot_download(
            name, revision=revision, allow_patterns=list(FILES), local_files_only=offline
        )
    )


def _checked_mark(folder: Path) -> Path:
    """Return the file whose existence says that the hashes of this snapshot were checked."""
    return folder.parents[1] / ".kosmos2-checked" / folder.name
