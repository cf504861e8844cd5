"""A model's first weights.

Trained plainly from scratch, a small model stays long at guessing where boxes usually are. What ends that:
location tokens and patches that know from the start where they lie, image tokens that begin by looking at
one part of the image each, and Magneto's initialisation.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from kosmos2_core.config import Config
from kosmos2_core.model import Attention, Kosmos2
from kosmos2_core.tokenizer import ControlIds

SHORTEST, LONGEST = 2.5, 0.05  # the waves' frequencies, in radians per cell of the location grid
GAINED = ("fc1.weight", "fc2.weight", "attention.out.weight", "attention.v.weight")  # in the decoder
ENDING = ("fc2.weight", "attention.out.weight")  # what a block of the vision tower adds
SHARPNESS = 15.0  # of the image tokens' first look
SHORT = 0.1  # an image token's query, where a feature has length 1


def start_model(config: Config, control: ControlIds, seed: int) -> Kosmos2:
    """A model to train from scratch."""
    torch.manual_seed(seed)
    model = Kosmos2(config)
    with torch.no_grad():
        _magneto(model)
        _grids(model, control)
    return model


def grid_waves(side: int, grid: int, width: int) -> Tensor:
    """(side * side, width): each cell's place in sines and cosines of x and of y, of length 1. Cells of
    grids of different sizes that lie at the same place have the same."""
    count = width // 4
    rates = torch.logspace(math.log10(SHORTEST), math.log10(LONGEST), count)
    at = (torch.arange(side) + 0.5) * grid / side
    angles = at[:, None] * rates
    waves = torch.cat([angles.sin(), angles.cos()], dim=1)  # (side, width / 2)
    half = waves.shape[1]
    x = waves[None, :, :].expand(side, side, half)
    y = waves[:, None, :].expand(side, side, half)
    both = torch.cat([x, y], dim=2).flatten(0, 1) / math.sqrt(2 * count)
    return nn.functional.pad(both, (0, width - both.shape[1]))


def _magneto(model: Kosmos2) -> None:
    text = model.config.text_config
    gain = math.sqrt(math.log(2 * text.layers))
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_normal_(module.weight)
            nn.init.zeros_(module.bias)
    for name, parameter in model.named_parameters():
        if name.startswith("decoder.blocks") and name.endswith(GAINED):
            parameter.mul_(gain)
        elif name.startswith("vision.blocks") and name.endswith(ENDING):
            parameter.mul_(1 / math.sqrt(2 * len(model.vision.blocks)))
    nn.init.normal_(model.decoder.embedding.weight, std=text.embed_dim**-0.5)
    patches = model.vision.patches.weight
    nn.init.normal_(patches, std=patches[0].numel() ** -0.5)
    nn.init.normal_(model.vision.whole, std=0.02)


def _grids(model: Kosmos2, control: ControlIds) -> None:
    """Places for location tokens, patches and image tokens, in the same waves."""
    config = model.config
    vision, text = config.vision_config, config.text_config
    cells = slice(control.location, control.location + control.grid**2)
    model.decoder.embedding.weight[cells] = grid_waves(control.grid, control.grid, text.embed_dim)
    side = vision.image_size // vision.patch_size
    places = grid_waves(side, control.grid, vision.hidden_size) * math.sqrt(vision.hidden_size)
    model.vision.positions.weight[0] = 0
    model.vision.positions.weight[1:] = places
    if math.isqrt(config.latent_query_num) ** 2 == config.latent_query_num:
        _look_around(model, control)


def _look_around(model: Kosmos2, control: ControlIds) -> None:
    """Each image token's query is its cell's place, as the keys show it. Features have length 1: without a
    gain all keys look alike, and attention stays even. Queries are keys too: they are short, so that they do
    not look at themselves."""
    connector, config = model.connector, model.config
    vision, text = config.vision_config, config.text_config
    nn.init.orthogonal_(connector.dense.weight)
    cells = grid_waves(math.isqrt(config.latent_query_num), control.grid, vision.hidden_size)
    connector.queries.copy_(SHORT * cells @ connector.dense.weight.T)
    attention: Attention = connector.attention
    # Of 1 that a query and a key share each head sees a part, and divides it by its width's root.
    gain = SHARPNESS * text.attention_heads * math.sqrt(text.embed_dim / text.attention_heads)
    for one in (attention.q, attention.k):
        nn.init.eye_(one.weight)
        one.weight.mul_(math.sqrt(gain / SHORT))
