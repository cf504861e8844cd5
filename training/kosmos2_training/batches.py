"""Records to tensors. All that is said of an image follows it in one sequence, as branches: each token sees
the image and its own branch, so that nothing differs from a sequence of its own, and the image is encoded
once.

    image | <grounding><phrase> the mug</phrase><object>... | Question: ... Answer: ... | ...
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kosmos2_core.images import preprocess
from kosmos2_core.tokenizer import Tokenizer
from kosmos2_data.records import Item, Record
from kosmos2_training.cells import CellTruth, Names, cell_truth
from kosmos2_training.examples import Example, examples_of

SHARED, PADDING = -1, -2  # whose a token is, besides a branch's
NO_CORNER = (math.nan, math.nan)


@dataclass(frozen=True)
class Shape:
    """What of a model's shape a batch needs to know."""

    image_size: int
    patches: int  # along a side
    queries: int
    tokens: int  # an image and what is said of it, at most


@dataclass(frozen=True, eq=False)
class Batch:
    """B images with T tokens each; M tokens to learn, each from the state at the place before it."""

    pixels: Tensor  # (B, 3, size, size)
    ids: Tensor  # (B, T)
    positions: Tensor  # (B, T)
    owners: Tensor  # (B, T) each token's branch, SHARED or PADDING
    slots: Tensor  # (B, T) where the image's tokens go
    rows: Tensor  # (M,)
    places: Tensor  # (M,)
    targets: Tensor  # (M,)
    corners: Tensor  # (M, 2) of location tokens, in unit coordinates; NaN for words
    patches: CellTruth | None  # what each patch shows
    latents: CellTruth | None  # what each image token's cell shows

    def to(self, device: torch.device) -> Batch:
        moved = {one.name: getattr(self, one.name) for one in fields(self)}
        return replace(
            self, **{n: v.to(device, non_blocking=True) for n, v in moved.items() if v is not None}
        )

    @property
    def mask(self) -> Tensor:
        """(B, 1, T, T), what each token sees."""
        seen = (self.owners[:, None] == SHARED) | (self.owners[:, None] == self.owners[:, :, None])
        return seen.tril()[:, None]


@dataclass(frozen=True, eq=False)
class Sample:
    """One image, and what is said of it."""

    pixels: NDArray[np.float32]
    examples: Sequence[Example]
    patches: CellTruth | None
    latents: CellTruth | None


def make_sample(
    image: NDArray[np.uint8],
    mask: NDArray[np.uint8] | None,
    record: Record,
    tokenizer: Tokenizer,
    shape: Shape,
    names: Names | None,
    rng: np.random.Generator,
) -> Sample:
    """names: what the cells' truth is told by; None: it is not wanted."""
    chosen = choose(tokenizer, record.items, shape, rng)
    patches = latents = None
    if names is not None:
        patches = cell_truth(record, mask, shape.patches, shape.image_size, names)
        side = math.isqrt(shape.queries)
        if side * side == shape.queries:
            latents = cell_truth(record, mask, side, shape.image_size, names)
    return Sample(preprocess(image, shape.image_size), chosen, patches, latents)


def choose(
    tokenizer: Tokenizer, items: Iterable[Item], shape: Shape, rng: np.random.Generator
) -> list[Example]:
    """As many of the items as there is room for, in a random order; always one."""
    room = shape.tokens - shape.queries - 3
    order = list(items)
    chosen: list[Example] = []
    for at in rng.permutation(len(order)):
        for example in examples_of(tokenizer, order[at], rng):
            if len(example.ids) <= room or not chosen:
                chosen.append(example)
                room -= len(example.ids)
        if room < 8:
            break
    return chosen


def collate(samples: Sequence[Sample], tokenizer: Tokenizer, shape: Shape) -> Batch:
    control = tokenizer.control
    slot_ids = range(4, 4 + shape.queries)  # what stands in the images' places is overwritten
    prefix = [control.start, control.image, *slot_ids, control.image_end]
    longest = max(len(prefix) + sum(len(e.ids) for e in sample.examples) for sample in samples)
    ids = torch.full((len(samples), longest), control.pad)
    owners = torch.full((len(samples), longest), PADDING)
    positions = torch.zeros(len(samples), longest, dtype=torch.long)
    slots = torch.zeros(len(samples), longest, dtype=torch.bool)
    slots[:, 2 : 2 + shape.queries] = True
    learnt: list[tuple[int, int, int]] = []
    corners: list[tuple[float, float]] = []
    for row, sample in enumerate(samples):
        at = len(prefix)
        line, owner, position = list(prefix), [SHARED] * at, list(range(at))
        for branch, example in enumerate(sample.examples):
            begin = at
            line += example.ids
            owner += [branch] * len(example.ids)
            position += range(len(prefix), len(prefix) + len(example.ids))
            at += len(example.ids)
            for place in range(len(example.ids) - example.learnt, len(example.ids)):
                before = begin + place - 1 if place else len(prefix) - 1
                learnt.append((row, before, example.ids[place]))
                corners.append(example.corners.get(place, NO_CORNER))
        ids[row, :at] = torch.tensor(line)
        owners[row, :at] = torch.tensor(owner)
        positions[row, :at] = torch.tensor(position)
    rows, places, targets = torch.tensor(learnt).T
    return Batch(
        *(torch.from_numpy(np.stack([sample.pixels for sample in samples])), ids, positions, owners, slots),
        *(rows, places, targets, torch.tensor(corners)),
        CellTruth.stack([sample.patches for sample in samples]),
        CellTruth.stack([sample.latents for sample in samples]),
    )
