"""Prompts to where their answers begin: each image's prefix once, copied to all prompts that share it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor

from kosmos2_core.decoding import check_length, extend, make_cache, pad_left, prefill
from kosmos2_core.errors import InputError
from kosmos2_core.images import Pixels
from kosmos2_core.model import Kosmos2, StaticCache, TokenSelection
from kosmos2_core.prompts import IMAGE, Prompt
from kosmos2_core.tokenizer import ControlIds

MAX_ROWS = 64  # in one batch; bounds the memory for keys and values


@dataclass(frozen=True, eq=False)
class EncodedImages:
    """Images that were looked at, and their tokens in the decoder."""

    images: tuple[Pixels, ...]
    features: tuple[Tensor, ...]  # (queries, D) each


@dataclass(frozen=True, eq=False)
class PrefilledBatch:
    """A batch of prompts, taken in."""

    indices: list[int]  # of its prompts, among all that were asked
    cache: StaticCache
    logits: Tensor  # (B, last, V) after the last tokens
    prompts: list[list[int]]


@dataclass(frozen=True)
class Prefiller:
    model: Kosmos2
    control: ControlIds

    def prefill(
        self, rows: Sequence[Prompt], more: int, last: int = 1, most: int = MAX_ROWS
    ) -> Iterator[PrefilledBatch]:
        """Take prompts in, at most so many at a time, with room for `more` tokens and the logits after the
        `last` ones. A batch has one number of leading images."""
        if any(row.leading < 0 for row in rows):
            raise InputError("the prompt has more places for images than there are images: give one each.")
        order = sorted(range(len(rows)), key=lambda place: rows[place].leading)
        for leading, group in groupby(order, key=lambda place: rows[place].leading):
            alike = list(group)
            for start in range(0, len(alike), most):
                indices = alike[start : start + most]
                yield self._batch(indices, [rows[place] for place in indices], leading, more, last)

    def _batch(
        self, indices: list[int], rows: Sequence[Prompt], leading: int, more: int, last: int
    ) -> PrefilledBatch:
        views = list({row.shared: row.images for row in rows}.items())
        begin = self.expand([IMAGE] * leading, start=True)
        ends = [self.expand(row.ids) for row in rows]
        if len(views) == len(rows):  # nothing to share: one pass
            x, real = self.embed([begin + end for end in ends], [one for row in rows for one in row.images])
            cache = make_cache(self.model, len(rows), x.shape[1] + more)
            logits = prefill(self.model, cache, x, real, last)
            return PrefilledBatch(indices, cache, logits, [begin + end for end in ends])

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
        return PrefilledBatch(indices, cache, logits, [prefix + end for end in ends])

    def expand_prompt(self, row: Prompt) -> list[int]:
        """All ids of a prompt, its leading images first."""
        if row.leading < 0:
            raise InputError("the prompt has more places for images than there are images: give one each.")
        return self.expand([IMAGE] * row.leading + row.ids, start=True)

    def expand(self, ids: Sequence[int], start: bool = False) -> list[int]:
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


LAST = 2  # tokens of each branch whose logits are wanted
SHARED, PADDING = -1, -2  # whose a token is, besides a branch's


@dataclass(frozen=True, eq=False)
class PackedPrompts:
    """Prompts, taken in. B sequences, each of a view; N branches in all."""

    indices: list[int]  # (N) of the prompts, among all that were asked
    model: Kosmos2
    cache: StaticCache
    owners: Tensor  # (B, T) each token's branch, SHARED or PADDING
    sequences: Tensor  # (N) the sequence that each branch is in
    lengths: Tensor  # (N) tokens from the start to the branch's end
    logits: Tensor  # (N, LAST, V) after each branch's last tokens

    def step(self, branches: Tensor, ids: Tensor) -> Tensor:
        """Logits (n, V) after one more token on each of these branches (n,), any of them several times. The
        tokens are not kept, and do not see each other."""
        sequences = self.sequences[branches]
        new = TokenSelection(sequences, None, len(self.owners))
        owners = new.spread(branches, PADDING)
        seen = (self.owners[:, None] == SHARED) | (self.owners[:, None] == owners[:, :, None])
        itself = torch.eye(new.width, dtype=torch.bool, device=ids.device).expand(new.count, -1, -1)
        mask = torch.cat([seen, itself], dim=2)[:, None]
        x = self.model.embed(new.spread(ids))
        hidden = self.model.decoder(x, new.spread(self.lengths[branches]), mask, False, self.cache, new)
        return self.model.decoder.logits(hidden)


def prefill_packed(
    starter: Prefiller, rows: Sequence[Prompt], more: int, at_once: int
) -> Iterator[PackedPrompts]:
    """Take prompts in, so many at a time, with room for steps of `more` tokens on each branch, but never
    more than `at_once`."""
    keys = [(row.shared, row.leading) for row in rows]
    first = {key: place for place, key in reversed(list(enumerate(keys)))}
    # As they were given: in the order of memory, as the keys are, sums would be rounded anew each time.
    order = sorted(range(len(rows)), key=lambda place: first[keys[place]])
    for start in range(0, len(rows), MAX_ROWS):
        indices = order[start : start + MAX_ROWS]
        yield _take_in(starter, indices, [rows[place] for place in indices], more, at_once)


def _take_in(
    starter: Prefiller, indices: list[int], rows: Sequence[Prompt], more: int, at_once: int
) -> PackedPrompts:
    groups: dict[tuple[object, int], list[int]] = {}
    for branch, row in enumerate(rows):
        groups.setdefault((row.shared, row.leading), []).append(branch)
    trunks = [_Trunk.of(starter, [rows[branch] for branch in group]) for group in groups.values()]
    x, _ = starter.embed([trunk.ids for trunk in trunks], [one for trunk in trunks for one in trunk.images])

    longest, device = x.shape[1], x.device
    owners = torch.full((len(trunks), longest), PADDING)
    positions = torch.zeros(len(trunks), longest, dtype=torch.long)
    sequences, ends, lengths = (torch.empty(len(rows), dtype=torch.long) for _ in range(3))
    for sequence, (trunk, group) in enumerate(zip(trunks, groups.values(), strict=True)):
        at = longest - len(trunk.ids)
        owners[sequence, at : at + trunk.shared] = SHARED
        positions[sequence, at : at + trunk.shared] = torch.arange(trunk.shared)
        at += trunk.shared
        for branch, length in zip(group, trunk.branches, strict=True):
            owners[sequence, at : at + length] = branch
            positions[sequence, at : at + length] = torch.arange(length) + trunk.shared
            at += length
            sequences[branch], ends[branch], lengths[branch] = sequence, at, trunk.shared + length
    check_length(starter.model, int(lengths.max()) + 1)
    owners, positions, sequences, ends, lengths = (
        one.to(device) for one in (owners, positions, sequences, ends, lengths)
    )

    room = longest + min(more * max(map(len, groups.values())), at_once)
    cache = StaticCache(starter.model.config.text_config, len(trunks), room, device, x.dtype)
    seen = (owners[:, None] == SHARED) | (owners[:, None] == owners[:, :, None])
    last = ends[:, None] + torch.arange(-LAST, 0, device=device)
    ending = TokenSelection(sequences.repeat_interleave(LAST), last.flatten(), len(trunks))
    hidden = starter.model.decoder(x, positions, seen.tril()[:, None], False, cache, ending)
    cache.advance(longest)
    logits = starter.model.decoder.logits(hidden.view(*last.shape, -1))
    return PackedPrompts(indices, starter.model, cache, owners, sequences, lengths, logits)


@dataclass(frozen=True, eq=False)
class _Trunk:
    """Prompts about one view in one sequence."""

    ids: list[int]
    images: list[Tensor]
    shared: int  # ids that all prompts begin with
    branches: list[int]  # how many ids each has besides

    @classmethod
    def of(cls, starter: Prefiller, rows: Sequence[Prompt]) -> _Trunk:
        first, control = rows[0], starter.control
        whole = [starter.expand_prompt(row) for row in rows]
        shared = shared_length(whole, LAST)
        while whole[0][:shared].count(control.image) > whole[0][:shared].count(control.image_end):
            shared -= 1  # not within an image
        in_shared = whole[0][:shared].count(control.image)
        images = [*first.images[:in_shared], *(one for row in rows for one in row.images[in_shared:])]
        ends = [ids[shared:] for ids in whole]
        return cls(
            [*whole[0][:shared], *(i for ids in ends for i in ids)], images, shared, list(map(len, ends))
        )
