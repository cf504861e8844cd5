"""The initial weights and the vocabulary of a model that is trained from scratch.

With a usual initialisation, a small model guesses for a long time where boxes usually are. Three things avoid
this: location tokens and patches whose vectors encode their places from the start, image tokens that each
attend to one part of the image at first, and Magneto's initialisation.

The vocabulary has the frequent words of the data as tokens, letters to spell all other words, and Kosmos-2's
control tokens. It is written in the files of `transformers`.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from kosmos2_core.boxes import GRID
from kosmos2_core.config import Config
from kosmos2_core.model import Attention, Kosmos2
from kosmos2_core.requests import DESCRIBE_PROMPTS
from kosmos2_core.tokenizer import SPACE, ControlIds
from kosmos2_data.records import Record

HIGHEST, LOWEST = 2.5, 0.05  # frequencies of the waves, in radians per cell of the location grid
WITH_GAIN = ("fc1.weight", "fc2.weight", "attention.out.weight", "attention.v.weight")  # in the decoder
RESIDUAL = ("fc2.weight", "attention.out.weight")  # the last layers of the residual branches, in vision
SHARPNESS = 15.0  # of the image tokens' initial attention
QUERY_LENGTH = 0.1  # of an image token; features have length 1


def start_model(config: Config, control: ControlIds, seed: int) -> Kosmos2:
    """Return an initialised model; the same seed gives the same weights."""
    torch.manual_seed(seed)
    model = Kosmos2(config)
    with torch.no_grad():
        _magneto(model)
        _encode_places(model, control)
    return model


def grid_waves(side: int, grid: int, width: int) -> Tensor:
    """Return (side * side, width): the place of each cell of a grid as sines and cosines of x and of y.

    The vectors have length 1. Cells of different grids that lie at the same place have the same vector.

    Args:
        side: the number of cells along a side.
        grid: the number of cells along a side of the grid that the frequencies refer to.
    """
    count = width // 4
    rates = torch.logspace(math.log10(HIGHEST), math.log10(LOWEST), count)
    centres = (torch.arange(side) + 0.5) * grid / side
    angles = centres[:, None] * rates
    waves = torch.cat([angles.sin(), angles.cos()], dim=1)  # (side, width / 2)
    half = waves.shape[1]
    x = waves[None, :, :].expand(side, side, half)
    y = waves[:, None, :].expand(side, side, half)
    both = torch.cat([x, y], dim=2).flatten(0, 1) / math.sqrt(2 * count)
    return nn.functional.pad(both, (0, width - both.shape[1]))


def _magneto(model: Kosmos2) -> None:
    """Initialise as Magneto does: Xavier, with a gain in the decoder that grows with its depth."""
    text = model.config.text_config
    gain = math.sqrt(math.log(2 * text.layers))
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_normal_(module.weight)
            nn.init.zeros_(module.bias)
    for name, parameter in model.named_parameters():
        if name.startswith("decoder.blocks") and name.endswith(WITH_GAIN):
            parameter.mul_(gain)
        elif name.startswith("vision.blocks") and name.endswith(RESIDUAL):
            parameter.mul_(1 / math.sqrt(2 * len(model.vision.blocks)))
    nn.init.normal_(model.decoder.get_parameter("embedding.weight"), std=text.embed_dim**-0.5)
    patches = model.vision.patches.weight
    nn.init.normal_(patches, std=patches[0].numel() ** -0.5)
    nn.init.normal_(model.vision.class_embedding, std=0.02)


def _encode_places(model: Kosmos2, control: ControlIds) -> None:
    """Encode the places of location tokens, patches and image tokens with the same waves."""
    config = model.config
    vision, text = config.vision_config, config.text_config
    cells = slice(control.location, control.location + control.grid**2)
    model.decoder.get_parameter("embedding.weight")[cells] = grid_waves(
        control.grid, control.grid, text.embed_dim
    )
    side = vision.image_size // vision.patch_size
    waves = grid_waves(side, control.grid, vision.hidden_size) * math.sqrt(vision.hidden_size)
    model.vision.positions.weight[0] = 0
    model.vision.positions.weight[1:] = waves
    if math.isqrt(config.latent_query_num) ** 2 == config.latent_query_num:
        _spread_attention(model, control)


def _spread_attention(model: Kosmos2, control: ControlIds) -> None:
    """Make each image token attend to its own cell of the image: its query is the cell's place.

    Features have length 1. Without a gain, all keys would be nearly alike and attention uniform. The
    connector's queries are also among its keys; they are short, so that they do not attend to themselves.
    """
    connector, config = model.connector, model.config
    vision, text = config.vision_config, config.text_config
    nn.init.orthogonal_(connector.dense.weight)
    cells = grid_waves(math.isqrt(config.latent_query_num), control.grid, vision.hidden_size)
    connector.queries.copy_(QUERY_LENGTH * cells @ connector.dense.weight.T)
    attention: Attention = connector.attention
    # A query and a key have a product of up to 1. Each head gets a part of it, and divides it by the square
    # root of the head's width.
    gain = SHARPNESS * text.attention_heads * math.sqrt(text.embed_dim / text.attention_heads)
    for projection in (attention.q, attention.k):
        nn.init.eye_(projection.weight)
        projection.weight.mul_(math.sqrt(gain / QUERY_LENGTH))


# The vocabulary.

SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
LETTERS = [SPACE, *(chr(code) for code in range(ord("!"), ord("~") + 1))]
PROMPTS = ("An image of", "Describe this image in detail:", "Question:", "Answer:")
LETTER_FREQUENCY = 1e-7  # so low that a known word is always preferred to the letters that spell it


def texts_of(records: Iterable[Record]) -> Iterator[str]:
    """Yield all texts that a model of these records reads or generates, prompts included."""
    for record in records:
        for item in record.items:
            yield item.text.text
            if item.question is not None:
                yield item.question.text
    yield from PROMPTS
    yield from (wording.replace("[", "").replace("]", "") for wording in DESCRIBE_PROMPTS)


def make_vocabulary(texts: Iterable[str], words: int, folder: Path, image_size: int) -> None:
    """Write the tokenizer and processor files of `transformers` into the folder of a checkpoint.

    Args:
        words: how many of the most frequent words become tokens.
        image_size: the side of the images that the model takes, in pixels.
    """
    from transformers import Kosmos2Processor, XLMRobertaTokenizer
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    counts = Counter(word for text in texts for word in re.findall(r"[^\W_]+", text))
    total = counts.total()
    vocabulary = [
        *((name, 0.0) for name in SPECIAL),
        *((SPACE + word, math.log(count / total)) for word, count in counts.most_common(words)),
        *((letter, math.log(LETTER_FREQUENCY)) for letter in LETTERS),
        ("<mask>", 0.0),
    ]
    square = {"height": image_size, "width": image_size}
    processor = Kosmos2Processor(  # type: ignore[no-untyped-call]
        CLIPImageProcessorPil(size=square, crop_size=square),
        XLMRobertaTokenizer(vocab=vocabulary),
        num_patch_index_tokens=GRID * GRID,
    )
    processor.save_pretrained(folder)
