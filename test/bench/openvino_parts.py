"""Convert the model of `transformers` to OpenVINO, with compressed weights.

    python test/bench/openvino_parts.py FOLDER

converts the checkpoint in FOLDER, and writes the parts to FOLDER/openvino-int8 and FOLDER/openvino-int4.
The parts are those of OpenVINO's public notebook for Kosmos-2: image encoder, image-to-text projection, token
embedding and text decoder. Unlike there, the decoder keeps its keys and values inside OpenVINO, which is
faster, and each image is encoded once for all texts about it.
"""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nncf
import openvino
import torch
from openvino.passes import MakeStateful, Manager
from torch import Tensor, nn
from transformers import Kosmos2ForConditionalGeneration

# Symmetric: OpenVINO has faster kernels for it. The image's parts and the output layer stay in int8.
INT8 = {"mode": nncf.CompressWeightsMode.INT8_SYM}
INT4 = {
    "mode": nncf.CompressWeightsMode.INT4_SYM,
    "backup_mode": nncf.BackupMode.INT8_SYM,
    "group_size": 64,
    "ratio": 1.0,
}


class ImageEncoder(nn.Module):
    """From pixels to a feature of unit length per patch."""

    def __init__(self, peer: Kosmos2ForConditionalGeneration) -> None:
        super().__init__()
        self.tower = peer.vision_model

    def forward(self, pixels: Tensor) -> Tensor:
        states = self.tower(pixels).last_hidden_state
        return nn.functional.normalize(self.tower.model.post_layernorm(states), dim=-1)


class Projection(nn.Module):
    """From an image's features to its tokens in the decoder."""

    def __init__(self, peer: Kosmos2ForConditionalGeneration) -> None:
        super().__init__()
        self.projection = peer.image_to_text_projection

    def forward(self, features: Tensor) -> Tensor:
        tokens: Tensor = self.projection(features)[0]
        return tokens


class PastTensors:
    """The cache of the decoder's layers while they are traced: it joins tensors, and lists them."""

    def __init__(self, past: tuple[Tensor, ...], beams: Tensor) -> None:
        self.past, self.beams, self.present = past, beams, []

    def update(self, keys: Tensor, values: Tensor, layer: int) -> tuple[Tensor, Tensor]:
        joined = [
            torch.cat([past.index_select(0, self.beams), new], dim=2)
            for past, new in zip(self.past[2 * layer : 2 * layer + 2], (keys, values), strict=True)
        ]
        self.present += joined
        return joined[0], joined[1]


class TextDecoder(nn.Module):
    """From embeddings and the keys and values of earlier tokens to the logits after the last token."""

    def __init__(self, peer: Kosmos2ForConditionalGeneration) -> None:
        super().__init__()
        self.text, self.output = peer.text_model.model, peer.text_model.lm_head

    def forward(
        self, embeddings: Tensor, positions: Tensor, mask: Tensor, beams: Tensor, past: tuple[Tensor, ...]
    ) -> tuple[Tensor, ...]:
        cache = PastTensors(past, beams)
        x = embeddings * self.text.embed_scale + self.text.embed_positions.weights[positions]
        for layer in self.text.layers:
            x = layer(x, mask, past_key_values=cache)
        return (self.output(self.text.layer_norm(x[:, -1:])), *cache.present)


def convert(folder: Path) -> None:
    """Convert a checkpoint, one part after the other to save memory."""
    peer = Kosmos2ForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    for name, part in convert_parts(peer):
        for weights in ("int8", "int4"):
            settings = INT4 if (weights, name) == ("int4", "decoder") else INT8
            compressed = nncf.compress_weights(part.clone(), **settings)
            openvino.save_model(compressed, folder / f"openvino-{weights}" / f"{name}.xml")
            del compressed
            gc.collect()
    text = peer.config.text_config
    heads = {"layers": text.layers, "heads": text.attention_heads, "width": text.embed_dim}
    for weights in ("int8", "int4"):  # written last: a sign that the folder is complete
        (folder / f"openvino-{weights}" / "shape.json").write_text(json.dumps(heads))


def convert_parts(peer: Kosmos2ForConditionalGeneration) -> Iterator[tuple[str, openvino.Model]]:
    vision, text = peer.config.vision_config, peer.config.text_config
    pixels = torch.zeros(1, 3, vision.image_size, vision.image_size)
    features = torch.zeros(1, (vision.image_size // vision.patch_size) ** 2 + 1, vision.hidden_size)
    yield "encoder", openvino.convert_model(ImageEncoder(peer), example_input=pixels)
    yield "projection", openvino.convert_model(Projection(peer), example_input=features)
    ids = torch.zeros(1, 2, dtype=torch.long)
    yield "embedding", openvino.convert_model(peer.get_input_embeddings(), example_input=ids)
    yield "decoder", convert_decoder(TextDecoder(peer).eval(), text)


def convert_decoder(decoder: TextDecoder, text: Any) -> openvino.Model:
    """Convert the decoder; its keys and values become a state that OpenVINO keeps between calls."""
    heads, width = text.attention_heads, text.embed_dim // text.attention_heads
    past = tuple(torch.zeros(2, heads, 3, width) for _ in range(2 * text.layers))
    example = {
        "embeddings": torch.zeros(2, 4, text.embed_dim),
        "positions": torch.full((2, 4), 5),
        "mask": torch.zeros(2, 1, 4, 7),
        "beams": torch.arange(2),
        "past": past,
    }
    model = openvino.convert_model(decoder, example_input=example)
    names = [*list(example)[:4], *(f"past.{number}" for number in range(len(past)))]
    for port, name in zip(model.inputs, names, strict=True):
        port.get_tensor().set_names({name})
    outputs = ["logits", *(f"present.{number}" for number in range(len(past)))]
    for port, name in zip(model.outputs, outputs, strict=True):
        port.get_tensor().set_names({name})
    shapes = {name: openvino.PartialShape([-1, heads, -1, width]) for name in names[4:]}
    shapes |= {"embeddings": openvino.PartialShape([-1, -1, text.embed_dim])}
    shapes |= {"positions": openvino.PartialShape([-1, -1]), "beams": openvino.PartialShape([-1])}
    shapes |= {"mask": openvino.PartialShape([-1, 1, -1, -1])}
    model.reshape(shapes)
    manager = Manager()
    manager.register_pass(MakeStateful(dict(zip(names[4:], outputs[1:], strict=True))))
    manager.run_passes(model)
    return model


if __name__ == "__main__":
    convert(Path(sys.argv[1]))
