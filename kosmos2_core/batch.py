"""Prompts to where their answers begin: each image's prefix once, copied to all prompts that share it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor

from kosmos2_core.cache import StaticCache
from kosmos2_core.decoding import check_length, extend, make_cache, pad_left, prefill
from kosmos2_core.errors import InputError
from kosmos2_core.image import Pixels
from kosmos2_core.model import Kosmos2
from kosmos2_core.tasks import IMAGE
from kosmos2_core.tokenizer import Control

MAX_ROWS = 64  # in one batch; bounds the memory for keys and values


@dataclass(frozen=True, eq=False)
class Looked:
    """Images that were looked at, and their tokens in the decoder."""

    images: tuple[Pixels, ...]
    features: tuple[Tensor, ...]  # (queries, D) each


@dataclass(frozen=True, eq=False)
class Row:
    """A prompt: the tokens of its images, and its ids with IMAGE where the next of them is."""

    images: tuple[Tensor, ...]
    ids: list[int]

    @property
    def leading(self) -> int:
        """Images that the prompt does not place: they come first."""
        return len(self.images) - self.ids.count(IMAGE)

    @property
    def shared(self) -> tuple[int, ...]:
        """What rows about the same images have in common."""
        return tuple(map(id, self.images))


@dataclass(frozen=True, eq=False)
class Started:
    """A batch of prompts, taken in."""

    places: list[int]  # of its prompts, among all that were asked
    cache: StaticCache
    logits: Tensor  # (B, last, V) after the last tokens
    prompts: list[list[int]]


@dataclass(frozen=True)
class Starter:
    model: Kosmos2
    control: Control

    def start(self, rows: Sequence[Row], more: int, last: int = 1, most: int = MAX_ROWS) -> Iterator[Started]:
        """Take prompts in, at most so many at a time, with room for `more` tokens and the logits after the
        `last` ones. A batch has one number of leading images."""
        if any(row.leading < 0 for row in rows):
            raise InputError("the prompt has more places for images than there are images: give one each.")
        order = sorted(range(len(rows)), key=lambda place: rows[place].leading)
        for leading, group in groupby(order, key=lambda place: rows[place].leading):
            alike = list(group)
            for start in range(0, len(alike), most):
                places = alike[start : start + most]
                yield self._batch(places, [rows[place] for place in places], leading, more, last)

    def _batch(self, places: list[int], rows: Sequence[Row], leading: int, more: int, last: int) -> Started:
        views = list({row.shared: row.images for row in rows}.items())
        begin = self.spell([IMAGE] * leading, start=True)
        ends = [self.spell(row.ids) for row in rows]
        if len(views) == len(rows):  # nothing to share: one pass
            x, real = self.embed([begin + end for end in ends], [one for row in rows for one in row.images])
            cache = make_cache(self.model, len(rows), x.shape[1] + more)
            logits = prefill(self.model, cache, x, real, last)
            return Started(places, cache, logits, [begin + end for end in ends])

        rest = [image for row in rows for image in row.images[leading:]]
        common = 0 if rest else shared_length(ends, last)
        prefix, ends = begin + ends[0][:common], [end[common:] for end in ends]
        first = [image for _, images in views for image in images[:leading]]
        shared = make_cache(self.model, len(views), len(prefix))
        extend(self.model, shared, self.embed([prefix] * len(views), first)[0])

        x, real = self.embed(ends, rest)
        check_length(self.model, len(prefix) + x.shape[1] + more)
        number = {key: place for place, (key, _) in enumerate(views)}
        of_view = torch.tensor([number[row.shared] for row in rows], device=x.device)
        cache = shared.copy(of_view, x.shape[1] + more)
        logits = prefill(self.model, cache, x, real, last)
        return Started(places, cache, logits, [prefix + end for end in ends])

    def spell_row(self, row: Row) -> list[int]:
        """All ids of a prompt, its leading images first."""
        if row.leading < 0:
            raise InputError("the prompt has more places for images than there are images: give one each.")
        return self.spell([IMAGE] * row.leading + row.ids, start=True)

    def spell(self, ids: Sequence[int], start: bool = False) -> list[int]:
        """With each IMAGE spelt out. Its slots carry the ids that the peer puts there."""
        unknown, queries = self.control.unknown, self.model.config.latent_query_num
        slots = range(unknown + 1, unknown + 1 + queries)
        spelt = [self.control.start] if start else []
        for number in ids:
            if number == IMAGE:
                spelt += [self.control.image, *slots, self.control.image_end]
            else:
                spelt.append(number)
        return spelt

    def embed(self, rows: Sequence[list[int]], images: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Embeddings of rows, padded on the left, with images in their slots; and where they are real."""
        device = self.model.decoder.embedding.weight.device
        ids, real = pad_left(rows, self.control.pad, device)
        if not images:
            return self.model.embed(ids), real
        begins, ends = ids == self.control.image, ids == self.control.image_end
        slots = (begins.long().cumsum(1) > ends.long().cumsum(1)) & ~begins
        return self.model.embed(ids, torch.stack(list(images)), slots), real


def shared_length(rows: Sequence[Sequence[int]], left: int) -> int:
    """How many ids all rows begin with alike, some of each left over."""
    longest = max(min(map(len, rows)) - left, 0)
    return next((at for at in range(longest) if len({row[at] for row in rows}) > 1), longest)
