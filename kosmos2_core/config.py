"""The configuration of a checkpoint: the model's shape, read from config.json through an allow-list.

Only the fields below are read, all of them are checked, and everything else in the file is ignored, because a
configuration often comes from the network.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from kosmos2_core.errors import ModelError
from kosmos2_core.files import read_json

MODEL_TYPE = "kosmos-2"


@dataclass(frozen=True)
class VisionConfig:
    """The shape of the vision tower, a CLIP ViT. Defaults are the public checkpoint's."""

    hidden_size: int = 1024
    intermediate_size: int = 4096
    num_hidden_layers: int = 24
    num_attention_heads: int = 16
    num_channels: int = 3
    image_size: int = 224
    patch_size: int = 14
    hidden_act: str = "quick_gelu"
    layer_norm_eps: float = 1e-5
    attention_dropout: float = 0.0

    @property
    def num_patches(self) -> int:
        """Number of patches of an image."""
        return (self.image_size // self.patch_size) ** 2


@dataclass(frozen=True)
class TextConfig:
    """The shape of the decoder. Defaults are the public checkpoint's."""

    vocab_size: int = 65037
    max_position_embeddings: int = 2048
    embed_dim: int = 2048
    layers: int = 24
    ffn_dim: int = 8192
    attention_heads: int = 32
    activation_function: str = "gelu"
    dropout: float = 0.1
    attention_dropout: float = 0.1
    activation_dropout: float = 0.0
    layer_norm_eps: float = 1e-5
    scale_embedding: bool = True
    bos_token_id: int = 0
    pad_token_id: int = 1
    eos_token_id: int = 2


@dataclass(frozen=True)
class Config:
    """The shape of the whole model. Defaults are the public checkpoint's.

    Args:
        vision_config: Shape of the vision tower.
        text_config: Shape of the decoder.
        latent_query_num: Number of the decoder's tokens for an image.

    Raises:
        ModelError: A value is of the wrong type or out of range, or the shapes do not fit each other.
    """

    vision_config: VisionConfig = field(default_factory=VisionConfig)
    text_config: TextConfig = field(default_factory=TextConfig)
    latent_query_num: int = 64

    def __post_init__(self) -> None:
        check_config(self)


def read_config(path: Path) -> Config:
    """Read a checkpoint's config.json.

    Raises:
        ModelError: The file is missing or damaged, of another kind of model, or describes no valid shape.
    """
    try:
        values = read_json(path)
    except FileNotFoundError:
        raise ModelError(f"{path} does not exist: name a folder with a Kosmos-2 checkpoint.") from None
    if not isinstance(values, dict) or values.get("model_type") != MODEL_TYPE:
        kind = values.get("model_type") if isinstance(values, dict) else None
        raise ModelError(f"{path} belongs to a model of type {kind!r}: only {MODEL_TYPE!r} can be used.")
    if values.get("tie_word_embeddings", True) is not True:
        raise ModelError(f"{path} has a separate output layer: Kosmos-2 shares it with the embedding.")
    return Config(
        vision_config=_pick(VisionConfig, values.get("vision_config"), path),
        text_config=_pick(TextConfig, values.get("text_config"), path),
        latent_query_num=values.get("latent_query_num", 64),
    )


def config_to_json(config: Config) -> str:
    """Return the text of a config.json, for this module and for `transformers`."""
    values: dict[str, Any] = asdict(config)
    values |= {"model_type": MODEL_TYPE, "architectures": ["Kosmos2ForConditionalGeneration"]}
    values["tie_word_embeddings"] = True
    values["vision_config"]["model_type"] = "kosmos_2_vision_model"
    values["text_config"]["model_type"] = "kosmos_2_text_model"
    return json.dumps(values, indent=2, sort_keys=True) + "\n"


Part = TypeVar("Part", VisionConfig, TextConfig)


def _pick(part: type[Part], values: object, path: Path) -> Part:
    if values is None:
        return part()
    if not isinstance(values, dict):
        raise ModelError(f"{path} does not describe the {part.__name__}: download the checkpoint again.")
    known = {entry.name for entry in fields(part)}
    return part(**{name: value for name, value in values.items() if name in known and value is not None})


def check_config(config: Config) -> None:
    """Raise a ModelError if a value is of the wrong type or range, or shapes do not fit each other."""
    vision, text = config.vision_config, config.text_config
    for part in (vision, text, config):
        for entry in fields(part):
            _check_field(entry.name, getattr(part, entry.name), str(entry.type))
    for name, width, heads in (
        ("vision_config", vision.hidden_size, vision.num_attention_heads),
        ("text_config", text.embed_dim, text.attention_heads),
    ):
        if width % heads:
            raise ModelError(f"{name}: a width of {width} does not divide into {heads} attention heads.")
    if vision.patch_size > vision.image_size:
        raise ModelError(
            f"vision_config: patch_size {vision.patch_size} exceeds image_size {vision.image_size}."
        )
    if text.embed_dim % 2 or text.embed_dim < 4:
        raise ModelError(f"text_config: embed_dim is {text.embed_dim}: it must be even and at least 4.")
    special = (text.bos_token_id, text.pad_token_id, text.eos_token_id)
    if max(special) >= text.vocab_size:
        raise ModelError(f"text_config: special ids {special} exceed a vocabulary of {text.vocab_size}.")


ACTIVATIONS = ("gelu", "quick_gelu")
# Far above all real sizes, and small enough to build a model from before any tensor is read.
LARGEST = {"layers": 512, "num_hidden_layers": 512, "max_position_embeddings": 1 << 17}
LARGEST_SIZE = 1 << 22  # of any other number


def _check_field(name: str, value: object, kind: str) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind == "int":
        lowest = 0 if name.endswith("token_id") else 1
        largest = LARGEST.get(name, LARGEST_SIZE)
        valid = isinstance(value, int) and number and lowest <= value <= largest
    elif kind == "float":
        valid = number and 0 <= value < 1  # type: ignore[operator]
    elif kind == "str":
        valid = value in ACTIVATIONS
    elif kind == "bool":
        valid = isinstance(value, bool)
    else:
        return
    if not valid:
        raise ModelError(f"config.json: {name} is {value!r}: that is not a valid {kind} for Kosmos-2.")
